"""From a snapshot's `data.parquet` to rows of token ids with our own labels. Nothing else in training reads ratings.

A PRM row: NaN everywhere ("no loss") except at the separator after each judged step, where the label is 1 (good),
0 (bad) or, where raters disagree, the share who said good. An SFT row: the response's own tokens are labels, the rest
is IGNORE. Knows the columns of a snapshot and a tokenizer; knows no model, no trainer, no job.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.formats import steiner_tokens as t
from core.scoring.encoding import EncodingError, encode_messages, encode_steps
from core.trace import Earlier

if TYPE_CHECKING:
    import polars as pl

    from training.kinds.prm import PrmRecipe
    from training.kinds.sft import SftRecipe

IGNORE = -100
NAN = math.nan
COLUMNS = (
    "trace_id", "problem_id", "prompt", "response", "finish_reason", "format", "solved", "rater_id", "segmentation_id",
    "step_text", "rating", "unsure", "first_error", "parent", "verdict", "split",
)  # fmt: skip
# Endings that the run reached: after them the model is taught to end. A trace cut at `length` or cancelled has none.
ENDED = ("stop", "step_limit")


class RowsError(ValueError):
    """A sentence: this snapshot cannot be trained on, and what to do about it."""


@dataclass(frozen=True)
class Judgement:
    """What one rater said of one trace. `ratings` has one entry a step: +1, 0, −1, or None (unrated or unsure).

    soft: of labels without people, P(good) a step as the method gave it, None where it knows nothing. counts: (right, total) of the
    rollouts behind it, None where a step has none.
    """

    rater_id: str
    ratings: tuple[int | None, ...]
    first_error: int | None
    verdict: int | None
    soft: tuple[float | None, ...] | None = None
    counts: tuple[tuple[int, int] | None, ...] = ()


@dataclass(frozen=True)
class JudgedTrace:
    """One cutting of one trace with everything that raters said of it."""

    trace_id: str
    problem_id: str
    prompt: str
    response: str
    finish_reason: str
    format: str
    solved: bool | None
    split: str
    step_texts: tuple[str, ...]
    parents: tuple[int | None, ...]
    judgements: tuple[Judgement, ...]
    earlier: Earlier | None = None  # the turns that came before its question


@dataclass(frozen=True)
class TokenRow:
    """One trace as a model reads it. `labels` has one entry a token: NaN (PRM) or IGNORE (SFT) means no loss there."""

    ids: list[int]
    labels: list[float]
    trace_id: str
    problem_id: str


@dataclass(frozen=True)
class Rows:
    """Both sides of the split, and what became of the traces (printed into the log and the model card)."""

    train: tuple[TokenRow, ...]
    test: tuple[TokenRow, ...]
    counts: dict[str, int]


# ---------------------------------------------------------------------------------------------------------- reading


def data_sha256(snapshot: Path) -> str:
    """SHA-256 of a snapshot's `data.parquet`. Raises RowsError when there is none or when it is not what was frozen."""
    data, manifest = snapshot / "data.parquet", snapshot / "manifest.json"
    if not data.is_file():
        raise RowsError(
            f'There is no snapshot "{snapshot.name}" ({data} is missing). '
            "Freeze one on the Data page or with: worldline snapshot."
        )
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    try:
        frozen = json.loads(manifest.read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RowsError(
            f'{manifest} does not give the "sha256" of the data ({error!r}). Freeze the snapshot again.'
        ) from error
    if isinstance(frozen, dict):  # one digest a file
        frozen = frozen.get("data.parquet", "")
    if str(frozen).removeprefix("sha256:") != digest:
        raise RowsError(
            f"{data} is not the file that was frozen: its SHA-256 differs from the manifest. Freeze it again."
        )
    return digest


def read_traces(snapshot: Path, most: int | None = None) -> list[JudgedTrace]:
    """The traces of a snapshot, those of several raters joined, in the order of their ids. Raises RowsError.

    most: only so many of the file's first rows, for a look at them.
    """
    import polars as pl

    table = pl.read_parquet(snapshot / "data.parquet", n_rows=most)
    missing = [c for c in COLUMNS if c not in table.columns]
    if missing:
        raise RowsError(f'{snapshot / "data.parquet"} has no column "{missing[0]}". Was it written by another version?')
    table = newest(table)
    groups: dict[str, list[dict[str, Any]]] = {}
    # Turns only people's ratings have, shares only labels made without people.
    later = [
        c
        for c in ("earlier", "gold", "adjudicated", "adjudicated_verdict", "soft", "right", "total")
        if c in table.columns
    ]
    for row in table.select(*COLUMNS, *later).iter_rows(named=True):
        groups.setdefault(row["segmentation_id"], []).append(row)
    traces = [_join(groups[key]) for key in sorted(groups)]
    split_of: dict[str, str] = {}
    for trace in traces:
        if split_of.setdefault(trace.problem_id, trace.split) != trace.split:
            raise RowsError(
                f"Problem {trace.problem_id} is in both splits, so no held-out figure would be honest. Freeze again."
            )
    return traces


def newest(table: pl.DataFrame) -> pl.DataFrame:
    """Of a rater who rated a trace twice, in two queues, what they said last: one vote."""
    return table.sort("assignment_id").unique(("segmentation_id", "rater_id"), keep="last", maintain_order=True)


def judging(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As exports have it unless they are told otherwise: ratings of items whose answer was known (gold, screening) are no judgements."""
    return [row for row in rows if row.get("gold") is None]


def settled_steps(row: dict[str, Any]) -> tuple[tuple[int | None, ...], int | None]:
    """(what a rater said of each step: +1, 0, −1 or None; the first error that they marked). What an adjudicator settled stands in
    the place of every rater's word. Raises RowsError.
    """
    n = len(row["step_text"])
    ratings, unsure = row["rating"] or [None] * n, row["unsure"] or [False] * n
    decided = row.get("adjudicated") or [None] * n
    if not n == len(ratings) == len(unsure) == len(decided):
        raise RowsError(
            f"Trace {row['trace_id']}, rater {row['rater_id']}: {len(ratings)} ratings for {n} steps. Freeze again."
        )
    marked = row["first_error"]
    if marked is not None and decided[marked] not in (None, -1):
        marked = None
    return tuple(
        (None if u else r) if d is None else d for r, u, d in zip(ratings, unsure, decided, strict=True)
    ), marked


def _join(rows: list[dict[str, Any]]) -> JudgedTrace:
    first = rows[0]
    n = len(first["step_text"])
    judgements = []
    for row in sorted(judging(rows), key=lambda r: r["rater_id"]):
        if n != len(row["step_text"]):
            raise RowsError(f"Trace {row['trace_id']} has {n} and {len(row['step_text'])} steps. Freeze again.")
        known, marked = settled_steps(row)
        verdict = row.get("adjudicated_verdict")
        soft = None if row.get("soft") is None else tuple(row["soft"])
        counts = tuple(
            None if right is None or not total else (right, total)
            for right, total in zip(row.get("right") or (), row.get("total") or (), strict=True)
        )
        judgements.append(
            Judgement(row["rater_id"], known, marked, row["verdict"] if verdict is None else verdict, soft, counts)
        )
    return JudgedTrace(
        first["trace_id"], first["problem_id"], first["prompt"], first["response"], first["finish_reason"],
        first["format"], first["solved"], first["split"], tuple(first["step_text"]),
        tuple(first["parent"] or [None] * n), tuple(judgements),
        Earlier.from_json(json.loads(first["earlier"])) if first.get("earlier") else None,
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------- labels for a PRM


def rater_labels(judgement: Judgement, recipe: PrmRecipe) -> list[float]:
    """One rater's judgement as labels: 1 good, 0 bad, NaN no loss; between where a label set without people has shares.

    `shares` says what is made of such a set: "soft" the share itself, "hard" good from one half on, "any" good if any rollout was
    right (Wang et al. 2024, arXiv 2312.08935, eq. 3: hard estimation). Raises RowsError for "any" without counts.

    A step marked as first error is bad. What was judged after it counts (usually nothing was), unless
    `stop_at_first_error` leaves out all that follows the first bad step.
    """
    neutral = {"good": 1.0, "bad": 0.0, "ignore": NAN}[recipe.neutral_as]
    meaning = {1: 1.0, 0: neutral, -1: 0.0, None: NAN}
    labels = [meaning[rating] for rating in judgement.ratings]
    if judgement.soft is not None and recipe.shares != "hard":
        labels = [NAN if share is None else share for share in judgement.soft]
        if recipe.shares == "any":
            labels = _any_right(judgement, labels)
    marked = judgement.first_error
    if marked is not None and 0 <= marked < len(labels):
        labels[marked] = 0.0
    if recipe.stop_at_first_error:
        worst = labels if judgement.soft is not None and recipe.shares == "any" else judgement.ratings
        bad = (i for i, label in enumerate(worst) if label == (0.0 if worst is labels else -1) or i == marked)
        end = next(bad, len(labels))
        labels[end + 1 :] = [NAN] * (len(labels) - end - 1)
    return labels


def _any_right(judgement: Judgement, labels: Sequence[float]) -> list[float]:
    """Binary search counts few steps and infers the others: those stay as they are."""
    if not any(judgement.counts):
        raise RowsError(
            f'The labels of {judgement.rater_id} are not counts of rollouts, so shares = "any" means nothing. Use "soft" or "hard".'
        )
    return [y if count is None else float(count[0] > 0) for y, count in zip(labels, judgement.counts, strict=True)]


def step_labels(trace: JudgedTrace, recipe: PrmRecipe) -> list[float]:
    """The labels of a trace over all its raters: the share who said good, or NaN where nobody judged."""
    per_rater = [rater_labels(j, recipe) for j in trace.judgements]
    labels = []
    for votes in zip(*per_rater, strict=True):
        known = [v for v in votes if not math.isnan(v)]
        label = sum(known) / len(known) if known else NAN
        if recipe.disagreement == "drop" and len(set(known)) > 1:
            label = NAN
        labels.append(label)
    return labels


def prm_rows(traces: Sequence[JudgedTrace], tokenizer: Any, recipe: PrmRecipe) -> Rows:
    """Rows of the traces with at least one judged step. Raises RowsError when nothing is left to train on."""
    sides: dict[str, list[TokenRow]] = {"train": [], "test": []}
    counts = {
        "traces": len(traces),
        "traces_without_labels": 0,
        "steps_over_max_tokens": 0,
        "good": 0,
        "bad": 0,
        "soft": 0,
    }
    for trace in traces:
        labels = step_labels(trace, recipe)
        try:
            encoded = encode_steps(tokenizer, trace.prompt, trace.step_texts, recipe.max_tokens)
        except EncodingError:
            counts["steps_over_max_tokens"] += len(labels)
            continue
        kept = labels[: len(encoded.separators)]
        counts["steps_over_max_tokens"] += len(labels) - len(kept)
        if all(map(math.isnan, kept)):
            counts["traces_without_labels"] += 1
            continue
        row = [NAN] * len(encoded.ids)
        for at, label in zip(encoded.separators, kept, strict=True):
            row[at] = label
            if not math.isnan(label):
                counts["good" if label == 1 else "bad" if label == 0 else "soft"] += 1
        sides[trace.split].append(TokenRow(encoded.ids, row, trace.trace_id, trace.problem_id))
    _need_training_rows(sides, counts, "a rated step", "Rate some steps")
    return Rows(tuple(sides["train"]), tuple(sides["test"]), counts)


# ----------------------------------------------------------------------------------------------- rows for fine-tuning


def wanted(trace: JudgedTrace, choose: str) -> bool:
    """Does the recipe's `choose` take this trace?

    A step that a person rated bad speaks against a solved trace; one that was labelled without people does not: those labels
    are bad wherever a search goes wrong before it turns back.
    """
    verdicts = [j.verdict for j in trace.judgements if j.verdict is not None]
    approved = bool(verdicts) and sum(verdicts) / len(verdicts) > 0
    people = [j for j in trace.judgements if j.soft is None]
    no_bad = all(r != -1 for j in people for r in j.ratings) and all(j.first_error is None for j in people)
    solved = trace.solved is True and no_bad
    return {"approved": approved, "solved": solved, "either": approved or solved, "all": True}[choose]


def response_pieces(trace: JudgedTrace, backtracks: str) -> list[tuple[str, bool]]:
    """The response as (text, learn this) pieces under the recipe's `backtracks` policy."""
    from storage.exports.prm800k import way_to_the_end  # half a second of imports that few jobs need

    steps_end = sum(map(len, trace.step_texts))
    tail = trace.response[steps_end:]
    if backtracks == "keep" or trace.format != "steiner":
        pieces = [(text, True) for text in trace.step_texts]
    else:
        way = way_to_the_end(trace.parents)
        leads = (t.REASONING_START, t.PROCEED, t.BACKTRACK)
        split = [
            next(((lead, s[len(lead) :]) for lead in leads if s.startswith(lead)), ("", s)) for s in trace.step_texts
        ]
        if backtracks == "cut":
            pieces = [((t.PROCEED if i else t.REASONING_START) + split[step][1], True) for i, step in enumerate(way)]
        else:
            pieces = []
            for step, (lead, body) in enumerate(split):
                # The decision that leads into a step was made before it: turning back is learned even into a branch
                # that is abandoned in its turn, the branch itself is not.
                pieces += [(lead, step in way or lead != t.PROCEED), (body, step in way)]
    if trace.finish_reason != "stop" and tail.startswith(t.REASONING_END):  # the step limit forced the end
        pieces += [(t.REASONING_END, False), (tail[len(t.REASONING_END) :], True)]
    else:
        pieces.append((tail, True))
    return [(text, learn) for text, learn in pieces if text]


def sft_rows(traces: Sequence[JudgedTrace], tokenizer: Any, recipe: SftRecipe) -> Rows:
    """Rows of the traces that `choose` takes and that fit. Raises RowsError when nothing is left to train on.

    A row is what was said before, the question, `pauses` pause tokens (Goyal et al. 2024, section 3.2: the last one's
    output is the first that is judged), and the response. Only the last turn's response is learned.
    """
    from training.conversations import turns_before

    sides: dict[str, list[TokenRow]] = {"train": [], "test": []}
    counts = {"traces": len(traces), "traces_not_chosen": 0, "traces_over_max_tokens": 0}
    pauses = [pause_id(tokenizer, recipe.pause_token)] * recipe.pauses if recipe.pauses else []
    by_id = {trace.trace_id: trace for trace in traces}
    seen: set[str] = set()
    for trace in traces:
        if not wanted(trace, recipe.choose) or trace.trace_id in seen:
            counts["traces_not_chosen"] += 1
            continue
        seen.add(trace.trace_id)
        turns = turns_before(trace, by_id, recipe.turns)
        if turns is None:
            counts["traces_whose_earlier_turns_are_not_in_the_snapshot"] = (
                counts.get("traces_whose_earlier_turns_are_not_in_the_snapshot", 0) + 1
            )
            continue
        if turns.turns:
            counts["later_turns"] = counts.get("later_turns", 0) + 1
        if recipe.backtracks != "keep" and trace.format != "steiner":
            counts["traces_learned_whole_by_their_format"] = counts.get("traces_learned_whole_by_their_format", 0) + 1
        ids = [*encode_messages(tokenizer, turns.messages(trace.prompt)), *pauses]
        labels: list[float] = [IGNORE] * len(ids)
        for text, learn in response_pieces(trace, recipe.backtracks):
            piece = tokenizer(text, add_special_tokens=False).input_ids
            ids += piece
            labels += piece if learn else [IGNORE] * len(piece)
        if trace.finish_reason in ENDED and tokenizer.eos_token_id is not None:
            ids.append(tokenizer.eos_token_id)
            labels.append(tokenizer.eos_token_id)
        if len(ids) > recipe.max_tokens:
            counts["traces_over_max_tokens"] += 1
            continue
        sides[trace.split].append(TokenRow(ids, labels, trace.trace_id, trace.problem_id))
    what = {
        "approved": "an approved verdict",
        "solved": "a checked solution and no bad step",
        "either": "an approved verdict or a solution",
        "all": "a response",
    }
    mend = "Add traces" if recipe.traces else "Give some traces a good verdict"
    _need_training_rows(sides, counts, what[recipe.choose], mend, file=bool(recipe.traces))
    return Rows(tuple(sides["train"]), tuple(sides["test"]), counts)


def pause_id(tokenizer: Any, token: str) -> int:
    """The id of the pause token. Raises RowsError where the model has none."""
    found = tokenizer.convert_tokens_to_ids(token)
    if found is None or found == tokenizer.unk_token_id:
        raise RowsError(
            f'pause_token = "{token}" is not a token of the base model. Add it with new_tokens=["pause"] (or a file that '
            "describes it), or train without pauses."
        )
    return int(found)


def _need_training_rows(
    sides: dict[str, list[TokenRow]], counts: dict[str, int], what: str, mend: str, *, file: bool = False
) -> None:
    if sides["train"]:
        return
    over = counts.get("steps_over_max_tokens", 0) + counts.get("traces_over_max_tokens", 0)
    if sides["test"]:
        why = f"Every trace with {what} ({len(sides['test'])}) is in the test split, which is never trained on."
        mend += " of other questions"
    elif over:
        why = f"No trace with {what} fits into max_tokens, which a new job can raise (--set max_tokens=…)."
    else:
        where = "file" if file else "snapshot"
        why = f"None of the {counts['traces']} traces in the {where} has {what}: there is nothing to learn from."
    raise RowsError(f"{why} {mend}{'' if file else ', freeze a new snapshot'}, and start the job on that.")
