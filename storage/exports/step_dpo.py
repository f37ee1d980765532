"""Step-level DPO (Lai et al. 2024, "Step-DPO"): `prompt`, `chosen`, `rejected`, where the two steps continue one prefix.

Two sources, told apart in the column `source`:

branch    two siblings in the tree of one trace that were rated apart. `prompt` is the question and the response up to and
          with the step they share as parent, byte for byte, and the token that leads on; `chosen` and `rejected` are the
          two steps. A sibling that was entered by a backtrack is so compared where its branch begins, not where the model
          happened to be.
better    a step that a rater called bad, and what that rater would have written in its place.

Several raters are averaged first: one row a pair, `n_votes` says how many stand behind it. Ties and unsure make no pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any

from core.formats import steiner_tokens as t
from storage.exports.history import ALONE, Histories, alone_warning, chat, length_of, told
from storage.exports.labels import groups, mean_votes, recut_warning
from storage.exports.policies import Policies
from storage.exports.writing import Format, Looking, Plan, Row
from storage.rater_names import raters_of
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

READ = (
    "trace_id", "problem_id", "prompt", "earlier", "response", "model", "rater_id", "segmentation_id", "step_text",
    "step_start", "step_end", "rating", "first_error", "parent", "better", "prelabel_visible", "split",
)  # fmt: skip
BEYOND = "pairs beyond the most of a branching point"
# Counted on the way beside what is left out, and taken out again by `open_branches`: branching points, and of those how many have
# a side that nobody has rated.
BRANCHING, OPEN = "branching points", "branching points with an unrated side"
LEADS = (t.REASONING_START, t.PROCEED, t.BACKTRACK)


@dataclass(frozen=True)
class StepDpoOptions(Policies):
    """source: which pairs. max_pairs_per_branch bounds those of one branching point, whose siblings make pairs by the square of
    their number: widest margin first. max_length is not written anywhere; it is what the trainer will use, and what is warned about."""

    source: str = "both"
    max_pairs_per_branch: int = 4
    max_length: int = 1024


def schema(options: Any) -> pa.Schema:
    import pyarrow as pa

    text, whole = pa.string(), pa.int32()
    return pa.schema(
        [
            ("prompt", text), ("chosen", text), ("rejected", text), ("source", text), ("history", chat()),
            ("margin", pa.float64()), ("n_votes", whole), ("question", text), ("problem_id", text), ("trace_id", text),
            ("chosen_step", whole), ("rejected_step", whole), ("model", text), ("raters", text),
            ("prelabel_visible", pa.bool_()), ("split", text), ("snapshot_id", text),
        ]
    )  # fmt: skip


def rows(snapshot: Snapshot, options: StepDpoOptions, left: Counter[str]) -> Iterator[Row]:
    """The pairs, trace by trace."""
    histories = Histories.of(snapshot)
    for group in groups(snapshot, options, READ, left):
        history = histories.before(group[0].get("earlier"), "", group[0]["split"])
        pairs: list[Iterator[Row]] = []
        if options.source in ("both", "branch"):
            pairs.append(branch_pairs(snapshot, group, options.min_raters, options.max_pairs_per_branch, left))
        if options.source in ("both", "better"):
            pairs.append(_better_pairs(snapshot, group, options.min_raters))
        yield from (told({**pair, "history": history}, left) for pair in chain(*pairs))


def branch_pairs(
    snapshot: Snapshot, group: Sequence[Row], min_raters: int, most: int, left: Counter[str]
) -> Iterator[Row]:
    """Siblings of one trace that were rated apart, by the mean of its raters; of one parent those furthest apart."""
    first = group[0]
    children: dict[int | None, list[int]] = {}
    for step, parent in enumerate(first["parent"]):
        children.setdefault(parent, []).append(step)
    for parent, siblings in children.items():
        if len(siblings) < 2:
            continue
        scores = [(i, mean_votes(row["rating"][i] for row in group)) for i in siblings]
        left[BRANCHING] += 1
        left[OPEN] += any(score is None for _, score in scores)
        scored = [(i, score) for i, score in scores if score is not None and score[1] >= min_raters]
        bodies = {i: without_lead(first["step_text"][i]) for i, _ in scored}
        apart = [
            (abs(a[0] - b[0]), a[1] + b[1], *((i, j) if a[0] > b[0] else (j, i)))
            for (i, a), (j, b) in combinations(scored, 2)
            if a[0] != b[0] and bodies[i] != bodies[j]
        ]
        if not apart:
            continue
        if len(apart) > most:
            left[BEYOND] += len(apart) - most
            apart = sorted(apart, key=lambda pair: -pair[0])[:most]
        prefix = shared_prefix(first["response"], first["step_end"], first["step_text"], parent, siblings[0])
        _assert_prefix(first, prefix, parent, siblings[0])
        for margin, votes, better, worse in apart:
            yield {
                **_common(snapshot, _who_rated(group, better, worse), prefix), "chosen": bodies[better], "rejected": bodies[worse], "source": "branch",
                "margin": round(margin, 4), "n_votes": votes, "chosen_step": better, "rejected_step": worse,
            }  # fmt: skip


def _who_rated(group: Sequence[Row], *steps: int) -> list[Row]:
    """Those who rated all of the steps, or, where nobody did, any: an import makes ratings of each name."""
    for enough in (all, any):
        found = [row for row in group if enough(row["rating"][i] is not None for i in steps)]
        if found:
            return found
    return list(group)


def _better_pairs(snapshot: Snapshot, group: Sequence[Row], min_raters: int) -> Iterator[Row]:
    """What raters would have written in the place of a step they called bad. Equal texts of several raters are one pair, and so
    many must have written it.
    """
    first = group[0]
    written: dict[tuple[int, str], list[Row]] = {}
    for row in group:
        for step, text in enumerate(row.get("better") or ()):
            if text and text.strip() and row["rating"][step] == -1:
                written.setdefault((step, text), []).append(row)
    for (step, text), by in written.items():
        body = without_lead(first["step_text"][step])
        chosen = as_step(text, first["step_text"][step])
        if chosen == body or len(by) < min_raters:
            continue
        prefix = first["response"][: first["step_start"][step]] + lead_of(first["step_text"][step])
        assert first["response"].startswith(prefix + body), (
            "the prefix and the rejected step are the response, byte for byte"
        )
        yield {
            **_common(snapshot, by, prefix), "chosen": chosen, "rejected": body, "source": "better", "margin": 2.0,
            "n_votes": len(by), "chosen_step": None, "rejected_step": step,
        }  # fmt: skip


def _common(snapshot: Snapshot, group: Sequence[Row], prefix: str) -> dict[str, Any]:
    first = group[0]
    return {
        "prompt": first["prompt"] + prefix, "question": first["prompt"],
        "problem_id": first["problem_id"], "trace_id": first["trace_id"], "model": first["model"],
        "raters": raters_of(group),
        "prelabel_visible": any(row["prelabel_visible"] for row in group), "split": first["split"],
        "snapshot_id": snapshot.snapshot_id,
    }  # fmt: skip


def _assert_prefix(row: Row, prefix: str, parent: int | None, first_child: int) -> None:
    """Our promise: both steps continue what the model wrote up to the end of their parent, byte for byte."""
    head = row["response"][: row["step_end"][parent]] if parent is not None else ""
    assert prefix.startswith(head) and prefix[len(head) :] in (*LEADS, ""), (
        "a shared prefix is the response up to the parent"
    )
    if first_child == (parent + 1 if parent is not None else 0):
        body = without_lead(row["step_text"][first_child])
        lead = lead_of(row["step_text"][first_child])
        assert lead == t.BACKTRACK or row["response"].startswith(prefix + body), "the first child continues its parent"


def as_step(text: str, instead_of: str) -> str:
    """What a rater wrote as a step of the format of the one it stands for: in Steiner's format it becomes the thought."""
    if t.STEP_START not in instead_of or t.STEP_START in text:
        return without_lead(text)
    return f"{t.STEP_START}{t.NAME_START}{t.NAME_END}{t.THOUGHT_START}{text}{t.THOUGHT_END}{t.SUMMARY_START}{t.SUMMARY_END}{t.REFLECTION_START}{t.REFLECTION_END}{t.STEP_END}"


def without_lead(step_text: str) -> str:
    """A step without the token that led into it: how it was entered must not give a pair away."""
    return step_text[len(lead_of(step_text)) :]


def lead_of(step_text: str) -> str:
    return next((token for token in LEADS if step_text.startswith(token)), "")


def shared_prefix(
    response: str, step_end: Sequence[int], step_text: Sequence[str], parent: int | None, first_child: int
) -> str:
    """The response up to the end of the parent, and the token by which a model goes on from there.

    Where the first child follows its parent directly, prefix + that child's text is the response, byte for byte.
    """
    head = "" if parent is None else response[: step_end[parent]]
    lead = lead_of(step_text[first_child])
    return head + (
        t.PROCEED if lead == t.BACKTRACK and parent is not None else t.REASONING_START if lead == t.BACKTRACK else lead
    )


def look(at: Looking) -> Plan:
    """Figures and warnings; the length of a pair is that of all before it with the longer of its two steps."""
    options: StepDpoOptions = at.options
    plan = Plan(histogram={"branch": 0, "better": 0})
    long = longest = 0
    for row in at.made:
        plan.rows += 1
        plan.histogram[row["source"]] += 1
        length = length_of(row, ("chosen", "rejected"), at.count_tokens)
        long += length > options.max_length
        longest = max(longest, length)
    plan.figures = {
        "pairs_of_branches": plan.histogram["branch"],
        "pairs_with_a_better_step": plan.histogram["better"],
        "longest_row_tokens": longest,
        "token_counts": "estimated" if at.estimated else "by tokenizer",
    }
    unrated = open_branches(at.left)
    if not plan.rows:
        plan.warnings.append(
            "There is no pair to write: a pair needs two branches from one step with different ratings, or a bad step with a "
            "better one that a rater wrote. Ties, unsure and unrated make no pair."
        )
        return plan
    plan.warnings += alone_warning(at.left.pop(ALONE, 0))
    if options.source != "better":
        plan.warnings += beyond(at.left, options.max_pairs_per_branch)
        plan.warnings += unrated
        plan.warnings += recut_warning(at.snapshot, at.options)
    if long:
        plan.warnings.append(long_pairs(long, plan.rows, options.max_length, longest, at.estimated))
    return plan


def beyond(left: Counter[str], most: int) -> list[str]:
    """How many pairs the bound leaves out, as a sentence."""
    if not left[BEYOND]:
        return []
    return [
        f"{left[BEYOND]} pairs are left out, because their branching point has more than max_pairs_per_branch={most}: those "
        "with the widest margin are kept. Raise it to have more."
    ]


def open_branches(left: Counter[str]) -> list[str]:
    """Branching points where a side has no rating, as a sentence."""
    branches, unrated = left.pop(BRANCHING, 0), left.pop(OPEN, 0)
    if not unrated:
        return []
    return [
        f"{unrated} of {branches} branching points have a branch that nobody rated, or only as unsure: it makes no pair."
    ]


def long_pairs(long: int, rows: int, max_length: int, longest: int, estimated: bool) -> str:
    """The warning of pairs that a trainer would cut."""
    return (
        f"{long} of {rows} pairs are longer than max_length={max_length} tokens "
        f"({'estimated' if estimated else 'counted'}; the longest has {longest}): a trainer with that limit "
        "would cut them. Raise its max_length."
    )


FORMAT = Format(
    name="step_dpo",
    summary="Pairs of a better and a worse step that continue the same prefix, for step-level DPO.",
    options=StepDpoOptions,
    uses=("recovered_as", "min_raters", "adjudicated", "gold", "split"),
    choices={"source": ("both", "branch", "better")},
    schema=schema,
    rows=rows,
    look=look,
    columns={
        "prompt": "the question followed by the response up to the two steps, byte for byte (string)",
        "chosen": "the better step (string)",
        "rejected": "the worse step (string)",
        "source": "branch (two siblings in one trace) or better (a rater's own step in the place of a bad one)",
        "history": "what was said before the question of a later turn, a list of role and content; empty otherwise",
    },
    cannot=(
        "everything of a trace after the two steps, and steps without a sibling or a better step",
        "who gave which rating: raters are averaged, `raters` names them",
    ),
)
