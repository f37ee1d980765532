"""Runs a program that nobody trusts: little time, little memory, no network, no other process, no file but in a folder of its own.

What holds it is in `sandbox_child`; here it is started, watched by the clock and cleaned up after. Safe in any thread. Knows no problem.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

CHILD = Path(__file__).with_name("sandbox_child.py")
Ended = Literal["exit", "time", "memory", "output", "killed"]


@dataclass(frozen=True)
class Limits:
    """cpu: seconds of processor time, by which a program is judged, so that a busy machine is no excuse. memory: bytes of address
    space (Python itself takes 20 MB). file: bytes of one file, and of the output. disk: bytes in the folder, where a file system of
    its own is permitted."""

    cpu: float = 5.0
    memory: int = 1 << 30
    file: int = 8 << 20
    disk: int = 64 << 20

    @property
    def clock(self) -> float:
        """Seconds by the clock, for what sleeps: the processor may be shared by many."""
        return 3 * self.cpu + 5


@dataclass(frozen=True)
class Ran:
    """code: the exit status, None where the program was ended. stderr: its last 2,000 characters."""

    stdout: str
    stderr: str
    code: int | None
    ended: Ended


def run(program: str, stdin: str = "", limits: Limits = Limits()) -> Ran:
    """Run a Python program to its end, or to that of its limits."""
    job = Path(tempfile.mkdtemp(prefix="worldline-sandbox-"))
    try:
        (job / "program.py").write_bytes(program.encode("utf-8", "replace"))
        (job / "stdin").write_bytes(stdin.encode("utf-8", "replace"))
        (job / "inside").mkdir()
        return _run(job, limits)
    finally:
        _remove(job)


def _run(job: Path, limits: Limits) -> Ran:
    settings = json.dumps({**asdict(limits), "job": str(job), "python": sys.executable, "reads": _reads()})
    with (job / "stdin").open("rb") as given, (job / "out").open("wb") as out, (job / "err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(CHILD), settings], stdin=given, stdout=out, stderr=err, cwd=job / "inside",
            env={"LANG": "C.UTF-8"}, start_new_session=True, close_fds=True,
        )  # fmt: skip
        late = False
        try:
            process.wait(limits.clock)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    stdout, stderr = _read(job / "out", limits.file), _read(job / "err", limits.file)
    code = process.returncode
    ended: Ended = "exit"
    if "MemoryError" in stderr[-300:]:
        ended = "memory"
    elif late or code in (-signal.SIGXCPU, -signal.SIGKILL):
        ended = "time"
    elif code == -signal.SIGXFSZ or (job / "out").stat().st_size >= limits.file:
        ended = "output"
    elif code < 0:
        ended = "killed"
    return Ran(stdout, stderr[-2000:], code if ended in ("exit", "memory") else None, ended)


@cache
def missing() -> tuple[str, ...]:
    """What this machine does not permit of the sandbox, a sentence each; () where all of it holds. Tried once."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(CHILD), json.dumps({"reads": _reads()})],
        capture_output=True, text=True, env={"LANG": "C.UTF-8"},
    )  # fmt: skip
    return tuple(line for line in done.stdout.splitlines() if line)


@cache
def _reads() -> list[str]:
    """The folders that a Python program reads from: the interpreter, its libraries, the system's."""
    folders = [
        sys.prefix,
        sys.base_prefix,
        sys.exec_prefix,
        os.path.realpath(sys.executable),
        "/usr",
        "/lib",
        "/lib64",
        "/bin",
    ]
    folders += [
        "/etc/ld.so.cache",
        "/etc/localtime",
        "/dev/urandom",
        "/dev/zero",
        "/proc/self",
        "/proc/meminfo",
        "/proc/cpuinfo",
    ]
    # A prefix that is the root of everything would open everything.
    return [f for f in dict.fromkeys(folders) if f != "/" and os.path.exists(f)]


def _read(path: Path, most: int) -> str:
    with path.open("rb") as file:
        return file.read(most).decode("utf-8", "replace")


def _remove(job: Path) -> None:
    shutil.rmtree(job, ignore_errors=True)
