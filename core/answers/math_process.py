"""Asks `math_child` which of the known answers a new one equals: one process for all, started when needed, started again when it hangs.

Safe to call from any thread. Knows no problem.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Of the child's own processor time, for one comparison. The slowest of MATH-500's answers takes 0.5 s to read on a slow core.
SECONDS = 2.0
# By the clock, for one question: only what neither works nor ends comes to this.
PATIENCE_S = 20.0
START_S = 120.0


@dataclass(frozen=True)
class Compared:
    """equal: the index of the first known answer that equals the new one, None for none. readable: it is mathematics. hung: it could
    not be compared within the limits, and should not be tried again."""

    equal: int | None = None
    readable: bool = False
    hung: bool = False


class _Child:
    """One running process; `ask` returns None when it ended or hung."""

    def __init__(self) -> None:
        # -P: this folder holds files that are named like modules of the standard library.
        keep = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")}
        self.pid = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("math_child.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=keep | {"PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        if self._line(START_S) is None:
            self.close()
            raise RuntimeError(
                "math-verify, which compares mathematical answers, cannot be started: install it anew with worldline."
            )

    def ask(self, job: dict[str, object]) -> dict[str, object] | None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            return None
        line = self._line(PATIENCE_S)
        return None if line is None else json.loads(line)

    def close(self) -> None:
        if self.pid != os.getpid():
            return  # a fork of ours: the process belongs to the parent
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _line(self, seconds: float) -> bytes | None:
        assert self.process.stdout is not None
        out, ends, got = self.process.stdout.fileno(), time.monotonic() + seconds, b""
        while not got.endswith(b"\n"):
            ready, _, _ = select.select([out], [], [], max(0.0, ends - time.monotonic()))
            piece = os.read(out, 65536) if ready else b""
            if not piece:
                return None
            got += piece
        return got


_lock = threading.Lock()
_child: _Child | None = None


def compare(new: str, known: Sequence[str]) -> Compared:
    """Which of the known answers the new one equals, by math-verify; both are LaTeX or plain expressions without dollar signs."""
    global _child
    with _lock:
        if _child is not None and _child.pid != os.getpid():
            _child = None
        if _child is None:
            _child = _Child()
        said = _child.ask({"new": new, "known": list(known), "seconds": SECONDS})
        if said is None:
            _child.close()
            _child = None
            return Compared(hung=True)
    at = said["equal"]
    assert isinstance(at, int)
    return Compared(at if at >= 0 else None, bool(said["readable"]))


def close() -> None:
    """End the process, if there is one; the next question starts another."""
    global _child
    with _lock:
        if _child is not None:
            _child.close()
            _child = None


atexit.register(close)
