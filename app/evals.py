"""Evaluations of the server: run in the background over the one scheduler, watched by anybody, gone on with after a restart.

Each is a folder in `evals/` of the data folder (`core/evaluation/folder.py`), also those that `worldline eval` made. What the server was
running when it ended goes on when it starts again. Knows nothing of HTTP; everything here belongs to the event loop's thread unless
a name ends in `_blocking`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.models import Models
from app.paths import evals_dir
from app.search_scorers import NONE
from app.searches import SearchManager
from core.engines.base import EngineError
from core.engines.sampling import Sampler
from core.evaluation import folder, report, run
from core.evaluation.compare import Comparison, compare
from core.evaluation.figures import figures, outcomes
from core.evaluation.folder import Evaluation, EvaluationError, Result, Status
from core.evaluation.plan import Plan
from core.evaluation.problems import Asked, load, read_lines
from core.search.pricing import check_budget
from core.search.scheduler import Team
from core.search.scorer_choice import ScorerChoice
from core.search.scorers import Scorer
from core.trace import Problem, new_id

log = logging.getLogger("worldline.evals")

BY = "server"
# At work at once: the scheduler shares its places between them, and each holds as many open logs as it has searches under way.
MAX_RUNNING = 4
KEPT_FIGURES = 16
STOP_PATIENCE_S = 10.0
_ID = re.compile(r"[0-9a-z]{26}")
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}")
_SETS = "sets"  # uploaded files of problems, beside the evaluations


class TooManyEvaluations(Exception):
    """Refused for now; the message is a sentence."""


@dataclass(eq=False)
class _Running:
    """An evaluation at work in this server."""

    evaluation: Evaluation
    status: Status
    stop: asyncio.Event
    before: float  # seconds that it took before it was at work here
    started: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None


class EvalManager:
    """Starts, stops, keeps and finds evaluations."""

    def __init__(self, data_dir: Path, models: Models, searches: SearchManager) -> None:
        self._folder, self._models, self._searches = evals_dir(data_dir), models, searches
        self._running: dict[str, _Running] = {}
        self._known: dict[str, Evaluation] = {}  # what never changes of those that were read
        self._figures: OrderedDict[str, tuple[int, dict[str, Any]]] = OrderedDict()

    # ---- life

    async def open(self) -> None:
        """Go on with what an earlier server was running."""
        for evaluation in await asyncio.to_thread(self._all_blocking):
            written = await asyncio.to_thread(evaluation.written_status)
            if (written.state, written.by) == ("running", BY) and not evaluation.is_held():
                self._start(evaluation)
                log.info("evaluation %s goes on at %d of %d", evaluation.eval_id, written.done, written.total)

    async def close(self) -> None:
        """Let go of what is running: it says that it runs, so the next server goes on with it."""
        tasks = [r.task for r in self._running.values() if r.task is not None and not r.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_PATIENCE_S)

    # ---- acting

    async def start(self, plan: Plan, name: str, user: str) -> Evaluation:
        """Begin a new one. Raises ValueError with a sentence for whatever of it cannot be had, TooManyEvaluations."""
        self._check_room()
        asked = await asyncio.to_thread(self.problems_blocking, plan.problems)
        await self.check(plan, asked)
        path = self._folder / new_id()
        made = await asyncio.to_thread(lambda: folder.create(path, plan, asked, name=name, created_by=user))
        self._start(made)
        return made

    async def resume(self, evaluation: Evaluation) -> None:
        """Go on with one that was stopped, failed or killed. Raises EvaluationError, TooManyEvaluations."""
        self._check_room()
        status = await asyncio.to_thread(self.status_blocking, evaluation)
        if not status.resumable:
            raise EvaluationError(
                f"The evaluation {evaluation.eval_id} is {status.state}; there is nothing to go on with."
            )
        self._start(evaluation)

    async def stop(self, evaluation: Evaluation, patience: float = 3.0) -> None:
        """End it where it stands, and give it a moment. Raises EvaluationError where it is not running here."""
        running = self._running.get(evaluation.eval_id)
        if running is None or running.task is None or running.task.done():
            raise EvaluationError(f"The evaluation {evaluation.eval_id} is not at work in this server.")
        running.stop.set()
        await asyncio.wait({running.task}, timeout=patience)

    async def delete(self, evaluation: Evaluation) -> None:
        """With its folder, for good. Raises EvaluationError while it is at work, here or elsewhere."""
        running = self._running.get(evaluation.eval_id)
        if running is not None and running.task is not None and not running.task.done():
            raise EvaluationError(f"The evaluation {evaluation.eval_id} is at work; stop it before it is deleted.")
        await asyncio.to_thread(folder.remove, evaluation)
        for kept in (self._running, self._known, self._figures):
            kept.pop(evaluation.eval_id, None)

    async def check(self, plan: Plan, asked: list[Asked]) -> None:
        """Whether every model and scorer can be had for every problem. Raises ValueError naming the problem."""
        for model in (*plan.models, *([plan.executor] if plan.executor else [])):
            for one in asked:
                try:
                    self._searches.sampler(model, one.problem.prompt)
                except EngineError as error:
                    raise ValueError(str(error)) from None
                except ValueError as error:
                    raise ValueError(f"Problem {one.index + 1}: {error}") from None
        for scorer in plan.scorers:
            for one in asked:
                try:
                    self._searches.scorers.check(scorer, one.problem)
                except ValueError as error:
                    raise ValueError(f"Problem {one.index + 1}: {error}") from None
            for model in plan.models:
                first = asked[0].problem
                solver = self._searches.sampler(model, first.prompt)
                executor = self._searches.sampler(plan.executor, first.prompt) if plan.executor else None
                team = Team(solver, await self._scorer(scorer, first, solver), executor)
                for budget in plan.budgets:
                    await check_budget(budget, team, first)

    def settled(self, plan: Plan) -> Plan:
        """The reward model in use by its name: another may be in use when the evaluation goes on. Raises ValueError."""
        return replace(plan, scorers=tuple(map(self._searches.scorers.settled, plan.scorers)))

    def check_mine(self, plan: Plan) -> None:
        """For who does not own this machine. Raises ValueError for a scorer that only an admin may ask for."""
        for scorer in plan.scorers:
            self._searches.scorers.check_mine(scorer)

    # ---- reading

    async def all(self) -> list[tuple[Evaluation, Status]]:
        """Newest first."""

        def read() -> list[tuple[Evaluation, Status]]:
            return [(e, self.status_blocking(e)) for e in self._all_blocking()]

        return await asyncio.to_thread(read)

    async def find(self, eval_id: str) -> Evaluation | None:
        return await asyncio.to_thread(self._find_blocking, eval_id)

    def status_blocking(self, evaluation: Evaluation) -> Status:
        running = self._running.get(evaluation.eval_id)
        if running is not None and running.task is not None and not running.task.done():
            return replace(running.status, seconds=running.before + time.monotonic() - running.started)
        return evaluation.status()

    async def figures(self, evaluation: Evaluation) -> dict[str, Any]:
        """As JSON, kept until more is finished."""
        return await asyncio.to_thread(self._figures_blocking, evaluation)

    async def problems_of(self, evaluation: Evaluation) -> list[dict[str, Any]]:
        """Every problem with what came of it in each cell."""

        def read() -> list[dict[str, Any]]:
            found = outcomes(evaluation.results())
            return [
                {
                    "key": p.key, "index": p.index, "prompt": p.problem.prompt, "reference": p.problem.answer,
                    "cells": {cell: o.__dict__ for cell, o in found.get(p.key, {}).items()},
                }
                for p in evaluation.problems
            ]  # fmt: skip

        return await asyncio.to_thread(read)

    async def comparable(self, evaluation: Evaluation) -> list[str]:
        """The ids of the other evaluations that share at least one problem with it, the newest first."""

        def read() -> list[str]:
            mine = {p.key for p in evaluation.problems}
            others = [e for e in self._all_blocking() if e.eval_id != evaluation.eval_id]
            return [e.eval_id for e in others if any(p.key in mine for p in e.problems)]

        return await asyncio.to_thread(read)

    async def compared(self, first: Evaluation, a: str, second: Evaluation, b: str) -> Comparison:
        """Two cells problem by problem. Raises EvaluationError."""
        return await asyncio.to_thread(lambda: compare(first, first.cell(a), second, second.cell(b)))

    async def written(self, evaluation: Evaluation, name: str) -> Path:
        """results.parquet or report.md of what is finished now."""

        def write() -> Path:
            results: list[Result] = evaluation.results()
            report.write(evaluation, figures(evaluation, results), results)
            return evaluation.path / name

        return await asyncio.to_thread(write)

    # ---- problems

    def problems_blocking(self, source: str) -> list[Asked]:
        """A built-in set, an uploaded file by its name, or a path. Raises ValueError."""
        uploaded = self._folder / _SETS / source
        if "/" not in source and not source.startswith(".") and uploaded.is_file():
            return load(str(uploaded))
        return load(source)

    def sets_blocking(self) -> list[str]:
        """The names of the files that were uploaded, the newest first."""
        files = sorted((self._folder / _SETS).glob("[!.]*.jsonl"), key=lambda p: p.stat().st_mtime, reverse=True)
        return [path.name for path in files]

    def upload_blocking(self, name: str, data: bytes) -> tuple[str, int]:
        """Keep a file of problems; the name it has from now on, and how many there are. Raises ValueError with line and field."""
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{name} is not text in UTF-8") from None
        count = len(read_lines(text, name))
        stem = re.sub(r"[^0-9A-Za-z_.-]+", "-", Path(name).stem).strip(".-")[:60] or "problems"
        kept = f"{stem}-{hashlib.sha256(data).hexdigest()[:8]}.jsonl"
        path = self._folder / _SETS / kept
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{kept}.new")
        fresh.write_bytes(data)
        fresh.replace(path)
        return kept, count

    def drop_set_blocking(self, name: str) -> bool:
        """Delete an uploaded file; evaluations keep their own copy of its problems. Whether there was such a file."""
        if name not in self.sets_blocking():
            return False
        (self._folder / _SETS / name).unlink(missing_ok=True)
        return True

    # ---- inside

    @property
    def running(self) -> int:
        return sum(r.task is not None and not r.task.done() for r in self._running.values())

    async def _scorer(self, said: str, problem: Problem, solver: Sampler) -> Scorer | None:
        scorers = self._searches.scorers
        if not _NAME.fullmatch(ScorerChoice.of(said).name):  # it becomes a path
            there = ", ".join(entry.name for entry in scorers.all())
            raise ValueError(f'there is no scorer "{said[:60]}"; there is {there} or the id of a finished job')
        return await scorers.named("" if said == NONE else said, problem, solver=solver)

    def _check_room(self) -> None:
        if self.running >= MAX_RUNNING:
            raise TooManyEvaluations(
                f"{self.running} evaluations are at work already; this server takes {MAX_RUNNING} at once. Try again when one has ended, or stop one."
            )

    def _start(self, evaluation: Evaluation) -> None:
        status = replace(evaluation.status(), state="running", error="", failed=0, left_s=None)
        running = self._running[evaluation.eval_id] = _Running(evaluation, status, asyncio.Event(), status.seconds)
        running.task = asyncio.create_task(self._run(running), name=f"evaluation-{evaluation.eval_id}")

    async def _run(self, running: _Running) -> None:
        evaluation = running.evaluation

        def tell(status: Status) -> None:
            running.status = status

        async def teams(model: str, scorer: str) -> Team:
            first = evaluation.problems[0].problem
            solver = self._searches.sampler(model, first.prompt)
            return Team(solver, await self._scorer(scorer, first, solver))

        try:
            await run.run(
                evaluation, teams, self._searches.scheduler, tell=tell, stop=running.stop,
                # One person's turns, however many evaluations and searches are theirs; one of the terminal is nobody's.
                user=evaluation.created_by or f"evaluation {evaluation.eval_id}", by=BY,
            )  # fmt: skip
        except Exception as failure:
            log.exception("evaluation %s failed", evaluation.eval_id)
            failed = replace(
                running.status, state="failed", left_s=None, error=f"It failed: {failure or type(failure).__name__}"
            )
            running.status = failed
            await asyncio.to_thread(evaluation.write_status, failed)

    def _all_blocking(self) -> list[Evaluation]:
        names = sorted((p.parent.name for p in self._folder.glob("[!.]*/plan.json")), reverse=True)
        return [e for e in map(self._find_blocking, names) if e is not None]

    def _find_blocking(self, eval_id: str) -> Evaluation | None:
        known = self._known.get(eval_id)
        if known is not None and (known.path / folder.PLAN).is_file():  # the terminal may have deleted it
            return known
        if not _ID.fullmatch(eval_id) or not (self._folder / eval_id).is_dir():
            return None
        try:
            found = folder.read(self._folder / eval_id)
        except EvaluationError as error:
            log.warning("%s", error)
            return None
        self._known[eval_id] = found
        return found

    def _figures_blocking(self, evaluation: Evaluation) -> dict[str, Any]:
        results = evaluation.results()
        kept = self._figures.get(evaluation.eval_id)
        if kept is not None and kept[0] == len(results):
            return kept[1]
        found = figures(evaluation, results).to_json()
        self._figures[evaluation.eval_id] = len(results), found
        self._figures.move_to_end(evaluation.eval_id)
        while len(self._figures) > KEPT_FIGURES:
            self._figures.popitem(last=False)
        return found
