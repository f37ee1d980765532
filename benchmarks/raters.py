"""50 raters at once for 10 minutes, as people rate: `python -m benchmarks.raters [--minutes 10] [--raters 50]`.

Each takes work, thinks, rates step by step (one request an event, acknowledged after COMMIT), changes their mind now and
then, sends some events twice as a bad network makes browsers do, and submits. Afterwards the store is opened and compared
with what the raters know was acknowledged: nothing lost, nothing doubled, nothing reordered, no place handed out twice.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.table import Row, percentile, show
from benchmarks.workbench import add_traces, cpu_seconds, peak_memory, started

RATERS, MINUTES, OVERLAP = 50, 10.0, 2
THINK_S = (0.4, 2.6)  # between two judgements; PRM800K's raters needed longer
AGAIN = 0.03  # of events are sent a second time, of judgements changed at once
P95_MS = 100.0  # what we promise for an acknowledgement


@dataclass
class Log:
    """What one rater knows: assignment -> [(event_id, step or None, value)] in the order of acknowledgement."""

    sent: dict[str, list[tuple[str, int | None, float | None]]] = field(default_factory=dict)
    acknowledged_s: list[float] = field(default_factory=list)
    next_s: list[float] = field(default_factory=list)
    out_of_work: bool = False


def measure(minutes: float = MINUTES, raters: int = RATERS) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        # More than can be rated: a rater needs about 15 s a trace, and every trace is rated by two.
        _prepare(data)
        with started("--data", str(data)) as (url, pid):
            add_traces(url, int(raters * (minutes * 60 / 8 + 2) / OVERLAP) + raters)
            _warm(url)
            before = cpu_seconds(pid) or 0.0
            logs = asyncio.run(_crowd(url, minutes * 60, raters))
            memory, cpu = peak_memory(pid), (cpu_seconds(pid) or 0.0) - before
        events, problems = _compare(data, logs)
    times = [t for log in logs for t in log.acknowledged_s]
    nexts = [t for log in logs for t in log.next_s]
    p50, p95, p99 = (percentile(times, q) * 1000 for q in (0.5, 0.95, 0.99))
    if any(log.out_of_work for log in logs):
        problems.append("some raters ran out of work")
    told = "; ".join(problems) or "nothing lost, doubled, reordered or handed out twice"
    return [
        Row(f"{raters} raters, {minutes:g} min: acknowledged, p95", p95, "ms", P95_MS, "what we promise",
            f"p50 {p50:.1f} ms, p99 {p99:.0f} ms, most {max(times) * 1000:.0f} ms"),
        Row("  the next trace, p95", percentile(nexts, 0.95) * 1000, "ms", None, "", f"{len(nexts)} times"),
        Row("  ratings", len(times) / (minutes * 60), "events/s", None, "", f"{events:,} in the store: {told}"),
        Row("  server's memory", memory or 0.0, "MB", None, "", f"{cpu / (minutes * 60):.0%} of one core"),
    ]  # fmt: skip


def _prepare(data: Path) -> None:
    from storage.store import Store

    with Store.open(data) as store:
        store.set_queue(overlap=OVERLAP).result()


def _warm(url: str) -> None:
    """Wait until the model is loaded, which a workbench does in the background after it has begun to answer."""
    import httpx

    with httpx.Client(base_url=url, timeout=120) as http:
        run = (
            http.post("/api/runs", json={"prompt": "Reach 24 from 4, 7, 8 and 8.", "max_steps": 3})
            .raise_for_status()
            .json()
        )
        with http.stream("GET", f"/api/runs/{run['run_id']}/events") as events:
            for _ in events.iter_lines():
                pass


async def _crowd(url: str, seconds: float, raters: int) -> list[Log]:
    import httpx

    end = time.perf_counter() + seconds
    limits = httpx.Limits(max_connections=raters, max_keepalive_connections=raters)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as http:
        return list(await asyncio.gather(*(_rater(http, f"rater {i:02}", end) for i in range(raters))))


async def _rater(http: Any, name: str, end: float) -> Log:
    log, chance = Log(), random.Random(name)
    await asyncio.sleep(chance.uniform(0, THINK_S[1]))  # nobody begins in step
    while time.perf_counter() < end:
        began = time.perf_counter()
        work = (await http.post("/api/assignments/next", json={"rater": name})).raise_for_status().json()
        log.next_s.append(time.perf_counter() - began)
        if work["assignment"] is None:
            log.out_of_work = True
            return log
        await _trace(http, name, work, log, chance, end)
    return log


async def _trace(http: Any, name: str, work: dict[str, Any], log: Log, chance: random.Random, end: float) -> None:
    assignment = work["assignment"]["assignment_id"]
    sent = log.sent.setdefault(assignment, [])
    seq = work["assignment"].get("events_seq", -1)

    async def send(action: str, step: int | None, value: float | None) -> None:
        nonlocal seq
        seq += 1
        event = {
            "event_id": str(uuid.uuid4()),
            "assignment_id": assignment,
            "rater_id": name,
            "seq": seq,
            "action": action,
        }
        if step is not None:
            event |= {
                "target": "step",
                "dimension": "correctness",
                "step_idx": step,
                "value": value,
                "input_method": "key",
            }
        for again in range(1 + (chance.random() < AGAIN)):
            began = time.perf_counter()
            done = (await http.post("/api/ratings", json={"events": [event]})).raise_for_status().json()
            log.acknowledged_s.append(time.perf_counter() - began)
            if done["committed"] != [event["event_id"]]:
                raise RuntimeError(f"not acknowledged: {done}")
            if not again:
                sent.append((event["event_id"], step, value))

    for step in range(len(work["trace"]["steps"])):
        if time.perf_counter() >= end:
            return  # the day is over in the midst of a trace
        await asyncio.sleep(chance.uniform(*THINK_S))
        await send("set", step, float(chance.choice((1, 1, 1, 0, -1))))
        if chance.random() < AGAIN:
            await send("set", step, -1.0)
    await send("submit", None, None)


def _compare(data: Path, logs: list[Log]) -> tuple[int, list[str]]:
    """(events in the store, what is wrong)"""
    from storage import doctor
    from storage.store import Store

    problems = []
    with Store.open(data) as store:
        stored: dict[str, list[str]] = {}
        for assignment, event_id in store.query("select assignment_id, event_id from rating_event order by server_seq"):
            stored.setdefault(assignment, []).append(event_id)
        sent = {assignment: events for log in logs for assignment, events in log.sent.items()}
        count = sum(map(len, stored.values()))
        every = [event_id for events in stored.values() for event_id in events]
        known = {event_id for events in sent.values() for event_id, _, _ in events}
        lost, doubled = len(known - set(every)), len(every) - len(set(every))
        reordered = sum([e for e, _, _ in events] != stored.get(a, []) for a, events in sent.items())
        wrong = 0
        for assignment, events in sent.items():
            last = {step: value for _, step, value in events if step is not None}
            wrong += {r.step_idx: r.value for r in store.current_ratings(assignment)} != last
        twice = store.query(
            "select count(*) from (select trace_id from assignment where not late group by trace_id having count(*) > ?)",
            [OVERLAP],
        )[0][0]
        for n, what in (
            (lost, "lost"), (doubled, "doubled"), (reordered, "assignments reordered"),
            (wrong, "assignments with another last rating"), (twice, "traces handed out too often"),
        ):  # fmt: skip
            if n:
                problems.append(f"{n} {what}")
        problems += doctor.examine(store).findings
    return count, problems


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.raters")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--raters", type=int, default=RATERS)
    asked = parser.parse_args()
    rows = measure(asked.minutes, asked.raters)
    show(rows)
    return int(rows[0].value > P95_MS or "nothing lost" not in rows[2].note)


if __name__ == "__main__":
    sys.exit(main())
