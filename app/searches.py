"""Searches: a strategy at work on one question, owned by the server and watched by anybody.

A search is a task of the event loop; all of them share one scheduler, which is fair between users. What it learns is a line of its
log (`search_log`) before anybody sees it, so a server that is killed goes on at the next start where the log ends, to the same
result. At its end the chosen response is a trace in the store, and the search a row beside it.

Knows nothing of HTTP. Everything here belongs to the event loop's thread unless a name ends in `_blocking`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import search_log as logs
from app.eventlog import EventLog
from app.models import ModelEntry, Models
from app.paths import searches_dir
from app.search_log import Event, LogFile, SearchLog
from app.search_scorers import Scorers
from app.search_traces import read_line, trace_id_of, trace_of
from core.engines.base import Engine, EngineError
from core.engines.sampling import Sampler, sampler_of
from core.scoring.prm import Aggregation, ScorerError
from core.search import strategies
from core.search.ledger import Budget
from core.search.pricing import check_budget
from core.search.scheduler import Limits, Scheduler, Team
from core.search.search import Search, replay
from core.trace import Problem, Trace, problem_id_of, utc_now
from storage.references import read_reference
from storage.searches import SearchRow, add_searches, list_searches, read_search, stored

if TYPE_CHECKING:
    from storage.store import Store

log = logging.getLogger("worldline.searches")

# More searches than this at once only wait for each other: an engine has 128 places, and a beam of 4 × 4 takes 16.
MAX_SEARCHES = 32
# Trees that stay in memory after their end; a few hundred KB each. Others are read from their logs again.
KEPT_IN_MEMORY = 32
STOP_PATIENCE_S = 10.0
# How often the log of a search is looked at that another part of the server writes, and when that is given up.
TAIL_EVERY_S, TAIL_QUIET_S = 0.5, 60.0


class TooManySearches(Exception):
    """Refused for now; the message is a sentence."""


class BrokenLog(Exception):
    """The log of a search cannot be read; the message is a sentence."""


@dataclass(frozen=True)
class Wanted:
    """What is to be searched, and with what. Models by their names, the scorer as text with its settings; seed None is drawn. tests:
    public ones, of a question whose answer is a program."""

    prompt: str
    strategy: str
    params: dict[str, Any] = field(default_factory=dict)
    model: str = "pocket"
    executor: str = ""
    scorer: str = "none"
    aggregation: Aggregation = "last"
    seed: int | None = None
    limits: Limits = field(default_factory=Limits)
    budget: Budget = field(default_factory=Budget)
    user: str = ""
    tests: tuple[Any, ...] = ()


@dataclass(eq=False)
class Live:
    """A search in memory, under way or ended. `about` is its first line."""

    search: Search
    about: Event
    events: EventLog = field(default_factory=EventLog)
    log: SearchLog | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    trace_id: str | None = None
    error: str = ""
    task: asyncio.Task[None] | None = None

    @property
    def search_id(self) -> str:
        return self.search.search_id

    @property
    def running(self) -> bool:
        return not self.events.closed

    def show(self, event: Event) -> None:
        """The last event waits until the chosen response is in the store."""
        if event["type"] == "error":
            self.error = event["error"]
        if event["type"] != "done":
            self.events.append(event)

    def summary(self) -> dict[str, Any]:
        """What `GET /api/searches/{search_id}` answers."""
        about, done = self.about, self.search.done_event()
        return {
            **{name: about.get(name) for name in _ABOUT}, "search_id": self.search_id, "prompt": about["problem"]["prompt"],
            "state": "running" if self.running else "done", "reason": self.search.reason or None,
            "nodes": len(self.search.state.tree), "right": done["right"] if self.search.reason else None,
            "answer": done["answer"], "trace_id": self.trace_id, "ledger": self.search.ledger(), "error": self.error,
        }  # fmt: skip


_ABOUT = (
    "strategy", "params", "model", "executor", "scorer", "seed", "aggregation", "limits", "budget", "user", "evaluation",
    "created_at",
)  # fmt: skip


class SearchManager:
    """Starts, keeps and finds searches. `on_trace` is told of every trace that has been stored."""

    def __init__(
        self, store: Store, data_dir: Path, models: Models, *, on_trace: Callable[[Trace], None] = lambda trace: None,
        max_running: int = MAX_SEARCHES,
    ) -> None:  # fmt: skip
        self._store, self._data_dir, self._models, self._on_trace = store, data_dir, models, on_trace
        self._folder = searches_dir(data_dir)
        self._max_running = max_running
        self.scheduler = Scheduler()
        self.scorers = Scorers(models, self._asked)
        self._lives: OrderedDict[str, Live] = OrderedDict()
        self._samplers: dict[str, tuple[Engine, Sampler]] = {}
        self._tails: set[asyncio.Task[None]] = set()
        self._closing = False

    # ---- life

    async def open(self) -> None:
        """Go on with what an earlier server left unfinished."""
        for live in await asyncio.to_thread(self._unfinished_blocking):
            self._lives[live.search_id] = live
            live.task = asyncio.create_task(self._go_on(live), name=f"search-{live.search_id}")

    def interrupt_all(self) -> None:
        """The server is going down: searches stop where they are and go on at the next start."""
        self._closing = True
        for live in self._lives.values():
            if live.task is not None and not live.search.reason:
                live.task.cancel()
        for tail in self._tails:
            tail.cancel()

    async def close(self) -> None:
        self.interrupt_all()
        tasks = [live.task for live in self._lives.values() if live.task is not None and not live.task.done()]
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_PATIENCE_S)
        for live in self._lives.values():
            if live.log is not None:
                live.log.close()

    # ---- acting

    def check_room(self, user: str) -> None:
        """An eighth of the places is everybody's own, however many others hold: nobody's next search waits for those of one other
        person. Raises TooManySearches."""
        if self._closing:
            raise TooManySearches("The server is shutting down; no new search is started.")
        under_way = [live.about["user"] for live in self._lives.values() if live.running and live.task is not None]
        mine = under_way.count(user)
        if len(under_way) >= self._max_running and mine >= max(1, self._max_running // 8):
            raise TooManySearches(
                f"{len(under_way)} searches are already under way, {mine} of them yours; this server takes {self._max_running} at once. "
                "Try again when one has ended."
            )

    async def start(self, wanted: Wanted) -> Live:
        """Begin a search. Raises ValueError, UnknownModel, EngineError, ScorerError, TooManySearches, each with a sentence."""
        self.check_room(wanted.user)
        strategy = strategies.make(wanted.strategy, wanted.params)
        if strategy.NEEDS_SCORER and wanted.scorer == "none":
            raise ValueError(f'{strategy.TITLE} goes by scores: "scorer" must name one, and is "none".')
        problem_id = problem_id_of(wanted.prompt)
        answer = await asyncio.to_thread(self._store.read, lambda con: read_reference(con, problem_id))
        problem = Problem.ask(wanted.prompt, answer=answer)
        if wanted.tests:
            problem = replace(problem, task="code", meta={"tests": list(wanted.tests)})
        solver = self.sampler(wanted.model, wanted.prompt)
        scorer = await self.scorers.chosen(wanted.scorer, problem, solver)
        executor = self.sampler(wanted.executor, wanted.prompt) if wanted.executor else None
        team = Team(solver, scorer, executor)
        await check_budget(wanted.budget, team, problem)
        seed = secrets.randbelow(2**31) if wanted.seed is None else wanted.seed
        search = Search(
            problem, strategy, seed=seed, marks=await solver.marks(), aggregation=wanted.aggregation
        )  # raises ValueError for a problem of a task that there is not
        about = search.start_event(
            model=wanted.model, executor=wanted.executor, scorer=scorer.name if scorer else "",
            scorer_version=await asyncio.to_thread(lambda: scorer.version) if scorer else "",
            limits=asdict(wanted.limits), budget=asdict(wanted.budget), user=wanted.user, created_at=utc_now(),
        )  # fmt: skip
        self.check_room(wanted.user)
        live = Live(search, about, log=SearchLog(self._folder / f"{search.search_id}.jsonl", first=about))
        live.events.append(about)
        self._lives[live.search_id] = live
        live.task = asyncio.create_task(self._drive(live, team), name=f"search-{live.search_id}")
        self._forget_old()
        return live

    async def stop(self, live: Live, patience: float = 3.0) -> None:
        """Ask a search to decide with what it has, and give it a moment to do so."""
        live.stop.set()
        if live.task is not None and not live.task.done():
            await asyncio.wait({live.task}, timeout=patience)

    async def keep(self, live: Live, node: int) -> str:
        """Store the answer that ends in a node as a trace; its id. Keeping it again is harmless. Raises ValueError."""
        tree = live.search.state.tree
        if not (0 <= node < len(tree)):
            raise LookupError(f"The search {live.search_id} has no node {node}; it has {len(tree)}.")
        if not tree[node].ended:
            raise ValueError(f"Node {node} is no finished answer, and only those can be kept as traces.")
        trace = await asyncio.to_thread(trace_of, live.search, node, live.about)
        known = await asyncio.to_thread(self._store.trace, trace.trace_id)
        if known is None:
            await asyncio.wrap_future(self._store.add_trace(trace, source="search"))
            self._on_trace(trace)
        return trace.trace_id

    # ---- reading

    async def find(self, search_id: str) -> Live | None:
        """Any search there ever was, whose log is here. Raises BrokenLog."""
        live = self._lives.get(search_id)
        if live is not None:
            self._lives.move_to_end(search_id)
            return live
        found = await asyncio.to_thread(logs.find, self._data_dir, search_id)
        if found is None:
            return None
        live = await asyncio.to_thread(self._read_blocking, found)
        if live.running and found.evaluation:
            tail = asyncio.create_task(self._tail(live, found), name=f"tail-{search_id}")
            self._tails.add(tail)
            tail.add_done_callback(self._tails.discard)
        elif live.running:
            live.events.close()  # the log of a search that could not be stored; it goes on at the next start
        known = self._lives.setdefault(search_id, live)
        self._forget_old()
        return known

    async def summaries(self, limit: int) -> list[dict[str, Any]]:
        """Newest first: searches of the Solve page in memory, then those that ended under earlier servers."""
        rows = [live.summary() for live in self._lives.values() if not live.about.get("evaluation")]
        have = {row["search_id"] for row in rows}
        rows += await asyncio.to_thread(self._ended_blocking, limit, have)
        return sorted(rows, key=lambda row: row["search_id"], reverse=True)[:limit]

    def _ended_blocking(self, limit: int, have: set[str]) -> list[dict[str, Any]]:
        ended = [r for r in self._store.read(lambda con: list_searches(con, limit)) if r.search_id not in have]
        rows = [_summary_of(row) for row in ended]
        for row in rows:  # the table has no column for the clock
            row["ledger"] |= logs.last_ledger(self._folder / f"{row['search_id']}.jsonl") or {}
        return rows

    async def node(self, live: Live, node: int) -> dict[str, Any]:
        """A node in full: the response up to it cut into steps, and to which node each step belongs. Raises LookupError."""
        tree = live.search.state.tree
        if not (0 <= node < len(tree)):
            raise LookupError(f"The search {live.search_id} has no node {node}; it has {len(tree)}.")
        found = await asyncio.to_thread(_node_blocking, live, node)
        kept = trace_id_of(live.search_id, node)
        there = tree[node].ended and await asyncio.to_thread(
            lambda: bool(self._store.query("select 1 from trace where trace_id = ? limit 1", [kept]))
        )
        return {**found, "trace_id": kept if there else None}

    # ---- inside

    def sampler(self, model_id: str, prompt: str) -> Sampler:
        """The same object for the same engine: it is what the scheduler's turns are about. Raises UnknownModel, ValueError, EngineError."""
        model = self._models.get(model_id)
        if model.check is not None:
            model.check(prompt)
        if not model.ready:
            raise EngineError(f"The weights of the model {model.name} are missing; install Worldline again.")
        return self._sampler(model)

    def _sampler(self, model: ModelEntry) -> Sampler:
        known = self._samplers.get(model.id)
        if known is None or known[0] is not model.engine:
            known = self._samplers[model.id] = (model.engine, sampler_of(model.engine))
        return known[1]

    async def _asked(self, model_id: str) -> tuple[Engine, Sampler]:
        """A model that judges. Raises UnknownModel."""
        model = self._models.get(model_id)
        return model.engine, self._sampler(model)

    async def _go_on(self, live: Live) -> None:
        """A search that an earlier server began: with the same models, or to an end that says which is gone."""
        about, prompt = live.about, live.search.state.problem.prompt
        try:
            if live.search.reason:
                team = None
            else:
                executor = self.sampler(about["executor"], prompt) if about.get("executor") else None
                solver = self.sampler(about["model"], prompt)
                scorer = await self.scorers.named(
                    about.get("scorer", ""), live.search.state.problem, about.get("scorer_version", ""), solver
                )
                team = Team(solver, scorer, executor)
        except (ValueError, EngineError, ScorerError) as error:
            self._fail(live, f"The search could not go on after the server had stopped: {error}")
            team = None
        await self._drive(live, team)

    async def _drive(self, live: Live, team: Team | None) -> None:
        """Search, unless that is done, then store what was chosen."""
        if team is not None:
            assert live.log is not None
            try:
                await self.scheduler.run(
                    live.search, team, Budget(**live.about["budget"]), Limits(**live.about["limits"]), user=live.about["user"],
                    log=live.log.add, show=live.show, stop=live.stop,
                )  # fmt: skip
            except Exception as failure:
                log.exception("search %s failed", live.search_id)
                self._fail(live, f"The search failed: {failure or type(failure).__name__}")
        await asyncio.shield(self._store_end(live))

    def _fail(self, live: Live, sentence: str) -> None:
        assert live.log is not None
        for event in ({"type": "error", "error": sentence}, *live.search.end("error")):
            if event["type"] in ("error", "done"):
                live.log.add(event)
            live.show(event)

    async def _store_end(self, live: Live) -> None:
        """The chosen response becomes a trace, the search a row, and everybody is told."""
        choice = live.search.choice
        done = live.search.done_event()
        try:
            trace = None
            if choice is not None and choice.node is not None:
                trace = await asyncio.to_thread(trace_of, live.search, choice.node, live.about)
                await asyncio.wrap_future(self._store.add_trace(trace, source="search"))
                live.trace_id = trace.trace_id
            await asyncio.wrap_future(self._store.write(add_searches, _row_of(live)))
        except Exception as failure:
            log.exception("search %s could not be stored", live.search_id)
            live.error = (
                f"The search could not be stored ({failure}). Its log is kept, and it is stored at the next start."
            )
        else:
            if trace is not None:
                self._on_trace(trace)
        if live.log is not None:
            live.log.close()
        live.events.append({**done, "trace_id": live.trace_id, "error": live.error})
        live.events.close()

    def _forget_old(self) -> None:
        ended = [search_id for search_id, live in self._lives.items() if not live.running]
        for search_id in ended[: max(0, len(ended) - KEPT_IN_MEMORY)]:
            del self._lives[search_id]

    def _read_blocking(self, found: LogFile) -> Live:
        """A search and what it showed, from its log. Raises BrokenLog."""
        try:
            written = logs.lines(found.path)
            first = next(written, {})
            search, shown = replay([first, *written])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BrokenLog(f"The log {found.path.name} of this search cannot be read: {error}.") from error
        about = {"user": "", "created_at": utc_now(), **first}
        if found.evaluation:
            about["evaluation"] = found.evaluation
        live = Live(search, about)
        live.events.append(about)
        for event in shown:
            live.show(event)
        if search.reason:
            row = self._store.read(lambda con: read_search(con, search.search_id))
            live.trace_id = row.trace_id if row else None
            live.events.append({**search.done_event(), "trace_id": live.trace_id, "error": live.error})
            live.events.close()
        return live

    def _unfinished_blocking(self) -> list[Live]:
        """Searches whose end is not in the store; a log that cannot be read is set aside."""
        paths = {path.stem: path for path in sorted(self._folder.glob("*.jsonl"))}
        ended = self._store.read(lambda con: stored(con, list(paths)))
        lives = []
        for search_id, path in paths.items():
            if search_id in ended:
                continue
            try:
                live = self._read_blocking(LogFile(path))
            except BrokenLog as error:
                log.warning("%s It is set aside as .broken.", error)
                path.rename(path.with_suffix(".broken"))
                continue
            if live.search.reason:  # it ended, and its end was not stored: the last event is shown again when it is
                live.events = EventLog(live.events.events[:-1])
            live.log = SearchLog(path)
            lives.append(live)
            log.info("search %s goes on with %d nodes", search_id, len(live.search.state.tree))
        return lives

    async def _tail(self, live: Live, found: LogFile) -> None:
        """Follow the log of an evaluation's search; who watches it sees what is written there."""
        quiet, size = 0.0, -1
        while live.running and quiet < TAIL_QUIET_S:
            await asyncio.sleep(TAIL_EVERY_S)
            now = found.path.stat().st_size if found.path.exists() else size
            quiet = quiet + TAIL_EVERY_S if now == size else 0.0
            if now == size:
                continue
            size = now
            try:
                fresh = await asyncio.to_thread(self._read_blocking, found)
            except BrokenLog as error:
                log.warning("%s", error)
                break
            live.search, live.error = fresh.search, fresh.error
            for event in fresh.events.events[len(live.events.events) :]:
                live.events.append({k: v for k, v in event.items() if k != "seq"})
            if fresh.events.closed:
                break
        live.events.close()
        if not live.search.reason:
            self._lives.pop(live.search_id, None)  # whoever asks next reads the log again


def _node_blocking(live: Live, node: int) -> dict[str, Any]:
    search, tree = live.search, live.search.state.tree
    line = tree.line(node)
    reader = read_line(search, node, live.about["model"])
    trace = reader.trace("stop" if tree[node].ended else "length", sampling={}, stats={})
    ends, at = [], 0
    for part in line:
        at += len(part.text)
        ends.append(at)
    # A step belongs to the node in which it ends: at the mark that cuts nodes apart.
    owners = [next((n.id for n, end in zip(line, ends, strict=True) if step.end <= end), node) for step in trace.steps]
    return {"node": search.node_json(node), "trace": trace.to_json(), "owners": owners}


def _row_of(live: Live) -> SearchRow:
    search, about, spent = live.search, live.about, live.search.spent
    done = search.done_event()
    return SearchRow(
        live.search_id, search.state.problem.problem_id, search.state.problem.prompt, search.strategy.NAME, about["params"],
        about["model"], about.get("executor", ""), about.get("scorer", ""), search.seed, about["user"], search.reason,
        done["right"], done["answer"], live.trace_id, len(search.state.tree), spent.prompt, spent.cached, spent.generated,
        spent.scorer, spent.solver_flops, spent.scorer_flops, spent.seconds, spent.calls, about["created_at"],
    )  # fmt: skip


def _summary_of(row: SearchRow) -> dict[str, Any]:
    """Of a search that this process does not hold: what its row says."""
    flops = None if row.solver_flops is None or row.scorer_flops is None else row.solver_flops + row.scorer_flops
    return {
        **dict.fromkeys(_ABOUT), "search_id": row.search_id, "prompt": row.prompt, "strategy": row.strategy,
        "params": dict(row.params), "model": row.model, "executor": row.executor, "scorer": row.scorer, "seed": row.seed,
        "user": row.started_by, "created_at": row.created_at, "state": "done", "reason": row.reason, "nodes": row.nodes,
        "right": row.correct, "answer": row.answer, "trace_id": row.trace_id, "error": "",
        "ledger": {
            "prompt": row.prompt_tokens, "cached": row.cached_tokens, "generated": row.generated_tokens, "scorer": row.scorer_tokens,
            "solver_flops": row.solver_flops, "scorer_flops": row.scorer_flops, "seconds": row.seconds, "calls": row.calls,
            "tokens": row.generated_tokens + row.scorer_tokens, "flops": flops,
        },
    }  # fmt: skip
