"""kill -9 while ratings pour in: whatever was acknowledged is there afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.store import Store
from tests.storage.helpers import make_trace

ROOT = Path(__file__).parents[2]
TRIALS = int(os.environ.get("WORLDLINE_KILL_TRIALS", "5"))  # 100 take a few minutes
THREADS = 4

# Every id is printed after its future was resolved, that is after COMMIT: what stands in the pipe was acknowledged.
CLIENT = """
import os, sys, threading, uuid
from pathlib import Path
from storage.events import RatingEvent
from storage.store import Store

store = Store.open(Path(sys.argv[1]))
trace_id = store.traces()[0].trace_id

def rate(name):
    assignment = store.open_assignment(name, trace_id)
    seq = assignment.events_seq
    while True:
        seq += 1
        what = ("set", "step", seq % 3, "correctness", 1.0)
        event = RatingEvent(str(uuid.uuid4()), assignment.assignment_id, name, seq, *what)
        for event_id in store.add_rating_events([event]).result():
            os.write(1, (event_id + "\\n").encode())

for i in range(int(sys.argv[2])):
    threading.Thread(target=rate, args=(f"rater {i}",)).start()
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_no_acknowledged_rating_is_lost_under_kill_9(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.add_trace(make_trace()).result()
    acknowledged: set[str] = set()
    for trial in range(TRIALS):
        process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(tmp_path), str(THREADS)], stdout=subprocess.PIPE, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first, "the client did not start"
        time.sleep(0.15 + 0.1 * (trial % 5) + 0.001 * trial)  # a different moment each time
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read()
        process.wait()
        assert process.returncode == -signal.SIGKILL
        lines = (first + rest).decode().split("\n")
        acknowledged.update(lines[:-1])  # the last piece is empty, or an id cut in the middle
        with Store.open(tmp_path) as store:
            stored = [event_id for (event_id,) in store.query("select event_id from rating_event")]
            (gap,) = store.query("select max(server_seq) - count(*) from rating_event")[0]
        assert acknowledged <= set(stored), (
            f"trial {trial}: {len(acknowledged - set(stored))} acknowledged ratings are gone"
        )
        assert len(stored) == len(set(stored))
        assert gap == 0, "the sequence of commits has a hole"
    assert len(acknowledged) > TRIALS * THREADS
