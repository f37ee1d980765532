"""A workbench in a process of its own, on a free port and a throw-away folder, for the benchmarks that need a server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 120


@contextmanager
def running(*arguments: str) -> Iterator[str]:
    """Yields the address of a workbench that answers. `arguments` are added to its command line."""
    with started(*arguments) as (url, _):
        yield url


@contextmanager
def started(*arguments: str) -> Iterator[tuple[str, int]]:
    """The same, and the id of its process."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        command = [
            sys.executable,
            "-u",
            "-m",
            "app.cli",
            "--port",
            "0",
            "--data",
            f"{folder}/data",
            "--no-browser",
            *arguments,
        ]
        with log.open("w") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + START_S
            while not (lines := [line for line in log.read_text().splitlines() if line.startswith("Worldline is at ")]):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the workbench did not start:\n{log.read_text()[-2000:]}")
                time.sleep(0.2)
            yield lines[0].split()[3], process.pid
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def cpu_seconds(pid: int) -> float | None:
    """Processor time that a process has used so far; None where the system does not tell (no /proc)."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return None
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def add_traces(url: str, count: int) -> list[str]:
    """Store `count` synthetic searches; returns their ids."""
    import httpx

    from training.synthesis.countdown import walks

    stream = walks(1)
    found = [next(stream) for _ in range(count)]
    rows = [{"trace_id": f"bench{i:021d}", "prompt": w.prompt, "response": w.response} for i, w in enumerate(found)]
    httpx.post(f"{url}/api/traces", json=rows, timeout=60).raise_for_status()
    return [row["trace_id"] for row in rows]


def peak_memory(pid: int) -> float | None:
    """Most memory that a process has held so far, in MB; None where the system does not tell (no /proc)."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1000


def children(pid: int) -> list[int]:
    """The processes that a process has begun and that still run; none where the system does not tell (no /proc)."""
    return [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]
