"""KTO (Ethayarajh et al. 2024): `prompt`, `completion`, `label`: single answers that are wanted or not, no pairs needed.

Sources, told apart in the column `source`: verdicts of whole traces, and pairs of which raters said that both are bad
(two unwanted answers; a trace that has a verdict keeps that); or, on request, single steps with their rating. What was said
before a later turn stands in `history`, or with shape=messages in the prompt, as TRL's conversational rows have it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storage.exports.history import ALONE, Histories, alone_warning, as_chat, chat, told
from storage.exports.labels import SEARCHED, agreed_value, groups, searched
from storage.exports.leads import lead_of
from storage.exports.policies import COUNTED, Policies
from storage.exports.preference import compared
from storage.exports.writing import Format, Looking, Plan, Row
from storage.rater_names import raters_of
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

READ = ("trace_id", "problem_id", "prompt", "earlier", "response", "model", "rater_id", "split", "verdict", *SEARCHED)
READ_STEPS = ("step_text", "step_start")
MOST_WANTED = 4 / 3  # KTO wants weight × wanted : weight × unwanted between 1:1 and 4:3


@dataclass(frozen=True)
class KtoOptions(Policies):
    """source: whole traces, or steps each as a completion of what came before it. shape: texts, or lists of messages."""

    raters: str = "mean"
    source: str = "trace"
    shape: str = "text"


def schema(options: KtoOptions) -> pa.Schema:
    import pyarrow as pa

    text = pa.string()
    said, history = (text, [("history", chat())]) if options.shape == "text" else (chat(), [])
    return pa.schema([
        ("prompt", said), ("completion", said), ("label", pa.bool_()), ("source", text), *history, ("n_votes", pa.int32()),
        ("problem_id", text), ("trace_id", text), ("step", pa.int32()), ("model", text), ("rater_id", text),
        ("split", text), ("snapshot_id", text), *((name, text) for name in SEARCHED),
    ])  # fmt: skip


def rows(snapshot: Snapshot, options: KtoOptions, left: Counter[str]) -> Iterator[Row]:
    """The rows, in the shape that was asked for."""
    histories = Histories.of(snapshot)
    for row in _labelled(snapshot, options, left):
        question, earlier = row.pop("question"), row.pop("earlier")
        made = told({**row, "history": histories.before(earlier, question, row["split"])}, left)
        yield made if options.shape == "text" else as_chat(made, question, ("completion",))


def _labelled(snapshot: Snapshot, options: KtoOptions, left: Counter[str]) -> Iterator[Row]:
    """A row a trace (or step) with a label, or a row for each rater of it."""
    seen = set[str]()
    for group in groups(snapshot, options, (*READ, *(READ_STEPS if options.source == "step" else ())), left):
        units = [[row] for row in group] if options.raters == "each" else [group]
        for unit in units:
            if options.source == "step":
                yield from _steps(snapshot, unit, options, left)
            elif (label := _label([row["verdict"] for row in unit], options, left)) is not None:
                seen.add(unit[0]["trace_id"])
                row = unit[0]
                common = _common(snapshot, [r for r in unit if r["verdict"] is not None])
                yield {"prompt": row["prompt"], "completion": row["response"], "label": label, "source": "verdict",
                       **common, "step": None}  # fmt: skip
    if options.source == "trace":
        for rows in compared(snapshot, options, left):
            yield from _both_bad(snapshot, rows, seen)


def _steps(snapshot: Snapshot, unit: Sequence[Row], options: KtoOptions, left: Counter[str]) -> Iterator[Row]:
    first = unit[0]
    for step, text in enumerate(first["step_text"]):
        votes = [row["rating"][step] for row in unit]
        label = _label(votes, options, left)
        if label is not None:
            lead = lead_of(text)
            yield {
                "prompt": first["prompt"] + first["response"][: first["step_start"][step]] + lead,
                "completion": text[len(lead) :], "label": label, "source": "step",
                **_common(snapshot, [row for row in unit if row["rating"][step] is not None]), "step": step,
            }  # fmt: skip


def _label(votes: Sequence[int | None], options: KtoOptions, left: Counter[str]) -> bool | None:
    given = [v for v in votes if v is not None]
    if len(given) < max(1, options.min_raters if options.raters != "each" else 1):
        left["without a verdict" if options.source == "trace" else "steps without a rating"] += 1
        return None
    value = agreed_value(given, options.raters)
    if value is None:
        value = {"drop": None, "bad": -1, "good": 1}[options.ties]
    if value is None or (value == 0 and options.neutral_as == "drop"):
        left["tied" if value is None else "neutral"] += 1
        return None
    return value > 0 or (value == 0 and options.neutral_as == "positive")


def _common(snapshot: Snapshot, voted: Sequence[Row]) -> dict[str, Any]:
    """What a label is of, and whose: who said nothing of it is not named."""
    first = voted[0]
    return {
        "question": first["prompt"], "earlier": first.get("earlier"), "n_votes": len(voted),
        "problem_id": first["problem_id"], "trace_id": first["trace_id"], "model": first["model"],
        "rater_id": raters_of(voted), "split": first["split"],
        "snapshot_id": snapshot.snapshot_id, **searched(first),
    }  # fmt: skip


def _both_bad(snapshot: Snapshot, rows: Sequence[Row], seen: set[str]) -> Iterator[Row]:
    bad = sum(row["both_bad"] for row in rows)
    if bad * 2 <= len(rows):
        return
    first = rows[0]
    for side in ("left", "right"):
        trace_id = first[f"{side}_trace_id"]
        if trace_id not in seen:
            seen.add(trace_id)
            yield {
                "prompt": first["prompt"], "completion": first[f"{side}_response"], "label": False, "source": "both_bad",
                "question": first["prompt"], "earlier": first.get("earlier"),
                "n_votes": bad, "problem_id": first["problem_id"], "trace_id": trace_id, "step": None,
                "model": first[f"{side}_model"], "rater_id": raters_of(rows),
                "split": first["split"], "snapshot_id": snapshot.snapshot_id, **searched({}),
            }  # fmt: skip


def weights(wanted: int, unwanted: int) -> tuple[float, float]:
    """(desirable_weight, undesirable_weight) for KTO's trainer: the smallest change that brings their ratio into bounds."""
    if not wanted or not unwanted:
        return 1.0, 1.0
    ratio = wanted / unwanted
    if ratio > MOST_WANTED:
        return 1.0, round(ratio / MOST_WANTED, 3)
    return (round(1 / ratio, 3), 1.0) if ratio < 1 else (1.0, 1.0)


def look(at: Looking) -> Plan:
    """Both counts, and the weights that the trainer should be given."""
    plan = Plan(histogram={"wanted": 0, "unwanted": 0})
    sources: Counter[str] = Counter()
    for row in at.made:
        plan.rows += 1
        sources[row["source"]] += 1
        plan.histogram["wanted" if row["label"] else "unwanted"] += 1
    wanted, unwanted = plan.histogram.values()
    desirable, undesirable = weights(wanted, unwanted)
    plan.figures = {
        "desirable_weight": desirable,
        "undesirable_weight": undesirable,
        "sources": dict(sorted(sources.items())),
    }
    plan.warnings += alone_warning(at.left.pop(ALONE, 0))
    if not plan.rows:
        plan.warnings.append(
            "There is no row to write: no trace has a verdict and no pair was called both bad. Give verdicts on the Rate page, "
            'or choose the source "step".'
        )
    elif not wanted or not unwanted:
        plan.warnings.append(
            f"Every row is {'wanted' if wanted else 'unwanted'} ({plan.rows}): KTO needs some of both."
        )
    elif (desirable, undesirable) != (1.0, 1.0):
        plan.warnings.append(
            f"Wanted rows {wanted}, unwanted {unwanted}: give the trainer desirable_weight={desirable} and "
            f"undesirable_weight={undesirable}, which brings both sides between 1:1 and 4:3."
        )
    return plan


FORMAT = Format(
    name="kto",
    summary="Single answers (or steps) that are wanted or not, for KTO.",
    options=KtoOptions,
    uses=("neutral_as", "recovered_as", "raters", "ties", "min_raters", "adjudicated", "gold", "split"),
    choices={"source": ("trace", "step"), "shape": ("text", "messages"), "raters": COUNTED},
    schema=schema,
    rows=rows,
    look=look,
    columns={
        "prompt": "the question; with source=step followed by the response up to the step (string). With shape=messages: all that "
        "was said up to the question, a list of role and content",
        "completion": "the response or the step (string). With shape=messages: one message, with source=step of the response up to "
        "and with the step",
        "label": "whether it is wanted (boolean)",
        "source": "verdict, both_bad or step",
        "history": "with shape=text: what was said before the question of a later turn, a list of role and content; empty otherwise",
    },
    cannot=("neutral, unsure and strength: a label is wanted or unwanted", "everything of a trace but the one label"),
)
