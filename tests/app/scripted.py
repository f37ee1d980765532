"""An engine that plays a script: real Steiner text of the numbers game, in pieces, at a pace that a test controls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from core.engines.base import Chunk, EngineError, GenerateRequest
from core.formats.steiner_tokens import STEP_START
from training.synthesis import countdown as synthesis


def long_walk() -> synthesis.Walk:
    """A written search with backtracks and an answer, the same every time."""
    for walk in synthesis.walks(7):
        if 12 <= len(walk.steps) <= 16 and walk.path and any(s.decision == "backtrack" for s in walk.steps):
            return walk
    raise AssertionError("the synthesis yields walks for ever")


WALK = long_walk()


class ScriptedEngine:
    """Streams `text` in pieces of `size` characters.

    gate: when given, one piece for every `release()`; without, as fast as it is read. fail_after: raise after so
    many pieces.
    """

    def __init__(
        self,
        text: str = WALK.response,
        *,
        size: int = 7,
        gated: bool = False,
        fail_after: int | None = None,
        error: Exception | None = None,
        model: str = "scripted",
    ) -> None:
        self.model = model
        self.text, self.size = text, size
        self.gate = asyncio.Semaphore(0) if gated else None
        self.fail_after, self.error = fail_after, error or EngineError("The scripted engine was told to fail.")
        self.asked: list[GenerateRequest] = []
        self.closed_streams = 0

    def release(self, pieces: int = 1) -> None:
        """Let so many more pieces through."""
        assert self.gate is not None
        for _ in range(pieces):
            self.gate.release()

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        self.asked.append(request)
        try:
            yield Chunk("", 0, prompt_tokens=9)
            # A prefix of the script is gone on with; after any other beginning the script's last step and answer follow.
            text = self.text.removeprefix(request.prefix) if request.prefix else self.text
            if request.prefix and text == self.text:
                text = self.text[self.text.rindex(STEP_START) :]
            pieces = [text[i : i + self.size] for i in range(0, len(text), self.size)]
            for number, piece in enumerate(pieces):
                if self.fail_after is not None and number >= self.fail_after:
                    raise self.error
                if self.gate is not None:
                    await self.gate.acquire()
                else:
                    await asyncio.sleep(0)
                yield Chunk(piece, 1)
            yield Chunk("", 1, finish_reason="stop")
        finally:
            self.closed_streams += 1

    async def close(self) -> None:
        return None
