"""Server-sent events with JSON data, read in lots: all that one read of the connection brought, together.

The OpenAI client reads one event at a time through four layers of generators and decodes each twice; at a thousand tokens a
second that was half of what Worldline costs. Format: https://html.spec.whatwg.org/multipage/server-sent-events.html.
Knows nothing of models or of HTTP: bytes in, objects out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

DONE = b"[DONE]"  # how the OpenAI protocol ends a stream; no JSON


class Events:
    """`feed` bytes however they were cut, get the data of the events that are whole. `done` once the end was said."""

    def __init__(self) -> None:
        self.done = False
        self._rest = b""  # a line whose end has not come
        self._data: list[bytes] = []  # of the event whose end has not come

    def feed(self, piece: bytes) -> Iterator[Any]:
        """Raises ValueError where data is not JSON."""
        lines = (self._rest + piece).splitlines(keepends=True)
        # A line that ends in a lone CR may be half of a CR LF.
        self._rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        for line in lines:
            line = line.rstrip(b"\r\n")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                data, self._data = b"\n".join(self._data), []
                if data.startswith(DONE):
                    self.done = True
                    return
                yield json.loads(data)

    def close(self) -> Iterator[Any]:
        """The connection has ended: a last event may lack its blank line."""
        if not self.done:
            yield from self.feed(b"\n\n")


class Swap:
    """Puts another text in the place of the first `find`, in a stream cut anywhere."""

    def __init__(self, find: str, put: str) -> None:
        self._find, self._put = find, put
        self._held = ""
        self._done = False

    def feed(self, text: str) -> str:
        if self._done:
            return text
        text, self._held = self._held + text, ""
        before, found, after = text.partition(self._find)
        if found:
            self._done = True
            return before + self._put + after
        for n in range(min(len(text), len(self._find) - 1), 0, -1):
            if text.endswith(self._find[:n]):
                self._held = text[-n:]
                return text[:-n]
        return text

    def close(self) -> str:
        """What was held back, since it might have become the text that is looked for."""
        held, self._held = self._held, ""
        return held
