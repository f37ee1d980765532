"""Refinements in the background: a connected model labels the steps of a trace, window by window.

The work belongs to the server: pages come and go. When it ends, in whatever way, what was labelled until then is stored beside
the trace; only a server that is killed loses the work under way. Knows nothing of HTTP. All of it belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.models import ModelEntry
from core import refine
from core.engines.base import Engine, EngineDown, EngineError, GenerateRequest, Sampling
from core.trace import Placed, Trace, new_id
from storage.refinements import Refinement

if TYPE_CHECKING:
    from storage.store import Store

log = logging.getLogger("worldline.refining")

MAX_RUNNING = 8
# Tokens for models that think before they answer; given up first where a server says that the request is too long.
THINKING_ROOM = 4096
# So many answers without one usable row show that the model cannot do it.
FRUITLESS = 3
TOO_LONG = (400, 413, 422)  # what servers answer to a request beyond their context
KEPT_FAILURES = 50
STOP_PATIENCE_S = 10.0


class CannotRefine(ValueError):
    """It cannot be begun; the message is a sentence. `busy`: not now."""

    def __init__(self, message: str, *, busy: bool = False) -> None:
        super().__init__(message)
        self.busy = busy


@dataclass(eq=False)
class Work:
    """One refinement while it is made."""

    trace: Trace
    model: str
    refinement_id: str = field(default_factory=new_id)
    state: str = "running"  # then done, stopped, interrupted (the server ended) or failed
    error: str = ""
    labels: dict[int, Placed] = field(default_factory=dict)
    asked: int = 0  # steps whose window was answered
    changed: int = 0  # steps of which it says something else than was inferred
    refused: int = 0  # steps whose row could not be taken
    calls: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    notes: list[str] = field(default_factory=list)
    server: dict[str, Any] = field(default_factory=dict)
    ending: str = ""  # the state that it is being ended with
    began: float = field(default_factory=time.perf_counter)
    ended: float | None = None
    task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self.state == "running"

    def refinement(self, state: str = "", error: str = "") -> Refinement:
        """As it stands (or as it ends), in the form in which it is stored."""
        stats = {
            "state": state or self.state, "error": error or self.error, "steps": len(self.trace.steps), "asked": self.asked,
            "labelled": len(self.labels), "changed": self.changed, "refused": self.refused,
            "missing": self.asked - len(self.labels) - self.refused, "calls": self.calls,
            "prompt_tokens": self.prompt_tokens, "generated_tokens": self.generated_tokens,
            "seconds": round((self.ended or time.perf_counter()) - self.began, 1), "temperature": 0.0,
            "notes": self.notes, "server": self.server,
        }  # fmt: skip
        return Refinement(
            self.refinement_id, self.trace.trace_id, self.trace.segmentation_id, self.model, dict(self.labels), stats
        )


class Refining:
    """Begins, holds and ends the work."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._works: dict[str, Work] = {}  # under way, and what failed without a label: that is not stored
        self._closing = False

    async def close(self) -> None:
        """End all work and keep what there is."""
        self._closing = True
        await asyncio.gather(*(self.stop(work, "interrupted") for work in list(self._works.values())))

    def start(self, trace: Trace, model: ModelEntry) -> Work:
        """Begin. Raises CannotRefine."""
        if not model.refines:
            raise CannotRefine(
                f"The model {model.name} plays the numbers game only and cannot label steps; connect one that can: "
                "worldline --endpoint http://127.0.0.1:8000/v1"
            )
        if not trace.steps:
            raise CannotRefine("This trace has no steps, so there is nothing to label.")
        running = [work for work in self._works.values() if work.running]
        if any(w.trace.trace_id == trace.trace_id and w.model == model.id for w in running):
            raise CannotRefine(f"{model.name} is labelling this trace already; stop it first to begin anew.", busy=True)
        if self._closing or len(running) >= MAX_RUNNING:
            raise CannotRefine(f"{len(running)} refinements are under way; try again when one has ended.", busy=True)
        work = Work(trace, model.id)
        self._works[work.refinement_id] = work
        work.task = asyncio.create_task(self._drive(work, model.engine), name=f"refine-{work.refinement_id}")
        self._forget_old()
        return work

    def get(self, refinement_id: str) -> Work | None:
        """What is under way, or failed without a label."""
        return self._works.get(refinement_id)

    def of(self, trace_id: str) -> list[Work]:
        """The same for a trace, newest first."""
        return [w for w in reversed(self._works.values()) if w.trace.trace_id == trace_id]

    async def stop(self, work: Work, state: str = "stopped") -> None:
        """End it now and keep what there is."""
        if work.task is not None and not work.task.done():
            if not work.ending:
                work.ending = state
                work.task.cancel()
            await asyncio.wait({work.task}, timeout=STOP_PATIENCE_S)

    # ---- inside

    async def _drive(self, work: Work, engine: Engine) -> None:
        state, error = "done", ""
        try:
            await self._label(work, engine)
        except asyncio.CancelledError:
            state = work.ending or "interrupted"
        except EngineError as failure:
            state, error = "failed", str(failure)
        except Exception as failure:
            log.exception("the refinement of %s by %s failed", work.trace.trace_id, work.model)
            state, error = "failed", f"Worldline itself failed at it ({failure}); the server's log says where."
        work.ended = time.perf_counter()
        if work.labels:
            try:
                await asyncio.wrap_future(self._store.add_refinement(work.refinement(state, error)))
            except Exception as failure:
                log.exception("the refinement of %s by %s could not be stored", work.trace.trace_id, work.model)
                state, error = "failed", f"It could not be stored: {failure}"
            else:
                del self._works[work.refinement_id]
        elif state != "failed":
            del self._works[work.refinement_id]  # stopped before the first answer: nothing to keep, nothing to say
        work.state, work.error = state, error  # last: what is seen to have ended is stored

    async def _label(self, work: Work, engine: Engine) -> None:
        """Ask for all steps. Raises EngineError."""
        n, size, room, answer = len(work.trace.steps), refine.WINDOW, THINKING_ROOM, ""
        while work.asked < n:
            window = range(work.asked, min(n, work.asked + size))
            tree = await asyncio.to_thread(refine.refined, work.trace.nodes, work.labels)
            try:
                answer = await self._ask(work, engine, tree, window, room)
            except EngineDown:
                raise
            except EngineError as error:
                if error.status not in TOO_LONG or (size == 1 and not room):
                    raise
                # Perhaps too much for its context: ask for less, from now on.
                size, room = (size, 0) if room else (size // 2, 0)
                continue
            found = await asyncio.to_thread(refine.read_answer, answer, tree, window)
            work.labels |= found.labels
            work.changed += sum(bool(c["fields"]) for c in refine.changes(work.trace.nodes, found.labels))
            work.refused += len(found.refused)
            work.asked = window.stop
            if not work.labels and (work.calls >= FRUITLESS or work.asked == n):
                begins = " ".join(answer.split())[:200]
                raise EngineError(
                    f"{work.model} did not answer in the form that was asked for"
                    + (f"; its last answer begins: {begins}" if begins else ": its last answer was empty")
                )

    async def _ask(self, work: Work, engine: Engine, tree: list[Placed], window: range, room: int) -> str:
        """One answer as text, whole or cut off at its length."""
        question = await asyncio.to_thread(refine.question, work.trace, tree, window)
        sampling = Sampling(temperature=0.0, max_tokens=refine.tokens_for(window) + room)
        request = GenerateRequest(question, sampling, schema=refine.schema(window))
        work.calls += 1
        text: list[str] = []
        prompt_tokens = 0
        async with aclosing(engine.stream(request)) as chunks:
            async for chunk in chunks:
                text.append(chunk.text)
                work.generated_tokens += chunk.tokens
                prompt_tokens = chunk.prompt_tokens or prompt_tokens
                if chunk.about is not None:
                    about = dict(chunk.about)
                    work.notes += [note for note in about.pop("notes", ()) if note not in work.notes]
                    work.server |= about
        work.prompt_tokens += prompt_tokens
        return "".join(text)

    def _forget_old(self) -> None:
        failed = [key for key, work in self._works.items() if not work.running]
        for key in failed[: max(0, len(failed) - KEPT_FAILURES)]:
            del self._works[key]
