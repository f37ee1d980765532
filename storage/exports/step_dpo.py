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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storage.exports import branches
from storage.exports.branches import beyond, open_branches
from storage.exports.bulk import Traces, traces
from storage.exports.columns import record, said_tokens, some
from storage.exports.history import ALONE, Histories, alone_warning, chat
from storage.exports.labels import recut_warning
from storage.exports.leads import as_step, lead_of, without_lead
from storage.exports.policies import Policies
from storage.exports.writing import Format, Looking, Plan, Row
from storage.rater_names import raters_of
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from storage.exports.bulk import Ints

READ = (*branches.READ, "step_start", "trace_id", "problem_id", "earlier", "model", "better", "split")
OF_TRACE = ("problem_id", "trace_id", "model", "split", "earlier")


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


def rows(snapshot: Snapshot, options: StepDpoOptions, left: Counter[str]) -> Iterator[pa.RecordBatch]:
    """The pairs, some traces at a time."""
    import pyarrow as pa

    histories, form = Histories.of(snapshot), schema(options)
    for found in traces(snapshot, options, READ, left):
        firsts = some(found.firsts, OF_TRACE)
        for trace, columns in _pairs(found, options, left):
            about = firsts.take(pa.array(trace))
            yield record({
                **columns, **dict(zip(about.schema.names, about.columns, strict=True)), "history": histories.of_batch(about, left, split=True),
                "snapshot_id": [snapshot.snapshot_id] * len(trace),
            }, form)  # fmt: skip


def _pairs(found: Traces, options: StepDpoOptions, left: Counter[str]) -> Iterator[tuple[Ints, dict[str, Any]]]:
    """Pairs of both sources with the numbers of their traces."""
    import numpy as np

    if options.source in ("both", "branch"):
        for trace, columns in branches.pairs(found, options.min_raters, options.max_pairs_per_branch, left):
            yield trace, {**columns, "source": ["branch"] * len(trace)}
    if options.source in ("both", "better") and (better := list(_better_pairs(found, options.min_raters))):
        of, rows = zip(*better, strict=True)
        yield np.array(of), {name: [row[name] for row in rows] for name in rows[0]}


def _better_pairs(found: Traces, min_raters: int) -> Iterator[tuple[int, Row]]:
    """What raters would have written in the place of a step they called bad, with the number of the trace. Equal texts of several
    raters are one pair, and so many must have written it.
    """
    import numpy as np

    if "better" not in found.rows.schema.names:
        return
    row, _ = found.where()
    wrote = np.unique(row[found.rows["better"].flatten().is_valid().to_numpy(zero_copy_only=False)])
    for trace in np.unique(np.searchsorted(found.ends, wrote, side="right") - 1).tolist():
        for pair in _written(found.group(trace), min_raters):
            yield trace, pair


def _written(group: Sequence[Row], min_raters: int) -> Iterator[Row]:
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
            "prompt": first["prompt"] + prefix, "chosen": chosen, "rejected": body, "source": "better", "margin": 2.0,
            "n_votes": len(by), "question": first["prompt"], "rejected_step": step, "raters": raters_of(by),
            "prelabel_visible": any(row["prelabel_visible"] for row in by),
        }  # fmt: skip


def look(at: Looking) -> Plan:
    """Figures and warnings; the length of a pair is that of all before it with the longer of its two steps."""
    options: StepDpoOptions = at.options
    plan = Plan(histogram={"branch": 0, "better": 0})
    long = longest = 0
    for batch in at.made:
        plan.rows += batch.num_rows
        for source, n in Counter(batch["source"].to_pylist()).items():
            plan.histogram[source] += n
        lengths = lengths_of(batch, None if at.estimated else at.count_tokens)
        long += int((lengths > options.max_length).sum())
        longest = max(longest, int(lengths.max()))
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


def lengths_of(pairs: pa.RecordBatch, count: Callable[[str], int] | None) -> npt.NDArray[np.int64]:
    """Tokens of what came before, the prompt and the longer of the two sides, (pairs,)."""
    import numpy as np

    before = sum(said_tokens(pairs[name], count) for name in ("history", "prompt") if name in pairs.schema.names)
    return before + np.maximum(*(said_tokens(pairs[name], count) for name in ("chosen", "rejected")))


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
