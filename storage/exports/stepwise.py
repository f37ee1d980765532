"""Stepwise supervision, in the row format that TRL's PRMTrainer established: `prompt`, `completions`, `labels`.

    {"prompt": str, "completions": [str, ...], "labels": [bool, ...]}      equal lengths, no null, at least one step

The trainer left TRL in 1.14 (September 2026), the format lives on. Labels are made here, because a trainer that
applies `int()` turns
0.5 into 0 and takes −1 for a class. `completions` are the raw step texts, so that they join to a prefix of the
response.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storage.exports import bulk
from storage.exports.columns import BATCH, ahead, beside, column, occurrences, record, token_counts
from storage.exports.history import ALONE, Histories, alone_warning, chat
from storage.exports.labels import CUTS, needed, overtaken, recut_warning, sources
from storage.exports.policies import Policies
from storage.exports.writing import Format, Looking, Plan
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

LOPSIDED = 0.85  # the share of one class in common step data, where token accuracy already says nothing
READ = (
    "trace_id", "problem_id", "earlier", "model", "solved", "rater_id", "assignment_id", "segmentation_id", "rating", "unsure",
    "first_error", "prelabel_visible", "split",
)  # fmt: skip
_KEPT = ("trace_id", "problem_id", "assignment_id", "segmentation_id", "rater_id", "model", "solved")
_TEXTS = ("prompt", "step_text")
_BEYOND = "ratings after a gap"  # counted beside the rows left out, and taken out again by `look`
_DROPPED = "without a label for the first step: "


@dataclass(frozen=True)
class StepwiseOptions(Policies):
    """separator and max_length are not written anywhere; they are what the trainer will use, and what is warned about."""

    separator: str = "\n"
    max_length: int = 1024


def schema(options: Any) -> pa.Schema:
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        [
            ("prompt", text), ("completions", pa.list_(text)), ("labels", pa.list_(pa.bool_())),
            ("history", chat()),
            ("step_gap", text), ("trace_id", text), ("problem_id", text), ("assignment_id", text), ("segmentation_id", text),
            ("rater_id", text), ("model", text), ("solved", pa.bool_()), ("n_steps", pa.int32()), ("ends_at", text),
            ("prelabel_visible", pa.bool_()), ("split", text), ("snapshot_id", text),
        ]
    )  # fmt: skip


def rows(snapshot: Snapshot, options: StepwiseOptions, left: Counter[str]) -> Iterator[pa.RecordBatch]:
    """The rows of the export; snapshot rows without a first label are left out."""
    histories = Histories.of(snapshot)
    each = options.raters == "each" and options.min_raters <= 1
    for source, ratings in (_each if each else _together)(snapshot, options, left):
        found = bulk.label(ratings, options.neutral_as, options.stop_at_first_error)
        _count(found, left)
        if found.counts.any():
            yield _batch(source, ratings, found, snapshot.snapshot_id, options, histories, left)


def _each(
    snapshot: Snapshot, options: StepwiseOptions, left: Counter[str]
) -> Iterator[tuple[pa.RecordBatch, bulk.Ratings]]:
    """A row for each rater: the snapshot's rows as they are."""
    again = overtaken(snapshot)
    for batch in ahead(snapshot.batches(needed(snapshot, options, (*READ, *_TEXTS)), BATCH)):
        source = batch.take(bulk.kept(batch, options, left, again))
        if source.num_rows:
            yield source, bulk.settled(source, options)


def _together(
    snapshot: Snapshot, options: StepwiseOptions, left: Counter[str]
) -> Iterator[tuple[pa.RecordBatch, bulk.Ratings]]:
    """A row for all raters of a trace, or for those of traces that enough have rated."""
    made = ((row["at"], row) for row in sources(snapshot, options, READ, left))
    for texts, at, rows in beside(snapshot, _TEXTS, made):
        source = texts.take(at)
        for name in (*_KEPT, "prelabel_visible", "split", "earlier"):
            source = source.append_column(_field(name), column([row.get(name) for row in rows], _field(name).type))
        yield source, bulk.of_rows(rows)


def _field(name: str) -> pa.Field[Any]:
    import pyarrow as pa

    flags = ("solved", "prelabel_visible")
    return pa.field(name, pa.bool_() if name in flags else pa.string())


def _count(found: bulk.Labels, left: Counter[str]) -> None:
    """What has no label, by reason."""
    import numpy as np

    inside = (found.cut != bulk.FIRST_ERROR) & (found.cut != bulk.END)
    if beyond := int(found.beyond[inside].sum()):
        left[_BEYOND] += beyond
    for cut, n in zip(*np.unique(found.cut[found.counts == 0], return_counts=True), strict=True):
        left[_DROPPED + CUTS[cut]] += int(n)


def _batch(
    source: pa.RecordBatch,
    ratings: bulk.Ratings,
    found: bulk.Labels,
    snapshot_id: str,
    options: StepwiseOptions,
    histories: Histories,
    left: Counter[str],
) -> pa.RecordBatch:
    import numpy as np
    import pyarrow as pa

    at = np.flatnonzero(found.counts)
    counts = found.counts[at]
    ends = np.concatenate([[0], np.cumsum(counts)])
    steps = np.arange(ends[-1]) + np.repeat(ratings.ends[at] - ends[:-1], counts)  # of those with a label
    offsets = pa.array(ends, pa.int32())
    kept = source.take(pa.array(at))
    columns = {
        **{name: kept[name] for name in ("prompt", *_KEPT, "prelabel_visible", "split")},
        "completions": pa.ListArray.from_arrays(offsets, source["step_text"].flatten().take(pa.array(steps))),
        "labels": pa.ListArray.from_arrays(offsets, pa.array(found.good[steps])),
        "history": histories.of_batch(kept, left, split=True),
        "step_gap": [""] * len(at),
        "n_steps": pa.array(np.diff(ratings.ends)[at], pa.int32()),
        "ends_at": [CUTS[cut] for cut in found.cut[at]],
        "snapshot_id": [snapshot_id] * len(at),
    }
    return record(columns, schema(options))


def look(at: Looking) -> Plan:
    """Figures and warnings. Lengths are prompt + steps + one separator each, as the trainer joins them."""
    import numpy as np

    options: StepwiseOptions = at.options
    count = None if at.estimated else at.count_tokens
    plan = Plan()
    good = bad = long = lost = longest = separators = 0
    cuts: Counter[str] = Counter()
    for batch in at.made:
        plan.rows += batch.num_rows
        cuts.update(batch["ends_at"].to_pylist())
        labels, steps, ends = (
            batch["labels"].flatten(), batch["completions"].flatten(), batch["completions"].offsets.to_numpy(),
        )  # fmt: skip
        good += labels.true_count
        bad += labels.false_count
        separators += int(np.count_nonzero(occurrences(steps, options.separator)))
        # How long a row is at the end of each step: the steps so far, less those of the rows before it.
        so_far = np.concatenate([[0], np.cumsum(token_counts(steps, count) + 1)])
        first = token_counts(batch["prompt"], count) - so_far[ends[:-1]]
        lengths = so_far[1:] + np.repeat(first, np.diff(ends))
        beyond_max = np.add.reduceat(lengths > options.max_length, ends[:-1], dtype=np.int64)
        long += int(np.count_nonzero(beyond_max))
        lost += int(beyond_max.sum())
        longest = max(longest, int(lengths.max()))
    beyond, alone = at.left.pop(_BEYOND, 0), at.left.pop(ALONE, 0)
    dropped = {reason.removeprefix(_DROPPED): n for reason, n in at.left.items() if reason.startswith(_DROPPED)}
    plan.histogram = {"good": good, "bad": bad}
    plan.figures = {
        "labels": good + bad,
        "positive": good,
        "negative": bad,
        "class_balance": _balance(good, bad),
        "rows_end_at": dict(sorted(cuts.items())),
        "rows_dropped": sum(dropped.values()),
        "labels_lost_in_gaps": beyond,
        "longest_row_tokens": longest,
        "token_counts": "estimated" if at.estimated else "by tokenizer",
    }
    plan.warnings = _warnings(plan, options, dropped, separators, long, lost)
    plan.warnings += alone_warning(alone)
    plan.warnings += recut_warning(at.snapshot, at.options)
    return plan


def _balance(good: int, bad: int) -> str:
    return f"{good} good, {bad} bad ({100 * good / (good + bad):.0f} % good)" if good + bad else "no labels"


def _warnings(
    plan: Plan, options: StepwiseOptions, dropped: dict[str, int], separators: int, long: int, lost: int
) -> list[str]:
    f = plan.figures
    found: list[str] = []
    if not plan.rows:
        found.append(
            "There is no row to write: no trace of this snapshot begins with a rated step. Rate steps from the "
            "first one on."
        )
    if dropped:
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
        found.append(
            f"{sum(dropped.values())} rated traces are left out, because their first step has no label ({why})."
        )
    gaps = sum(
        f["rows_end_at"].get(k, 0) for k in ("unrated", "unsure", "raters tied", "too few raters", "neutral dropped")
    )
    if gaps:
        found.append(
            f"{gaps} of {plan.rows} rows end before the trace does, at the first step without a label (unrated, "
            "unsure or dropped)"
            + (
                f"; {f['labels_lost_in_gaps']} ratings after such gaps are not exported."
                if f["labels_lost_in_gaps"]
                else "."
            )
        )
    total = f["labels"]
    if total and max(f["positive"], f["negative"]) / total >= LOPSIDED:
        found.append(
            f"Class balance: {f['class_balance']}. A scorer that always says the same would look right, so report AUC "
            "and the base rate, or rate more traces that go wrong."
        )
    if long:
        how = "estimated" if f["token_counts"] == "estimated" else "counted"
        found.append(
            f"{long} of {plan.rows} rows are longer than max_length={options.max_length} tokens ({how}; the "
            "longest has "
            f"{f['longest_row_tokens']}): a trainer with that limit would silently lose {lost} of {total} labels. "
            "Raise its max_length."
        )
    if separators:
        shown = options.separator.encode("unicode_escape").decode()
        found.append(
            f'The separator "{shown}" occurs inside {separators} steps, so a trainer that splits on it would misplace '
            "labels; choose a separator that no step holds."
        )
    return found


FORMAT = Format(
    name="stepwise",
    summary="Step labels for process reward models: prompt, steps, and whether each step is good (TRL's rows).",
    options=StepwiseOptions,
    uses=(
        "neutral_as",
        "recovered_as",
        "stop_at_first_error",
        "raters",
        "ties",
        "min_raters",
        "adjudicated",
        "gold",
        "split",
    ),
    choices={},
    schema=schema,
    rows=rows,
    look=look,
    columns={
        "prompt": "the question (string)",
        "completions": "the raw step texts, in order (list of strings)",
        "labels": "whether each step is good (list of booleans, as long as completions)",
        "history": "what was said before the question of a later turn, a list of role and content; empty otherwise",
    },
    cannot=(
        "neutral and unsure: a label is good or bad, as the policies say",
        "steps after the first one without a label, and the answer after the steps",
        "verdicts, notes, tags, judgements of backtracks, corrections of the tree, spans, error types, better steps",
    ),
)
