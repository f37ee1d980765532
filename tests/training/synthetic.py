"""Snapshots without people: written searches of the numbers game, every step rated by the exact oracle.

A step is good (+1) if and only if the state it leaves can still reach the target. What a snapshot on disk looks like is
written here a second time on purpose: the tests must notice when the readers drift from the agreed columns.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.formats import steiner_tokens as t
from core.tasks import countdown as game
from core.tasks import countdown_text as words
from core.trace import problem_id_of
from training.synthesis.countdown import Walk, step_text, walks


@dataclass(frozen=True)
class Labelled:
    """One written search with the oracle's ratings."""

    walk: Walk
    ratings: list[int]
    step_texts: list[str]
    parents: list[int | None]


def labelled(walk: Walk) -> Labelled:
    """Rate every step with the oracle and find its parent (the step that left the state it starts from)."""
    checked = words.check(walk.problem, walk.steps).steps
    ratings, parents, texts = [], [], []
    left_by: dict[game.State, int | None] = {tuple(sorted(walk.problem.numbers)): None}
    lead = t.REASONING_START
    for index, (step, claim) in enumerate(zip(walk.steps, checked, strict=True)):
        assert claim.ok, claim.reasons
        ratings.append(1 if game.alive(claim.left, walk.problem.target) else -1)
        parents.append(left_by[claim.start])
        left_by[claim.left] = index
        texts.append(lead + step_text(step))
        lead = t.BACKTRACK if step.decision == "backtrack" else t.PROCEED
    return Labelled(walk, ratings, texts, parents)


def examples(n: int, seed: int = 11, *, longest: int = 60) -> list[Labelled]:
    """`n` rated searches of at most `longest` steps, always the same for a seed."""
    stream = (labelled(w) for w in walks(seed) if len(w.steps) <= longest)
    return list(itertools.islice(stream, n))


def snapshot_rows(examples: Sequence[Labelled], *, test_every: int = 5, rater: str = "oracle") -> list[dict[str, Any]]:
    """Rows with a snapshot's columns; every `test_every`-th *problem* is held out."""
    rows = []
    sides: dict[str, str] = {}
    for i, example in enumerate(examples):
        walk, n = example.walk, len(example.step_texts)
        problem_id = problem_id_of(walk.prompt)
        split = sides.setdefault(problem_id, "test" if len(sides) % test_every == test_every - 1 else "train")
        ends = list(itertools.accumulate(map(len, example.step_texts)))
        rows.append({
            "trace_id": f"trace-{i:04}", "problem_id": problem_id, "prompt": walk.prompt, "response": walk.response,
            "answer": walk.answer, "finish_reason": "stop" if walk.path else "step_limit", "model": "written",
            "format": "steiner", "solved": walk.path is not None, "rater_id": rater,
            "assignment_id": f"assignment-{i:04}-{rater}", "segmentation_id": f"trace-{i:04}:steiner:1",
            "step_text": example.step_texts, "step_start": [0, *ends[:-1]], "step_end": ends,
            "rating": example.ratings, "unsure": [False] * n, "first_error": None,
            "decision": [s.decision for s in walk.steps], "parent": example.parents,
            "is_backtrack": [text.startswith(t.BACKTRACK) for text in example.step_texts], "resumes": [None] * n,
            "worth_exploring": [None] * n, "left_in_time": [None] * n, "right_return": [None] * n,
            "verdict": 1 if walk.path else -1, "note": "", "prelabel_visible": False,
            "submitted_at": "2026-11-20T12:00:00Z", "split": split,
        })  # fmt: skip
    return rows


def write_snapshot(data_dir: Path, rows: Sequence[dict[str, Any]], snapshot_id: str = "snap") -> Path:
    """`snapshots/<id>/{data.parquet,manifest.json}` as a frozen snapshot has them."""
    import polars as pl

    folder = data_dir / "snapshots" / snapshot_id
    folder.mkdir(parents=True)
    bytes_, ints = pl.List(pl.Int8), pl.List(pl.Int32)
    types = {
        "solved": pl.Boolean, "step_text": pl.List(pl.String), "step_start": ints, "step_end": ints, "rating": bytes_,
        "unsure": pl.List(pl.Boolean), "first_error": pl.Int32, "decision": pl.List(pl.String), "parent": ints,
        "is_backtrack": pl.List(pl.Boolean), "resumes": ints, "worth_exploring": bytes_, "left_in_time": bytes_,
        "right_return": bytes_, "verdict": pl.Int8,
    }  # fmt: skip
    pl.DataFrame(list(rows), schema_overrides=types, infer_schema_length=None).write_parquet(folder / "data.parquet")
    digest = hashlib.sha256((folder / "data.parquet").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"snapshot_id": snapshot_id, "sha256": digest}))
    return folder


def unrated(example: Labelled) -> Labelled:
    """The same search, nothing judged."""
    return replace(example, ratings=[None] * len(example.ratings))  # type: ignore[arg-type]
