"""Evaluations of the server and of the terminal: run, watched, stopped, killed, gone on with, compared, taken away."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from core.evaluation import folder
from core.search.scheduler import Scheduler
from storage import backup
from storage.store import Store
from tests.app.client import Bench
from tests.app.conftest import Opened
from tests.app.people import door
from tests.app.scripted import WALK, ScriptedEngine

ROOT = Path(__file__).parents[2]
LINES = [
    {"question": WALK.prompt, "level": 3},
    {"problem": "Reach 24 from 4, 7, 8 and 8."},
    {"prompt": "Reach 10 from 2, 3 and 4."},
]
PLAN = {
    "models": ["scripted"],
    "strategies": ["linear", "best-of-n n=2"],
    "scorers": ["none", "countdown-oracle"],
    "n": 3,
}


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


async def planned(bench: Bench, **more: Any) -> dict[str, Any]:
    """A plan over three uploaded problems, the first of which the script solves."""
    kept = await bench.post("/api/evals/problems?name=my%20set.jsonl", content=jsonl(LINES))
    assert kept.status_code == 201 and kept.json()["problems"] == 3, kept.text
    return {**PLAN, "problems": kept.json()["name"], **more}


async def started(bench: Bench, **more: Any) -> dict[str, Any]:
    answer = await bench.post("/api/evals", json={"plan": await planned(bench, **more), "name": "First"})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def until(bench: Bench, eval_id: str, *states: str, done: int = 0) -> dict[str, Any]:
    for _ in range(600):
        row = (await bench.get(f"/api/evals/{eval_id}")).json()
        if row["state"] in states and row["done"] >= done:
            return row
        await asyncio.sleep(0.05)
    raise AssertionError(f"it is {row}")


@pytest.mark.anyio
async def test_an_evaluation_runs_in_the_background_and_its_figures_lead_to_the_searches(workbench: Opened) -> None:
    async with workbench() as bench:
        plan = await planned(bench)
        checked = (await bench.post("/api/evals/check", json={"plan": plan})).json()
        assert (checked["problems"], checked["searches"], len(checked["cells"])) == (3, 18, 6)
        made = await started(bench)
        row = await until(bench, made["eval_id"], "done")
        assert (row["done"], row["total"], row["failed"], row["name"], row["created_by"]) == (
            18,
            18,
            0,
            "First",
            "local",
        )
        figures = (await bench.get(f"/api/evals/{made['eval_id']}/figures")).json()
        assert [c["accuracy"] for c in figures["cells"]] == [pytest.approx(1 / 3)] * 6
        scored = next(c for c in figures["curves"] if "oracle" in c["label"])
        assert set(scored["methods"]) == {"pass", "majority", "weighted", "best"}
        assert [p["k"] for p in scored["methods"]["pass"]] == [1, 2, 3]
        found = (await bench.get(f"/api/evals/{made['eval_id']}/problems")).json()
        first = found["problems"][0]
        outcome = first["cells"][row["cells"][-1]["cell_id"]]
        assert (first["prompt"], outcome["right"], outcome["tries"]) == (WALK.prompt, 1, 1)
        search = (await bench.get(f"/api/searches/{outcome['searches'][0]}")).json()
        assert (search["strategy"], search["right"], search["evaluation"]) == ("best-of-n", True, made["eval_id"])

        a, b = row["cells"][0]["cell_id"], row["cells"][-1]["cell_id"]
        compared = (await bench.get(f"/api/evals/{made['eval_id']}/comparison?a={a}&b={b}")).json()
        assert (compared["both"], compared["neither"], compared["p"], compared["difference"]) == (1, 2, 1.0, 0.0)
        report = await bench.get(f"/api/evals/{made['eval_id']}/files/report.md")
        assert "33.3 %" in report.text
        import polars as pl

        table = pl.read_parquet(
            io.BytesIO((await bench.get(f"/api/evals/{made['eval_id']}/files/results.parquet")).content)
        )
        assert table.height == 18 and table["right"].sum() == 6 and table["pool_right"].list.len().sum() == 18


@pytest.mark.anyio
async def test_a_restart_in_the_middle_goes_on_by_itself_and_does_nothing_twice(workbench: Opened) -> None:
    engine = ScriptedEngine(gated=True, size=400)
    async with workbench(engine) as bench:
        made = await started(bench)
        row = made
        while not row["done"]:  # the answers end one after the other
            engine.release(6)
            await asyncio.sleep(0.02)
            row = (await bench.get(f"/api/evals/{made['eval_id']}")).json()
        assert row["state"] == "running" and row["done"] < 18
    asked = len(engine.asked)
    assert asked
    again = ScriptedEngine()
    async with workbench(again) as bench:
        row = await until(bench, made["eval_id"], "done")
        assert row["done"] == 18
        figures = (await bench.get(f"/api/evals/{made['eval_id']}/figures")).json()
        assert [c["accuracy"] for c in figures["cells"]] == [pytest.approx(1 / 3)] * 6
        assert 0 < len(again.asked) < 36  # 6 pools of 3, 6 lines, 6 pairs


@pytest.mark.anyio
async def test_stop_go_on_and_a_model_that_fails(workbench: Opened) -> None:
    engine = ScriptedEngine(gated=True)
    async with workbench(engine) as bench:
        made = await started(bench, strategies=["linear"], n=0, scorers=["none"])
        there = f"/api/evals/{made['eval_id']}"
        assert (await bench.post(f"{there}/resume")).status_code == 409
        stopped = (await bench.post(f"{there}/stop")).json()
        assert (stopped["state"], stopped["resumable"]) == ("stopped", True)
        assert (await bench.post(f"{there}/stop")).status_code == 409
        engine.gate = None
        engine.fail_after = 3
        assert (await bench.post(f"{there}/resume")).status_code == 200
        failed = await until(bench, made["eval_id"], "failed")
        assert failed["failed"] == 3 and "told to fail" in failed["error"]
        engine.fail_after = None
        await bench.post(f"{there}/resume")
        assert (await until(bench, made["eval_id"], "done"))["error"] == ""
        assert [e["state"] for e in (await bench.get("/api/evals")).json()] == ["done"]


@pytest.mark.anyio
async def test_those_that_share_a_problem_are_offered_for_comparison_wherever_it_came_from(workbench: Opened) -> None:
    async with workbench() as bench:
        first = await started(bench)
        files = {"half.jsonl": LINES[:1], "other.jsonl": [{"question": "Reach 12 from 2, 3 and 4."}]}
        made = {}
        for name, rows in files.items():
            kept = (await bench.post(f"/api/evals/problems?name={name}", content=jsonl(rows))).json()["name"]
            answer = await bench.post("/api/evals", json={"plan": {**PLAN, "problems": kept}})
            made[name] = answer.json()["eval_id"]
        for eval_id in (first["eval_id"], *made.values()):
            await until(bench, eval_id, "done")
        found = await bench.get(f"/api/evals/{first['eval_id']}/comparable")
        assert found.json() == [made["half.jsonl"]]
        a = first["cells"][0]["cell_id"]
        query = {"a": a, "b": a, "other": made["half.jsonl"]}
        compared = await bench.get(f"/api/evals/{first['eval_id']}/comparison", params=query)
        assert compared.json()["problems"] == 1
        assert (await bench.get(f"/api/evals/{made['other.jsonl']}/comparable")).json() == []
        assert (await bench.get("/api/evals/none/comparable")).status_code == 404


@pytest.mark.anyio
async def test_an_evaluation_is_deleted_with_its_searches_but_not_while_it_runs(
    workbench: Opened, tmp_path: Path
) -> None:
    engine = ScriptedEngine(gated=True)
    async with workbench(engine) as bench:
        made = await started(bench)
        there = f"/api/evals/{made['eval_id']}"
        refused = await bench.delete(there)
        assert refused.status_code == 409 and "stop it before" in refused.json()["error"]
        engine.release(100_000)
        await until(bench, made["eval_id"], "done")
        other = await started(bench)
        await until(bench, other["eval_id"], "done")
        assert (await bench.get(f"{there}/files/report.md")).status_code == 200
        path = tmp_path / "data" / "evals" / made["eval_id"]
        search = next((path / folder.SEARCHES).iterdir()).stem
        assert (await bench.delete(there)).status_code == 204
        assert not path.exists()
        for gone in (there, f"{there}/figures", f"/api/searches/{search}"):
            assert (await bench.get(gone)).status_code == 404, gone
        assert (await bench.delete(there)).status_code == 404
        assert [e["eval_id"] for e in (await bench.get("/api/evals")).json()] == [other["eval_id"]]

        # In the terminal, with the server at work: it is gone there too. What is not of the evaluation stays.
        path = path.with_name(other["eval_id"])
        (path / "notes.txt").write_text("mine")
        command = ["eval", "delete", other["eval_id"], "--data", str(tmp_path / "data")]
        asked = CliRunner().invoke(app, command)
        assert asked.exit_code == 1 and "say so with --yes" in asked.stderr and (path / folder.PLAN).exists()
        done = CliRunner().invoke(app, [*command, "--yes"])
        assert done.exit_code == 0 and "deleted First (18 searches" in done.stderr
        assert [p.name for p in path.iterdir()] == ["notes.txt"]
        assert (await bench.get("/api/evals")).json() == []
        assert CliRunner().invoke(app, [*command, "--yes"]).exit_code == 1


def test_one_that_another_process_runs_is_not_deleted(tmp_path: Path) -> None:
    from core.evaluation.plan import Plan
    from core.evaluation.problems import load

    plan = Plan.from_json({"problems": "countdown:2", "n": 2})
    made = folder.create(tmp_path / "e", plan, load(plan.problems))
    with made.held(), pytest.raises(folder.EvaluationError, match="at work in another process"):
        folder.remove(made)
    assert folder.read(tmp_path / "e").plan == plan
    folder.remove(made)
    assert not made.path.exists()
    folder.remove(made)  # once more does no harm


def test_only_who_began_an_evaluation_and_admins_delete_it(tmp_path: Path) -> None:
    from core.evaluation.plan import Plan
    from core.evaluation.problems import load

    plan = Plan.from_json({"problems": "countdown:2", "n": 2})
    ids = {"admin": "01kaexr0v7m3p9d2k4c6h8n5qs", "researcher": "01kaexr0v7m3p9d2k4c6h8n5qt"}
    for by, eval_id in ids.items():
        folder.create(tmp_path / "data" / "evals" / eval_id, plan, load(plan.problems), created_by=by)
    with door(tmp_path / "data") as bench:
        refused = bench.ask("DELETE", f"/api/evals/{ids['admin']}", "researcher")
        assert refused.status_code == 403 and "only they and admins" in refused.json()["error"]
        assert bench.ask("DELETE", f"/api/evals/{ids['researcher']}", "researcher").status_code == 204
        assert bench.ask("DELETE", f"/api/evals/{ids['admin']}", "admin").status_code == 204


@pytest.mark.anyio
async def test_an_evaluation_takes_the_turns_of_who_started_it(
    workbench: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, real = list[str](), Scheduler.run

    async def run(self: Scheduler, *args: Any, **how: Any) -> Any:
        users.append(how["user"])
        return await real(self, *args, **how)

    monkeypatch.setattr(Scheduler, "run", run)
    async with workbench() as bench:
        made = await started(bench)
        await until(bench, made["eval_id"], "done")
    assert made["created_by"] and set(users) == {made["created_by"]}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"problems": "countdown:0"}, "is no built-in set"),
        ({"problems": "nowhere.jsonl"}, "There are no problems"),
        ({"models": ["gpt"]}, 'There is no model "gpt"'),
        ({"strategies": ["beam width=0"]}, 'Beam: "width" is 0; it must lie between'),
        ({"strategies": ["beam"], "scorers": ["none"]}, "Beam needs a scorer"),
        ({"strategies": [], "n": 0}, "nothing to run"),
        ({"scorers": ["../jobs"]}, 'There is no scorer "../jobs"'),
        ({"scorers": ["reward-model"]}, "No reward model is in use"),
        ({"budgets": [{"tokens": -1}]}, "The budget of tokens is -1"),
        ({"budgets": [{"euros": 1}]}, '"budgets" has no "euros"'),
        ({"limits": {"temperature": 9}}, "between 0 and 5"),
        ({"seeds": [0.5]}, '"seeds" holds'),
        ({"speed": 1}, 'A plan has no "speed"'),
    ],
)  # fmt: skip
async def test_a_plan_that_cannot_be_run_is_refused_in_a_sentence(
    workbench: Opened, change: dict[str, Any], sentence: str
) -> None:
    async with workbench() as bench:
        for path in ("/api/evals/check", "/api/evals"):
            answer = await bench.post(path, json={"plan": {**PLAN, "problems": "countdown:2", **change}})
            assert answer.status_code == 422 and sentence in answer.json()["error"], answer.text
        assert (await bench.get("/api/evals")).json() == []


@pytest.mark.anyio
async def test_files_of_problems_are_refused_by_line_and_field_and_names_are_only_names(workbench: Opened) -> None:
    async with workbench() as bench:
        for rows, sentence in (
            (b'{"question": "a?"}\n{"q": 1}\n', "x.jsonl:2: there is no question"),
            (b"{", "x.jsonl:1: this is not JSON"), (b"\n", "holds no problem"), (b"\xff", "not text in UTF-8"),
            (b'{"question": "a?", "task": "chess"}', 'x.jsonl:1: there is no task "chess"'),
        ):  # fmt: skip
            answer = await bench.post("/api/evals/problems?name=../../x.jsonl", content=rows)
            assert answer.status_code == 422 and sentence in answer.json()["error"], answer.text
        kept = await bench.post("/api/evals/problems?name=..%2F..%2Fowner.jsonl", content=jsonl(LINES))
        name = kept.json()["name"]
        assert name.startswith("owner-") and (await bench.get("/api/evals/problems")).json()["uploaded"] == [name]


@pytest.mark.anyio
async def test_deleted_problems_are_gone_and_an_evaluation_over_them_goes_on(workbench: Opened) -> None:
    async with workbench() as bench:
        made = await started(bench)
        name = made["plan"]["problems"]
        for wrong in ("nothing.jsonl", "..%2F..%2Fowner.json", ".hidden.jsonl"):
            assert (await bench.delete(f"/api/evals/problems/{wrong}")).status_code == 404, wrong
        assert (await bench.delete(f"/api/evals/problems/{name}")).status_code == 204
        assert (await bench.get("/api/evals/problems")).json()["uploaded"] == []
        refused = await bench.post("/api/evals/check", json={"plan": {**PLAN, "problems": name}})
        assert refused.status_code == 422 and name in refused.json()["error"]
        await until(bench, made["eval_id"], "done")
        rows = (await bench.get(f"/api/evals/{made['eval_id']}/problems")).json()["problems"]
        assert [row["prompt"] for row in rows] == [next(iter(line.values())) for line in LINES]


def test_only_admins_name_paths_where_others_log_in(tmp_path: Path) -> None:
    secret = tmp_path / "secret.jsonl"
    secret.write_bytes(jsonl(LINES))
    body = {"plan": {**PLAN, "problems": str(secret)}}
    with door(tmp_path / "data") as bench:
        refused = bench.ask("POST", "/api/evals/check", "researcher", json=body)
        assert refused.status_code == 422 and "upload a file" in refused.json()["error"]
        assert bench.ask("POST", "/api/evals/check", "admin", json=body).status_code == 200
        assert bench.ask("DELETE", "/api/evals/problems/mine.jsonl", "researcher").status_code == 403
        assert bench.ask("DELETE", "/api/evals/problems/mine.jsonl", "admin").status_code == 404


def test_evaluations_are_in_a_backup(store: Store, tmp_path: Path) -> None:
    from core.evaluation.plan import Plan
    from core.evaluation.problems import load

    plan = Plan.from_json({"problems": "countdown:2", "n": 2})
    made = folder.create(store.folder / "evals" / "01kaexr0v7m3p9d2k4c6h8n5qs", plan, load(plan.problems))
    (made.path / folder.SEARCHES / "ab.jsonl").write_text("{}\n")
    backup.write(backup.stream(store), tmp_path / "backup")
    there = folder.read(tmp_path / "backup" / "evals" / made.path.name)
    assert there.plan == plan and there.eval_id == made.eval_id
    assert (there.path / folder.SEARCHES / "ab.jsonl").is_file()


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store.open(tmp_path / "data") as opened:
        yield opened


@pytest.mark.slow
def test_the_terminal_is_killed_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """A real model and a real kill."""
    command = [
        "eval", "--problems", "countdown:4:3", "--strategy", "linear", "--strategy", "beam width=2 branch=2", "--scorer",
        "countdown-oracle", "--n", "2", "--max-steps", "5", "--max-tokens", "300", "--out", str(tmp_path / "e"),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", *command], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    )
    results = tmp_path / "e" / folder.RESULTS
    deadline = time.monotonic() + 120
    while not (results.exists() and results.read_text().count("\n") >= 2) and process.poll() is None:
        assert time.monotonic() < deadline, "no search was finished"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = results.read_text().splitlines()
    assert before and folder.read(tmp_path / "e").status().state == "stopped"

    runner = CliRunner()
    done = runner.invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert (found["status"]["state"], found["status"]["done"]) == ("done", 12)
    assert [c["searches"] for c in found["cells"]] == [4, 4, 4]
    assert results.read_text().splitlines()[: len(before) - 1] == before[:-1]  # what was done was not done again
    shown = runner.invoke(app, command)
    assert shown.exit_code == 0 and "weighted@k" in shown.stdout and "pool of answers" in shown.stdout
    a, b = (c["cell_id"] for c in found["cells"][1:])
    compared = runner.invoke(app, ["eval", "compare", f"{tmp_path / 'e'}:{a}", b, "--problems"])
    assert compared.exit_code == 0 and "McNemar" in compared.stdout, compared.output
    other = runner.invoke(app, [*command[:-4], "--max-tokens", "301", *command[-2:]])
    assert other.exit_code == 1 and 'holds another evaluation: "limits"' in other.stderr
    wrong = runner.invoke(app, ["eval", "compare", f"{tmp_path / 'e'}:nothing", b])
    assert wrong.exit_code == 1 and 'no cell "nothing"' in wrong.stderr
