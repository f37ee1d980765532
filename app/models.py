"""Which models can be asked, and which reward model judges: the pocket model, and what jobs have made usable.

What is in use is written down in `active.json` of the data folder as job ids, so that a restart finds it again. Weights
load late: an engine at its first question (or when `warm` is called), a scorer at its first trace. Knows nothing of
HTTP and runs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.paths import active_file
from app.served import Served, addresses_of, as_one, pocket_engine, served_id, served_note, servers_of
from core.engines.base import Engine, EngineDown, EngineError, takes_schema
from core.engines.openai_api import OpenAIEngine, list_models
from core.engines.pool import EnginePool
from core.engines.server_info import OWN_WEIGHTS, shown
from core.pocket import POCKET

if TYPE_CHECKING:
    from core.scoring.prm import PrmScorer

log = logging.getLogger("worldline.models")

POCKET_NOTE = (
    "A small model that plays the numbers game only: reach a target from 3 or 4 numbers (1 to 13, target 10 to 99). "
    "It runs in this process, without a network or a GPU, and was trained on single questions: a second turn is seldom sense. "
    "To ask a real model, start the workbench beside its server: "
    "worldline --endpoint http://127.0.0.1:8000/v1"
)


LOOK_AGAIN_S = 15.0


@dataclass(frozen=True)
class ModelEntry:
    """A model to choose from. `check` raises ValueError with a sentence for a question it cannot take."""

    id: str
    name: str
    note: str
    engine: Engine
    check: Callable[[str], object] | None = None
    model_dir: Path | None = None

    @property
    def ready(self) -> bool:
        """Whether a question can be answered now: an engine of ours needs its weights on disk."""
        return self.model_dir is None or any(self.model_dir.glob("*.safetensors"))

    @property
    def refines(self) -> bool:
        """Whether it can label steps: served models can, but not the pocket model, wherever it is served, nor what was tuned from it."""
        return takes_schema(self.engine) and self.judges

    @property
    def judges(self) -> bool:
        """Whether it can be asked what it thinks of a solution: what plays the numbers game alone cannot."""
        return self.check is None and self.engine.model != POCKET


class UnknownModel(ValueError):
    """There is no such model; a sentence that lists those there are."""


class Models:
    """The registry. Reading it is cheap and may happen in any thread; changes belong to the event loop."""

    def __init__(self, data_dir: Path, engines: Mapping[str, Engine] | None = None) -> None:
        """`engines` replaces the shipped model (tests, and models served elsewhere)."""
        self._data_dir = data_dir
        self._entries: dict[str, ModelEntry] = {}
        self._replaced: list[Engine] = []
        self._connecting: list[asyncio.Task[None]] = []
        self._missed = engines if isinstance(engines, Served) else None
        self._tuned: dict[str, None] = {}  # jobs whose model was made usable, in that order
        self._scorer_job: str | None = None
        self._scorer: PrmScorer | None = None
        self._scorer_lock = threading.Lock()
        for model_id, engine in (engines if engines is not None else {POCKET: pocket_engine()}).items():
            self._entries[model_id] = _entry(model_id, engine, shipped=engines is None)
        self._read_active()

    # ---- models

    def all(self) -> list[ModelEntry]:
        """In the order in which they were added; the first is the default."""
        return list(self._entries.values())

    def get(self, model_id: str) -> ModelEntry:
        """Raises UnknownModel."""
        entry = self._entries.get(model_id)
        if entry is None:
            raise UnknownModel(f'There is no model "{model_id[:100]}"; there is {", ".join(self._entries)}.')
        return entry

    def addresses(self) -> set[str]:
        """Of the servers that the workbench was connected with when it was started."""
        return {address for entry in self.all() for address in addresses_of(entry.engine)}

    def warm(self) -> None:
        """In the background: load the first model, so that the first question does not wait for it, give servers the fine-tuned
        models that they took before, and look for servers that were not there. Belongs to the event loop.
        """
        from core.engines.local import LocalEngine

        self._connecting.append(asyncio.create_task(self.connect()))
        if self._missed is not None and self._missed.away:
            self._connecting.append(asyncio.create_task(self._look_again(self._missed)))
        first = self.all()[0]
        if isinstance(first.engine, LocalEngine) and first.ready:
            first.engine.start()

    async def use_tuned(self, job_id: str) -> tuple[ModelEntry, str]:
        """Make a fine-tuned model usable from now on: by a server that has its base and takes its low-rank pairs or all
        of its weights, else in this process. The second is a sentence that says which, and why. Raises FileNotFoundError with a sentence.
        """
        from core.engines.local import LocalEngine

        _model_dir(self._data_dir, job_id)
        served, said = await self._served_tuned(job_id, put=True)
        entry = self._add_tuned(job_id, served or None)
        said += [self._move_out(other, entry.engine) for other in list(self._tuned) if other != job_id]
        self._write_active()
        where = "It runs in this process." if isinstance(entry.engine, LocalEngine) else served_note(entry.engine)
        return entry, " ".join(filter(None, [*said, where]))

    async def connect(self) -> None:
        """Have the servers that are there offer what is in use, where they take it; the rest runs in this process."""
        for job_id in list(self._tuned):
            served, said = await self._served_tuned(job_id, put=False)
            for sentence in said:
                log.warning("%s", sentence)
            if served:
                self._add_tuned(job_id, served)

    async def close(self) -> None:
        """Stop all engines."""
        for task in self._connecting:
            task.cancel()
        for engine in [*self._replaced, *(entry.engine for entry in self.all())]:
            await engine.close()

    # ---- the scorer

    @property
    def scorer_job(self) -> str | None:
        """The job whose reward model is in use."""
        return self._scorer_job

    def use_scorer(self, job_id: str) -> None:
        """Make a reward model the one that judges. Raises FileNotFoundError with a sentence."""
        _model_dir(self._data_dir, job_id)
        with self._scorer_lock:
            self._scorer_job, self._scorer = job_id, None
        self._write_active()

    def scorer_blocking(self) -> tuple[str, PrmScorer] | None:
        """(job id, scorer), loaded when needed: for a worker thread. None when no reward model is in use."""
        with self._scorer_lock:
            if self._scorer_job is None:
                return None
            if self._scorer is None:
                from core.scoring.prm import PrmScorer

                self._scorer = PrmScorer(_model_dir(self._data_dir, self._scorer_job))
            return self._scorer_job, self._scorer

    def scorer_of_blocking(self, job_id: str) -> PrmScorer:
        """The reward model of a job, whether it is the one in use or was, when a search began. Raises FileNotFoundError, ScorerError."""
        active = self.scorer_blocking() if job_id == self._scorer_job else None
        if active is not None and active[0] == job_id:
            return active[1]
        from core.scoring.prm import PrmScorer

        return PrmScorer(_model_dir(self._data_dir, job_id))

    def reward_models(self) -> list[str]:
        """The jobs that trained one, the newest first. The id of a job begins with its kind."""
        found = [
            path.parent
            for kind in ("prm", "orm")
            for path in (self._data_dir / "jobs").glob(f"{kind}-*/checkpoint.json")
            if (path.parent / "model" / "config.json").is_file()
        ]
        return [folder.name for folder in sorted(found, key=lambda f: f.name.partition("-")[2], reverse=True)]

    def folder_of(self, said: str) -> Path:
        """The model of a job, or a folder. Raises FileNotFoundError with a sentence."""
        for folder in (self._data_dir / "jobs" / said / "model", Path(said)):
            if (folder / "config.json").is_file():
                return folder
        raise FileNotFoundError(
            f"{said} is neither the id of a finished job nor a model's folder (no config.json in it)."
        )

    # ---- inside

    async def _look_again(self, missed: Served) -> None:
        """Until all servers that were away at the start have come; their models join those that are there."""
        while missed.away:
            await asyncio.sleep(LOOK_AGAIN_S)
            for endpoint in list(missed.away):
                try:
                    names = await asyncio.to_thread(list_models, endpoint, missed.api_key_env)
                except EngineError as error:
                    if missed.model is None or isinstance(error, EngineDown):
                        continue
                    names = [missed.model]  # it is there, and lists nothing
                missed.away.remove(endpoint)
                log.info("the server at %s is there now, with %s", shown(endpoint), ", ".join(names) or "no model")
                for name in names if missed.model is None else [n for n in names if n == missed.model]:
                    self._join(name, endpoint, OpenAIEngine(endpoint, name, missed.api_key_env))
            await self.connect()  # it may take the fine-tuned models of its base

    def _join(self, model: str, endpoint: str, engine: OpenAIEngine) -> None:
        """One more server of a model, or a model more."""
        model_id, address = served_id(model), shown(endpoint)
        before = self._entries.get(model_id)
        if before is not None and isinstance(before.engine, EnginePool):
            engine.alone = False
            before.engine.add(address, engine)
            joined: Engine = before.engine
        elif before is not None and isinstance(before.engine, OpenAIEngine):
            joined = as_one({shown(before.engine.base_url): before.engine, address: engine})
        else:
            joined = engine
        entry = ModelEntry(model_id, model_id, served_note(joined), joined)
        rest = {key: kept for key, kept in self._entries.items() if key != model_id}
        if before is not None:
            self._entries[model_id] = entry
        else:  # behind the served ones, before our own
            served = {key: kept for key, kept in rest.items() if addresses_of(kept.engine) and key not in self._tuned}
            self._entries = {**served, model_id: entry, **{k: kept for k, kept in rest.items() if k not in served}}

    async def _served_tuned(self, job_id: str, *, put: bool) -> tuple[dict[str, Engine], list[str]]:
        """Engines by address for the servers that offer a job's model now, and what there is to say of the servers. put: a server that
        takes weights while it runs gets these in the place of its own; otherwise only one that has them offers it.
        """
        served, said = dict[str, Engine](), list[str]()
        for engine in {e.base_url: e for entry in self.all() for e in servers_of(entry.engine)}.values():
            found, failed = None, list[str]()
            try:
                found = await self._with_adapter(engine, job_id)
            except EngineError as error:
                failed.append(str(error))
            if found is None:
                try:
                    found = await self._with_weights(engine, job_id, put)
                except EngineError as error:
                    failed.append(str(error))
                if found is not None:
                    failed = [
                        f"The server at {shown(engine.base_url)} has its weights now, in the place of its own, which can be asked again "
                        "when it is started anew; this model must then be put to use again."
                    ]
            said += failed
            if found is not None:
                served[shown(engine.base_url)] = found
        return served, said

    async def _with_adapter(self, engine: OpenAIEngine, job_id: str) -> OpenAIEngine | None:
        """By its low-rank pairs; None where there are none, or the server does not serve their base."""
        from core.engines.adapters import AdapterEngine, load_adapter

        adapter = self._data_dir / "jobs" / job_id / "adapter"
        if not (adapter / "adapter_config.json").is_file():
            return None
        if not await load_adapter(engine.base_url, engine.api_key_env, job_id, adapter):
            return None
        served = AdapterEngine(engine.base_url, job_id, engine.api_key_env, adapter)
        await served.look()  # raises where the server has all weights of another job, which the pairs do not fit
        return served

    async def _with_weights(self, engine: OpenAIEngine, job_id: str, put: bool) -> OpenAIEngine | None:
        """By all of its weights; None where the server does not serve its base (or has others, and they are not to be put there)."""
        from core.engines.weights import held, reload_weights, served_base

        where = engine.base_url, engine.api_key_env
        folder = _model_dir(self._data_dir, job_id)
        base = await served_base(*where, _bases(self._data_dir, job_id))
        if base is None or (not put and await held(*where) != job_id):
            return None
        name, root = base
        await reload_weights(*where, job_id, folder, root)
        return OpenAIEngine(engine.base_url, job_id, engine.api_key_env, served_as=name, weights=job_id)

    def _move_out(self, job_id: str, newcomer: Engine) -> str:
        """A fine-tuned model whose server took all the weights of another goes on with its other servers, or in this process; a
        sentence where it had to.
        """
        taken = {e.base_url for e in servers_of(newcomer) if e.weights != OWN_WEIGHTS}
        before = self._entries[job_id].engine
        left: dict[str, Engine] = {shown(e.base_url): e for e in servers_of(before) if e.base_url not in taken}
        if len(left) == len(servers_of(before)):
            return ""
        self._add_tuned(job_id, left)
        return f"{job_id}, which was there, runs {'at ' + ', '.join(left) if left else 'in this process'} now."

    def _add_tuned(self, job_id: str, served: Mapping[str, Engine] | None = None) -> ModelEntry:
        """served: engines by address where it is offered from now on, {}: in this process from now on; None: as it was, if it was there
        (a server may have offered it under that name when the workbench was started).
        """
        from core.engines.local import LocalEngine

        folder = _model_dir(self._data_dir, job_id)
        self._tuned[job_id] = None
        before = self._entries.get(job_id)
        if before is not None and served is not None:
            self._replaced.append(before.engine)  # runs may go on with it
        if before is None or served is not None:
            base = _base_of(self._data_dir, job_id)
            engine = as_one(served) if served else LocalEngine(folder, name=job_id)
            self._entries[job_id] = ModelEntry(
                job_id, f"{base}, fine-tuned ({job_id})",
                f"The {base} model after the job {job_id}." + (" It plays the numbers game only." if base == POCKET else ""),
                engine, _countdown_only if base == POCKET else None, None if served else folder,
            )  # fmt: skip
        return self._entries[job_id]

    def _read_active(self) -> None:
        try:
            wanted = json.loads(active_file(self._data_dir).read_text(encoding="utf-8"))
            scorer, tuned = wanted.get("scorer"), list(wanted.get("models", []))
        except FileNotFoundError:
            return
        except (OSError, ValueError, AttributeError, TypeError) as error:
            log.warning(
                "%s cannot be read (%s): starting with the pocket model alone", active_file(self._data_dir), error
            )
            return
        for job_id in tuned:
            try:
                self._add_tuned(str(job_id))
            except FileNotFoundError as error:
                log.warning("%s", error)
        if scorer:
            try:
                _model_dir(self._data_dir, str(scorer))
                self._scorer_job = str(scorer)
            except FileNotFoundError as error:
                log.warning("%s", error)

    def _write_active(self) -> None:
        path = active_file(self._data_dir)
        fresh = path.with_suffix(".new")
        fresh.write_text(
            json.dumps({"scorer": self._scorer_job, "models": list(self._tuned)}, indent=1) + "\n", encoding="utf-8"
        )
        os.replace(fresh, path)


def _entry(model_id: str, engine: Engine, *, shipped: bool) -> ModelEntry:
    if model_id != POCKET:
        return ModelEntry(model_id, model_id, served_note(engine), engine)
    return ModelEntry(POCKET, "pocket", POCKET_NOTE, engine, _countdown_only, _shipped_dir() if shipped else None)


def _shipped_dir() -> Path:
    import core.pocket

    # Not `model_dir()`: a checkout without the weights must still open the workbench, and say so at the first question.
    return Path(core.pocket.__file__).parent / "model"


def _base_of(data_dir: Path, job_id: str) -> str:
    """What a job's model was before all training: "pocket", or a folder's name."""
    bases = _said_bases(data_dir, job_id)
    return POCKET if not bases or bases[-1] == POCKET else Path(bases[-1]).expanduser().name


def _bases(data_dir: Path, job_id: str) -> list[str]:
    """Folders of the models that a job's model was before, the newest first."""
    shipped = str(_shipped_dir())
    return [shipped if base == POCKET else str(Path(base).expanduser()) for base in _said_bases(data_dir, job_id)]


def _said_bases(data_dir: Path, job_id: str) -> list[str]:
    """The base of a job, of the job that made that, and so on, as their recipes say."""
    found, seen = list[str](), set[str]()
    while job_id not in seen:
        seen.add(job_id)
        try:
            base = str(tomllib.loads((data_dir / "jobs" / job_id / "recipe.toml").read_text(encoding="utf-8"))["base"])
        except (OSError, ValueError, KeyError):
            break
        found.append(base)
        parent = Path(base).expanduser()
        if (
            parent.name != "model"
            or not (parent.parent / "recipe.toml").is_file()
            or parent.parents[2].resolve() != data_dir.resolve()
        ):
            break
        job_id = parent.parent.name
    return found


def _countdown_only(prompt: str) -> Any:
    from core.tasks.countdown_text import understand

    return understand(prompt)


def _model_dir(data_dir: Path, job_id: str) -> Path:
    folder = data_dir / "jobs" / job_id / "model"
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"The job {job_id} has no finished model ({folder.relative_to(data_dir)} is missing).")
    return folder
