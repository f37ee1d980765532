"""What a running workbench consists of, in one object that routes are given. Knows how to begin and to end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.evals import EvalManager
from app.exporting import Exports
from app.models import Models
from app.paths import owner_file, runs_dir, token_file
from app.people import People
from app.probes import Probes
from app.quality import Quality
from app.refining import Refining
from app.runs import MAX_RUNNING, RunManager
from app.scoring import Scoring
from app.searches import MAX_SEARCHES, SearchManager
from core.engines.base import Engine

if TYPE_CHECKING:
    from storage.store import Store

log = logging.getLogger("worldline.server")


@dataclass(frozen=True)
class Services:
    """The open data folder and what works on it."""

    data_dir: Path
    store: Store
    models: Models
    scoring: Scoring
    runs: RunManager
    searches: SearchManager
    evals: EvalManager
    refining: Refining
    people: People
    quality: Quality
    probes: Probes
    exports: Exports

    @classmethod
    async def open(
        cls,
        data_dir: Path,
        *,
        engines: Mapping[str, Engine] | None,
        open_store: Callable[[Path], Store],
        url: str,
        max_running: int = MAX_RUNNING,
        max_searches: int = MAX_SEARCHES,
    ) -> Services:
        """Raises StoreError when the folder cannot be had."""
        store = await asyncio.to_thread(open_store, data_dir)
        try:
            people = People(store)
            _write_owner(data_dir, url, people.owner_token)
            models = Models(data_dir, engines)
            scoring = Scoring(store, models)
            runs = RunManager(store, runs_dir(data_dir), on_trace=scoring.enqueue, max_running=max_running)
            await runs.open()
            searches = SearchManager(store, data_dir, models, on_trace=scoring.enqueue, max_running=max_searches)
            await searches.open()
            evals = EvalManager(data_dir, models, searches)
            await evals.open()
            probes = Probes(data_dir)
            await probes.open()
            scoring.open()
        except BaseException:
            store.close()
            _remove_owner(data_dir)
            raise
        return cls(
            data_dir,
            store,
            models,
            scoring,
            runs,
            searches,
            evals,
            Refining(store),
            people,
            Quality(store),
            probes,
            Exports(),
        )

    async def close(self) -> None:
        """Searches and runs first, so that what they have is stored; the store last."""
        try:
            await self.exports.close()
            await self.probes.close()
            await self.evals.close()
            await self.searches.close()
            await self.runs.close()
            await self.refining.close()
            await self.quality.close()
            await self.scoring.close()
            await self.models.close()
        finally:  # whatever went wrong above, the folder must be let go whole
            await asyncio.to_thread(self.store.close)
            _remove_owner(self.data_dir)


def _write_owner(data_dir: Path, url: str, token: str) -> None:
    secret = token_file(data_dir).with_suffix(".new")
    secret.unlink(missing_ok=True)  # or it would keep the mode it has
    with open(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(token)
    os.replace(secret, token_file(data_dir))
    fresh = owner_file(data_dir).with_suffix(".new")
    fresh.write_text(json.dumps({"pid": os.getpid(), "url": url}) + "\n", encoding="utf-8")
    os.replace(fresh, owner_file(data_dir))


def _remove_owner(data_dir: Path) -> None:
    try:
        if json.loads(owner_file(data_dir).read_text(encoding="utf-8"))["pid"] == os.getpid():
            owner_file(data_dir).unlink()
            token_file(data_dir).unlink(missing_ok=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("owner.json could not be removed: %s", error)
