"""One question, one engine, one trace: text in, events out.

The loop knows neither screen nor store: it hands every event to `emit` and returns the finished trace. Whatever the engine
does (stop, stall, die in mid-step), the result is a valid trace with a stated finish reason.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from core.engines.base import OPENS_THINKING, Bounds, Engine, EngineError, GenerateRequest, Sampling, Thinking
from core.formats import choose, known
from core.formats.events import AnswerText, Decided, FieldText, ParserEvent, StepClosed, StepOpened, StreamParser
from core.tasks import solved
from core.trace import Placed, Problem, Step, Trace, new_id, step_json, utc_now
from core.tree import Tree, TreeBuilder, tree_for
from core.turns import Turns

STATS_EVERY_S = 0.25  # a counter that moves more often is not read

Emit = Callable[[dict[str, Any]], None]


class TraceReader:
    """Turns response text into run events and, at the end, into a `Trace`. Also rebuilds a run from a stored response."""

    def __init__(
        self, problem: Problem, model: str, trace_id: str | None = None, format: str | None = None, opened: bool = False
    ) -> None:
        self.problem, self.model = problem, model
        self.format = format and known(format)  # a name of `core.formats.FORMATS`; None: whatever the text begins like
        self.opened = opened  # the prompt has opened the thinking (`core.formats.choose`)
        self.trace_id = trace_id or new_id()
        self.created_at = utc_now()
        self.parser: StreamParser | None = None  # chosen by the first characters
        self._unread = ""
        self._tree: Tree | None = None
        self._text: list[str] = []

    @property
    def tree(self) -> Tree:
        """The tree of the steps so far; which builder depends on the format, so it is empty until that is known."""
        if self.parser is None:
            return TreeBuilder()
        if self._tree is None:
            self._tree = tree_for(self.parser.name, self.problem.prompt)
        return self._tree

    @property
    def backtracks(self) -> int:
        return sum(node.is_backtrack for node in self.tree.nodes)

    def feed(self, text: str) -> list[dict[str, Any]]:
        """Events of the next piece of text."""
        self._text.append(text)
        if self.parser is None:
            self._unread += text
            self.parser = choose(self._unread, name=self.format, opened=self.opened)
            if self.parser is None:
                return []
            text, self._unread = self._unread, ""
        return [self._event(e) for e in self.parser.feed(text)]

    def begin(self, prefix: str, cuts: Sequence[int] = ()) -> list[dict[str, Any]]:
        """Events of a text that was there before; at each of `cuts` (rising offsets into it) a step ends, whatever follows."""
        events, at = [], 0
        for cut in cuts:
            events += self.feed(prefix[at:cut])
            parser = self._decided_parser()
            unread, self._unread = self._unread, ""
            events += [self._event(e) for e in (*parser.feed(unread), *parser.cut())]
            at = cut
        return events + self.feed(prefix[at:])

    def close(self) -> list[dict[str, Any]]:
        """Events of what was still open when the text ended."""
        parser = self._decided_parser()
        unread, self._unread = self._unread, ""
        return [self._event(e) for e in (*parser.feed(unread), *parser.close())]

    def _decided_parser(self) -> StreamParser:
        if self.parser is None:
            self.parser = choose(self._unread, ended=True, name=self.format, opened=self.opened)
        assert self.parser is not None
        return self.parser

    def trace(self, finish_reason: str, *, sampling: dict[str, Any], stats: dict[str, Any], error: str = "") -> Trace:
        """The trace as it stands. A response without a single step becomes one step, so that nothing is lost."""
        response = "".join(self._text)
        parser = self._decided_parser()
        steps: list[Step] = parser.steps
        nodes: list[Placed] = self.tree.nodes
        form = parser.name
        if not steps and response:
            form, steps, nodes = "plain", [Step(0, 0, len(response), thought=response)], [Placed(None)]
        return Trace(
            trace_id=self.trace_id, problem_id=self.problem.problem_id, prompt=self.problem.prompt, response=response,
            steps=tuple(steps), nodes=tuple(nodes), answer=parser.answer, finish_reason=finish_reason,
            model=self.model, format=form, sampling=sampling, stats=stats, created_at=self.created_at,
            solved=solved(self.problem.prompt, steps), error=error,
        )  # fmt: skip

    def _event(self, event: ParserEvent) -> dict[str, Any]:
        match event:
            case StepOpened(index, entered_by):
                return {"type": "step_open", "index": index, **asdict(self.tree.open(entered_by))}
            case FieldText(index, field, text):
                return {"type": "step_delta", "index": index, "field": field, "text": text}
            case StepClosed(step):
                return {"type": "step_close", "step": step_json(step, self.tree.close(step))}
            case Decided(index, decision):
                return {"type": "decision", "index": index, "decision": decision}
            case AnswerText(text):
                return {"type": "answer_delta", "text": text}


async def run_trace(
    engine: Engine,
    problem: Problem,
    sampling: Sampling,
    bounds: Bounds,
    emit: Emit,
    *,
    trace_id: str,
    stop: asyncio.Event,
    thinking: Thinking = Thinking(),
    prefix: str = "",
    cuts: Sequence[int] = (),
    format: str | None = None,
    opened: bool = False,
    before: Turns = Turns(),
) -> Trace:
    """Ask, and emit `start`, `step_open`, `step_delta`, `step_close`, `decision`, `answer_delta`, `stats`.

    The caller emits `done` (see `done_event`) once the trace is where it should be kept. Setting `stop` ends the run
    with finish reason `cancelled`. Engine failures end it with `error` and a sentence; nothing raises.

    `prefix` is a response to go on with: it becomes the beginning of this trace, and the model writes on from exactly
    there; `cuts` are offsets into it at which a step ends, so that nothing written anew stands in a step that was there before.
    Where the response came from (`Chunk.about`) is kept under `sampling["server"]`; a seed that the engine drew
    takes the place of none; what could not be applied is in `stats["notes"]`. `before` are earlier turns
    of the conversation: the trace names them, and `stats["saved_prompt_tokens"]` says what giving them as summaries saved, None
    where the engine cannot count it; so are `stats["prompt_tokens"]` where nobody told them. `format` is a name of `core.formats.FORMATS`;
    None reads the response as it begins. A name is kept under `sampling["format"]`. `opened`: `prefix` was begun within a thought
    that its prompt had opened; of what is written anew the engine says so itself.
    """
    reader = TraceReader(problem, engine.model, trace_id, format, opened)
    settings = settings_of(sampling, bounds, thinking, prefix, format)
    notes: list[str] = []
    emit({
        "type": "start", "trace_id": trace_id, "prompt": problem.prompt, "model": engine.model,
        "sampling": asdict(sampling), "bounds": asdict(bounds),
        "earlier": before.earlier.to_json() if before.earlier else None,
    })  # fmt: skip
    started = time.perf_counter()
    first: float | None = None
    at_first = 0  # tokens of the first chunk: a late reader gets many in one, and saw them take no time
    last_stats = started
    generated, prompt_tokens, reason, error = 0, 0, "interrupted", ""
    saved: int | None = None

    def stats() -> dict[str, Any]:
        now = time.perf_counter()
        # Speed counts from the first token: waiting for the prompt is its own figure.
        busy = now - (first or now)
        return {
            "steps": len(reader.tree.nodes), "backtracks": reader.backtracks, "prompt_tokens": prompt_tokens or None,
            "generated_tokens": generated, "seconds": round(now - started, 3),
            "first_token_s": None if first is None else round(first - started, 3),
            "tokens_per_s": round((generated - at_first) / busy, 1) if generated > at_first and busy > 0 else None,
            **({"saved_prompt_tokens": saved} if before.turns else {}), **({"notes": notes} if notes else {}),
        }  # fmt: skip

    for event in reader.begin(prefix, cuts) if prefix else ():
        emit(event)
    stream = engine.stream(GenerateRequest(problem.prompt, sampling, bounds, thinking, prefix, before=before))

    async def read() -> str:
        """The finish reason; EngineError passes through."""
        nonlocal first, at_first, generated, last_stats, prompt_tokens, saved
        async for chunk in stream:
            if stop.is_set():
                return "cancelled"
            if chunk.about is not None:
                about = dict(chunk.about)
                notes.extend(n for n in about.pop("notes", ()) if n not in notes)
                settings["seed"] = about.pop("seed", settings["seed"])
                saved = about.pop("saved_prompt_tokens", saved)
                reader.opened = reader.opened or bool(about.get(OPENS_THINKING))
                settings["server"] = {**settings.get("server", {}), **about}
            prompt_tokens = chunk.prompt_tokens or prompt_tokens
            generated += chunk.tokens
            now = time.perf_counter()
            if chunk.tokens and first is None:
                first, at_first = now, chunk.tokens
            for event in reader.feed(chunk.text) if chunk.text else ():
                emit(event)
            if now - last_stats >= STATS_EVERY_S:
                last_stats = now
                emit({"type": "stats", **stats()})
            if chunk.finish_reason is not None:
                return chunk.finish_reason
        return "interrupted"

    # One task for the whole response, not one for each piece of it: at a thousand pieces a second that is what they cost.
    reading = asyncio.ensure_future(read())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        reason = await reading if reading.done() else "cancelled"
    except EngineError as failure:
        reason, error = "error", str(failure)
    except asyncio.CancelledError:
        reason = "interrupted"
    finally:
        stopping.cancel()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await stream.aclose()
    for event in reader.close():
        emit(event)
    trace = reader.trace(reason, sampling=settings, stats=stats(), error=error)
    return replace(trace, earlier=before.earlier)


def settings_of(
    sampling: Sampling, bounds: Bounds, thinking: Thinking, prefix: str, format: str | None = None
) -> dict[str, Any]:
    """What is kept as a trace's `sampling`, before the engine has said anything. format: one that was named."""
    settings: dict[str, Any] = {**asdict(sampling), **asdict(bounds)}
    if thinking != Thinking():
        settings["thinking"] = asdict(thinking)
    if format is not None:
        settings["format"] = format
    if prefix:
        settings["continued_from"] = len(prefix)  # characters of the response that were there before
    return settings


def with_about(known: Mapping[str, Any], said: Mapping[str, Any] | None) -> dict[str, Any]:
    """What an engine has said of itself so far (`Chunk.about`): the newest of each, and every note once."""
    notes = list(dict.fromkeys([*known.get("notes", ()), *(said or {}).get("notes", ())]))
    return {**known, **(said or {}), **({"notes": notes} if notes else {})}


def done_event(trace: Trace) -> dict[str, Any]:
    """The last event of a run."""
    return {
        "type": "done", "finish_reason": trace.finish_reason, "answer": trace.answer, "solved": trace.solved,
        "stats": trace.stats, "error": trace.error,
    }  # fmt: skip
