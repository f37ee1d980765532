"""The strategies by name: a new one is a file here and a line below. Each is imported when it is asked for."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import Any

from core.search.base import Strategy

# name: module:class
STRATEGIES: dict[str, str] = {
    "linear": "linear:Linear",
    "best-of-n": "best_of:BestOf",
    "beam": "beam:Beam",
    "dvts": "dvts:Dvts",
    "lookahead": "lookahead:Lookahead",
    "rebase": "rebase:Rebase",
    "mcts": "mcts:Mcts",
    "particles": "particles:Particles",
    "revision": "revision:Revision",
    "plan-search": "plan_search:PlanSearch",
    "planner": "planner:Planner",
    "compute-optimal": "compute_optimal:ComputeOptimal",
}


def known(name: str) -> type[Strategy]:
    """Raises ValueError with the names that there are."""
    if name not in STRATEGIES:
        raise ValueError(f'there is no strategy "{name}"; there is {", ".join(STRATEGIES)}')
    module, _, cls = STRATEGIES[name].partition(":")
    found: type[Strategy] = getattr(import_module(f"core.search.strategies.{module}"), cls)
    return found


def make(name: str, params: dict[str, Any] | None = None) -> Strategy:
    """A strategy with these parameters, the others as they are. Raises ValueError naming the parameter and what it takes."""
    cls = known(name)
    params = params or {}
    there = {f.name: f for f in fields(cls)}
    for key, value in params.items():
        if key not in there:
            takes = ", ".join(there) or "none"
            raise ValueError(f'{name} has no parameter "{key}"; it takes {takes}')
        check_param(name, key, value, there[key])
    return cls(**params)


def check_param(name: str, key: str, value: Any, field: Any) -> None:
    """Whether a parameter takes a value. Raises ValueError naming both."""
    about, default = field.metadata, field.default
    if about.get("one_of"):
        if value not in about["one_of"]:
            raise ValueError(f'{name}: "{key}" is {value!r}; it must be one of {", ".join(map(str, about["one_of"]))}')
        return
    if isinstance(default, bool | str):
        if not isinstance(value, type(default)):
            raise ValueError(
                f'{name}: "{key}" is {value!r}; it must be {"true or false" if isinstance(default, bool) else "text"}'
            )
        return
    wanted = (int,) if isinstance(default, int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise ValueError(f'{name}: "{key}" is {value!r}; it must be a {"whole " if wanted == (int,) else ""}number')
    least, most = about.get("least"), about.get("most")
    if (least is not None and value < least) or (most is not None and value > most):
        raise ValueError(f'{name}: "{key}" is {value}; it must lie between {least} and {most}')
