"""Running an evaluation: all its searches through one scheduler, many problems at once, so that it can be killed at any moment.

A search's log is on disk before its result is, and its result before it counts as done. What is missing is done when the same
evaluation runs again; what was under way goes on from its log (`core.search.search.replay`), to the same result. Knows strategies by
name, and models and scorers only as what `teams` makes of their names.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, TextIO

from core.engines.base import EngineError
from core.engines.sampling import Marks
from core.evaluation.estimate import Drawn
from core.evaluation.folder import RESULTS, SEARCHES, Evaluation, Result, Status, Task, cut_torn, whole_lines
from core.evaluation.plan import NONE
from core.scoring.prm import ScorerError
from core.search import strategies
from core.search.pricing import check_budget
from core.search.scheduler import WIDTH, Scheduler, Team
from core.search.search import Event, Search, replay
from core.search.voting import candidates

# A model by its name, a scorer by its name ("none" too): what a search is run with. Raises ValueError, EngineError or ScorerError with
# a sentence; it is asked once for each two names.
Teams = Callable[[str, str], Awaitable[Team]]
# Searches under way at once: with one continuation each they fill the scheduler's places, and an open file each is no burden.
AT_ONCE = WIDTH
# So many searches in a row that an engine or a scorer broke off, and the evaluation stops: the rest would fail as well.
MOST_FAILED = 8
STATUS_EVERY_S = 1.0
# How a search ends for good; "": this line is none of its end.
KEPT_ENDS = ("", "finished", "budget")
# Elapsed time says nothing of what is left before so many searches are done.
LEAST_DONE = 3


async def run(
    evaluation: Evaluation, teams: Teams, scheduler: Scheduler, *, tell: Callable[[Status], None] = lambda status: None,
    stop: asyncio.Event | None = None, user: str = "", by: str = "",
) -> Status:  # fmt: skip
    """Do what is missing. `tell` hears of every finished search; `stop` ends it where it stands; user: whose turn it is in the scheduler;
    by: who runs it, for its status. Raises EvaluationError where another process is at it; whatever else goes wrong is in the status
    that is returned."""
    with evaluation.held():
        return await _Running(evaluation, teams, scheduler, tell, stop or asyncio.Event(), user, by).run()


class _Running:
    def __init__(
        self, evaluation: Evaluation, teams: Teams, scheduler: Scheduler, tell: Callable[[Status], None],
        stop: asyncio.Event, user: str, by: str,
    ) -> None:  # fmt: skip
        self.evaluation, self.teams, self.scheduler, self.tell = evaluation, teams, scheduler, tell
        self.stop, self.by = stop, by
        self.user = user or f"evaluation {evaluation.eval_id}"
        before = evaluation.status()
        done = {r.place for r in evaluation.results()}
        self.todo = [task for task in evaluation.tasks if task.place not in done]
        self.known = len(done)
        self.total = len(evaluation.tasks)
        self.seconds_before = before.seconds
        self.started = time.monotonic()
        self.finished = self.failed = self.in_a_row = 0
        self.error = self.last_failure = ""
        self.written = 0.0
        self.ready: dict[tuple[str, str], tuple[Team, Marks]] = {}

    async def run(self) -> Status:
        (self.evaluation.path / SEARCHES).mkdir(exist_ok=True)
        cut_torn(self.evaluation.path / RESULTS)
        self._say("running", now=True)
        with (self.evaluation.path / RESULTS).open("a", encoding="utf-8", errors="surrogatepass") as out:
            try:
                await self._look()
                await self._work(out)
            except (EngineError, ScorerError, ValueError) as error:
                self.error = str(error)
        if self.known + self.finished == self.total:
            state = "done"
        else:
            state = "failed" if self.error or (self.failed and not self.stop.is_set()) else "stopped"
        return self._say(state, now=True)

    async def _look(self) -> None:
        """Every model and scorer that is still needed, before anything is spent."""
        for task in self.todo:
            pair = task.cell.model, task.cell.scorer
            if pair not in self.ready:
                team = await self.teams(*pair)
                if self.evaluation.plan.executor:
                    other = await self.teams(self.evaluation.plan.executor, NONE)
                    team = replace(team, executor=other.solver)
                if team.scorer is not None:  # its version is a hash of its weights: not in everybody's thread
                    await asyncio.to_thread(getattr, team.scorer, "version")
                self.ready[pair] = team, await team.solver.marks()
            await check_budget(task.cell.budget, self.ready[pair][0], task.asked.problem)

    async def _work(self, out: TextIO) -> None:
        waiting = iter(self.todo)
        # Time that others use is nobody's budget: a search that is limited in seconds runs alone.
        timed = any(budget.seconds is not None for budget in self.evaluation.plan.budgets)

        async def work() -> None:
            for task in waiting:
                if self.stop.is_set() or self.error:
                    return
                await self._search(task, out)

        workers = [asyncio.create_task(work()) for _ in range(1 if timed else min(AT_ONCE, len(self.todo)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            for worker in workers:
                with suppress(asyncio.CancelledError, Exception):
                    await worker

    async def _search(self, task: Task, out: TextIO) -> None:
        team, marks = self.ready[task.cell.model, task.cell.scorer]
        path = self.evaluation.search_log(task)
        search = await asyncio.to_thread(self._known, task)  # answers are judged anew: programs are run
        fresh = search is None
        if search is None:
            search = Search(
                task.asked.problem, strategies.make(task.cell.strategy.name, dict(task.cell.strategy.params)), seed=task.seed,
                marks=marks, aggregation=self.evaluation.plan.aggregation,
                search_id=self.evaluation.search_id(task),
            )  # fmt: skip
        failure = ""
        if not search.reason:
            with path.open("w" if fresh else "a", encoding="utf-8", errors="surrogatepass") as file:

                def log(event: Event) -> None:
                    nonlocal failure
                    if event["type"] == "error":
                        failure = event["error"]
                    # A search that was broken off has not ended: its log stays open, and goes on later, from before what was cut.
                    elif (event["reason"] if event["type"] == "done" else event.get("cut", "")) in KEPT_ENDS:
                        file.write(json.dumps(event) + "\n")
                        file.flush()

                if fresh:
                    log(search.start_event(**self._about(task, team)))
                await self.scheduler.run(
                    search, team, task.cell.budget, self.evaluation.plan.limits, user=self.user, log=log, stop=self.stop
                )
        if search.reason in ("finished", "budget"):
            result = await asyncio.to_thread(_result, task, search)
            out.write(json.dumps(result.to_json()) + "\n")
            out.flush()
            self.finished += 1
            self.in_a_row = 0
        elif search.reason == "error":
            self.failed += 1
            self.in_a_row += 1
            self.last_failure = failure
            if self.in_a_row >= MOST_FAILED or self.failed == len(self.todo):
                self.error = failure
        self._say("running")

    def _known(self, task: Task) -> Search | None:
        """A search that was under way before, from its log; None where there is none that can be used."""
        path = self.evaluation.search_log(task)
        if not path.exists():
            return None
        cut_torn(path)
        try:
            search, _ = replay(whole_lines(path))
        except (ValueError, KeyError, TypeError):
            return None  # a log of another version: it is begun anew
        return search

    def _about(self, task: Task, team: Team) -> dict[str, Any]:
        """What a log says beside what the search itself knows."""
        return {
            "evaluation": self.evaluation.eval_id, "cell": task.cell.cell_id, "model": task.cell.model, "executor": self.evaluation.plan.executor,
            "scorer": "" if task.cell.scorer == NONE else task.cell.scorer,
            "scorer_version": team.scorer.version if team.scorer else "",
            "budget": asdict(task.cell.budget), "limits": asdict(self.evaluation.plan.limits),
            "created_at": self.evaluation.created_at, "created_by": self.evaluation.created_by,
        }  # fmt: skip

    def _say(self, state: Any, *, now: bool = False) -> Status:
        elapsed = time.monotonic() - self.started
        missing = self.total - self.known - self.finished
        left = None
        if state == "running" and self.finished >= LEAST_DONE:
            left = elapsed / self.finished * missing
        error = self.error
        if state != "running" and not error and self.failed:
            error = (
                f"{self.failed} searches were broken off by the model or the scorer (the last: {self.last_failure.rstrip('.')}); "
                "going on tries them again."
            )
        status = Status(
            state,
            self.known + self.finished,
            self.total,
            self.failed,
            self.seconds_before + elapsed,
            left,
            error,
            self.by,
        )
        if now or time.monotonic() - self.written >= STATUS_EVERY_S:
            self.written = time.monotonic()
            self.evaluation.write_status(status)
        self.tell(status)
        return status


def _result(task: Task, search: Search) -> Result:
    choice = search.choice
    chosen = search.state.tree[choice.node] if choice is not None and choice.node is not None else None
    done = search.done_event()
    return Result(
        search.search_id, task.cell.cell_id, task.asked.index, task.asked.key, task.seed, search.reason, done["answer"],
        # Whoever answers nothing has not solved it, where it is known what solves it.
        done["right"] if chosen is not None else _unanswered(search), chosen.score if chosen else None,
        len(search.state.tree), search.spent, _pool(search) if task.cell.pool else (), search.elapsed,
    )  # fmt: skip


def _unanswered(search: Search) -> bool | None:
    return None if search.state.answers.right("") is None else False


def _pool(search: Search) -> tuple[Drawn, ...]:
    """Every answer by itself, in the order of the tree, equal ones as often as they came."""
    tree, answers = search.state.tree, search.state.answers
    found = []
    for c in candidates(search.state):
        right = answers.right(tree.text(c.node))
        found += [Drawn(c.answer, bool(right), c.score)] * c.count
    cut = sum(n.count for n in tree.nodes if n.end in ("length", "empty"))
    return (*found, *[Drawn("", False, None, finished=False)] * cut)
