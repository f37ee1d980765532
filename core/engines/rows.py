"""What the local engine decodes: a row a sequence, a reader's stream or one of the continuations that a search asked for.

Each says where its tokens go and when it is to leave the batch. Knows no model and no cache.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from random import Random
from typing import Any

from core.control.bounds import FREE, Constraint, StepBounds
from core.control.thinking import ThinkingControl
from core.engines.base import Chunk, EngineError, GenerateRequest, Sampling
from core.engines.sampling import PieceEnd, Sample, Sampled, SampleRequest


@dataclass
class Row:
    """A sequence in the batch: its place is its index in `_Loop.rows`. What is said of it goes to `said`."""

    sampling: Sampling
    cancelled: threading.Event
    length: int = 0  # tokens whose keys are in the cache
    last: int = 0
    made: int = 0
    random: Random = field(default_factory=Random)
    bounds: StepBounds | None = None
    thinking: ThinkingControl | None = None
    decoder: Any = None

    def constraint(self) -> Constraint:
        """The thinking budget wins over the bounds, as it does in vLLM."""
        thinking = self.thinking.next() if self.thinking else FREE
        if thinking.force is not None or self.bounds is None:
            return thinking
        return self.bounds.next()

    def instead_of(self, token: int) -> int:
        """What to write when `token` was drawn. An end that the maximum of steps forces is not taken back, as it is not on a server."""
        if self.thinking is None or (self.bounds is not None and self.bounds.next().force is not None):
            return token
        return self.thinking.instead_of(token)

    @property
    def forced_end(self) -> bool:
        return self.bounds is not None and self.bounds.forced_end

    def said(self, token: int, text: str, end: PieceEnd | None) -> bool:
        """A token was written; True when the row is to leave the batch."""
        raise NotImplementedError

    def fail(self, error: EngineError) -> None:
        raise NotImplementedError


@dataclass
class Stream(Row):
    """A reader's request: every token is sent as it comes."""

    request: GenerateRequest = field(kw_only=True)
    loop: asyncio.AbstractEventLoop = field(kw_only=True)
    out: asyncio.Queue[Chunk | EngineError] = field(kw_only=True)

    def said(self, token: int, text: str, end: PieceEnd | None) -> bool:
        reason = None
        if end == "eos":
            reason = "step_limit" if self.forced_end else "stop"
        elif end == "length":
            reason = "length"
        self.send(Chunk(text, 1, finish_reason=reason))
        return end is not None

    def fail(self, error: EngineError) -> None:
        self.send(error)

    def send(self, item: Chunk | EngineError) -> None:
        try:
            self.loop.call_soon_threadsafe(self.out.put_nowait, item)
        except RuntimeError:  # the asking event loop is gone: nobody listens any more
            self.cancelled.set()


@dataclass
class Group:
    """A search's request: its pieces are handed over together."""

    request: SampleRequest
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Sampled]
    cancelled: threading.Event = field(default_factory=threading.Event)
    begun: bool = False  # what is cancelled after it was begun still says what it came to
    pieces: list[Piece] = field(default_factory=list)
    prompt: tuple[int, ...] = ()  # ids of the question and of what was written
    cached: int = 0
    left: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> bool:
        """For the engine: whether there is something to do."""
        with self._lock:
            self.begun = not self.cancelled.is_set()
            return self.begun

    def cancel(self) -> bool:
        """Whether it had been begun."""
        with self._lock:
            self.cancelled.set()
            return self.begun

    def finish(self) -> None:
        """The last piece has ended, or those that are left are cut where they stand."""
        samples = tuple(
            Sample(p.before + "".join(p.text), tuple(p.ids), p.end or "length", p.made) for p in self.pieces
        )
        self._tell(lambda: self.done.set_result(Sampled(samples, len(self.prompt), self.cached)))

    def fail(self, error: EngineError) -> None:
        self._tell(lambda: self.done.set_exception(error))

    def _tell(self, what: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(lambda: None if self.done.done() else what())
        except RuntimeError:
            self.cancelled.set()


@dataclass
class Piece(Row):
    """One continuation of a group."""

    group: Group = field(kw_only=True)
    before: str = ""  # text that was put in first
    ids: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    tail: str = ""
    end: PieceEnd | None = None

    def said(self, token: int, text: str, end: PieceEnd | None) -> bool:
        self.ids.append(token)
        self.text.append(text)
        stops = self.group.request.stop
        if end != "eos" and stops and text:  # a mark that came with the last token is a whole step
            self.tail = (self.tail + text)[-len(text) - max(map(len, stops)) :]
            if any(stop in self.tail for stop in stops):
                end = "step"
                if not self.group.request.keep_stop:
                    self.ids.pop()
                    self.text.pop()
        if end is None:
            return False
        self.end = end
        self.group.left -= 1
        if not self.group.left:
            self.group.finish()
        return True

    def fail(self, error: EngineError) -> None:
        self.group.fail(error)
