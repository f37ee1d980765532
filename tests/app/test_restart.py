"""A server that dies: kill -9 in mid-run loses nothing that was seen; a journal torn anywhere gives a valid trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from app import journal
from app.replay import missing_events
from app.runs import recovered_trace
from storage.store import Store
from tests.app.client import check_whole, parse
from tests.app.conftest import Opened
from tests.app.scripted import WALK, ScriptedEngine

ROOT = Path(__file__).parents[2]
START_S = 60
HTTP_TRIALS, MANY = 3, 10_000

# A real server process on a real port; the engine prints a piece every 5 ms, so that there is a middle to be killed in.
SERVER = """
import asyncio, sys
from pathlib import Path
from app.server import serve
from core.engines.base import Chunk
from tests.app.scripted import WALK, ScriptedEngine

class Slow(ScriptedEngine):
    async def stream(self, request):
        async for chunk in super().stream(request):
            await asyncio.sleep(0.005)
            yield chunk

serve("127.0.0.1", int(sys.argv[2]), Path(sys.argv[1]), engines={"scripted": Slow()}, ui=False)
"""


@contextmanager
def server(data: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(data), str(port)],
        cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        url, said = "", []
        deadline = time.monotonic() + START_S
        assert process.stdout is not None
        while not url and time.monotonic() < deadline:
            line = process.stdout.readline()
            assert line, f"the server ended: {''.join(said)}"
            said.append(line)
            if line.startswith("Worldline is at "):
                url = line.split()[3]
        with httpx.Client(base_url=url, timeout=20) as client:
            yield process, client
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(20)


def follow(client: httpx.Client, run_id: str, after: int = -1, enough: int | None = None) -> list[dict]:
    """Events until the end, or until so many have come, or until the server is gone."""
    events: list[dict] = []
    text = ""
    try:
        with client.stream("GET", f"/api/runs/{run_id}/events", params={"after": after}) as answer:
            for piece in answer.iter_text():
                text += piece
                *blocks, text = text.split("\n\n")
                events += [event for block in blocks if (event := parse(block))]
                if enough is not None and len(events) >= enough:
                    return events
    except httpx.TransportError:
        pass
    return events


@pytest.mark.slow
@pytest.mark.parametrize("enough", [6, 60])
def test_kill_9_in_mid_run_loses_nothing_that_was_seen(tmp_path: Path, enough: int) -> None:
    with server(tmp_path) as (process, client):
        run_id = client.post("/api/runs", json={"prompt": WALK.prompt, "model": "scripted"}).json()["run_id"]
        seen = follow(client, run_id, enough=enough)
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    assert seen[-1]["type"] != "done"
    with server(tmp_path) as (process, client):
        trace = client.get(f"/api/traces/{run_id}").json()
        assert trace["finish_reason"] == "interrupted"
        assert WALK.response.startswith(trace["response"])
        # The viewer comes back to the new server with the last number it saw.
        rest = follow(client, run_id, after=seen[-1]["seq"])
        check_whole(seen + rest, trace)
        check_whole(follow(client, run_id), trace)
        listed = client.get("/api/runs").json()
        assert [(row["run_id"], row["state"], row["finish_reason"]) for row in listed] == [
            (run_id, "done", "interrupted")
        ]


@pytest.mark.slow
def test_kill_9_while_raters_rate_over_http_loses_no_acknowledged_rating(tmp_path: Path) -> None:
    """Four raters and a server that is killed at another moment each time; what it had answered is there when the next one starts."""
    acknowledged: set[str] = set()
    with server(tmp_path) as (process, client):
        run_id = client.post("/api/runs", json={"prompt": WALK.prompt, "model": "scripted"}).json()["run_id"]
        follow(client, run_id)

    def rate(url: str, rater: str, stop: threading.Event) -> None:
        with httpx.Client(base_url=url, timeout=20) as own, suppress(httpx.TransportError):
            work = (
                own.post("/api/assignments", json={"trace_id": run_id, "rater": rater})
                .raise_for_status()
                .json()["assignment"]
            )
            for seq in range(work["events_seq"] + 1, MANY):
                event = {
                    "event_id": str(uuid.uuid4()), "assignment_id": work["assignment_id"], "rater_id": rater, "seq": seq,
                    "action": "set", "target": "step", "dimension": "correctness", "step_idx": seq % 3, "value": 1,
                }  # fmt: skip
                acknowledged.update(
                    own.post("/api/ratings", json={"events": [event]}).raise_for_status().json()["committed"]
                )
                if stop.is_set():
                    return

    for trial in range(HTTP_TRIALS):
        with server(tmp_path) as (process, client):
            stop = threading.Event()
            threads = [threading.Thread(target=rate, args=(str(client.base_url), f"rater {i}", stop)) for i in range(4)]
            for thread in threads:
                thread.start()
            before, deadline = len(acknowledged), time.monotonic() + 20
            while len(acknowledged) < before + 8 * (1 + trial) and time.monotonic() < deadline:
                time.sleep(0.003)
            process.send_signal(signal.SIGKILL)
            process.wait(20)
            stop.set()
            for thread in threads:
                thread.join(30)
            assert len(acknowledged) >= before + 8 * (1 + trial), "nobody could rate"
        with Store.open(tmp_path) as store:
            stored = [event_id for (event_id,) in store.query("select event_id from rating_event")]
        assert acknowledged <= set(stored), (
            f"trial {trial}: {len(acknowledged - set(stored))} acknowledged ratings are gone"
        )
        assert len(stored) == len(set(stored))


def test_a_server_that_is_told_to_stop_stores_its_runs_and_lets_go_of_the_folder(tmp_path: Path) -> None:
    with server(tmp_path) as (process, client):
        owner = json.loads((tmp_path / "owner.json").read_text())
        assert owner == {"pid": process.pid, "url": str(client.base_url).rstrip("/")}
        run_id = client.post("/api/runs", json={"prompt": WALK.prompt, "model": "scripted"}).json()["run_id"]
        with client.stream("GET", f"/api/runs/{run_id}/events") as answer:
            pieces = answer.iter_text()
            text = next(pieces) + next(pieces) + next(pieces)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            text += "".join(pieces)  # the stream is not cut: it ends with done
        assert process.wait(20) == 0
        assert time.monotonic() - began < 10
    events = [event for block in text.split("\n\n") if (event := parse(block))]
    assert events[-1]["type"] == "done"
    assert events[-1]["finish_reason"] == "interrupted"
    assert not (tmp_path / "owner.json").exists()
    from storage.store import Store

    with Store.open(tmp_path) as store:
        trace = store.trace(run_id)
        assert trace is not None
        check_whole(events, trace.to_json())


@pytest.fixture(scope="module")
def whole_journal(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The journal of a run that went through."""
    import asyncio

    from app.runs import RunManager
    from core.engines.base import Bounds, Sampling
    from core.trace import Problem
    from storage.store import Store

    folder = tmp_path_factory.mktemp("journal")

    async def work() -> None:
        with Store.open(folder / "data") as store:
            runs = RunManager(store, folder / "runs")
            await runs.open()
            run = runs.start(ScriptedEngine(size=11), Problem.ask(WALK.prompt), Sampling(), Bounds())
            assert run.task is not None
            await run.task
            await runs.close()

    asyncio.run(work())
    (path,) = (folder / "runs").glob("*.jsonl")
    return path.read_bytes()


def test_a_journal_torn_anywhere_gives_a_valid_trace_and_a_whole_stream(whole_journal: bytes, tmp_path: Path) -> None:
    path = tmp_path / "01torn.jsonl"
    first = whole_journal.index(b"\n") + 1
    cuts = [*range(first, len(whole_journal), 4999), *range(len(whole_journal) - 300, len(whole_journal), 7)]
    for cut in cuts:
        path.write_bytes(whole_journal[:cut])
        recorded = journal.read(path)
        assert recorded is not None
        trace = recovered_trace(recorded)
        assert WALK.response.startswith(trace.response)
        assert trace.finish_reason == ("interrupted" if recorded.outcome is None else "stop")
        rest = missing_events(trace, recorded.events)
        events = [*recorded.events, *({"seq": len(recorded.events) + i, **e} for i, e in enumerate(rest))]
        check_whole(events, trace.to_json())


@pytest.mark.anyio
async def test_unreadable_journals_do_not_keep_the_workbench_shut(
    workbench: Opened, whole_journal: bytes, tmp_path: Path
) -> None:
    runs = tmp_path / "data" / "runs"
    async with workbench():
        pass
    (runs / "01empty.jsonl").write_bytes(b"")
    (runs / "02noise.jsonl").write_bytes(b"\x00\xff not json\n")
    (runs / "03fields.jsonl").write_bytes(b'{"run": {}}\n{"raw": 1}\n')
    torn = whole_journal[: len(whole_journal) // 2]
    (runs / "04torn.jsonl").write_bytes(torn)
    async with workbench() as bench:
        (row,) = (await bench.get("/api/traces")).json()["traces"]
        assert row["finish_reason"] == "interrupted"
    assert (runs / "01empty.broken").exists()
    assert (runs / "02noise.broken").exists()
    assert (runs / "03fields.jsonl").exists()
    async with workbench() as bench:  # recovered once, not again
        assert len((await bench.get("/api/traces")).json()["traces"]) == 1


def test_where_a_cut_run_came_from_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    header = {
        "run_id": "run", "prompt": WALK.prompt, "model": "m", "started_at": "2026-11-24T12:00:00.000Z",
        "sampling": {"temperature": 1.0}, "bounds": {}, "prefix": WALK.response[:40],
    }  # fmt: skip
    written = journal.Journal(path, header)
    written.raw("", 0, 9, {"server": "vllm", "version": "0.32.0", "notes": ["a note"]})
    written.raw(WALK.response[40:400], 12, 0)
    written.close()
    recorded = journal.read(path)
    assert recorded is not None
    trace = recovered_trace(recorded)
    assert trace.response == WALK.response[:400]
    assert trace.stats["notes"] == ["a note"]
    assert trace.sampling["server"] == {"server": "vllm", "version": "0.32.0"}


def test_all_that_the_journal_says_of_a_cut_run_is_in_its_trace(tmp_path: Path) -> None:
    """As it is in the trace of a run that went through."""
    path = tmp_path / "run.jsonl"
    header = {
        "run_id": "run", "prompt": WALK.prompt, "model": "m", "started_at": "2026-11-24T12:00:00.000Z",
        "sampling": {"temperature": 1.0, "top_p": 1.0, "seed": None, "max_tokens": 50}, "bounds": {"min_steps": 0, "max_steps": 9},
        "thinking": {"budget": 30, "waits": 2}, "prefix": WALK.response[:40],
    }  # fmt: skip
    written = journal.Journal(path, header)
    written.raw("", 0, 9, {"server": "here", "seed": 77, "notes": ["one"]})
    written.raw(WALK.response[40:400], 12, 0, {"notes": ["two"], "system_fingerprint": "fp"})
    written.close()
    recorded = journal.read(path)
    assert recorded is not None
    trace = recovered_trace(recorded)
    assert trace.sampling == {
        "temperature": 1.0, "top_p": 1.0, "seed": 77, "max_tokens": 50, "min_steps": 0, "max_steps": 9,
        "thinking": {"budget": 30, "waits": 2}, "continued_from": 40, "server": {"server": "here", "system_fingerprint": "fp"},
    }  # fmt: skip
    assert trace.stats["notes"] == ["one", "two"]
    assert (trace.stats["prompt_tokens"], trace.stats["generated_tokens"]) == (9, 12)
