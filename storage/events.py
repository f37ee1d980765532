"""Rating events: what a rater did, one row each, never changed afterwards.

An event carries an id made by the client, so that sending it twice is harmless, and the client's own order (`seq`, per
assignment; any number that grows, milliseconds will do). What counts now is the latest `set` or `clear` of each
(target, step,
dimension). Knows no database and no screen.

Values: good +1, neutral 0, bad −1. Of a pair: −3 (the left trace is much better) to 3 (the right one), in the pair's own
order whatever was shown on which side; 0 is a tie, "both_bad" a value of its own. Unsure is a value of its own (`value` None, `value_text` "unsure"). Unrated is the
absence of a row.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from core.trace import KINDS

UNSURE = "unsure"
ACTIONS = ("set", "clear", "submit", "reopen", "skip", "comment")
DIMENSIONS = {
    # parent, kind, cuts and joined correct what was inferred: the step this one follows from, what it does, where it
    # should be cut ("value_text": offsets into the response in code points, ascending, a space between), and that it
    # belongs together with the step before. span (two such offsets) to rationale say what is wrong with a bad step,
    # better is what should stand there, recovered the later step that put it right (-1: none did).
    "step": (
        "correctness",
        "first_error",
        "parent",
        "kind",
        "cuts",
        "joined",
        "span",
        "error_type",
        "severity",
        "rationale",
        "better",
        "recovered",
    ),
    "decision": ("worth_exploring", "left_in_time", "right_return"),
    "trace": ("verdict", "note", "tags", "exit"),
    "pair": ("preference", "note"),  # and preference.NAME for each criterion of the rubric
}
BOTH_BAD = "both_bad"
TEXTS = ("note", "tags", "rationale", "better", "error_type")
CRITERION = re.compile(r"preference\.[a-z][a-z0-9_]{0,40}")
SKIP_REASONS = ("skip", "unsure", "give_up", "bad_problem", "bad_segmentation")
INPUT_METHODS = ("key", "mouse", "")
# Values a judgement may have; None stands for "unsure", which every judgement but a first error may be.
_JUDGEMENT = (-1.0, 0.0, 1.0)
VALUES: dict[str, tuple[float, ...]] = {
    "correctness": _JUDGEMENT,
    "verdict": _JUDGEMENT,
    "first_error": (1.0,),
    "joined": (1.0,),
    "worth_exploring": (0.0, 1.0),
    "left_in_time": (0.0, 1.0),
    "right_return": (0.0, 1.0),
    "severity": (1.0, 2.0, 3.0),
    "preference": (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0),
}
_NEVER_UNSURE = ("first_error", "joined", "severity")
_CUTS = re.compile(r"\d{1,10}(?: \d{1,10})*")
MAX_NOTE = 20_000  # characters; a note is a remark, and one event must never be able to fill the disk
MAX_SEQ = 2**62  # far beyond any clock in microseconds, and safely within a signed 64-bit column
MAX_STEP = 2**31 - 1
MAX_DWELL_MS = 2**31 - 1
MAX_OFFSET = 2**31 - 1


class EventError(ValueError):
    """An event that cannot be kept; the message is a sentence naming the field and the mend."""


@dataclass(frozen=True)
class RatingEvent:
    """One act of a rater. See the module docstring for values; `ts_client` is ISO 8601 or empty."""

    event_id: str
    assignment_id: str
    rater_id: str
    seq: int
    action: str
    target: str = "trace"
    step_idx: int | None = None
    dimension: str = ""
    value: float | None = None
    value_text: str | None = None
    ts_client: str = ""
    input_method: str = ""
    dwell_ms: int | None = None
    prelabel_visible: bool = False
    ui_build: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Any) -> RatingEvent:
        """Read and check one event. Unknown keys are ignored, so that an older server takes events of a newer page.

        Raises EventError with a sentence.
        """
        if not isinstance(row, Mapping):
            raise EventError(f"An event must be a JSON object, not {type(row).__name__}.")
        action = _one_of(row, "action", ACTIONS)
        target = _one_of(row, "target", tuple(DIMENSIONS), default=None if action in ("set", "clear") else "trace")
        event = cls(
            event_id=_uuid(row),
            assignment_id=_text(row, "assignment_id", 128, required=True),
            rater_id=_text(row, "rater_id", 128, required=True),
            seq=_whole(row, "seq", MAX_SEQ, required=True) or 0,
            action=action,
            target=target,
            step_idx=_whole(row, "step_idx", MAX_STEP),
            dimension=_text(row, "dimension", 64),
            value=_number(row, "value"),
            value_text=None if row.get("value_text") is None else _text(row, "value_text", MAX_NOTE),
            ts_client=_timestamp(row, "ts_client"),
            input_method=_one_of(row, "input_method", INPUT_METHODS, default=""),
            dwell_ms=_whole(row, "dwell_ms", MAX_DWELL_MS),
            prelabel_visible=_flag(row, "prelabel_visible"),
            ui_build=_text(row, "ui_build", 128),
        )
        problem = problem_of(event)
        if problem:
            raise EventError(problem)
        return event


@dataclass(frozen=True)
class CurrentRating:
    """What counts now for one (target, step, dimension) of an assignment."""

    target: str
    step_idx: int | None
    dimension: str
    value: float | None
    value_text: str | None
    seq: int
    event_id: str
    prelabel_visible: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def problem_of(event: RatingEvent) -> str:
    """What is wrong with an event taken by itself, as a sentence; empty when it can be kept."""
    if event.action in ("submit", "reopen", "comment"):
        return ""
    if event.action == "skip":
        reason = event.value_text or "skip"
        return (
            ""
            if reason in SKIP_REASONS
            else f'"value_text" is {reason!r}; a skip takes one of {", ".join(SKIP_REASONS)}.'
        )
    allowed = DIMENSIONS.get(event.target, ())
    criterion = event.target == "pair" and CRITERION.fullmatch(event.dimension)
    if event.dimension not in allowed and not criterion:
        shown = ", ".join(allowed)
        return f'"dimension" is {event.dimension!r}; for the target {event.target!r} it must be one of {shown}.'
    whole = event.target in ("trace", "pair")
    if whole and event.step_idx is not None:
        return f'"step_idx" must be absent for the target "{event.target}".'
    if not whole and event.step_idx is None:
        return f'"step_idx" is missing; the target {event.target!r} needs the number of a step, counted from 0.'
    return _value_problem(event) if event.action == "set" else ""


def _value_problem(event: RatingEvent) -> str:
    if event.dimension in TEXTS:
        article = "an" if event.dimension == "error_type" else "a"
        return (
            ""
            if event.value_text is not None
            else f'"value_text" is missing; {article} {event.dimension} is text (to remove it send a clear).'
        )
    if event.dimension == "exit":
        ok = event.value_text in SKIP_REASONS
        return "" if ok else f'"value_text" is {event.value_text!r}; an exit is one of {", ".join(SKIP_REASONS)}.'
    if event.dimension == "kind":
        ok = event.value_text in KINDS
        return "" if ok else f'"value_text" is {event.value_text!r}; a kind is one of {", ".join(KINDS)}.'
    if event.dimension == "parent":
        index, value = event.step_idx or 0, event.value
        if value is not None and value.is_integer() and -1 <= value < index:
            return ""
        return f'"value" is {value}; the parent of step {index} is an earlier step (0 to {index - 1}), or -1 for the question.'
    if event.dimension == "recovered":
        index, value = event.step_idx or 0, event.value
        if value is not None and value.is_integer() and (value == -1 or value > index):
            return ""
        return f'"value" is {value}; step {index} was put right by a later step, or -1: by none.'
    if event.dimension == "span":
        ok = len(offsets_of(event.value_text)) == 2
        return "" if ok else _NO_SPAN.format(event.value_text)
    if event.dimension == "cuts":
        return "" if offsets_of(event.value_text) else _NO_CUTS.format(event.value_text)
    if event.dimension == "joined" and event.step_idx == 0:
        return '"step_idx" is 0; the first step has no step before it to be joined with.'
    allowed = VALUES[event.dimension.partition(".")[0]]
    if event.target == "pair" and event.value is None and event.value_text == BOTH_BAD:
        return ""
    shown = ", ".join(f"{v:g}" for v in allowed)
    if event.value is None:
        sure = event.dimension in _NEVER_UNSURE
        if event.value_text == UNSURE and not sure:
            return ""
        unsure = "" if sure else ', or "value_text": "unsure" with no value'
        return f'"value" is missing; {event.dimension} takes {shown}{unsure}.'
    if event.value not in allowed:
        return f'"value" is {event.value:g}; {event.dimension} takes {shown}.'
    return ""


_NO_CUTS = (
    '"value_text" is {!r}; cuts are offsets into the response, ascending, with a space between, such as "120 345" '
    "(to take all back send a clear)."
)
_NO_SPAN = '"value_text" is {!r}; a span is where it begins and ends, offsets into the response, such as "120 345".'


def offsets_of(value_text: str | None) -> tuple[int, ...]:
    """The offsets in the text of a rating "cuts" or "span"; empty when it is not such a text."""
    if value_text is None or not _CUTS.fullmatch(value_text):
        return ()
    found = tuple(map(int, value_text.split(" ")))
    rising = all(a < b for a, b in pairwise(found))
    return found if rising and found[-1] <= MAX_OFFSET else ()


def _text(row: Mapping[str, Any], key: str, longest: int, *, required: bool = False) -> str:
    value = row.get(key)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value):
        raise EventError(f'"{key}" is missing or not a string.')
    if len(value) > longest:
        raise EventError(f'"{key}" has {len(value)} characters; at most {longest} are kept.')
    # Half of a surrogate pair (a browser can cut an emoji in two) cannot be stored as UTF-8: it becomes U+FFFD.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _one_of(row: Mapping[str, Any], key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
    value = row.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or value not in allowed:
        names = ", ".join(a or '""' for a in allowed)
        raise EventError(f'"{key}" is {value!r}; it must be one of {names}.')
    return value


def _whole(row: Mapping[str, Any], key: str, largest: int, *, required: bool = False) -> int | None:
    value = row.get(key)
    if value is None and not required:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= largest:
        raise EventError(f'"{key}" is {value!r}; it must be a whole number from 0 to {largest}.')
    return value


def _number(row: Mapping[str, Any], key: str) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9 or not math.isfinite(value):
        raise EventError(f'"{key}" is {value!r}; it must be a finite number or null.')
    return float(value)


def _flag(row: Mapping[str, Any], key: str) -> bool:
    value = row.get(key)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise EventError(f'"{key}" is {value!r}; it must be true or false.')
    return value


def _uuid(row: Mapping[str, Any]) -> str:
    value = row.get("event_id")
    try:
        return str(uuid.UUID(value if isinstance(value, str) else ""))
    except ValueError:
        raise EventError(
            f'"event_id" is {value!r}; it must be a UUID made by the client, one for each event.'
        ) from None


def _timestamp(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if value is None or value == "":
        return ""
    try:
        parse_utc(value)
    except (ValueError, TypeError, OverflowError):
        raise EventError(
            f'"{key}" is {value!r}; it must be a time in ISO 8601, such as 2026-11-20T12:00:00Z.'
        ) from None
    return str(value)


def parse_utc(text: str) -> datetime:
    """ISO 8601 to a naive UTC datetime (what the TIMESTAMP columns hold); without an offset it is taken as UTC."""
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def format_utc(moment: datetime | None) -> str:
    """A naive UTC datetime as ISO 8601 to the millisecond with Z; empty for None."""
    return "" if moment is None else moment.isoformat(timespec="milliseconds") + "Z"
