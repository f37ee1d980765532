"""Preferences: `prompt`, `chosen`, `rejected`, as DPO and pairwise reward trainers read them. Ties never make a pair.

Two sources, told apart in the column `source`:

verdict   two traces of the same question (the same characters) with different verdicts: whole responses.
branch    two siblings in the tree of one trace with different ratings. `prompt` is the question and the response up
to and with the
          step they share as parent, byte for byte, and the token that leads on; `chosen` and `rejected` are the two
          steps. A
          sibling that was entered by a backtrack is so compared where its branch begins, not where the model happened
          to be.

Several raters are averaged first: one row a pair, `n_votes` says how many stand behind it. Unsure is no vote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from core.formats import steiner_tokens as t
from storage.exports.labels import by_trace, mean_votes, recut_warning
from storage.exports.writing import Format, Plan, Row
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

READ = (
    "trace_id", "problem_id", "prompt", "response", "model", "rater_id", "segmentation_id", "step_text", "step_end",
    "rating", "first_error", "parent", "verdict", "prelabel_visible", "split",
)  # fmt: skip
LEADS = (t.REASONING_START, t.PROCEED, t.BACKTRACK)


@dataclass(frozen=True)
class PreferenceOptions:
    """source: which pairs. max_pairs_per_problem bounds the pairs of whole traces of one question, widest margin
    first.
    """

    source: str = "both"
    split: str = "all"
    max_pairs_per_problem: int = 16
    max_length: int = 1024


@dataclass(frozen=True)
class _Judged:
    """A whole trace with its mean verdict."""

    row: Row
    score: float
    votes: int


def schema() -> pa.Schema:
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        [
            ("prompt", text), ("chosen", text), ("rejected", text), ("source", text),
            ("margin", pa.float64()), ("n_votes", pa.int32()),
            ("question", text), ("prefix", text), ("problem_id", text),
            ("chosen_trace_id", text), ("rejected_trace_id", text),
            ("chosen_step", pa.int32()), ("rejected_step", pa.int32()),
            ("chosen_model", text), ("rejected_model", text), ("raters", text), ("prelabel_visible", pa.bool_()),
            ("split", text), ("snapshot_id", text),
        ]
    )  # fmt: skip


def rows(snapshot: Snapshot, options: PreferenceOptions) -> Iterator[Row]:
    """The pairs. Branch pairs are streamed; whole traces with a verdict are held in memory until all are seen."""
    judged: dict[str, list[_Judged]] = {}
    raters: dict[str, str] = {}
    for group in by_trace(_wanted(snapshot, options, READ)):
        raters[group[0]["trace_id"]] = "+".join(sorted(row["rater_id"] for row in group))
        if options.source in ("both", "branch"):
            yield from _branch_pairs(snapshot, group)
        verdict = mean_votes(row["verdict"] for row in group)
        if verdict and options.source in ("both", "verdict"):
            seen = any(row["prelabel_visible"] for row in group)
            kept = {k: group[0][k] for k in ("trace_id", "problem_id", "prompt", "response", "model", "split")}
            judged.setdefault(group[0]["prompt"], []).append(_Judged({**kept, "prelabel_visible": seen}, *verdict))
    for traces in judged.values():
        yield from _verdict_pairs(snapshot, traces, raters, options.max_pairs_per_problem)


def _wanted(snapshot: Snapshot, options: PreferenceOptions, columns: Sequence[str]) -> Iterator[Row]:
    return (row for row in snapshot.rows(columns) if options.split in ("all", row["split"]))


def _verdict_pairs(snapshot: Snapshot, traces: Sequence[_Judged], raters: dict[str, str], most: int) -> Iterator[Row]:
    pairs = [
        (a, b) if a.score > b.score else (b, a)
        for a, b in combinations(traces, 2)
        if a.score != b.score and a.row["response"] != b.row["response"]
    ]
    pairs.sort(key=lambda pair: (pair[1].score - pair[0].score, pair[0].row["trace_id"], pair[1].row["trace_id"]))
    for better, worse in pairs[:most]:
        yield {
            "prompt": better.row["prompt"],
            "chosen": better.row["response"],
            "rejected": worse.row["response"],
            "source": "verdict",
            "margin": round(better.score - worse.score, 4),
            "n_votes": better.votes + worse.votes,
            "question": better.row["prompt"],
            "prefix": "",
            "problem_id": better.row["problem_id"],
            "chosen_trace_id": better.row["trace_id"],
            "rejected_trace_id": worse.row["trace_id"],
            "chosen_step": None,
            "rejected_step": None,
            "chosen_model": better.row["model"],
            "rejected_model": worse.row["model"],
            "raters": "+".join(
                sorted({*raters[better.row["trace_id"]].split("+"), *raters[worse.row["trace_id"]].split("+")})
            ),
            "prelabel_visible": better.row["prelabel_visible"] or worse.row["prelabel_visible"],
            "split": better.row["split"],
            "snapshot_id": snapshot.snapshot_id,
        }


def _branch_pairs(snapshot: Snapshot, group: Sequence[Row]) -> Iterator[Row]:
    first = group[0]
    children: dict[int | None, list[int]] = {}
    for step, parent in enumerate(first["parent"]):
        children.setdefault(parent, []).append(step)
    scores = [mean_votes(_rating(row, step) for row in group) for step in range(len(first["step_text"]))]
    for parent, siblings in children.items():
        prefix = shared_prefix(first["response"], first["step_end"], first["step_text"], parent, siblings[0])
        for a, b in combinations(siblings, 2):
            score_a, score_b = scores[a], scores[b]
            if score_a is None or score_b is None or score_a[0] == score_b[0]:
                continue
            better, worse = (a, b) if score_a[0] > score_b[0] else (b, a)
            chosen, rejected = without_lead(first["step_text"][better]), without_lead(first["step_text"][worse])
            if chosen == rejected:
                continue
            yield {
                "prompt": first["prompt"] + prefix,
                "chosen": chosen,
                "rejected": rejected,
                "source": "branch",
                "margin": round(abs(score_a[0] - score_b[0]), 4),
                "n_votes": score_a[1] + score_b[1],
                "question": first["prompt"],
                "prefix": prefix,
                "problem_id": first["problem_id"],
                "chosen_trace_id": first["trace_id"],
                "rejected_trace_id": first["trace_id"],
                "chosen_step": better,
                "rejected_step": worse,
                "chosen_model": first["model"],
                "rejected_model": first["model"],
                "raters": "+".join(sorted(row["rater_id"] for row in group)),
                "prelabel_visible": any(row["prelabel_visible"] for row in group),
                "split": first["split"],
                "snapshot_id": snapshot.snapshot_id,
            }


def _rating(row: Row, step: int) -> int | None:
    value: int | None = row["rating"][step]
    return -1 if value is None and row["first_error"] == step else value


def without_lead(step_text: str) -> str:
    """A step without the token that led into it: how it was entered must not give a pair away."""
    return step_text[len(_lead(step_text)) :]


def _lead(step_text: str) -> str:
    return next((token for token in LEADS if step_text.startswith(token)), "")


def shared_prefix(
    response: str, step_end: Sequence[int], step_text: Sequence[str], parent: int | None, first_child: int
) -> str:
    """The response up to the end of the parent, and the token by which a model goes on from there.

    Where the first child follows its parent directly, prefix + that child's text is the response, byte for byte.
    """
    head = "" if parent is None else response[: step_end[parent]]
    lead = _lead(step_text[first_child])
    return head + (
        t.PROCEED if lead == t.BACKTRACK and parent is not None else t.REASONING_START if lead == t.BACKTRACK else lead
    )


def look(
    snapshot: Snapshot,
    options: PreferenceOptions,
    made: Iterator[Row],
    count_tokens: Callable[[str], int],
    estimated: bool,
) -> Plan:
    """Figures and warnings; the length of a pair is that of the prompt with the longer of its two answers."""
    plan = Plan()
    counts = {"verdict": 0, "branch": 0}
    long = longest = bare = 0
    for row in made:
        plan.rows += 1
        counts[row["source"]] += 1
        length = count_tokens(row["prompt"]) + max(count_tokens(row["chosen"]), count_tokens(row["rejected"]))
        long += length > options.max_length
        longest = max(longest, length)
        bare += not row["chosen"].strip() or not row["rejected"].strip()
    figures: dict[str, Any] = {
        "pairs_of_traces": counts["verdict"],
        "pairs_of_branches": counts["branch"],
        "longest_row_tokens": longest,
        "token_counts": "estimated" if estimated else "by tokenizer",
    }
    plan.figures = figures
    if not plan.rows:
        plan.warnings.append(
            "There is no pair to write: a pair needs two traces of one question with different verdicts, or two "
            "branches from one "
            "step with different ratings. Ties, unsure and unrated make no pair."
        )
        return plan
    plan.warnings += _coverage(snapshot, options)
    if long:
        plan.warnings.append(
            f"{long} of {plan.rows} pairs are longer than max_length={options.max_length} tokens "
            f"({'estimated' if estimated else 'counted'}; the longest has {longest}): a trainer with that limit "
            "would cut them. Raise its max_length."
        )
    if bare:
        plan.warnings.append(f"{bare} pairs have an empty side, which most trainers cannot use.")
    return plan


def _coverage(snapshot: Snapshot, options: PreferenceOptions) -> list[str]:
    """What the ratings leave open: verdicts missing, branches rated on one side only."""
    without_verdict = total = branches = open_branches = 0
    for row in _wanted(snapshot, options, ("rating", "first_error", "parent", "verdict", "split")):
        total += 1
        without_verdict += row["verdict"] is None
        children: dict[int | None, list[int]] = {}
        for step, parent in enumerate(row["parent"]):
            children.setdefault(parent, []).append(step)
        for siblings in children.values():
            if len(siblings) > 1:
                branches += 1
                open_branches += any(_rating(row, step) is None for step in siblings)
    found: list[str] = []
    if options.source != "branch" and without_verdict:
        found.append(f"{without_verdict} of {total} rated traces have no verdict and make no pair of whole traces.")
    if options.source != "verdict" and open_branches:
        found.append(
            f"{open_branches} of {branches} branching points have an unrated or unsure branch, which makes no pair."
        )
    if options.source != "verdict":
        found += recut_warning(_wanted(snapshot, options, ("rating", "cuts", "joined", "split")))
    return found


FORMAT = Format(
    name="preference",
    summary="Pairs of a better and a worse continuation of the same prompt, for DPO and pairwise reward models.",
    options=PreferenceOptions,
    choices={"source": ("both", "verdict", "branch"), "split": ("all", "train", "test")},
    schema=schema,
    rows=rows,
    look=look,
    columns={
        "prompt": "the question; for branch pairs followed by the shared part of the response (string)",
        "chosen": "the better continuation (string)",
        "rejected": "the worse continuation (string)",
        "source": "verdict (whole traces) or branch (two siblings in one trace)",
    },
)
