"""Preferences: `prompt`, `chosen`, `rejected`, as DPO and pairwise reward trainers read them. Ties never make a pair.

Three sources, told apart in the column `source`:

pair      two traces that raters compared. Several raters of one pair are averaged; both-bad, ties and unsure make no pair
          (the kto export has them). `margin` is the strength, 1 to 3.
verdict   two traces of the same question (the same characters, after the same earlier turns) with different verdicts: whole
          responses.
branch    two siblings in the tree of one trace with different ratings, as in the step_dpo export.

Several raters are averaged first: one row a pair, `n_votes` says how many stand behind it. Unsure is no vote. What was said
before a later turn stands in `history`, or with shape=messages in the prompt, as TRL's conversational rows have it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from heapq import nsmallest
from itertools import combinations, groupby, islice
from typing import TYPE_CHECKING, Any

from storage.exports import branches
from storage.exports.branches import beyond, open_branches
from storage.exports.bulk import Traces, traces
from storage.exports.columns import record, some
from storage.exports.history import ALONE, Histories, alone_warning, as_chat, chat, spoken, told
from storage.exports.labels import SEARCHED, mean_votes, recut_warning, searched
from storage.exports.policies import Policies
from storage.exports.step_dpo import lengths_of, long_pairs
from storage.exports.writing import BATCH, Format, Looking, Plan, Row
from storage.rater_names import joined, raters_of, several
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

OF_TRACE = ("trace_id", "problem_id", "prompt", "earlier", "model", "split", *SEARCHED)
READ = (*branches.READ, *OF_TRACE, "verdict")
SIDES = ("chosen", "rejected")
RATED, SILENT = "rated traces", "rated traces without a verdict"  # counted on the way, and taken out again by `look`
Asked = tuple[str, str | None]  # the question, and the turns before it

AT_ONCE = 50_000_000  # characters of responses that are held in memory


@dataclass(frozen=True)
class PreferenceOptions(Policies):
    """source: which pairs. max_pairs_per_problem bounds the pairs of whole traces of one question,
    max_pairs_per_branch those of siblings of one step: widest margin first. shape: texts, or lists of messages.
    """

    source: str = "all"
    shape: str = "text"
    max_pairs_per_problem: int = 16
    max_pairs_per_branch: int = 4
    max_length: int = 1024


@dataclass(frozen=True)
class _Judged:
    """A whole trace with its mean verdict, what tells its response from another, and how long that is; the response itself
    where there is room for it.
    """

    row: Row
    score: float
    votes: int
    digest: bytes
    characters: int
    response: str | None


def schema(options: PreferenceOptions) -> pa.Schema:
    import pyarrow as pa

    text = pa.string()
    said, history = (text, [("history", chat())]) if options.shape == "text" else (chat(), [])
    return pa.schema(
        [
            ("prompt", said), ("chosen", said), ("rejected", said), ("source", text), *history,
            ("margin", pa.float64()), ("n_votes", pa.int32()),
            ("question", text), ("problem_id", text),
            ("chosen_trace_id", text), ("rejected_trace_id", text),
            ("chosen_step", pa.int32()), ("rejected_step", pa.int32()),
            ("chosen_model", text), ("rejected_model", text), ("raters", text), ("prelabel_visible", pa.bool_()),
            ("split", text), ("snapshot_id", text), *((f"{side}_{name}", text) for side in SIDES for name in SEARCHED),
        ]
    )  # fmt: skip


def rows(snapshot: Snapshot, options: PreferenceOptions, left: Counter[str]) -> Iterator[pa.RecordBatch]:
    """The pairs, in the shape that was asked for."""
    import pyarrow as pa

    form = schema(options)
    for made in _pairs(snapshot, replace(options, shape="text"), left):
        if options.shape == "text":
            yield made
        else:
            chats = [as_chat(row, row["question"], SIDES) for row in made.to_pylist()]
            yield pa.RecordBatch.from_pylist(chats, schema=form)


def _pairs(snapshot: Snapshot, options: PreferenceOptions, left: Counter[str]) -> Iterator[pa.RecordBatch]:
    """Branch pairs are streamed; whole traces with a verdict are known without their text until all are seen."""
    import pyarrow as pa

    histories, form = Histories.of(snapshot), schema(options)

    def batches(pairs: Iterable[Row]) -> Iterator[pa.RecordBatch]:
        rest = iter(pairs)
        while few := list(islice(rest, BATCH)):
            yield pa.RecordBatch.from_pylist([told(row, left) for row in few], schema=form)

    if options.source in ("all", "pair"):
        yield from batches(_compared(snapshot, options, histories, left))
    if options.source == "pair":
        return
    again = _asked_again(snapshot) if options.source in ("all", "verdict") else frozenset()
    judged: dict[Asked, list[_Judged]] = {}
    raters: dict[str, str] = {}
    room = AT_ONCE
    for found in traces(snapshot, options, READ, left):
        if options.source in ("all", "branch"):
            yield from _branches(snapshot, found, options, histories, form, left)
        for asked, trace, names in _verdicts(found, again, room, left):
            room -= trace.characters if trace.response is not None else 0
            raters[trace.row["trace_id"]] = names
            if trace.votes >= options.min_raters and options.source in ("all", "verdict"):
                judged.setdefault(asked, []).append(trace)
    pairs = (p for traces in judged.values() for p in _verdict_pairs(traces, options.max_pairs_per_problem))
    for few in _few_at_once(pairs):
        yield from batches(_with_texts(snapshot, few, raters, histories))


def _branches(
    snapshot: Snapshot,
    found: Traces,
    options: PreferenceOptions,
    histories: Histories,
    form: pa.Schema,
    left: Counter[str],
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    firsts = some(found.firsts, OF_TRACE)
    for trace, columns in branches.pairs(found, options.min_raters, options.max_pairs_per_branch, left):
        about = firsts.take(pa.array(trace))
        of_both = {
            f"{side}_{name}": about[name]
            for side in SIDES for name in ("trace_id", "model", *SEARCHED) if name in about.schema.names
        }  # fmt: skip
        yield record({
            **columns, **of_both, "source": ["branch"] * len(trace), "problem_id": about["problem_id"],
            "split": about["split"], "history": histories.of_batch(about, left, split=True),
            "snapshot_id": [snapshot.snapshot_id] * len(trace),
        }, form)  # fmt: skip


def _asked_again(snapshot: Snapshot) -> frozenset[Asked]:
    """The questions of which there are several traces: of all others a verdict makes no pair."""
    import pyarrow as pa
    import pyarrow.compute as pc

    batches = list(snapshot.batches(("prompt", "earlier", "segmentation_id"), BATCH))
    if not batches:  # comparisons alone
        return frozenset()
    table = pa.Table.from_batches(batches)
    keys = [name for name in ("prompt", "earlier") if name in table.column_names]
    counted = table.group_by(keys).aggregate([("segmentation_id", "count_distinct")])
    several = counted.filter(pc.field("segmentation_id_count_distinct") > 1).select(keys).to_pylist()
    return frozenset((row["prompt"], row.get("earlier")) for row in several)


def _verdicts(
    found: Traces, again: frozenset[Asked], room: int, left: Counter[str]
) -> Iterator[tuple[Asked, _Judged, str]]:
    """Of each trace with a verdict, and a question that was asked again, what was asked, the trace, and who judged it. room: for so
    many characters of responses.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    n = len(found.ends) - 1
    given = np.flatnonzero(found.rows["verdict"].is_valid().to_numpy(zero_copy_only=False))
    judged = np.unique(np.searchsorted(found.ends, given, side="right") - 1)
    left[RATED] += n
    left[SILENT] += n - len(judged)
    questions = some(found.firsts, ("prompt", "earlier")).take(pa.array(judged))
    maybe = np.flatnonzero(pc.is_in(questions["prompt"], pa.array([prompt for prompt, _ in again], pa.string())))
    asked = {
        int(judged[i]): (row["prompt"], row.get("earlier"))
        for i, row in zip(maybe, questions.take(pa.array(maybe)).to_pylist(), strict=True)
    }
    judged = np.array([trace for trace, question in asked.items() if question in again], np.int64)
    first = pa.array(found.ends[judged])
    rows = some(found.rows, OF_TRACE).take(first).to_pylist()
    responses = found.rows["response"].take(first)
    characters = pc.utf8_length(responses).to_pylist()
    said = list(
        zip(*(found.rows[name].to_pylist() for name in ("verdict", "rater_id", "prelabel_visible")), strict=True)
    )
    for trace, row, text, length in zip(judged.tolist(), rows, responses, characters, strict=True):
        group = said[found.ends[trace] : found.ends[trace + 1]]
        verdict = mean_votes(value for value, *_ in group)
        assert verdict is not None, "a trace with a verdict"
        kept = {**dict.fromkeys(OF_TRACE), **row, "prelabel_visible": any(seen for *_, seen in group)}
        digest = blake2b(text.as_buffer(), digest_size=16).digest()
        names = joined(name for value, name, _ in group if value is not None)
        room -= length
        yield asked[trace], _Judged(kept, *verdict, digest, length, text.as_py() if room >= 0 else None), names


def compared(snapshot: Snapshot, policies: Policies, left: Counter[str]) -> Iterator[list[Row]]:
    """The comparisons of each pair, as the policies have them."""
    for _, found in groupby(snapshot.pairs(), key=lambda row: row["pair_id"]):
        kept = []
        for row in found:
            if policies.split not in ("all", row["split"]):
                left[f"not in the {policies.split} split"] += 1
            elif policies.gold == "leave_out" and row["gold"] is not None:
                left["of gold or screening items"] += 1
            elif policies.adjudicated == "overrules" and row.get("adjudicated") is not None:
                kept.append({**row, "preference": row["adjudicated"], "both_bad": False})
            else:
                kept.append(row)
        if kept and len(kept) < policies.min_raters:
            left[f"of pairs with fewer than {policies.min_raters} raters"] += len(kept)
        elif kept:
            yield kept


def _compared(
    snapshot: Snapshot, options: PreferenceOptions, histories: Histories, left: Counter[str]
) -> Iterator[Row]:
    for group in compared(snapshot, options, left):
        first = group[0]
        liked = mean_votes(row["preference"] for row in group)
        if sum(row["both_bad"] for row in group) * 2 > len(group):
            left["both bad"] += len(group)
        elif not liked or not liked[0]:
            left["ties and unsure"] += len(group)
        else:
            good, bad = ("left", "right") if liked[0] < 0 else ("right", "left")
            yield {
                "prompt": first["prompt"], "chosen": first[f"{good}_response"], "rejected": first[f"{bad}_response"],
                "source": "pair", "history": histories.before(first.get("earlier"), first["prompt"], first["split"]),
                "margin": round(abs(liked[0]), 4), "n_votes": liked[1], "question": first["prompt"],
                "problem_id": first["problem_id"], "chosen_trace_id": first[f"{good}_trace_id"],
                "rejected_trace_id": first[f"{bad}_trace_id"], "chosen_step": None, "rejected_step": None,
                "chosen_model": first[f"{good}_model"], "rejected_model": first[f"{bad}_model"],
                "raters": raters_of(group), "prelabel_visible": False,
                "split": first["split"], "snapshot_id": snapshot.snapshot_id, **searched({}, "chosen_"), **searched({}, "rejected_"),
            }  # fmt: skip


def _verdict_pairs(traces: Sequence[_Judged], most: int) -> list[tuple[_Judged, _Judged]]:
    """A better and a worse trace of one question, the widest margins first."""
    pairs = (
        (a, b) if a.score > b.score else (b, a)
        for a, b in combinations(traces, 2)
        if a.score != b.score and a.digest != b.digest
    )
    return nsmallest(most, pairs, key=lambda p: (p[1].score - p[0].score, p[0].row["trace_id"], p[1].row["trace_id"]))


def _few_at_once(pairs: Iterable[tuple[_Judged, _Judged]]) -> Iterator[list[tuple[_Judged, _Judged]]]:
    """In their order, so many that their responses can be held."""
    some: list[tuple[_Judged, _Judged]] = []
    held: set[str] = set()
    characters = 0
    for pair in pairs:
        new = [side for side in pair if side.row["trace_id"] not in held]
        held |= {side.row["trace_id"] for side in new}
        characters += sum(side.characters for side in new)
        some.append(pair)
        if characters >= AT_ONCE:
            yield some
            some, held, characters = [], set(), 0
    if some:
        yield some


def _with_texts(
    snapshot: Snapshot, pairs: Sequence[tuple[_Judged, _Judged]], raters: Mapping[str, str], histories: Histories
) -> Iterator[Row]:
    """Pairs of whole traces as rows; reads the responses that are not at hand."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sides = {side.row["trace_id"]: side.response for pair in pairs for side in pair}
    texts = {trace_id: text for trace_id, text in sides.items() if text is not None}
    if wanted := sides.keys() - texts.keys():
        for batch in snapshot.batches(("trace_id", "response"), BATCH):
            these = batch.filter(pc.is_in(batch["trace_id"], pa.array(wanted, pa.string())))
            texts |= zip(*(column.to_pylist() for column in these.columns), strict=True)
    for better, worse in pairs:
        good, bad = better.row, worse.row
        both = {*several(raters[good["trace_id"]]), *several(raters[bad["trace_id"]])}
        yield {
            "prompt": good["prompt"], "chosen": texts[good["trace_id"]], "rejected": texts[bad["trace_id"]],
            "source": "verdict", "history": histories.before(good["earlier"], good["prompt"], good["split"]),
            "margin": round(better.score - worse.score, 4), "n_votes": better.votes + worse.votes,
            "question": good["prompt"], "problem_id": good["problem_id"], "chosen_trace_id": good["trace_id"],
            "rejected_trace_id": bad["trace_id"], "chosen_step": None, "rejected_step": None,
            "chosen_model": good["model"], "rejected_model": bad["model"], "raters": joined(both),
            "prelabel_visible": good["prelabel_visible"] or bad["prelabel_visible"],
            "split": good["split"], "snapshot_id": snapshot.snapshot_id, **searched(good, "chosen_"), **searched(bad, "rejected_"),
        }  # fmt: skip


def look(at: Looking) -> Plan:
    """Figures and warnings; the length of a pair is that of all before it with the longer of its two answers."""
    import numpy as np

    options: PreferenceOptions = at.options
    plan = Plan()
    counts = {"pair": 0, "verdict": 0, "branch": 0}
    long = longest = bare = 0
    for batch in at.made:
        plan.rows += batch.num_rows
        for source, n in Counter(batch["source"].to_pylist()).items():
            counts[source] += n
        lengths = lengths_of(batch, None if at.estimated else at.count_tokens)
        long += int((lengths > options.max_length).sum())
        longest = max(longest, int(lengths.max()))
        bare += int(np.logical_or(*(_bare(batch[name]) for name in SIDES)).sum())
    figures: dict[str, Any] = {
        "pairs_compared": counts["pair"],
        "pairs_of_traces": counts["verdict"],
        "pairs_of_branches": counts["branch"],
        "longest_row_tokens": longest,
        "token_counts": "estimated" if at.estimated else "by tokenizer",
    }
    plan.figures, plan.histogram = figures, counts
    uncovered = _coverage(at, options)
    if not plan.rows:
        plan.warnings.append(
            "There is no pair to write: a pair needs two traces that were compared, two traces of one question with different "
            "verdicts, or two branches from one step with different ratings. Ties, unsure and unrated make no pair."
        )
        return plan
    plan.warnings += alone_warning(at.left.pop(ALONE, 0))
    plan.warnings += uncovered
    if long:
        plan.warnings.append(long_pairs(long, plan.rows, options.max_length, longest, at.estimated))
    if bare:
        plan.warnings.append(f"{bare} pairs have an empty side, which most trainers cannot use.")
    return plan


def _bare(said: pa.Array) -> npt.NDArray[np.bool_]:
    """Which texts, or messages, have nothing but spaces in them."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_list(said.type):
        return np.array([not "".join(spoken(one)).strip() for one in said.to_pylist()], bool)
    return pc.or_(pc.utf8_is_space(said), pc.equal(said, "")).to_numpy(zero_copy_only=False)


def _coverage(at: Looking, options: PreferenceOptions) -> list[str]:
    """What the ratings leave open: verdicts missing, branches rated on one side only."""
    found: list[str] = []
    rated, silent, unrated = at.left.pop(RATED, 0), at.left.pop(SILENT, 0), open_branches(at.left)
    if silent and options.source in ("all", "verdict"):
        found.append(f"{silent} of {rated} rated traces have no verdict and make no pair of whole traces.")
    if options.source in ("all", "branch"):
        found += beyond(at.left, options.max_pairs_per_branch)
        found += unrated
        found += recut_warning(at.snapshot, at.options)
    return found


FORMAT = Format(
    name="preference",
    summary="Pairs of a better and a worse continuation of the same prompt, for DPO and pairwise reward models.",
    options=PreferenceOptions,
    uses=("recovered_as", "min_raters", "adjudicated", "gold", "split"),
    choices={"source": ("all", "pair", "verdict", "branch"), "shape": ("text", "messages")},
    schema=schema,
    rows=rows,
    look=look,
    columns={
        "prompt": "the question; for branch pairs followed by the shared part of the response (string). With shape=messages: all "
        "that was said up to the question, a list of role and content",
        "chosen": "the better continuation (string). With shape=messages: one message, which for branch pairs begins with the shared "
        "part; likewise rejected",
        "rejected": "the worse continuation (string)",
        "history": "with shape=text: what was said before the question of a later turn, a list of role and content; empty otherwise",
        "source": "pair (compared by raters), verdict (whole traces) or branch (two siblings in one trace)",
    },
    cannot=(
        "ties, unsure and both bad, criteria and notes of comparisons, which side was shown where",
        "who gave which rating: raters are averaged, `raters` names them",
        "ratings of single steps beyond which of two branches is better",
    ),
)
