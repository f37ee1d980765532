"""What a trace is: the problem, the raw response, the steps it is cut into, the tree they form.

Everything here is immutable. The raw response is never changed; a step is a pair of character offsets into it plus what
the format names. Knows no format, no engine, no database.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

Decision = Literal["proceed", "backtrack", "finish"]
FinishReason = Literal["stop", "length", "step_limit", "cancelled", "error", "interrupted"]
FINISH_REASONS: tuple[str, ...] = get_args(FinishReason)
CUT_OFF = ("length", "cancelled", "error", "interrupted")  # the text ends where the model would have gone on
DECISIONS: tuple[str, ...] = get_args(Decision)
# What a step does. "explore" tries another idea beside the one at hand, "backtrack" gives one up and goes back.
Kind = Literal["setup", "plan", "derive", "verify", "explore", "backtrack", "conclude", "aside"]
KINDS: tuple[str, ...] = get_args(Kind)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id() -> str:
    """26 characters that sort by creation time (as ULID does): 48 bits of milliseconds, 80 random bits."""
    value = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))


def problem_id_of(prompt: str) -> str:
    """The same for prompts that differ only in white space or case: 16 hex digits of SHA-256."""
    return hashlib.sha256(" ".join(prompt.split()).casefold().encode("utf-8", "surrogatepass")).hexdigest()[:16]


def utc_now() -> str:
    """The time as ISO 8601 in UTC, to the millisecond, with Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Problem:
    """What is asked. `answer` is a reference answer where one is known."""

    problem_id: str
    prompt: str
    task: str = ""
    answer: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def ask(cls, prompt: str, task: str = "", answer: str | None = None) -> Problem:
        """A problem from its prompt alone."""
        return cls(problem_id_of(prompt), prompt, task, answer)


@dataclass(frozen=True)
class Step:
    """A contiguous piece of a response: `response[start:end]`, offsets in characters.

    Steps are contiguous (`start` is the `end` of the step before, the first starts at 0), so the decision token that
    leads into a step is its beginning. `decision` is what the model does *after* the step; None while nobody knows.
    """

    index: int
    start: int
    end: int
    name: str = ""
    thought: str = ""
    summary: str = ""
    reflection: str = ""
    decision: Decision | None = None
    complete: bool = True


@dataclass(frozen=True)
class Placed:
    """A step's place in the tree.

    parent: the step it follows from, None for the question itself.
    resumes, replaces: only for a step entered by a backtrack: the step it goes on from (None: the question), and the
    first step of the branch that it abandons. Both are inferred, with a confidence in [0, 1].
    kind: what the step does (one of `KINDS`), "" where nothing says so.
    """

    parent: int | None
    is_backtrack: bool = False
    resumes: int | None = None
    replaces: int | None = None
    confidence: float | None = None
    kind: str = ""


Action = Literal["continue", "resume", "proceed", "backtrack", "wait", "answer", "edit"]
ACTIONS: tuple[str, ...] = get_args(Action)


@dataclass(frozen=True)
class Origin:
    """Where a fork left another trace: the same beginning, another world line.

    step: the last step of `trace_id` that both share (-1: only the question). kept: so many characters of its response
    are the beginning of this one. root: the first trace of the family.
    """

    root: str
    trace_id: str
    step: int
    kept: int
    action: Action

    @classmethod
    def from_json(cls, row: Any) -> Origin:
        """Raises ValueError naming the field."""
        if not isinstance(row, dict):
            raise ValueError('"origin" must be an object or null')
        for key in ("root", "trace_id"):
            if not isinstance(row.get(key), str) or not row[key]:
                raise ValueError(f'"origin.{key}" must be the id of a trace')
        step, kept = row.get("step"), row.get("kept")
        if type(step) is not int or step < -1 or type(kept) is not int or kept < 0:
            raise ValueError('"origin.step" and "origin.kept" must be whole numbers from -1 and 0')
        if row.get("action") not in ACTIONS:
            raise ValueError(f'"origin.action" is {row.get("action")!r}; it must be one of {", ".join(ACTIONS)}')
        return cls(row["root"], row["trace_id"], step, kept, row["action"])


GivenAs = Literal["summaries", "full"]
GIVEN_AS: tuple[str, ...] = get_args(GivenAs)


@dataclass(frozen=True)
class Earlier:
    """What a question was asked after: the traces of the conversation, the first one first, and how they were given."""

    trace_ids: tuple[str, ...]
    given_as: GivenAs

    def to_json(self) -> dict[str, Any]:
        return {"trace_ids": list(self.trace_ids), "given_as": self.given_as}

    @classmethod
    def from_json(cls, row: Any) -> Earlier:
        """Raises ValueError naming the field."""
        if not isinstance(row, dict):
            raise ValueError('"earlier" must be an object or null')
        ids = row.get("trace_ids")
        if not isinstance(ids, list) or not ids or not all(isinstance(i, str) and i for i in ids):
            raise ValueError('"earlier.trace_ids" must be a list of the ids of traces')
        if row.get("given_as") not in GIVEN_AS:
            raise ValueError(f'"earlier.given_as" is {row.get("given_as")!r}; it must be one of {", ".join(GIVEN_AS)}')
        return cls(tuple(ids), row["given_as"])


@dataclass(frozen=True)
class Trace:
    """Everything one model produced for one problem. `steps` and `nodes` have the same length."""

    trace_id: str
    problem_id: str
    prompt: str
    response: str
    steps: tuple[Step, ...]
    nodes: tuple[Placed, ...]
    answer: str = ""
    finish_reason: str = "stop"
    model: str = ""
    format: str = "steiner"
    sampling: dict[str, Any] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)
    created_at: str = field(default_factory=utc_now)
    solved: bool | None = None
    error: str = ""
    origin: Origin | None = None
    earlier: Earlier | None = None

    @property
    def segmentation_id(self) -> str:
        """Names one way of cutting this trace; ratings anchor to it."""
        return f"{self.trace_id}:{self.format}:1"

    def step_text(self, index: int) -> str:
        """The raw text of a step, tokens included."""
        step = self.steps[index]
        return self.response[step.start : step.end]

    def to_json(self) -> dict[str, Any]:
        """The canonical form: what the API, `ask --json`, import and export exchange."""
        row = {k: v for k, v in vars(self).items() if k not in ("steps", "nodes")}
        row |= {"sampling": dict(self.sampling), "stats": dict(self.stats)}
        row["origin"] = asdict(self.origin) if self.origin else None
        row["earlier"] = self.earlier.to_json() if self.earlier else None
        row["steps"] = [step_json(s, n) for s, n in zip(self.steps, self.nodes, strict=True)]
        return row

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Trace:
        """Read the canonical form. Raises ValueError naming the field and what is wrong with it."""
        for key in ("prompt", "response"):
            if not isinstance(row.get(key), str):
                raise ValueError(f'"{key}" is missing or not a string')
        response = row["response"]
        steps: list[Step] = []
        nodes: list[Placed] = []
        raw_steps = row.get("steps", [])
        if not isinstance(raw_steps, list):
            raise ValueError('"steps" must be a list')
        for i, s in enumerate(raw_steps):
            steps.append(_read_step(i, s, len(response), steps[-1].end if steps else 0))
            nodes.append(_read_node(i, s))
        reason = row.get("finish_reason", "stop")
        if reason not in FINISH_REASONS:
            raise ValueError(f'"finish_reason" is {reason!r}; it must be one of {", ".join(FINISH_REASONS)}')
        solved = row.get("solved")
        if solved is not None and not isinstance(solved, bool):
            raise ValueError('"solved" must be true, false or null')
        return cls(
            trace_id=_string(row, "trace_id") or new_id(),
            problem_id=_string(row, "problem_id") or problem_id_of(row["prompt"]),
            prompt=row["prompt"],
            response=response,
            steps=tuple(steps),
            nodes=tuple(nodes),
            answer=_string(row, "answer"),
            finish_reason=reason,
            model=_string(row, "model"),
            format=_string(row, "format") or "steiner",
            sampling=_mapping(row, "sampling"),
            stats=_mapping(row, "stats"),
            created_at=_string(row, "created_at") or utc_now(),
            solved=solved,
            error=_string(row, "error"),
            origin=None if row.get("origin") is None else Origin.from_json(row["origin"]),
            earlier=None if row.get("earlier") is None else Earlier.from_json(row["earlier"]),
        )


def step_json(step: Step, node: Placed) -> dict[str, Any]:
    """One step with its place in the tree, flat."""
    return {**vars(step), **vars(node)}  # all plain values: `asdict` would copy each, ten times slower


def _string(row: dict[str, Any], key: str) -> str:
    value = row.get(key) or ""
    if not isinstance(value, str):
        raise ValueError(f'"{key}" must be a string, not {type(value).__name__}')
    return value


def _mapping(row: dict[str, Any], key: str) -> dict[str, Any]:
    value = row.get(key) or {}
    if not isinstance(value, dict):
        raise ValueError(f'"{key}" must be an object, not {type(value).__name__}')
    return value


def _read_step(i: int, s: Any, length: int, previous_end: int) -> Step:
    if not isinstance(s, dict):
        raise ValueError(f'"steps[{i}]" must be an object')
    start, end = s.get("start"), s.get("end")
    if type(start) is not int or type(end) is not int or not previous_end <= start <= end <= length:
        raise ValueError(
            f'"steps[{i}]" has start {start!r} and end {end!r}: they must lie in order within the response'
        )
    decision = s.get("decision")
    if decision is not None and decision not in DECISIONS:
        raise ValueError(f'"steps[{i}].decision" is {decision!r}; it must be one of {", ".join(DECISIONS)} or null')
    return Step(
        i, start, end, _string(s, "name"), _string(s, "thought"), _string(s, "summary"), _string(s, "reflection"),
        decision, bool(s.get("complete", True)),
    )  # fmt: skip


def _read_node(i: int, s: dict[str, Any]) -> Placed:
    def earlier(key: str, default: int | None) -> int | None:
        value = s.get(key, default)
        if value is not None and (type(value) is not int or not 0 <= value < i):
            raise ValueError(f'"steps[{i}].{key}" is {value!r}; it must be an earlier step or null')
        return value

    parent = earlier("parent", i - 1 if i else None)
    confidence = s.get("confidence")
    if confidence is not None and not (isinstance(confidence, int | float) and 0 <= confidence <= 1):
        raise ValueError(f'"steps[{i}].confidence" must be between 0 and 1 or null')
    is_backtrack = bool(s.get("is_backtrack", s.get("replaces") is not None))
    kind = _string(s, "kind")
    if kind and kind not in KINDS:
        raise ValueError(f'"steps[{i}].kind" is {kind!r}; it must be one of {", ".join(KINDS)} or absent')
    return Placed(parent, is_backtrack, earlier("resumes", None), earlier("replaces", None), confidence, kind)
