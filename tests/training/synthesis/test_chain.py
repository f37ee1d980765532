"""From made searches to a model by the commands that docs/synthesis.md gives: nothing that turns back is lost on the way."""

from __future__ import annotations

import json
from pathlib import Path

from core.formats import steiner_tokens as t
from tests.training.evaluation.test_commands import run

SMALL = ("epochs=1", "min_steps=1", "threads=1", "batch=4")


def settings(*words: str) -> list[str]:
    return [part for word in words for part in ("--set", word)]


def learned_whole(said: str, paths: int) -> bool:
    """What the job's log says of its rows: every path, none left out."""
    log = (Path(said.splitlines()[-1]).parent / "log.txt").read_text()
    return f"'traces': {paths}, 'traces_not_chosen': 0, 'traces_over_max_tokens': 0" in log


def test_made_searches_are_learned_whole(tmp_path: Path, tiny_base: Path) -> None:
    made = json.loads(
        run("synthesize", "countdown", tmp_path / "p.jsonl", "--dags", 12, "--paths", 3, "--workers", 1)[0]
    )
    texts = [json.loads(line)["response"] for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert made["backtracks"] == sum(text.count(t.BACKTRACK) for text in texts) > 20
    base = f"base={tiny_base}"
    said, _ = run(
        "train", "sft", "--data", tmp_path,
        *settings(base, f"traces={tmp_path / 'p.jsonl'}", "choose=all", "max_tokens=4000", *SMALL),
    )  # fmt: skip
    assert learned_whole(said, made["paths"])


def test_searches_labelled_by_the_oracle_are_learned_whole(tmp_path: Path, tiny_base: Path) -> None:
    made = json.loads(
        run("synthesize", "countdown", tmp_path / "p.jsonl", "--dags", 12, "--paths", 3, "--workers", 1)[0]
    )
    snapshot, _ = run("label", "oracle", tmp_path / "p.jsonl", "--data", tmp_path)
    said, _ = run(
        "train", "sft", "--snapshot", snapshot.strip(), "--data", tmp_path,
        *settings(f"base={tiny_base}", "choose=solved", "max_tokens=4000", *SMALL),
    )  # fmt: skip
    assert learned_whole(said, made["paths"])
