"""Which models can be asked, and which reward model judges: the pocket model, and what jobs have made usable.

What is in use is written down in `active.json` of the data folder as job ids, so that a restart finds it again. Weights
load late: an engine at its first question (or when `warm` is called), a scorer at its first trace. Knows nothing of
HTTP and runs.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.paths import active_file
from core.engines.base import Engine, EngineDown, EngineError, takes_schema
from core.engines.openai_api import OpenAIEngine, list_models
from core.engines.pool import EnginePool
from core.engines.server_info import shown

if TYPE_CHECKING:
    from core.scoring.prm import PrmScorer

log = logging.getLogger("worldline.models")

POCKET = "pocket"
POCKET_NOTE = (
    "A small model that plays the numbers game only: reach a target from 3 or 4 numbers (1 to 13, target 10 to 99). "
    "It runs in this process, without a network or a GPU, and was trained on single questions: a second turn is seldom sense. "
    "To ask a real model, start the workbench beside its server: "
    "worldline --endpoint http://127.0.0.1:8000/v1"
)


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
        """Whether it can label steps: served models can, but not the pocket model, wherever it is served."""
        return takes_schema(self.engine) and self.engine.model != POCKET

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
        self._scorer_job: str | None = None
        self._scorer: PrmScorer | None = None
        self._scorer_lock = threading.Lock()
        for model_id, engine in (engines if engines is not None else {POCKET: _pocket_engine()}).items():
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
        return {address for entry in self.all() for address in _addresses(entry.engine)}

    def warm(self) -> None:
        """Load the first model in the background, so that the first question does not wait for it."""
        from core.engines.local import LocalEngine

        first = self.all()[0]
        if isinstance(first.engine, LocalEngine) and first.ready:
            first.engine.start()

    def add_tuned(self, job_id: str) -> ModelEntry:
        """Make a fine-tuned model usable from now on. Raises FileNotFoundError with a sentence."""
        entry = self._add_tuned(job_id)
        self._write_active()
        return entry

    async def close(self) -> None:
        """Stop all engines."""
        for entry in self.all():
            await entry.engine.close()

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

    def folder_of(self, said: str) -> Path:
        """The model of a job, or a folder. Raises FileNotFoundError with a sentence."""
        for folder in (self._data_dir / "jobs" / said / "model", Path(said)):
            if (folder / "config.json").is_file():
                return folder
        raise FileNotFoundError(
            f"{said} is neither the id of a finished job nor a model's folder (no config.json in it)."
        )

    # ---- inside

    def _add_tuned(self, job_id: str) -> ModelEntry:
        from core.engines.local import LocalEngine

        folder = _model_dir(self._data_dir, job_id)
        if job_id not in self._entries:
            self._entries[job_id] = ModelEntry(
                job_id, f"pocket, fine-tuned ({job_id})",
                f"The pocket model after the job {job_id}. It plays the numbers game only.",
                LocalEngine(folder, name=job_id), _countdown_only, folder,
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
        tuned = [e.id for e in self.all() if e.model_dir is not None and e.model_dir.parent.parent.name == "jobs"]
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"scorer": self._scorer_job, "models": tuned}, indent=1) + "\n", encoding="utf-8")
        os.replace(fresh, path)


def _entry(model_id: str, engine: Engine, *, shipped: bool) -> ModelEntry:
    if model_id != POCKET:
        return ModelEntry(model_id, model_id, _served_note(engine), engine)
    return ModelEntry(POCKET, "pocket", POCKET_NOTE, engine, _countdown_only, _shipped_dir() if shipped else None)


def _served_note(engine: Engine) -> str:
    addresses = _addresses(engine)
    if not addresses:
        return ""
    return (
        f"Served at {', '.join(addresses)}. What a server cannot apply (step limits need one started with "
        "`worldline serve`) is said in the notes of each trace."
    )


def _addresses(engine: Engine) -> list[str]:
    """Where a model is served, [] for one of this process."""
    if isinstance(engine, OpenAIEngine):
        return [shown(engine.base_url)]
    return list(engine.members) if isinstance(engine, EnginePool) else []


def served_engines(
    endpoints: Sequence[str], model: str | None, api_key_env: str, warn: Callable[[str], None]
) -> dict[str, Engine]:
    """Every model that the servers offer, those that several serve as a pool, then the pocket model.

    `model` takes that one alone. A server that does not answer is warned of; with `model` given it is kept, to be used
    when it comes back. One that answers but lists nothing (`transformers serve` without a cache) is believed to have
    `model`. Raises EngineError when none answers, ValueError when none offers `model`.
    """
    offered: dict[str, dict[str, Engine]] = {}
    away: list[str] = []
    last: EngineError | None = None
    for endpoint in dict.fromkeys(endpoints):
        try:
            names = list_models(endpoint, api_key_env)
        except EngineError as error:
            if model is not None and not isinstance(error, EngineDown):
                warn(f"{error} Going on with {model}, as asked.")
                offered.setdefault(model, {})[shown(endpoint)] = OpenAIEngine(endpoint, model, api_key_env)
                continue
            warn(str(error))
            away.append(endpoint)
            last = error
            continue
        for name in names if model is None else [n for n in names if n == model]:
            offered.setdefault(name, {})[shown(endpoint)] = OpenAIEngine(endpoint, name, api_key_env)
    if last is not None and len(away) == len(set(endpoints)):
        raise last
    if not offered:
        where = ", ".join(shown(e) for e in endpoints)
        raise ValueError(f"no model to use at {where}: {model or 'none'} is not offered there")
    if model is not None:
        offered[model].update({shown(e): OpenAIEngine(e, model, api_key_env) for e in away})
    engines: dict[str, Engine] = {}
    for name, members in offered.items():
        # The shipped model keeps its id: what is served under the same name is another engine.
        engine = next(iter(members.values())) if len(members) == 1 else EnginePool(members)
        engines["pocket (served)" if name == POCKET else name] = engine
    return {**engines, POCKET: _pocket_engine()}


def _pocket_engine() -> Engine:
    from core.engines.local import LocalEngine

    return LocalEngine(None, name=POCKET)


def _shipped_dir() -> Path:
    import core.pocket

    # Not `model_dir()`: a checkout without the weights must still open the workbench, and say so at the first question.
    return Path(core.pocket.__file__).parent / "model"


def _countdown_only(prompt: str) -> Any:
    from core.tasks.countdown_text import understand

    return understand(prompt)


def _model_dir(data_dir: Path, job_id: str) -> Path:
    folder = data_dir / "jobs" / job_id / "model"
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"The job {job_id} has no finished model ({folder.relative_to(data_dir)} is missing).")
    return folder
