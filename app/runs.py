"""Runs: a model at work on one question, owned by the server and watched by anybody.

A run is a task of the event loop that writes numbered events into a log (`eventlog`) and a journal (`journal`).
Viewers come and go without touching it. Its trace is stored before `done` is shown; a server that is killed finds
the journal at the next start and stores what there was, as `interrupted`. A run and the trace it becomes share one
id.

Knows nothing of HTTP. Everything here belongs to the event loop's thread unless a name ends in `_blocking`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import journal as journals
from app.eventlog import Event, EventLog
from app.journal import Journal, Recorded
from app.replay import missing_events
from core.answers.outcome import judged
from core.engines.base import OPENS_THINKING, Bounds, Chunk, Engine, GenerateRequest, Sampling, Thinking
from core.run import TraceReader, run_trace, settings_of, with_about
from core.trace import Earlier, Origin, Problem, Trace, new_id, utc_now
from core.turns import Turns
from storage.references import read_reference

if TYPE_CHECKING:
    from storage.store import Store, TraceRow

log = logging.getLogger("worldline.runs")

# More runs than this at once would each crawl: the engine decodes 32 rows together.
MAX_RUNNING = 64
# Finished runs whose events stay in memory; about 100 KB each. Older ones are read back from their journals.
KEPT_IN_MEMORY = 64
# Journals kept on disk, the newest; older runs are rebuilt from their traces.
KEPT_JOURNALS = 500
FLUSH_EVERY_S = 0.25
STOP_PATIENCE_S = 10.0


class TooManyRuns(Exception):
    """Refused for now; the message is a sentence."""


@dataclass(eq=False)
class Run:
    """A run in this process. `summary()` is what others see of it."""

    run_id: str
    prompt: str
    model: str
    sampling: Sampling
    bounds: Bounds
    started_at: str
    journal: Journal
    thinking: Thinking = field(default_factory=Thinking)
    prefix: str = ""  # what was written before this run began: a fork goes on from there
    origin: Origin | None = None
    cuts: tuple[int, ...] = ()  # where in it a step ends, whatever follows
    format: str | None = None  # None: whatever the text begins like
    opened: bool = False  # the prefix was begun within a thought that its prompt had opened
    before: Turns = field(default_factory=Turns)  # earlier turns of the conversation
    log: EventLog = field(default_factory=EventLog)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    stop_reason: str = "cancelled"
    raw: list[str] = field(default_factory=list)
    tokens: int = 0
    prompt_tokens: int = 0
    about: dict[str, Any] = field(default_factory=dict)  # what the engine said of itself (`Chunk.about`)
    steps: int = 0
    backtracks: int = 0
    _turned_back: bool = False  # what the newest step was taken for when it opened
    trace: Trace | None = None
    task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return not self.log.closed

    def append(self, event: Event) -> None:
        """Number an event, journal it, show it (the journal reaches the disk before a viewer gets it: see `flush`)."""
        if event["type"] == "start":
            event = {**event, "run_id": self.run_id}
        elif event["type"] == "step_open":
            self.steps += 1
            self._turned_back = bool(event["is_backtrack"])
            self.backtracks += self._turned_back
        elif event["type"] == "step_close":  # free-form text is known to turn back only when the step is whole
            self.backtracks += bool(event["step"]["is_backtrack"]) - self._turned_back
        self.journal.event(self.log.append(event))

    def heard(self, chunk: Chunk) -> None:
        """Text from the engine, before any event is made of it."""
        self.raw.append(chunk.text)
        self.tokens += chunk.tokens
        self.prompt_tokens = chunk.prompt_tokens or self.prompt_tokens
        self.about = with_about(self.about, chunk.about)
        self.journal.raw(chunk.text, chunk.tokens, chunk.prompt_tokens, chunk.about)

    def summary(self) -> dict[str, Any]:
        """The row of `GET /api/runs`."""
        done = self.trace is not None and self.log.closed
        return {
            "run_id": self.run_id, "trace_id": self.run_id, "prompt": self.prompt, "model": self.model,
            "state": "done" if done else "running", "steps": self.steps, "backtracks": self.backtracks,
            "started_at": self.started_at, "finish_reason": self.trace.finish_reason if self.trace and done else None,
        }  # fmt: skip


class _Overheard:
    """An engine whose chunks are written down before anybody else reads them."""

    def __init__(self, engine: Engine, heard: Callable[[Chunk], None]) -> None:
        self.model = engine.model
        self._engine, self._heard = engine, heard

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        inner = self._engine.stream(request)
        try:
            async for chunk in inner:
                self._heard(chunk)
                yield chunk
        finally:
            await inner.aclose()

    async def close(self) -> None:
        """The engine belongs to the registry, not to the run."""


class RunManager:
    """Starts, keeps and finds runs. `on_trace` is told of every trace that has been stored."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        *,
        on_trace: Callable[[Trace], None] = lambda trace: None,
        max_running: int = MAX_RUNNING,
    ) -> None:
        self._store, self._folder, self._on_trace = store, folder, on_trace
        self._max_running = max_running
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._closing = False
        self._flusher: asyncio.Task[None] | None = None

    # ---- life

    async def open(self) -> None:
        """Store what an earlier server left unfinished."""
        recovered = await asyncio.to_thread(self._recover_blocking)
        for trace in recovered:
            self._on_trace(trace)
        self._flusher = asyncio.create_task(self._flush_often(), name="journal-flush")

    def interrupt_all(self) -> None:
        """The server is going down: every run ends now, as `interrupted`. May be called more than once."""
        self._closing = True
        for run in self._runs.values():
            if run.running and not run.stop.is_set():
                run.stop_reason = "interrupted"
                run.stop.set()

    async def close(self) -> None:
        """End all runs and wait until their traces are stored."""
        self.interrupt_all()
        tasks = [run.task for run in self._runs.values() if run.task is not None and not run.task.done()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_PATIENCE_S)
            for task in late:
                log.error("%s did not end in time; its journal will be read at the next start", task.get_name())
                task.cancel()
        if self._flusher is not None:
            self._flusher.cancel()
        for run in self._runs.values():
            run.journal.close()

    # ---- acting

    @property
    def running(self) -> int:
        """Runs under way."""
        return sum(run.running for run in self._runs.values())

    def check_room(self, wanted: int = 1) -> None:
        """Raises TooManyRuns when so many more runs cannot be started now."""
        if self._closing:
            raise TooManyRuns("The server is shutting down; no new run is started.")
        if self.running + wanted > self._max_running:
            raise TooManyRuns(
                f"{self.running} runs are already under way; this server takes {self._max_running} at once. "
                "Try again when one has ended."
            )

    def start(
        self, engine: Engine, problem: Problem, sampling: Sampling, bounds: Bounds, *,
        thinking: Thinking = Thinking(), prefix: str = "", origin: Origin | None = None, cuts: Sequence[int] = (),
        format: str | None = None, opened: bool = False, before: Turns = Turns(),
    ) -> Run:  # fmt: skip
        """Begin a run; with `prefix` it goes on from what was written before, `before` are earlier turns. Raises TooManyRuns.

        `cuts`, `format` and `opened`: see `core.run.run_trace`. With `problem.answer` the trace is judged by that reference answer.
        """
        self.check_room()
        run_id, now = new_id(), utc_now()
        header = {
            "run_id": run_id, "prompt": problem.prompt, "model": engine.model, "started_at": now,
            "sampling": asdict(sampling), "bounds": asdict(bounds), "thinking": asdict(thinking), "prefix": prefix,
            "cuts": list(cuts), "format": format,
            "origin": asdict(origin) if origin else None,
            "earlier": before.earlier.to_json() if before.earlier else None,
        }  # fmt: skip
        run = Run(
            run_id, problem.prompt, engine.model, sampling, bounds, now,
            Journal(self._folder / f"{run_id}.jsonl", header), thinking, prefix, origin, tuple(cuts), format, opened, before,
        )  # fmt: skip
        self._runs[run_id] = run
        run.task = asyncio.create_task(self._drive(run, engine, problem), name=f"run-{run_id}")
        self._forget_old()
        return run

    def get(self, run_id: str) -> Run | None:
        """A run of this process that is still in memory."""
        return self._runs.get(run_id)

    async def stop(self, run: Run, patience: float = 3.0) -> None:
        """Ask a run to end and give it a moment to do so."""
        run.stop.set()
        if run.task is not None and not run.task.done():
            await asyncio.wait({run.task}, timeout=patience)

    # ---- reading

    async def log_of(self, run_id: str) -> tuple[EventLog, Callable[[], None]] | None:
        """The events of any run there ever was, and what to call before showing new ones. None: unknown."""
        run = self._runs.get(run_id)
        if run is not None:
            return run.log, run.journal.flush
        events = await asyncio.to_thread(self._old_events_blocking, run_id)
        return None if events is None else (EventLog(events, closed=True), lambda: None)

    def trace_so_far(self, run: Run) -> Trace:
        """What a run has written until now, as a trace that was interrupted; the trace itself once it is done."""
        return run.trace or _so_far(run, "interrupted", "")

    def forks_under_way(self, root: str) -> list[Run]:
        """Runs of this process that are forks of the family of `root` and not stored yet."""
        return [r for r in self._runs.values() if r.trace is None and r.origin is not None and r.origin.root == root]

    async def summaries(self, limit: int) -> list[dict[str, Any]]:
        """Newest first: the runs of this process, then what the store has from earlier ones."""
        rows = [run.summary() for run in reversed(self._runs.values())][:limit]
        if len(rows) < limit:
            have = {row["run_id"] for row in rows}
            stored = await asyncio.to_thread(lambda: self._store.traces(limit=limit))
            rows += [_summary_of_row(row) for row in stored if row.trace_id not in have][: limit - len(rows)]
        return sorted(rows, key=lambda row: row["run_id"], reverse=True)

    async def summary(self, run_id: str) -> dict[str, Any] | None:
        """One run, of this process or an earlier one."""
        run = self._runs.get(run_id)
        if run is not None:
            return run.summary()
        trace = await asyncio.to_thread(self._store.trace, run_id)
        return None if trace is None else summary_of_trace(trace)

    # ---- inside

    async def _drive(self, run: Run, engine: Engine, problem: Problem) -> None:
        try:
            trace = await run_trace(
                _Overheard(engine, run.heard), problem, run.sampling, run.bounds, run.append,
                trace_id=run.run_id, stop=run.stop, thinking=run.thinking, prefix=run.prefix, cuts=run.cuts,
                format=run.format, opened=run.opened, before=run.before,
            )  # fmt: skip
            trace = replace(trace, origin=run.origin)
        except Exception as failure:
            log.exception("run %s failed", run.run_id)
            trace = _so_far(run, "error", f"The model {run.model} failed: {failure or type(failure).__name__}")
        if trace.finish_reason == "cancelled":
            trace = replace(trace, finish_reason=run.stop_reason)
        trace = await asyncio.to_thread(judged, trace, problem.answer)
        rest = missing_events(trace, run.log.events)
        run.journal.outcome(_outcome(trace))
        try:
            await asyncio.wrap_future(self._store.add_trace(trace))
        except Exception as failure:
            log.exception("trace %s could not be stored", run.run_id)
            kept = f"It is kept in {run.journal.path.name} and stored at the next start."
            sentence = f"The trace could not be stored ({failure}). {kept}"
            rest[-1] = {**rest[-1], "error": sentence}
            stored = False
        else:
            stored = True
        for event in rest:
            run.append(event)
        if stored:
            run.journal.end()
        else:
            run.journal.close()
        run.trace = trace
        run.raw.clear()
        run.before = Turns()  # the trace says what came before
        run.log.close()
        if stored:
            self._on_trace(trace)

    async def _flush_often(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            for run in self._runs.values():
                if run.running:
                    run.journal.flush()

    def _forget_old(self) -> None:
        finished = [run_id for run_id, run in self._runs.items() if not run.running]
        for run_id in finished[: max(0, len(finished) - KEPT_IN_MEMORY)]:
            del self._runs[run_id]

    def _old_events_blocking(self, run_id: str) -> list[Event] | None:
        path = self._folder / f"{run_id}.jsonl"
        # Ids are letters and digits; anything else is not a name of ours and must not become a path.
        if run_id.isalnum() and path.is_file():
            recorded = journals.read(path)
            if recorded is not None and recorded.ended:
                return recorded.events
        trace = self._store.trace(run_id)
        if trace is None:
            return None
        return [{"seq": i, **event} for i, event in enumerate(missing_events(trace))]

    def _recover_blocking(self) -> list[Trace]:
        """Store the traces of runs that were cut, complete their journals; remove journals beyond the newest few."""
        self._folder.mkdir(parents=True, exist_ok=True)
        traces = []
        paths = sorted(self._folder.glob("*.jsonl"), reverse=True)
        for place, path in enumerate(paths):
            if place >= KEPT_JOURNALS and _ended(path):
                path.unlink()
                continue
            if _ended(path):
                continue
            try:
                recorded = journals.read(path)
                if recorded is None:
                    log.warning("%s has no readable first line: set aside as .broken", path.name)
                    path.rename(path.with_suffix(".broken"))
                    continue
                trace = recovered_trace(recorded)
                trace = judged(trace, self._store.read(partial(read_reference, problem_id=trace.problem_id)))
                self._store.add_trace(trace).result()
                seq = len(recorded.events)
                rest = [{"seq": seq + i, **e} for i, e in enumerate(missing_events(trace, recorded.events))]
                journals.append_after_crash(path, recorded, rest)
                traces.append(trace)
                log.info(
                    "run %s was cut and is kept with %d steps as %s",
                    trace.trace_id,
                    len(trace.steps),
                    trace.finish_reason,
                )
            except Exception:
                log.exception("%s could not be recovered; it stays where it is", path.name)
        return traces


def recovered_trace(recorded: Recorded) -> Trace:
    """The trace of a journal that has no end."""
    header = recorded.header
    outcome, about = recorded.outcome or {}, dict(recorded.about)
    trace = _partial(
        header["run_id"], Problem.ask(header["prompt"]), header["model"], header.get("prefix", ""), recorded.raw,
        recorded.tokens, recorded.prompt_tokens, Sampling(**header["sampling"]), Bounds(**header["bounds"]),
        Thinking(**(header.get("thinking") or {})), about, header["started_at"],
        outcome.get("finish_reason", "interrupted"), outcome.get("error", ""), header.get("cuts", ()), header.get("format"),
    )  # fmt: skip
    if header.get("origin"):
        trace = replace(trace, origin=Origin.from_json(header["origin"]))
    if header.get("earlier"):
        saved = recorded.about.get("saved_prompt_tokens")
        trace = replace(
            trace, earlier=Earlier.from_json(header["earlier"]), stats={**trace.stats, "saved_prompt_tokens": saved}
        )
    return replace(trace, stats=outcome["stats"]) if "stats" in outcome else trace


def _so_far(run: Run, reason: str, error: str) -> Trace:
    trace = _partial(
        run.run_id, Problem.ask(run.prompt), run.model, run.prefix, "".join(run.raw), run.tokens, run.prompt_tokens,
        run.sampling, run.bounds, run.thinking, run.about, run.started_at, reason, error, run.cuts, run.format,
    )  # fmt: skip
    return replace(trace, origin=run.origin, earlier=run.before.earlier)


def _partial(
    trace_id: str, problem: Problem, model: str, prefix: str, raw: str, tokens: int, prompt_tokens: int,
    sampling: Sampling, bounds: Bounds, thinking: Thinking, about: Mapping[str, Any], started_at: str, reason: str, error: str,
    cuts: Sequence[int] = (), form: str | None = None,
) -> Trace:  # fmt: skip
    """A trace from the raw text and what the engine said of itself."""
    reader = TraceReader(problem, model, trace_id, form, bool(about.get(OPENS_THINKING)))
    reader.begin(prefix + raw, cuts)
    reader.close()
    stats = {
        "steps": len(reader.tree.nodes), "backtracks": reader.backtracks, "prompt_tokens": prompt_tokens or None,
        "generated_tokens": tokens, "seconds": None, "first_token_s": None, "tokens_per_s": None,
        **({"notes": list(about["notes"])} if about.get("notes") else {}),
    }  # fmt: skip
    settings = settings_of(sampling, bounds, thinking, prefix, form) | (
        {"seed": about["seed"]} if "seed" in about else {}
    )
    server = {k: v for k, v in about.items() if k not in ("seed", "notes", "saved_prompt_tokens")}
    trace = reader.trace(
        reason, sampling={**settings, **({"server": server} if server else {})}, stats=stats, error=error
    )
    return replace(trace, created_at=started_at)


def _outcome(trace: Trace) -> dict[str, Any]:
    return {"finish_reason": trace.finish_reason, "error": trace.error, "stats": trace.stats}


def _ended(path: Path) -> bool:
    """Whether the last line says so; reads the last bytes only."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 32))
        return file.read().endswith(b'{"end":true}\n')


def summary_of_trace(trace: Trace) -> dict[str, Any]:
    """The summary of a run that this process no longer holds."""
    return {
        "run_id": trace.trace_id, "trace_id": trace.trace_id, "prompt": trace.prompt, "model": trace.model,
        "state": "done",
        "steps": len(trace.steps), "backtracks": sum(n.is_backtrack for n in trace.nodes),
        "started_at": trace.created_at, "finish_reason": trace.finish_reason,
    }  # fmt: skip


def _summary_of_row(row: TraceRow) -> dict[str, Any]:
    return {
        "run_id": row.trace_id, "trace_id": row.trace_id, "prompt": row.prompt, "model": row.model, "state": "done",
        "steps": row.n_steps, "backtracks": row.n_backtracks, "started_at": row.created_at,
        "finish_reason": row.finish_reason,
    }  # fmt: skip
