"""Ratings/s with 20 clients, each sending its next rating when the last is committed; beside one client alone."""

from __future__ import annotations

import threading
import time
import uuid

from benchmarks.table import Row, percentile
from benchmarks.workbench import add_traces, running

CLIENTS = 20
SECONDS = 6.0


def measure() -> list[Row]:
    """Every rating is a request of its own, acknowledged after COMMIT."""
    with running() as url:
        trace_ids = add_traces(url, CLIENTS)
        alone, _ = _rate(url, trace_ids[:1], SECONDS / 2, "alone")
        rate, times = _rate(url, trace_ids, SECONDS, "crowd")
    p50, p95 = percentile(times, 0.5) * 1000, percentile(times, 0.95) * 1000
    return [
        Row(
            f"ratings with {CLIENTS} clients",
            rate,
            "ratings/s",
            alone,
            "one client",
            f"to commit: p50 {p50:.0f} ms, p95 {p95:.0f} ms",
        )
    ]


def _rate(url: str, trace_ids: list[str], seconds: float, who: str) -> tuple[float, list[float]]:
    """(ratings/s, seconds from request to acknowledgement of each)"""
    import httpx

    times: list[float] = []
    failures: list[Exception] = []
    start = threading.Barrier(len(trace_ids) + 1)

    def client(number: int, trace_id: str) -> None:
        rater = f"{who}-{number}"
        try:
            with httpx.Client(base_url=url, timeout=60) as http:
                answer = (
                    http.post("/api/assignments", json={"trace_id": trace_id, "rater": rater}).raise_for_status().json()
                )
                work = answer["assignment"]["assignment_id"]
                start.wait()
                end = time.perf_counter() + seconds
                seq = 0
                while (began := time.perf_counter()) < end:
                    seq += 1
                    event = {
                        "event_id": str(uuid.uuid4()), "assignment_id": work, "rater_id": rater, "seq": seq, "action": "set",
                        "target": "step", "dimension": "correctness", "step_idx": 0, "value": seq % 3 - 1, "input_method": "key",
                    }  # fmt: skip
                    done = http.post("/api/ratings", json={"events": [event]}).raise_for_status().json()
                    assert done["committed"] == [event["event_id"]], done
                    times.append(time.perf_counter() - began)
        except Exception as error:
            failures.append(error)
            start.abort()

    threads = [threading.Thread(target=client, args=(i, t)) for i, t in enumerate(trace_ids)]
    for thread in threads:
        thread.start()
    start.wait()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return len(times) / seconds, times
