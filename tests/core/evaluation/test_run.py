"""Evaluations that run, are killed in the middle, and go on to the same results."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.engines.base import EngineError
from core.evaluation import folder, run
from core.evaluation.folder import Evaluation, EvaluationError, Result, Status
from core.search.scheduler import Scheduler, Team
from core.search.search import replay
from tests.core.evaluation.scripted import Adder, Likes, evaluation

PLAN = {
    "strategies": ["linear", "beam width=2 branch=2"], "scorers": ["none", "likes"], "n": 4, "seeds": [0, 1],
    "budgets": [{}, {"tokens": 12}],
}  # fmt: skip


def teams_of(solver: Adder) -> run.Teams:
    async def teams(model: str, scorer: str) -> Team:
        return Team(solver, Likes() if scorer == "likes" else None)  # type: ignore[arg-type]

    return teams


def ran(made: Evaluation, solver: Adder, **more: Any) -> Status:
    return asyncio.run(run.run(made, teams_of(solver), Scheduler(), **more))


def killed(made: Evaluation, after: int) -> None:
    """The process dies while the call after so many is under way."""

    async def die() -> None:
        solver = Adder(die_after=after)
        task = asyncio.create_task(run.run(made, teams_of(solver), Scheduler()))
        while solver.calls <= after and not task.done():
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(die())


def without_time(results: list[Result]) -> list[Result]:
    return [replace(r, search_id="", elapsed=None, spent=replace(r.spent, seconds=0.0)) for r in results]


def test_an_evaluation_that_is_killed_again_and_again_comes_to_the_results_of_one_that_is_not(tmp_path: Path) -> None:
    whole = evaluation(tmp_path / "whole", **PLAN)
    told: list[Status] = []
    solver = Adder()
    status = ran(whole, solver, tell=told.append)
    assert (status.state, status.done, status.failed) == ("done", len(whole.tasks), 0)
    assert [t.done for t in told] == sorted(t.done for t in told)
    assert any(t.left_s is not None and t.left_s > 0 for t in told)
    results = whole.results()
    assert sum(r.spent.generated for r in results) == solver.tokens

    cut = evaluation(tmp_path / "cut", **PLAN)
    for after in (5, 40, 60):  # fewer than are left, however far the runs before came
        killed(cut, after)
        with (cut.path / folder.RESULTS).open("a") as file:
            file.write('{"search_id": "torn')  # what a kill in mid-write leaves
    some_log = next(iter((cut.path / folder.SEARCHES).glob("*.jsonl")))
    some_log.write_text(some_log.read_text() + '{"type": "res')
    assert 0 < len(cut.results()) < len(results)
    last = Adder()
    assert ran(cut, last).state == "done"
    assert without_time(cut.results()) == without_time(results)
    # It went on where searches stood: the last run asked for what was missing, not for everything.
    assert last.tokens < solver.tokens
    once_more = Adder()
    assert ran(cut, once_more).state == "done" and once_more.calls == 0


def test_every_result_can_be_read_back_from_the_log_behind_it(tmp_path: Path) -> None:
    made = evaluation(tmp_path / "e", **PLAN)
    ran(made, Adder())
    for task, result in zip(made.tasks, made.results(), strict=True):
        assert task.place == result.place and made.search_id(task) == result.search_id
        lines = list(folder.whole_lines(made.search_log(task)))
        search, _ = replay(lines)
        assert (search.search_id, search.reason, search.spent) == (result.search_id, result.reason, result.spent)
        assert search.choice is not None and search.choice.answer == result.answer
        assert (lines[0]["cell"], lines[0]["evaluation"]) == (result.cell, made.eval_id)
    budgeted = [r for r in made.results() if made.cell(r.cell).budget.tokens]
    assert budgeted and all(r.spent.tokens <= 12 for r in budgeted)
    pools = [r for r in made.results() if made.cell(r.cell).pool]
    assert all(len(r.pool) == 4 and r.seed == 0 for r in pools)
    assert len({r.problem for r in pools}) == 6  # the question that is asked twice is two problems


@pytest.mark.parametrize("strategy", ["best-of-n n=4", "beam width=2 branch=2"])
def test_a_cell_costs_what_it_costs_alone(tmp_path: Path, strategy: str) -> None:
    """All cells share one reward model, and none pays for what another has read or goes without."""
    from core.scoring.prm import PrmScorer
    from core.search.scorers import PrmSearch
    from tests.core import scoring_models as tiny

    (tmp_path / "prm").mkdir()
    tiny.token_classifier(tmp_path / "prm")
    model = PrmScorer(tmp_path / "prm")

    def costs(name: str, strategies: list[str]) -> list[list[int]]:
        scorer = PrmSearch(model)

        async def teams(model: str, named: str) -> Team:
            return Team(Adder(), scorer)

        made = evaluation(tmp_path / name, strategies=strategies, scorers=["prm"])
        asyncio.run(run.run(made, teams, Scheduler()))
        cells = [c.cell_id for c in made.plan.cells]
        return [[r.spent.scorer for r in made.results() if r.cell == cell] for cell in cells]

    (alone,) = costs("alone", [strategy])
    assert min(alone) > 0 and len(alone) == 6
    assert costs("both", ["dvts subtrees=2 branch=2", strategy])[1] == alone


def test_a_kill_between_the_end_of_a_search_and_its_result_costs_nothing(tmp_path: Path) -> None:
    made = evaluation(tmp_path / "e", strategies=["linear"])
    ran(made, Adder())
    results = made.results()
    (made.path / folder.RESULTS).write_text("")
    solver = Adder()
    assert ran(made, solver).state == "done" and solver.calls == 0
    assert made.results() == results


def test_what_a_model_breaks_off_is_left_out_said_and_tried_again(tmp_path: Path) -> None:
    made = evaluation(tmp_path / "e", strategies=["linear", "best-of-n n=3"])
    status = ran(made, Adder(broken=("1 + 4",)))
    assert (status.state, status.failed, status.done) == ("failed", 2, 10)
    assert (
        "2 searches were broken off" in status.error
        and "(the last: " in status.error
        and made.status() == replace(status, updated_at=made.status().updated_at)
    )
    assert {r.problem for r in made.results()} == {p.key for p in made.problems} - {made.problems[1].key}
    assert ran(made, Adder()).state == "done"

    down = evaluation(tmp_path / "down", strategies=["linear", "best-of-n n=3"])
    status = ran(down, Adder(broken=("+",)))
    assert status.state == "failed" and "does not answer" in status.error and status.done == 0


def test_a_model_that_cannot_be_had_is_said_before_anything_is_spent(tmp_path: Path) -> None:
    made = evaluation(tmp_path / "e", strategies=["linear"])

    async def teams(model: str, scorer: str) -> Team:
        raise EngineError("There is no server.")

    status = asyncio.run(run.run(made, teams, Scheduler()))
    assert (status.state, status.error, made.results()) == ("failed", "There is no server.", [])


def test_a_stop_leaves_logs_that_go_on_and_one_process_at_a_time_runs_it(tmp_path: Path) -> None:
    made = evaluation(tmp_path / "e", **PLAN)

    async def stopped() -> Status:
        stop, solver = asyncio.Event(), Adder(die_after=60)
        task = asyncio.create_task(run.run(made, teams_of(solver), Scheduler(), stop=stop))
        while solver.calls <= 60:
            await asyncio.sleep(0.002)
        assert made.status().state == "running"
        with pytest.raises(EvaluationError, match="another process"):
            await run.run(made, teams_of(solver), Scheduler())
        stop.set()
        return await task

    status = asyncio.run(stopped())
    assert status.state == "stopped" and 0 < status.done < status.total and not status.error
    assert not any('"cancelled"' in path.read_text() for path in (made.path / folder.SEARCHES).glob("*.jsonl"))
    assert ran(made, Adder()).state == "done"
    whole = evaluation(tmp_path / "whole", **PLAN)
    ran(whole, Adder())
    assert without_time(made.results()) == without_time(whole.results())


def test_a_status_of_a_dead_process_says_so(tmp_path: Path) -> None:
    made = evaluation(tmp_path / "e", strategies=["linear"])
    made.write_status(Status("running", 2, 6, 0, 3.0, 9.0))
    assert (made.status().state, made.status().left_s, made.status().resumable) == ("stopped", None, True)
    assert "can go on" in made.status().error
    (made.path / folder.STATUS).write_text("{")
    assert made.status() == Status(total=6)


def test_a_search_whose_log_cannot_be_replayed_is_begun_anew(tmp_path: Path) -> None:
    made = evaluation(tmp_path / "e", strategies=["linear"])
    made.search_log(made.tasks[0]).write_text(json.dumps({"type": "start", "strategy": "of another version"}) + "\n")
    assert ran(made, Adder()).state == "done"
    assert len(made.results()) == 6
