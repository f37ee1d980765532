"""Solutions with known step labels, read from what carries them: a snapshot, ProcessBench, PRMBench, stepwise rows.

Knows no model and no figure. A label is 1 (good), 0 (bad), between where judges disagree, NaN where nobody judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.trace import problem_id_of
from training.trace_files import placed_rows

NAN = math.nan
# PRMBench's nine classes and the three groups in which they are reported (Song et al. 2025, arXiv 2501.03124);
# "redundency" is how the released file spells it.
PRMBENCH_GROUPS = {
    "redundency": "simplicity", "redundancy": "simplicity", "circular": "simplicity",
    "counterfactual": "soundness", "step_contradiction": "soundness", "domain_inconsistency": "soundness",
    "confidence": "soundness", "missing_condition": "sensitivity", "deception": "sensitivity",
    "multi_solutions": "sensitivity",
}  # fmt: skip
PRMBENCH_WITHOUT_ERRORS = ("multi_solutions",)


@dataclass(frozen=True)
class Solution:
    """One solution: `labels` has an entry a step. solved: whether its final answer is right, None where nobody knows.
    slices: names of the groups in which it is counted (`class:circular`, `set:gsm8k`); step_slices: the same for a step.
    """

    problem_id: str
    prompt: str
    step_texts: tuple[str, ...]
    labels: tuple[float, ...]
    solved: bool | None = None
    slices: tuple[str, ...] = ()
    step_slices: tuple[tuple[str, ...], ...] = ()


def up_to_first_error(steps: int, error: int) -> tuple[float, ...]:
    """Labels of ProcessBench's rows: good before the first error, nothing known after it. error −1: all are good."""
    if error < 0:
        return (1.0,) * steps
    return (1.0,) * error + (0.0,) + (NAN,) * (steps - error - 1)


# ------------------------------------------------------------------------------------------------- one reader a family


def _processbench(row: dict[str, Any]) -> Solution:
    """`{id, problem, steps, label, final_answer_correct}` (Zheng et al. 2024, arXiv 2412.06559)."""
    steps, label = tuple(row["steps"]), row["label"]
    if type(label) is not int or not -1 <= label < len(steps):
        raise ValueError(f'"label" is {label!r}; it must be the index of a step, or -1 where all are right')
    of = str(row.get("id", "")).rpartition("-")[0]
    return Solution(
        problem_id_of(row["problem"]), row["problem"], steps, up_to_first_error(len(steps), label),
        row.get("final_answer_correct"), (f"set:{of}",) if of else (),
    )  # fmt: skip


def _prmbench(row: dict[str, Any]) -> Solution:
    """`{modified_question, modified_process, error_steps (from 1), classification}` (Song et al. 2025)."""
    steps, wrong = tuple(row["modified_process"]), row["error_steps"]
    if any(type(i) is not int or not 1 <= i <= len(steps) for i in wrong):
        raise ValueError(f'"error_steps" is {wrong!r}; it must number steps from 1 to {len(steps)}')
    prompt = row.get("modified_question") or row.get("question") or row["original_question"]
    kind = str(row.get("classification") or "unclassified")
    slices = ("set:prmbench", f"class:{kind}", *([f"group:{PRMBENCH_GROUPS[kind]}"] if kind in PRMBENCH_GROUPS else ()))
    labels = tuple(0.0 if i + 1 in wrong else 1.0 for i in range(len(steps)))
    return Solution(problem_id_of(prompt), prompt, steps, labels, None, slices)


def _stepwise(row: dict[str, Any]) -> Solution:
    """`{prompt, completions, labels}`: TRL's stepwise supervision, as `worldline export stepwise` writes it."""
    steps = tuple(row["completions"])
    labels = tuple(NAN if y is None else float(y) for y in row["labels"])
    if len(labels) != len(steps):
        raise ValueError(f'"labels" has {len(labels)} entries for {len(steps)} steps')
    prompt = row["prompt"]
    return Solution(problem_id_of(prompt), prompt, steps, labels, row.get("solved"))


FAMILIES: tuple[tuple[str, frozenset[str], Callable[[dict[str, Any]], Solution]], ...] = (
    ("processbench", frozenset({"problem", "steps", "label"}), _processbench),
    ("prmbench", frozenset({"modified_process", "error_steps"}), _prmbench),
    ("stepwise", frozenset({"prompt", "completions", "labels"}), _stepwise),
)


def read_file(path: Path) -> list[Solution]:
    """Solutions of a JSONL file, each row by the family its fields name. Raises ValueError naming file and line."""
    return list(_lines(path))


def _lines(path: Path) -> Iterator[Solution]:
    for at, row in placed_rows(path):
        make = next((make for _, keys, make in FAMILIES if keys <= row.keys()), None)
        if make is None:
            known = "; ".join(f"{name}: {', '.join(sorted(keys))}" for name, keys, _ in FAMILIES)
            raise ValueError(f"{at}: no family has these fields. A row needs those of one of: {known}.")
        try:
            found = make(row)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{at}: {error}") from None
        if found.step_texts:
            yield found


def read_snapshot(folder: Path, *, split: str = "test") -> list[Solution]:
    """The judged traces of a snapshot on one side of its split ("all": both); labels are the share of judges who said
    good, a first error ends them. Slices: how a step was entered, what it does, the error's type, how deep it stands.
    """
    import polars as pl

    from training.rows import data_sha256, judging, newest

    data_sha256(folder)
    table = newest(pl.read_parquet(folder / "data.parquet"))
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in table.iter_rows(named=True):
        if split in ("all", row["split"]):
            groups.setdefault(row["segmentation_id"], []).append(row)
    judged = [judging(rows) for _, rows in sorted(groups.items())]
    return [_of_rows(rows) for rows in judged if rows]


def _of_rows(rows: list[dict[str, Any]]) -> Solution:
    first, n = rows[0], len(rows[0]["step_text"])
    from training.rows import settled_steps

    votes: list[list[float]] = [[] for _ in range(n)]
    for row in rows:
        ratings, error = settled_steps(row)
        soft = row.get("soft") or [None] * n  # label sets without people carry a share instead of a vote
        for i in range(n):
            if error is not None and i > error:
                break
            if i == error:
                votes[i].append(0.0)
            elif soft[i] is not None:
                votes[i].append(float(soft[i]))
            elif (rating := ratings[i]) is not None:
                votes[i].append(float(rating >= 0))
    labels = tuple(sum(v) / len(v) if v else NAN for v in votes)
    return Solution(
        first["problem_id"], first["prompt"], tuple(first["step_text"]), labels, first["solved"],
        (f"model:{first['model']}",), tuple(_step_slices(first, i) for i in range(n)),
    )  # fmt: skip


def _step_slices(row: dict[str, Any], i: int) -> tuple[str, ...]:
    back = row["is_backtrack"][i]
    found = [
        f"entered by:{'backtrack' if back else 'proceed'}",
        f"step:{'1-4' if i < 4 else '5-15' if i < 15 else '16+'}",
    ]
    for column in ("kind", "error_type"):
        values = row.get(column)
        if values and values[i]:
            found.append(f"{column}:{values[i]}")
    return tuple(found)
