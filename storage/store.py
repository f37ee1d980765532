"""The store: one object through which everything that is kept is written and read.

Writes go through one writer thread and answer with a future that is resolved after COMMIT (`asyncio.wrap_future` in
async code).
Reads may come from any thread; each gets a cursor of its own, because a DuckDB connection shared by threads returns
other
threads' rows. Knows no HTTP, no gradio, no trainer.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from core.trace import Trace
from storage import database, gold, ratings, refinements, traces
from storage.connections import Connections
from storage.errors import CorruptFolder, FolderInUse, ForeignFolder, NothingRated, StoreError
from storage.events import CurrentRating, RatingEvent, format_utc
from storage.kept import Kept
from storage.queues import assignments, claims, progress
from storage.queues.assignments import Assignment
from storage.queues.claims import Claim
from storage.queues.settings import DEFAULT_QUEUE, LEASE_MINUTES, Queue, read_queue, save_queues
from storage.refinements import Refinement
from storage.rubrics import Rubric, read_rubric
from storage.sampling.rankings import Rankings
from storage.traces import Held, TraceRow, WorldLine
from storage.writer import Lane, Operation, Writer

__all__ = [
    "Assignment", "CorruptFolder", "CurrentRating", "FolderInUse", "ForeignFolder", "NothingRated", "RatingEvent",
    "StepScores", "Store", "StoreError", "TraceRow",
]  # fmt: skip

T = TypeVar("T")
ROLES = ("rater", "adjudicator", "researcher", "admin")
CLAIM_TIMEOUT_S = 60.0  # a claim takes milliseconds; far beyond that the disk hangs and the caller must hear of it

_open_folders: set[Path] = set()  # DuckDB lets one process open a file twice; two writers over one log must not happen
_open_lock = threading.Lock()


@dataclass(frozen=True)
class StepScores:
    """A model's scores for every step of a trace. Never in one table with human ratings."""

    trace_id: str
    segmentation_id: str
    scorer: str
    scorer_version: str
    values: tuple[float, ...]
    aggregation: str
    created_at: str

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "values": list(self.values)}


class Store:
    """The open data folder. Make it with `Store.open`, end it with `close` (or use it in a `with`)."""

    def __init__(self, connections: Connections) -> None:
        self.folder = connections.folder
        self.connections = connections
        self._log = ratings.RatingLog()
        self._rankings = Rankings()
        self._kept = Kept()
        self._raters: set[str] = set()  # those who were given work since it was opened
        self._writer = Writer(connections, self._log.forget, self._kept.changed)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open or create the data folder.

        Raises FolderInUse (another process owns it; `.pid`), ForeignFolder (not ours, or CorruptFolder: cannot be
        read; nothing is
        changed), StoreError (cannot be written).
        """
        folder = Path(folder).expanduser().absolute()
        key = folder.resolve()
        with _open_lock:
            if key in _open_folders:
                raise database.in_use(folder, own_pid=os.getpid())
            _open_folders.add(key)
        try:
            connections = Connections(folder)
            try:
                with connections.writing() as con:
                    claims.set_up(con)
            except duckdb.Error as error:
                connections.close()
                raise CorruptFolder(f"The database in {folder} cannot be read: {database.first_line(error)}.") from None
            return cls(connections)
        except BaseException:
            with _open_lock:
                _open_folders.discard(key)
            raise

    def close(self) -> None:
        """Write what is queued, then let go of the folder. Closing twice is harmless."""
        self._writer.close()
        self.connections.close()
        with _open_lock:
            _open_folders.discard(self.folder.resolve())

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- writes: futures, resolved after COMMIT

    def add_trace(self, trace: Trace, *, source: str = "run") -> Future[None]:
        """Keep a trace with its steps and tree. The same trace again is harmless; another text under its id is
        refused.
        """
        traces.check_storable(trace)
        return self._writer.submit(traces.add_traces, (trace, source))

    def add_rating_events(self, events: Sequence[RatingEvent]) -> Future[list[str]]:
        """Append events; the result is the ids that are in the log, replayed ones included.

        An event that cannot be kept (no such assignment, another rater's, a step beyond the end) is left out and its
        id is missing
        from the result; `why_rejected` gives the sentence. The others of the call are kept.
        """
        return self._writer.submit(self._log.append, tuple(events), Lane.FIRST)

    def add_scores(
        self,
        trace_id: str,
        segmentation_id: str,
        scorer: str,
        scorer_version: str,
        values: Sequence[float],
        aggregation: str,
    ) -> Future[None]:
        """Keep a model's score for every step. Scoring again with the same scorer and version supersedes the earlier
        row.
        """
        row = (trace_id, segmentation_id, scorer, scorer_version, [float(v) for v in values], aggregation)
        return self._writer.submit(_add_scores, row)

    def add_refinement(self, refinement: Refinement) -> Future[None]:
        """Keep what a model said of a trace's steps on a second look, beside what was inferred."""
        return self._writer.submit(refinements.add_refinements, refinement)

    def add_rater(self, rater_id: str, display_name: str, role: str = "rater") -> Future[None]:
        """Make a rater known. Raters are also made on their first assignment, under their id as the name."""
        if role not in ROLES:
            raise StoreError(f"The role {role!r} is not known; it must be one of {', '.join(ROLES)}.")
        return self._writer.submit(claims.add_raters, (rater_id, display_name, role))

    def set_queue(
        self,
        queue_id: str = DEFAULT_QUEUE,
        *,
        overlap: int | None = None,
        lease_minutes: int = LEASE_MINUTES,
        verify_mode: bool = False,
    ) -> Future[list[Queue]]:
        """Make a queue, or change these three settings of it. overlap: raters an item (None: as many as want to).
        verify_mode shows scores while rating. Everything else: storage.queues.settings.save_queues.
        """
        before = self.read(lambda con: read_queue(con, queue_id)) or Queue(queue_id, queue_id)
        changed = replace(before, overlap=overlap, lease_minutes=lease_minutes, verify_mode=verify_mode)
        return self._writer.submit(save_queues, changed)

    def record_snapshot(
        self,
        snapshot_id: str,
        name: str,
        spec: str,
        event_seq: int,
        n_rows: int,
        sha256: str,
        created_by: str,
        path: str,
    ) -> Future[None]:
        """Note that a snapshot was frozen, so that lineage can be walked from ratings to snapshots."""
        return self._writer.submit(
            _add_snapshot, (snapshot_id, name, spec, event_seq, n_rows, sha256, created_by, path)
        )

    # ---- work for raters

    def next_assignment(
        self, rater_id: str, queue_id: str = DEFAULT_QUEUE, *, ahead: bool = False
    ) -> Assignment | None:
        """The rater's open lease, else the next item of the queue that they have not had; None when nothing is left.

        ahead: an item to be shown later, beside the one in hand; `begin` starts its lease. Raises OnHold (a StoreError) with
        a sentence for a rater who is paused.
        """
        queue = self.need_queue(queue_id)
        rankings = self._rankings.of(queue, self.read).lists
        wish = Claim(rater_id, queue_id, ahead=ahead, rankings=rankings, known=self._known(queue, rater_id))
        if queue.unit == "trace" and not queue.archived and not self._holds(wish):
            found = self.read(lambda con: claims.look_out(con, queue, wish, ratings.utc_now()))
            wish = replace(wish, looked_out=found)
        try:
            return self._claim(wish)
        except gold.OnHold as held:
            if held.standing is not None:
                self._soon(self._writer.submit(gold.set_standing, held.standing))
            if ahead:
                return None  # they are told when they ask for work to do now
            raise

    def _known(self, queue: Queue, rater_id: str) -> claims.Known:
        of = queue.queue_id
        golds = self._kept.get(("gold", of), lambda: self.read(lambda con: tuple(gold.read_gold(con, of))))
        standings = self._kept.get(
            ("standings", of), lambda: self.read(lambda con: {s.rater_id: s for s in gold.standings(con, of)})
        )
        return claims.Known(queue, rater_id in self._raters, golds, standings)

    def _holds(self, wish: Claim) -> bool:
        """Whether there is work in hand, so that none need be looked for (should it turn out to be lost, the writer looks)."""
        return not wish.ahead and self.read(lambda con: claims.holds(con, wish))

    def begin(self, assignment_id: str, rater_id: str) -> Assignment | None:
        """What was fetched ahead is shown now. None: it lapsed, and its place was taken. StoreError: another's."""
        return self._soon(self._writer.submit(claims.begin, (assignment_id, rater_id), Lane.FEW))

    def open_assignment(self, rater_id: str, trace_id: str, queue_id: str = DEFAULT_QUEUE) -> Assignment:
        """The rater's assignment for a chosen trace, whatever its status; made when there is none. StoreError: no
        such trace.
        """
        found = self._claim(Claim(rater_id, queue_id, trace_id))
        assert found is not None  # a claim on a named trace gives an assignment or raises
        return found

    def _claim(self, wish: Claim) -> Assignment | None:
        if not wish.rater_id or len(wish.rater_id) > 128:
            raise StoreError("A rater needs a name of 1 to 128 characters.")
        found = self._soon(self._writer.submit(claims.claim, wish, Lane.FEW))
        self._raters.add(wish.rater_id)  # a row that is never removed
        return found

    def _soon(self, future: Future[T]) -> T:
        try:
            return future.result(CLAIM_TIMEOUT_S)
        except TimeoutError:
            raise StoreError("The store did not answer within a minute; check the disk of the data folder.") from None

    def sampling_lacks(self, queue: Queue) -> str:
        """The sentence when a queue's sampling has nothing to go by yet; empty when it has."""
        return self._rankings.of(queue, self.read).lacking

    # ---- reads: any thread

    def queue(self, queue_id: str) -> Queue | None:
        """The queue as it is set now. Nearly every request of a rater asks, so it is kept in memory."""
        return self._kept.get(("queue", queue_id), lambda: self.read(lambda con: read_queue(con, queue_id)))

    def need_queue(self, queue_id: str) -> Queue:
        """Raises StoreError when there is none."""
        found = self.queue(queue_id)
        if found is None:
            raise StoreError(f"There is no queue {queue_id!r}.")
        return found

    def rubric(self, rubric_id: str, version: int) -> Rubric | None:
        """One version of a rubric's guidelines; kept in memory like the queue they belong to."""
        key = ("rubric", rubric_id, version)
        return self._kept.get(key, lambda: self.read(lambda con: read_rubric(con, rubric_id, version)))

    def trace(self, trace_id: str) -> Trace | None:
        return self.read(lambda con: traces.read_trace(con, trace_id))

    def traces(
        self, *, limit: int = 50, after: str | None = None, model: str | None = None, text: str | None = None
    ) -> list[TraceRow]:
        """A page, newest first; `after` is the trace_id of the last row of the page before. `text` is looked for in
        prompts.
        """
        return self.read(lambda con: traces.list_traces(con, limit=limit, after=after, model=model, text=text))

    def held(self, batch: Sequence[Trace]) -> Held:
        """Which of these traces are stored already: by content, under whatever id, and by id."""
        return self.read(lambda con: traces.held(con, batch))

    def family(self, root: str) -> list[WorldLine]:
        """The trace `root` and all its forks, oldest first; empty when there is no such trace."""
        return self.read(lambda con: traces.read_family(con, root))

    def assignment(self, assignment_id: str) -> Assignment | None:
        return self.read(lambda con: assignments.read_assignment(con, assignment_id))

    def recent_assignments(self, rater_id: str, limit: int = 20) -> list[Assignment]:
        """A rater's last assignments, latest first."""
        return self.read(lambda con: assignments.recent_assignments(con, rater_id, limit))

    def remaining(self, rater_id: str, queue_id: str = DEFAULT_QUEUE) -> int:
        """How many traces this rater could still rate, open leases included."""
        queue = self.need_queue(queue_id)
        return self.read(lambda con: progress.remaining(con, rater_id, queue))

    def current_ratings(self, assignment_id: str) -> list[CurrentRating]:
        """What counts now: latest wins."""
        return self.read(lambda con: ratings.current_ratings(con, assignment_id))

    def events(self, assignment_id: str) -> list[RatingEvent]:
        """The whole log of an assignment, in the order of commit."""
        return self.read(lambda con: ratings.events_of(con, assignment_id))

    def why_rejected(self, events: Sequence[RatingEvent]) -> dict[str, str]:
        """{event_id: sentence} for events that `add_rating_events` leaves out."""
        return self.read(lambda con: ratings.why_rejected(con, events))

    def scores(self, trace_id: str) -> list[StepScores]:
        """The latest scores of each scorer and version, newest first."""
        rows = self.query(
            "select trace_id, segmentation_id, scorer, scorer_version, step_values, aggregation, created_at from "
            "model_score "
            "where trace_id = ? qualify row_number() over (partition by segmentation_id, scorer, scorer_version "
            "order by created_at desc, rowid desc) = 1 order by created_at desc",
            [trace_id],
        )
        return [StepScores(*(*row[:4], tuple(row[4]), row[5], format_utc(row[6]))) for row in rows]

    def refinements(self, trace_id: str) -> list[Refinement]:
        """What models said of a trace's steps, newest first."""
        return self.read(lambda con: refinements.read_refinements(con, trace_id))

    def stats(self) -> dict[str, Any]:
        """traces, steps, ratings, judgements, submitted, by_rater, by_model, rating_histogram {good, neutral, bad,
        unsure}.
        """
        return self.read(ratings.statistics)

    def event_seq(self) -> int:
        """The sequence number of the last rating event committed; 0 when there is none."""
        return self.read(ratings.last_seq)

    def query(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Read rows with this thread's cursor: for snapshots and notebooks, never for writing."""
        return self.read(lambda con: con.execute(sql, params).fetchall())

    # ---- for the modules of this folder that are a noun of their own (people, pairs, …)

    def write(self, operation: Operation, payload: Any) -> Future[Any]:
        """Hand a writer's operation (storage/writer.py) and what it takes to the one thread that writes."""
        return self._writer.submit(operation, payload)

    def read(self, read: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Read with this thread's cursor; an error of the database becomes a StoreError with a sentence."""
        return self.connections.read(read)


def _add_scores(con: duckdb.DuckDBPyConnection, rows: Sequence[tuple[Any, ...]]) -> list[None]:
    for row in rows:
        con.execute("insert into model_score values (?, ?, ?, ?, ?, ?, ?)", [*row, ratings.utc_now()])
    return [None] * len(rows)


def _add_snapshot(con: duckdb.DuckDBPyConnection, rows: Sequence[tuple[Any, ...]]) -> list[None]:
    for snapshot_id, name, spec, event_seq, n_rows, sha256, created_by, path in rows:
        values = [snapshot_id, name, spec, event_seq, n_rows, sha256, created_by, ratings.utc_now(), path]
        con.execute("insert into snapshot values (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    return [None] * len(rows)
