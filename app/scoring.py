"""Reward-model scores in the background: of new traces, and of older ones when another model comes into use.

One worker thread computes, a few traces at a time, new ones first; the event loop is never held up. Scores are stored
beside the traces, never among human ratings. Knows nothing of HTTP, and nothing of when scores may be shown.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from app.models import Models
from core.scoring.prm import ScoringStopped
from core.trace import Trace

if TYPE_CHECKING:
    from storage.store import Store

log = logging.getLogger("worldline.scoring")

# Chosen at evaluation and stored with the score; labels by people go with the product (Lightman et al. 2023).
AGGREGATION = "prod"
# Traces in one go: short enough that a new trace does not wait long behind old ones.
BATCH = 8
PAGE = 500


class Scoring:
    """Queue and worker. All but `_…_blocking` belongs to the event loop's thread."""

    def __init__(self, store: Store, models: Models) -> None:
        self._store, self._models = store, models
        self._fresh: deque[str] = deque()
        self._old: deque[str] = deque()
        self._in_hand = 0
        self._wanted = asyncio.Event()
        self._closing = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scoring")
        self._task: asyncio.Task[None] | None = None
        self._rescoring: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin, with what an earlier server did not finish."""
        self._task = asyncio.create_task(self._work(), name="scoring")
        if self._models.scorer_job is not None:
            self.rescore_soon()

    async def close(self) -> None:
        """Stop after the forward pass at work; what it was for is scored when a server opens the folder again."""
        self._closing.set()
        for task in (self._task, self._rescoring):
            if task is not None:
                task.cancel()
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)

    @property
    def waiting(self) -> int:
        """Traces still to be scored, those that are being scored among them."""
        return len(self._fresh) + len(self._old) + self._in_hand

    def enqueue(self, trace: Trace) -> None:
        """A new trace; ignored while no reward model is in use."""
        if self._models.scorer_job is not None and trace.steps:
            self._fresh.append(trace.trace_id)
            self._wanted.set()

    def rescore_soon(self) -> None:
        """Begin `rescore_all` and do not wait for it; an earlier one that still runs is given up."""
        if self._rescoring is not None:
            self._rescoring.cancel()
        self._rescoring = asyncio.create_task(self.rescore_all(), name="rescore")

    async def rescore_all(self) -> None:
        """Queue every stored trace; those that have this model's scores are passed over when their turn comes."""
        self._old.clear()
        after: str | None = None
        while rows := await asyncio.to_thread(self._page, after):
            self._old.extend(rows)
            self._wanted.set()
            after = rows[-1]

    async def score_now(self, trace: Trace) -> None:
        """Score one trace and wait for it. Raises ScorerError; the caller has made sure that a model is in use."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._score_blocking, [trace])

    def _page(self, after: str | None) -> list[str]:
        return [row.trace_id for row in self._store.traces(limit=PAGE, after=after)]

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self.waiting:
                self._wanted.clear()
                await self._wanted.wait()
            source = self._fresh or self._old
            ids = [source.popleft() for _ in range(min(BATCH, len(source)))]
            self._in_hand = len(ids)
            try:
                await loop.run_in_executor(self._thread, self._score_ids_blocking, ids)
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("scoring of %d traces failed", len(ids))
            finally:
                self._in_hand = 0

    def _score_ids_blocking(self, ids: Sequence[str]) -> None:
        found = (self._store.trace(trace_id) for trace_id in ids)
        self._score_blocking([trace for trace in found if trace is not None and trace.steps])

    def _score_blocking(self, traces: Sequence[Trace]) -> None:
        active = self._models.scorer_blocking()
        if active is None:
            return
        job_id, scorer = active
        version = scorer.version
        todo = [t for t in traces if not self._has_scores(t.trace_id, job_id, version)]
        if not todo:
            return
        texts = [(t.prompt, [t.step_text(s.index) for s in t.steps]) for t in todo]
        try:
            values = scorer.score_many(texts, stopped=self._closing.is_set)
        except ScoringStopped:
            return
        kept = [
            self._store.add_scores(t.trace_id, t.segmentation_id, job_id, version, v, AGGREGATION)
            for t, v in zip(todo, values, strict=True)
        ]
        for future in kept:
            future.result()

    def _has_scores(self, trace_id: str, scorer: str, version: str) -> bool:
        return any(s.scorer == scorer and s.scorer_version == version for s in self._store.scores(trace_id))
