"""Processes beside ours: they end with the one that made them, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from core.workers import processes

OWNER = """
import os, time
from core.workers import processes
if __name__ == "__main__":
    with processes(2) as pool:
        print(*{f.result() for f in [pool.submit(os.getpid) for _ in range(20)]}, flush=True)
        time.sleep(600)
"""
ENDS_S = 30.0


def test_workers_do_not_outlive_an_owner_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        workers = [int(pid) for pid in owner.stdout.readline().split()]
        assert workers
        owner.send_signal(signal.SIGKILL)
        try:
            owner.communicate(timeout=ENDS_S)  # the pipe has no end while a worker holds it
        except subprocess.TimeoutExpired:
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
            raise AssertionError("a worker waits for work that nobody will give it") from None


def test_workers_work() -> None:
    with processes(2) as pool:
        assert list(pool.map(abs, [-1, 2, -3])) == [1, 2, 3]
