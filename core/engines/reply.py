"""One streamed reply of a server, read: bytes in, chunks of text out, and how it ended. Knows no request.

Where many replies are read at once, each of them is looked at a few times a second, and what came in between is one chunk: a look
costs the same whatever it brings, and all that follows (the journal, the events, the readers of the page) is done once a chunk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from core.control.thinking import Markers
from core.engines.base import Chunk, EngineDown, EngineError
from core.engines.rendered import OllamaEvents
from core.engines.sse import Events

DRAIN_S = 1.0  # the end of a reply, after its last event
FEW, LOOK_OF_EACH_S = 32, 0.0015  # more replies than so many are looked at in turn: of 64, each ten times a second
_reading = 0  # replies that are read now


class Broken(Exception):
    """The connection was lost while a reply was read."""


@dataclass
class Reply:
    """What a reply said beside its text: its reason to end, and the stop string that it met."""

    markers: Markers
    finish: str | None = None
    stopped_at: Any = None
    told: dict[str, Any] = field(default_factory=dict)  # which build of which model answered, where the reply says so
    thinking: bool = False  # the newest text was reasoning
    counted: int = 0
    usage: bool = False  # the server has said how many tokens there are

    def add(self, event: Any) -> tuple[str, int, int]:
        """Text, tokens and prompt tokens of one event. Raises EngineDown for an error that the server tells."""
        if event.get("error"):
            told = event["error"]
            raise EngineDown(
                f"The server failed in mid-answer: {told.get('message', told) if isinstance(told, dict) else told}"
            )
        usage, text = event.get("usage"), ""
        for key, name in (("model", "answered_by"), ("system_fingerprint", "system_fingerprint")):
            if isinstance(event.get(key), str) and event[key]:
                self.told.setdefault(name, event[key])
        for choice in event.get("choices") or ():
            delta = choice.get("delta")
            if delta is None:
                text += choice.get("text") or ""
            else:
                reasoning = delta.get("reasoning") or delta.get("reasoning_content") or ""
                content = delta.get("content") or ""
                if reasoning:
                    text += reasoning if self.thinking else self.markers.before + reasoning
                    self.thinking = True
                if content:
                    text += self.markers.end + content if self.thinking else content
                    self.thinking = False
            self.finish = choice.get("finish_reason") or self.finish
            self.stopped_at = choice.get("stop_reason") or self.stopped_at
        tokens, prompt_tokens = (1 if text else 0), 0
        if usage is not None:
            self.usage = True
            tokens = max(0, (usage.get("completion_tokens") or 0) - self.counted)
            prompt_tokens = usage.get("prompt_tokens") or 0
        self.counted += tokens
        return text, tokens, prompt_tokens


async def read(
    response: Any, events: Events | OllamaEvents, reply: Reply, first_token_s: float, silence_s: float
) -> AsyncGenerator[Chunk, None]:
    """Chunks of one reply, of any route; what came together is one chunk.

    Raises TimeoutError after so many seconds without anything, Broken, EngineDown, and ValueError, TypeError or AttributeError
    for what is no reply.
    """
    global _reading
    pieces = response.aiter_bytes()
    wait = first_token_s
    ended = False
    _reading += 1
    try:
        while not ended:
            async with asyncio.timeout(wait):
                data = await _next(pieces)
            looked_at = time.monotonic()
            text, tokens, prompt_tokens, broken = "", 0, 0, None
            try:
                for event in events.close() if data is None else events.feed(data):
                    more, counted, asked = reply.add(event)
                    text += more
                    tokens += counted
                    prompt_tokens = asked or prompt_tokens
            except (EngineError, ValueError, TypeError, AttributeError) as error:
                broken = error  # what came before it is still said
            if text:
                wait = silence_s
            if text or tokens or prompt_tokens:
                yield Chunk(text, tokens, prompt_tokens=prompt_tokens)
            if broken is not None:
                raise broken
            ended = data is None or events.done
            if not ended and _reading > FEW:
                await asyncio.sleep(max(0.0, LOOK_OF_EACH_S * _reading - (time.monotonic() - looked_at)))
        with suppress(TimeoutError, Broken):  # read to its end, a connection can be used again
            async with asyncio.timeout(DRAIN_S):
                await _next(pieces)
    finally:
        _reading -= 1
        await response.aclose()


async def _next(pieces: Any) -> bytes | None:
    """The next bytes, None at the end. Raises Broken: which errors those are depends on what carries the client."""
    try:
        data: bytes | None = await anext(pieces, None)
        return data
    except Exception as error:
        why = str(error).partition(": <")[0]  # aiohttp adds the error that it would have answered itself
        raise Broken(why or type(error).__name__) from error
