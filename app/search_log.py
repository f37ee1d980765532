"""The log of a search: JSON lines on disk before anybody is shown what they say, from which `core.search.search.replay` goes on.

The first line (`start`) holds everything that is needed to go on: problem, strategy, models, scorer, limits, budget, who asked.
A line that was being written when the server was killed is torn; it is left out, and cut off before more is written. Knows
neither engines nor the store.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

log = logging.getLogger("worldline.searches")

Event = dict[str, Any]
TAIL_BYTES = 1 << 16  # a last line has the votes, and is rarely longer
# Made once: `json.dumps` with separators makes another for every line.
_dumps = json.JSONEncoder(separators=(",", ":")).encode


class SearchLog:
    """Appends to one file. A disk that fails costs the log, not the search."""

    def __init__(self, path: Path, *, first: Event | None = None) -> None:
        """Begin a log with its first line; without one, go on after the last whole line of what is there."""
        self.path = path
        self._file: TextIO | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if first is None:
                _cut_torn(path)
            self._file = path.open("a" if first is None else "x", encoding="utf-8", newline="\n")
        except OSError as error:
            log.error("%s cannot be written (%s): this search cannot go on if the server is killed", path, error)
        if first is not None:
            self.add(first)

    def add(self, event: Event) -> None:
        """One line; from here on it survives the death of this process."""
        if self._file is None:
            return
        try:
            self._file.write(_dumps(event) + "\n")
            self._file.flush()
        except OSError as error:
            log.error("%s cannot be written any more (%s)", self.path, error)
            self._file = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _cut_torn(path: Path) -> None:
    """Whatever follows the last line break was being written when the process died."""
    with path.open("r+b") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)


def lines(path: Path) -> Iterator[Event]:
    """The whole lines of a log; a torn one, and what follows it, is left out. Raises OSError."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            try:
                row = json.loads(line) if line.endswith("\n") else None
            except ValueError:
                row = None
            if not isinstance(row, dict) or not isinstance(row.get("type"), str):
                return
            yield row


def last_ledger(path: Path) -> Event | None:
    """What a search had spent, by the last line of its log; None where that is not its end, or is not there."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            row = json.loads(file.read().rstrip(b"\n").rpartition(b"\n")[2])
        return dict(row["ledger"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class LogFile:
    """Where the log of a search lies; evaluation: it belongs to one, and is written by whoever runs that."""

    path: Path
    evaluation: str = ""


def find(data_dir: Path, search_id: str) -> LogFile | None:
    """The log of a search of the Solve page, or of an evaluation (`evals/ID/searches/`)."""
    # Ids are letters and digits; anything else is not a name of ours and must not become a path.
    if not (search_id.isascii() and search_id.isalnum()):
        return None
    own = data_dir / "searches" / f"{search_id}.jsonl"
    if own.is_file():
        return LogFile(own)
    for path in (data_dir / "evals").glob(f"*/searches/{search_id}.jsonl"):
        return LogFile(path, path.parent.parent.name)
    return None
