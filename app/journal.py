"""The journal of a run: what the model printed and what was shown of it, line by line, on disk before anybody sees it.

One JSONL file a run: `{"run": …}` first, then `{"raw", "tokens"}` (text from the engine) and `{"event": …}` as they
come, `{"outcome": …}` when the model is done, `{"end": true}` when the trace is in the store. A file without its end
belongs to a run that was cut; the last line may be torn. Knows nothing of the store or of the network.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from core.run import with_about

log = logging.getLogger("worldline.journal")

# Made once: `json.dumps` with separators makes another for every line.
_dumps = json.JSONEncoder(separators=(",", ":")).encode


class Journal:
    """Appends to the file of one run. A disk that fails costs the journal, not the run."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self._lines: list[str] = []
        self._file: TextIO | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("x", encoding="utf-8", newline="\n")
        except OSError as error:
            log.error("%s cannot be written (%s): this run cannot be recovered if the server is killed", path, error)
        self._add({"run": header})
        self.flush()

    def raw(self, text: str, tokens: int, prompt_tokens: int, about: Mapping[str, Any] | None = None) -> None:
        """Text as it came from the engine, and where it came from. Call it before the events made from that text."""
        row: dict[str, Any] = {"raw": text, "tokens": tokens}
        if prompt_tokens:
            row["prompt_tokens"] = prompt_tokens
        if about:
            row["about"] = dict(about)
        self._add(row)

    def event(self, event: dict[str, Any]) -> None:
        """A numbered event."""
        self._add({"event": event})

    def outcome(self, outcome: dict[str, Any]) -> None:
        """How the run ended; written before the trace is stored."""
        self._add({"outcome": outcome})
        self.flush()

    def end(self) -> None:
        """The trace is stored and `done` was recorded: nothing is left to recover."""
        self._add({"end": True})
        self.close()

    def flush(self) -> None:
        """Hand the lines to the operating system: from here on they survive the death of this process."""
        if not self._lines or self._file is None:
            return
        text, self._lines = "".join(self._lines), []
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            log.error("%s cannot be written any more (%s)", self.path, error)
            self._file = None

    def close(self) -> None:
        """Flush and let go of the file."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _add(self, row: dict[str, Any]) -> None:
        if self._file is not None:
            self._lines.append(_dumps(row) + "\n")


@dataclass
class Recorded:
    """What a journal holds, up to its last whole line."""

    header: dict[str, Any]
    events: list[dict[str, Any]] = field(default_factory=list)
    raw: str = ""
    tokens: int = 0
    prompt_tokens: int = 0
    about: dict[str, Any] = field(default_factory=dict)
    outcome: dict[str, Any] | None = None
    ended: bool = False


def read(path: Path) -> Recorded | None:
    """Read a journal back; None if not even its first line is whole."""
    recorded: Recorded | None = None
    raw: list[str] = []
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            try:
                row = json.loads(line) if line.endswith("\n") else None
            except ValueError:
                row = None
            if not isinstance(row, dict):
                break  # torn: nothing after it can be trusted
            if recorded is None:
                if not isinstance(row.get("run"), dict):
                    return None
                recorded = Recorded(row["run"])
            elif "raw" in row:
                raw.append(row["raw"])
                recorded.tokens += row["tokens"]
                recorded.prompt_tokens = max(recorded.prompt_tokens, row.get("prompt_tokens", 0))
                recorded.about = with_about(recorded.about, row.get("about"))
            elif "event" in row:
                recorded.events.append(row["event"])
            elif "outcome" in row:
                recorded.outcome = row["outcome"]
            elif "end" in row:
                recorded.ended = True
    if recorded is not None:
        recorded.raw = "".join(raw)
    return recorded


def append_after_crash(path: Path, recorded: Recorded, events: list[dict[str, Any]]) -> None:
    """Complete the journal of a run that was cut: the same lines again (without a torn one), the rest, the end."""
    rows: list[dict[str, Any]] = [{"run": recorded.header}, {"raw": recorded.raw, "tokens": recorded.tokens}]
    rows += [{"event": event} for event in (*recorded.events, *events)]
    rows += [{"outcome": recorded.outcome}] if recorded.outcome else []
    rows.append({"end": True})
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(_dumps(row) + "\n")
    fresh.replace(path)
