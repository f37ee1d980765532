"""Several servers of one model behind one engine: the same problem goes to the same server, a dead one is taken out.

Placement is rendezvous hashing (Thaler and Ravishankar 1998) of problem and server: each server's prefix cache sees all runs of
its problems, and when one goes, only its own problems move. A request that has not produced text yet goes on to the next
server; one that broke off in mid-answer does not, since another server would answer anew. Knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from core.engines.base import Chunk, Engine, EngineBusy, EngineDown, GenerateRequest, takes_schema
from core.engines.sampling import Marks, ModelSize, Sampled, Sampler, SampleRequest, sampler_of
from core.trace import problem_id_of

T = TypeVar("T")
# A server that fails is left alone for so long, twice as long after each further failure.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
MOST_ASKED_S = 3600.0  # a server that asks to be left alone is, but not for ever


@dataclass
class _Out:
    """A server that failed: when to try it again, and how long the pause was."""

    until: float
    pause: float


class EnginePool:
    """`members` by name (an address). All serve the same model."""

    def __init__(self, members: Mapping[str, Engine], clock: Callable[[], float] = time.monotonic) -> None:
        if not members:
            raise ValueError("a pool needs at least one server")
        self.model = next(iter(members.values())).model
        self.members = dict(members)
        self._clock = clock
        self._out: dict[str, _Out] = {}

    @property
    def takes_schema(self) -> bool:
        return all(takes_schema(member) for member in self.members.values())

    def order(self, prompt: str) -> list[str]:
        """The servers for a question, the best first; those that are out come last, the soonest to return first."""
        problem, now = problem_id_of(prompt), self._clock()

        def rank(name: str) -> tuple[float, bytes]:
            out = self._out.get(name)
            pause = max(0.0, out.until - now) if out else 0.0
            return pause, hashlib.sha256(f"{name}\n{problem}".encode()).digest()

        return sorted(self.members, key=rank)

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        failures: list[str] = []
        # All turns of a conversation go where its first question went: that server's cache holds what came before.
        for name in self.order(request.messages[0]["content"]):
            held: list[Chunk] | None = []  # what comes before any text: only the server that answers is spoken of
            inner = self.members[name].stream(request)
            try:
                async for chunk in inner:
                    if held is None:
                        yield chunk
                        continue
                    held.append(chunk)
                    if chunk.text or chunk.finish_reason is not None:
                        self._out.pop(name, None)
                        early, held = held, None
                        for kept in early:
                            yield kept
                for kept in held or ():
                    yield kept
                return
            except EngineDown as failure:
                self._take_out(name, failure)
                if held is None:
                    raise
                failures.append(str(failure))
            finally:
                await inner.aclose()
        raise EngineDown(f"None of the {len(self.members)} servers of {self.model} answered. " + " ".join(failures))

    async def sample(self, request: SampleRequest) -> Sampled:
        """Continuations for a search, from the server that has the question's others."""
        name, found = await self._asked(request.prompt, lambda member: member.sample(request))
        self._out.pop(name, None)
        return found

    async def marks(self) -> Marks:
        return (await self._asked("", lambda member: member.marks()))[1]

    async def size(self) -> ModelSize | None:
        return (await self._asked("", lambda member: member.size()))[1]

    async def _asked(self, prompt: str, ask: Callable[[Sampler], Awaitable[T]]) -> tuple[str, T]:
        """What the best server for a question says that is up, and its name."""
        failures: list[str] = []
        for name in self.order(prompt):
            try:
                return name, await ask(sampler_of(self.members[name]))
            except EngineDown as failure:
                self._take_out(name, failure)
                failures.append(str(failure))
        raise EngineDown(f"None of the {len(self.members)} servers of {self.model} answered. " + " ".join(failures))

    async def close(self) -> None:
        for member in self.members.values():
            await member.close()

    def add(self, name: str, member: Engine) -> None:
        """One more server of the same model; one of that name is replaced, and its pause forgotten."""
        self.members[name] = member
        self._out.pop(name, None)

    def _take_out(self, name: str, failure: EngineDown) -> None:
        before = self._out.get(name)
        if before and self._clock() < before.until:
            return  # many requests fail at once when a server goes: that is one failure
        pause = min(LONGEST_PAUSE_S, before.pause * 2) if before else FIRST_PAUSE_S
        asked = failure.wait_s if isinstance(failure, EngineBusy) else None
        self._out[name] = _Out(self._clock() + max(pause, min(asked or 0.0, MOST_ASKED_S)), pause)
