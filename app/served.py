"""What servers offer: the models behind the endpoints that were named, those that several serve as one.

Knows nothing of jobs, of reward models and of what is in use (app/models.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from core.engines.base import Engine, EngineDown, EngineError
from core.engines.openai_api import OpenAIEngine, list_models
from core.engines.pool import EnginePool
from core.engines.server_info import shown
from core.pocket import POCKET


class Served(dict[str, Engine]):
    """Engines by the model's name, and the servers that did not answer yet: they are looked for again while the workbench is open."""

    def __init__(
        self, engines: Mapping[str, Engine], away: Sequence[str] = (), model: str | None = None, api_key_env: str = ""
    ) -> None:
        super().__init__(engines)
        self.away, self.model, self.api_key_env = list(away), model, api_key_env


def served_note(engine: Engine) -> str:
    """What is said of a model that is served; nothing of one of this process."""
    addresses = addresses_of(engine)
    if not addresses:
        return ""
    return (
        f"Served at {', '.join(addresses)}. What a server cannot apply (step limits need one started with "
        "`worldline serve`) is said in the notes of each trace."
    )


def addresses_of(engine: Engine) -> list[str]:
    """Where a model is served, [] for one of this process."""
    if isinstance(engine, OpenAIEngine):
        return [shown(engine.base_url)]
    return list(engine.members) if isinstance(engine, EnginePool) else []


def servers_of(engine: Engine) -> list[OpenAIEngine]:
    """The servers behind an engine."""
    members = engine.members.values() if isinstance(engine, EnginePool) else [engine]
    return [member for member in members if isinstance(member, OpenAIEngine)]


def as_one(members: Mapping[str, Engine]) -> Engine:
    """A server, or a pool of several that have the same model."""
    for member in members.values():
        if isinstance(member, OpenAIEngine):
            member.alone = len(members) == 1
    return next(iter(members.values())) if len(members) == 1 else EnginePool(members)


def served_id(model: str) -> str:
    """The shipped model keeps its id: what is served under the same name is another engine."""
    return "pocket (served)" if model == POCKET else model


def served_engines(
    endpoints: Sequence[str], model: str | None, api_key_env: str, warn: Callable[[str], None]
) -> Served:
    """Every model that the servers offer, those that several serve as a pool, then the pocket model.

    `model` takes that one alone. A server that does not answer is warned of and looked for again; with `model` given it is used
    at once when it comes back. One that answers but lists nothing (`transformers serve` without a cache) is believed to have
    `model`. Raises EngineError when none answers, ValueError when none offers `model`.
    """
    offered: dict[str, dict[str, Engine]] = {}
    away: list[str] = []
    failed: list[EngineError] = []
    for endpoint in dict.fromkeys(endpoints):
        try:
            names = list_models(endpoint, api_key_env)
        except EngineError as error:
            if model is not None and not isinstance(error, EngineDown):
                warn(f"{error} Going on with {model}, as asked.")
                offered.setdefault(model, {})[shown(endpoint)] = OpenAIEngine(endpoint, model, api_key_env)
                continue
            away.append(endpoint)
            failed.append(error)
            continue
        for name in names if model is None else [n for n in names if n == model]:
            offered.setdefault(name, {})[shown(endpoint)] = OpenAIEngine(endpoint, name, api_key_env)
    nobody = bool(failed) and len(away) == len(set(endpoints))
    for told in failed[:-1] if nobody else failed:  # the last is said by whoever catches it
        warn(str(told))
    if nobody:
        raise failed[-1]
    if not offered:
        where = ", ".join(shown(e) for e in endpoints)
        raise ValueError(f"no model to use at {where}: {model or 'none'} is not offered there")
    if model is not None:
        offered[model].update({shown(e): OpenAIEngine(e, model, api_key_env) for e in away})
    engines: dict[str, Engine] = {}
    for name, members in offered.items():
        engines[served_id(name)] = as_one(members)
    return Served({**engines, POCKET: pocket_engine()}, [] if model is not None else away, model, api_key_env)


def pocket_engine() -> Engine:
    """The shipped model, in this process."""
    from core.engines.local import LocalEngine

    return LocalEngine(None, name=POCKET)
