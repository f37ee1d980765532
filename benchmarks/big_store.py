"""A store of 100,000 traces and 1,000,000 ratings, and what its pages wait for: `python -m benchmarks.big_store [--keep DIR]`.

The store is made by SQL from a few hundred written searches (real text, steps and trees), so that making it takes less
than a minute. Then a workbench opens it, and every request that the pages make is timed through the API, beside a rater
who goes on rating; then everything is frozen and exported. The model is behind an address, as where many rate: the pocket
model in the same process would add its own 400 MB, and load while the first pages are asked for. `--keep DIR` leaves the
store, and uses it when it is there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.paced import paced
from benchmarks.table import Row, percentile, show
from benchmarks.workbench import children, peak_memory, started

if TYPE_CHECKING:
    import duckdb

TRACES = 100_000
RATINGS = 1_000_000
WRITTEN = 500  # searches that are really written; the others are copies under their own ids and questions
RATERS = 50
ROUNDS = 20  # of each request
GOLD = 20  # items whose answer is known
P95_MS, EXPORT_S, MEMORY_MB = 100.0, 5.0, 1000.0  # what we promise

_COPIES = "(select range as copy from range(1, $copies)) c"
# A copy has its own id, question and time; its text and steps are those of the original.
_TRACES = f"""
insert into trace by name
select t.* replace (
    t.trace_id || lpad(copy::varchar, 4, '0') as trace_id, t.prompt || ' (' || copy || ')' as prompt,
    left(md5(problem_id || copy), 16) as problem_id, ['pocket', 'small', 'large'][1 + copy % 3] as model,
    created_at - to_minutes(copy) as created_at)
from trace t, {_COPIES}"""
_SEGMENTS = f"""
insert into segmentation by name
select t.* replace (segmentation_id || lpad(copy::varchar, 4, '0') as segmentation_id, t.trace_id || lpad(copy::varchar, 4, '0') as trace_id)
from segmentation t, {_COPIES}"""
_STEPS = f"""
insert into {{}} by name
select t.* replace (segmentation_id || lpad(copy::varchar, 4, '0') as segmentation_id) from {{}} t, {_COPIES}"""
# Every third trace has two raters. Ratings of steps, and of every trace a verdict: three quarters good, as people rate.
_ASSIGNMENTS = """
insert into assignment by name
with work as (
    select trace_id, segmentation_id, nth, row_number() over (order by trace_id, nth) as n,
           sum(s.n_steps) over (order by trace_id, nth rows unbounded preceding) as so_far
    from segmentation s, (select unnest([0, 1]) as nth) where s.n_steps > 0 and (nth = 0 or hash(trace_id) % 3 = 0))
select lpad(n::varchar, 26, '0') as assignment_id, 'default' as queue_id, trace_id, segmentation_id,
    'rater ' || (hash(trace_id) + 7 * nth) % $raters as rater_id, 'steps' as rubric_id, 1 as rubric_version,
    'submitted' as status, '' as status_reason, 10000 as status_seq, timestamp '2026-01-01' + to_seconds(n) as leased_at,
    timestamp '2026-01-02' + to_seconds(n) as lease_expires_at, timestamp '2026-01-01' + to_seconds(n + 300) as submitted_at,
    timestamp '2026-01-01' + to_seconds(n + 300) as updated_at, false as late, 'least_rated' as sampled_by
from work where so_far <= $ratings"""
_SLOTS = """
insert into slot by name
select queue_id, trace_id as item_id, row_number() over (partition by trace_id order by assignment_id) - 1 as slot_no, rater_id
from assignment"""
_EVENTS = """
insert into rating_event by name
with acts as (
    select a.assignment_id, a.rater_id, a.segmentation_id, a.submitted_at, 'step' as what, st.step_idx,
        hash(a.assignment_id || '/' || st.step_idx) % 100 as dice
    from assignment a join step st using (segmentation_id)
    union all
    select assignment_id, rater_id, segmentation_id, submitted_at, 'trace', null, hash(assignment_id) % 97 from assignment
    union all
    select assignment_id, rater_id, segmentation_id, submitted_at, 'submit', null, null from assignment)
select row_number() over (order by assignment_id, step_idx nulls last, what desc) as server_seq, uuid()::varchar as event_id,
    assignment_id, rater_id, case what when 'step' then step_idx when 'trace' then 9999 else 10000 end as seq,
    submitted_at as ts_client, submitted_at as ts_server, if(what = 'submit', 'submit', 'set') as action,
    if(what = 'step', 'step', 'trace') as target, segmentation_id, step_idx,
    case what when 'step' then 'correctness' when 'trace' then 'verdict' else '' end as dimension,
    case when dice < 75 then 1 when dice < 83 then 0 when dice < 97 then -1 end as value,
    case when dice >= 97 then 'unsure' end as value_text, 'key' as input_method, 1500 as dwell_ms,
    false as prelabel_visible, '' as ui_build
from acts order by server_seq"""
_SCORES = """
insert into model_score by name
select trace_id, segmentation_id, 'prm' as scorer, '1' as scorer_version, 'last' as aggregation, now()::timestamp as created_at,
    [(hash(segmentation_id || i) % 1000) / 1000 for i in range(n_steps)] as step_values
from segmentation"""


def fill(folder: Path, traces: int = TRACES, ratings: int = RATINGS) -> None:
    """Make the store in an empty folder."""
    from storage import database
    from storage.imports.making import cut
    from storage.settled import REBUILD
    from storage.store import Store
    from training.synthesis.countdown import walks

    written = min(WRITTEN, traces)
    stream = walks(1)
    with Store.open(folder) as store:
        found = [cut(w.prompt, w.response, model="pocket") for w in (next(stream) for _ in range(written))]
        for waiting in [store.add_trace(trace, source="bench") for trace in found]:
            waiting.result()
    con = database.connect(folder)
    run = _runner(con)
    copies = traces // written
    run("insert into rater by name select 'rater ' || range as rater_id, '' as display_name, 'rater' as role, "
        "now()::timestamp as created_at, true as active from range($raters)", raters=RATERS)  # fmt: skip
    run(_TRACES, copies=copies)
    run("insert into problem by name select problem_id, any_value(prompt) as prompt, min(created_at) as created_at "
        "from trace where problem_id not in (select problem_id from problem) group by problem_id")  # fmt: skip
    run(_SEGMENTS, copies=copies)
    for table in ("step", "tree_edge"):
        run(_STEPS.format(table, table), copies=copies)
    run(_ASSIGNMENTS, raters=RATERS, ratings=ratings)
    run(_SLOTS)
    run(_EVENTS)
    run(_SCORES)
    con.execute(REBUILD)
    con.execute("checkpoint")
    con.close()


def _runner(con: duckdb.DuckDBPyConnection) -> Callable[..., None]:
    def run(sql: str, **values: int) -> None:
        con.execute(sql, values)

    return run


def measure(keep: Path | None = None, pocket: bool = False, traces: int = TRACES, ratings: int = RATINGS) -> list[Row]:
    """Times of every request that a page makes, then of freezing and exporting everything; the server's memory at its highest."""
    from storage.database import DATABASE

    with tempfile.TemporaryDirectory() as folder:
        data = keep or Path(folder) / "data"
        if not (data / DATABASE).exists():
            fill(data, traces, ratings)
        with (
            paced(1.0) as endpoint,
            started("--data", str(data), *(() if pocket else ("--endpoint", endpoint))) as (url, pid),
        ):
            rows = _pages(url, pid)
            memory = peak_memory(pid) or 0.0
            rows.append(Row("memory after all pages", memory, "MB", MEMORY_MB, "what we promise"))
            rows += _out(url, pid)
            memory = peak_memory(pid) or 0.0
            rows.append(Row("memory after the export", memory, "MB", MEMORY_MB, "what we promise"))
            beside = max((peak_memory(child) or 0.0 for child in children(pid)), default=0.0)
            note = "it ends a minute after its last work"
            rows.append(Row("memory of the process that exports", beside, "MB", None, "", note))
    return rows


def _pages(url: str, pid: int) -> list[Row]:
    import httpx

    with httpx.Client(base_url=url, timeout=300) as http:

        def get(path: str) -> Any:
            return http.get(path).raise_for_status().json()

        def post(path: str, body: Any) -> Any:
            return http.post(path, json=body).raise_for_status().json()

        traces = get("/api/traces?limit=50")
        ids = [row["trace_id"] for row in traces["traces"] if row["n_steps"]] if isinstance(traces, dict) else [
            row["trace_id"] for row in traces if row["n_steps"]
        ]  # fmt: skip
        work = post("/api/assignments/next", {"rater": "rater 1"})["assignment"]
        seq = work["events_seq"]

        def rate(action: str = "set") -> None:
            nonlocal seq
            seq += 1
            event = {
                "event_id": str(uuid.uuid4()), "assignment_id": work["assignment_id"], "rater_id": "rater 1", "seq": seq,
                "action": action,
            }  # fmt: skip
            if action == "set":
                event |= {"target": "step", "dimension": "correctness", "step_idx": 0, "value": seq % 3 - 1}
            assert post("/api/ratings", {"events": [event]})["committed"] == [event["event_id"]]

        def fresh(i: int) -> None:
            assert post("/api/assignments/next", {"rater": f"new rater {i}"})["assignment"]

        def disputed(i: int) -> str:
            """The i-th step that raters differ on, as parameters; the first call waits for the report."""
            while not units:
                found = get(f"/api/quality/disagreements?queue=default&limit={ROUNDS}")["rows"]
                units.extend(f"item={row['item_id']}&step={row['step_idx']}" for row in found)
                time.sleep(0.5)
            return units[i % len(units)]

        units: list[str] = []
        answer = {"target": "step", "step_idx": 0, "dimension": "correctness", "value": 1}
        for trace_id in ids[:GOLD]:  # what was rated before does not count as gold, so nothing else changes
            post("/api/quality/gold", {"queue": "default", "item": trace_id, "answers": [answer]})
        requests: dict[str, Callable[[int], Any]] = {
            "Solve: recent traces": lambda i: get("/api/traces?limit=20"),
            "Solve: a trace": lambda i: get(f"/api/traces/{ids[i]}?lean=true"),
            "Solve: its family": lambda i: get(f"/api/traces/{ids[i]}/family"),
            "Solve: its scores": lambda i: get(f"/api/traces/{ids[i]}/scores"),
            "Rate: the next trace, a new rater": fresh,
            "Rate: the next trace, in hand": lambda i: post("/api/assignments/next", {"rater": "rater 1"}),
            "Rate: an assignment": lambda i: get(f"/api/assignments/{work['assignment_id']}"),
            "Rate: a rating": lambda i: rate(),
            "Rate: submit": lambda i: rate("submit"),
            "Rate: my last ones": lambda i: get("/api/assignments?rater=rater%202"),
            "Rate: my progress": lambda i: get("/api/queues/default/mine?rater=rater%202"),
            "Queues: all": lambda i: get("/api/queues"),
            "Queues: progress": lambda i: get("/api/queues/default/progress"),
            "Data: figures": lambda i: get("/api/stats"),
            "Data: a page of traces": lambda i: get(f"/api/traces?limit=50&after={ids[i]}"),
            "Data: traces with a word": lambda i: get("/api/traces?limit=50&q=reach"),
            "Data: traces with no such word": lambda i: get(f"/api/traces?limit=50&q=nothing{i}"),
            "Data: preview of a snapshot": lambda i: post("/api/snapshots/preview", {"spec": {}}),
            "Quality: agreement": lambda i: get("/api/quality/agreement?queue=default"),
            "Quality: raters": lambda i: get("/api/quality/raters?queue=default"),
            "Quality: disagreements": lambda i: get("/api/quality/disagreements?queue=default"),
            "Quality: opinions on a step": lambda i: get(f"/api/quality/disagreement?queue=default&{disputed(i)}"),
            "Quality: history of a label": lambda i: get(f"/api/quality/history?queue=default&{disputed(i)}"),
            "Quality: gold items": lambda i: get("/api/quality/gold?queue=default"),
            "Quality: adjudications": lambda i: get("/api/quality/adjudications?queue=default"),
            "Compare: queues of pairs": lambda i: get("/api/pairs/queues"),
        }
        rows = []
        for name, ask in requests.items():
            times = []
            if "step" in name or "label" in name:
                disputed(0)
            for i in range(ROUNDS):
                began = time.perf_counter()
                try:
                    ask(i)
                except httpx.HTTPError as error:
                    print(f"{name}: {error}", file=sys.stderr)
                    break
                times.append((time.perf_counter() - began) * 1000)
                if i >= 2 and sum(times) > 5_000:
                    break  # far too slow already: three times are enough to say so
            first = f"first {times[0]:.0f} ms, " if times else "refused, "
            rows.append(Row(name + ", p95", percentile(times[1:], 0.95), "ms", P95_MS, "what we promise",
                            f"{first}p50 {percentile(times[1:], 0.5):.1f} ms; memory so far {peak_memory(pid) or 0:.0f} MB"))  # fmt: skip
        return rows


def _out(url: str, pid: int) -> list[Row]:
    """Freeze everything, look at what each export would hold and at the snapshot's lineage, then write every export."""
    import httpx

    from storage.exports import FORMATS

    rows = []
    with httpx.Client(base_url=url, timeout=900) as http:

        def post(path: str, body: Any) -> Any:
            return http.post(path, json=body).raise_for_status().json()

        def told() -> str:
            return f"memory so far {peak_memory(pid) or 0:.0f} MB"

        began = time.perf_counter()
        frozen = post("/api/snapshots", {"spec": {}, "name": "all"})
        rows.append(
            Row("freeze everything", time.perf_counter() - began, "s", None, "", f"{frozen['n_rows']:,} rows; {told()}")
        )
        exports = f"/api/snapshots/{frozen['snapshot_id']}/exports"
        snapshot = frozen["snapshot_id"]

        def counted(form: str) -> float:
            began = time.perf_counter()
            while post(f"{exports}/preview", {"format": form})["pending"]:
                time.sleep(0.2)
            return time.perf_counter() - began

        for form in FORMATS:
            times = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                post(f"{exports}/preview", {"format": form})
                times.append((time.perf_counter() - began) * 1000)
            note = f"counted in the background after {counted(form):.1f} s; {told()}"
            rows.append(
                Row(f"Data: preview of {form}, p95", percentile(times, 0.95), "ms", P95_MS, "what we promise", note)
            )
        for name, path in {
            "Data: snapshots": "/api/snapshots",
            "Data: lineage of a snapshot": f"/api/lineage/{snapshot}",
            "Train: snapshots, jobs, checkpoints": "/api/checkpoints",
            "Evaluate: evaluations": "/api/evals",
            "Accounts: people": "/api/users",
        }.items():
            times = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                http.get(path).raise_for_status()
                times.append((time.perf_counter() - began) * 1000)
            rows.append(
                Row(
                    name + ", p95",
                    percentile(times[1:], 0.95),
                    "ms",
                    P95_MS,
                    "what we promise",
                    f"first {times[0]:.0f} ms",
                )
            )
        for form in FORMATS:
            if not post(f"{exports}/preview", {"format": form})["rows"]:
                continue  # preferences, where nobody compared two traces
            began = time.perf_counter()
            made = post(exports, {"format": form, "options": {}})
            took = time.perf_counter() - began
            rows.append(
                Row(f"export as {form}", took, "s", EXPORT_S, "what we promise", f"{made['rows']:,} rows; {told()}")
            )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.big_store")
    parser.add_argument("--keep", type=Path, help="the folder of the store: made if it is not there, and left")
    parser.add_argument("--pocket", action="store_true", help="with the pocket model in the server's process")
    asked = parser.parse_args()
    show(measure(asked.keep, asked.pocket))
    return 0


if __name__ == "__main__":
    sys.exit(main())
