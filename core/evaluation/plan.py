"""What is evaluated: problems × models × strategies × scorers × budgets × seeds, typed and checked before anything is spent.

A plan is made of options, of a TOML file or of JSON; the same plan gives the same searches. Knows no engine.

    problems = "countdown:40"
    models = ["pocket"]
    strategies = ["linear", "beam width=4 branch=4"]
    scorers = ["countdown-oracle"]
    n = 16
    seeds = [0, 1]
    [[budgets]]
    tokens = 4000
    [limits]
    max_steps = 40
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from core.scoring.prm import AGGREGATIONS, Aggregation
from core.search import strategies, words
from core.search.ledger import Budget
from core.search.scheduler import Limits
from core.search.scorer_choice import ScorerChoice

NONE = "none"  # no scorer
MOST_N = 512  # answers of a pool: its binomials fit into floating point
MOST_CELLS = 500


@dataclass(frozen=True)
class Chosen:
    """A strategy by name, with the parameters that are not as they come."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, said: Any) -> Chosen:
        """From `beam width=4 branch=4`, or `{"name": "beam", "params": {"width": 4}}`. Raises ValueError with a sentence."""
        if isinstance(said, str):
            name, settings = words.read(said, "strategy", "beam width=4")
            params = {key: _value(value) for key, value in settings.items()}
        elif (
            isinstance(said, Mapping)
            and isinstance(said.get("name"), str)
            and isinstance(said.get("params", {}), Mapping)
        ):
            if set(said) - {"name", "params"}:
                raise ValueError(
                    f'a strategy has "name" and "params", not {", ".join(sorted(set(said) - {"name", "params"}))}'
                )
            name, params = said["name"], dict(said.get("params", {}))
        else:
            raise ValueError(
                f'a strategy is text such as "beam width=4", or has "name" and "params"; this is {str(said)[:80]!r}'
            )
        strategies.make(name, params)
        return cls(name, params)

    def __str__(self) -> str:
        return words.written(self.name, {k: _shown(v) for k, v in self.params.items()})


@dataclass(frozen=True)
class Cell:
    """One point of an evaluation: everything but problem and seed. `pool`: the answers that the curves over k are made of."""

    model: str
    strategy: Chosen
    scorer: str
    budget: Budget
    pool: bool = False

    @property
    def cell_id(self) -> str:
        """8 hex digits, made of what the cell is: the same in every evaluation that has it."""
        row = [self.model, self.strategy.name, dict(self.strategy.params), self.scorer, asdict(self.budget), self.pool]
        return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def series(self) -> tuple[str, str, str]:
        """Cells that differ in their budget alone are one line of a plot."""
        return self.model, str(self.strategy), self.scorer

    @property
    def label(self) -> str:
        budget = [f"{value:g} {name}" for name, value in asdict(self.budget).items() if value is not None]
        scorer = [] if self.scorer == NONE else [self.scorer]
        return " · ".join([self.model, "pool of answers" if self.pool else str(self.strategy), *scorer, *budget])


@dataclass(frozen=True)
class Plan:
    """scorers: "none" or names that the application knows, with their settings. n: answers a problem of which the curves over k are made, 0 for none.
    budgets: of each search; one without a limit where none is given. executor: the model that writes what a planner planned; the
    cell's own where none is named."""

    problems: str
    models: tuple[str, ...] = ("pocket",)
    strategies: tuple[Chosen, ...] = (Chosen("linear"),)
    scorers: tuple[str, ...] = (NONE,)
    budgets: tuple[Budget, ...] = (Budget(),)
    seeds: tuple[int, ...] = (0,)
    n: int = 0
    limits: Limits = Limits()
    aggregation: Aggregation = "last"
    executor: str = ""

    def __post_init__(self) -> None:
        for name in ("models", "scorers", "budgets", "seeds"):
            values = getattr(self, name)
            if not values:
                raise ValueError(f'"{name}" is empty; name at least one')
            if len(set(values)) < len(values):
                raise ValueError(f'"{name}" names the same twice: {", ".join(map(str, values))}')
        if not self.strategies and not self.n:
            raise ValueError('"strategies" is empty and "n" is 0: there is nothing to run')
        if len({str(s) for s in self.strategies}) < len(self.strategies):
            raise ValueError(f'"strategies" names the same twice: {", ".join(map(str, self.strategies))}')
        if not 0 <= self.n <= MOST_N:
            raise ValueError(f'"n" is {self.n}; it must lie between 0 and {MOST_N}')
        if any(not 0 <= seed < 2**31 for seed in self.seeds):
            raise ValueError(f'"seeds" holds {", ".join(map(str, self.seeds))}; seeds lie between 0 and 2^31 - 1')
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(f'"aggregation" is {self.aggregation!r}; it must be one of {", ".join(AGGREGATIONS)}')
        helpless = [
            s.name for s in self.strategies if strategies.known(s.name).NEEDS_SCORER and set(self.scorers) == {NONE}
        ]
        if helpless:
            raise ValueError(
                f"{helpless[0]} needs a scorer: name one, such as countdown-oracle or the folder of a reward model"
            )
        if len(self.cells) > MOST_CELLS:
            raise ValueError(f"this plan has {len(self.cells)} cells; at most {MOST_CELLS} are run in one evaluation")

    @property
    def cells(self) -> list[Cell]:
        """Every combination that can be run: a strategy that needs a scorer is left out where there is none."""
        found = [
            Cell(model, Chosen("best-of-n", {"n": self.n}), scorer, Budget(), pool=True)
            for model in self.models for scorer in self.scorers if self.n
        ]  # fmt: skip
        return found + [
            Cell(model, strategy, scorer, budget)
            for model in self.models for strategy in self.strategies for scorer in self.scorers for budget in self.budgets
            if scorer != NONE or not strategies.known(strategy.name).NEEDS_SCORER
        ]  # fmt: skip

    def seeds_of(self, cell: Cell) -> tuple[int, ...]:
        """A pool is drawn once: it is large already."""
        return self.seeds[:1] if cell.pool else self.seeds

    def to_json(self) -> dict[str, Any]:
        row = asdict(self)
        row["strategies"] = [{"name": s.name, "params": dict(s.params)} for s in self.strategies]
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Plan:
        """From what a file or a form says; what is absent is as it comes. Raises ValueError naming the field."""
        if not isinstance(row, Mapping):
            raise ValueError("a plan must be an object (a table of names and values)")
        strange = sorted(set(row) - {f.name for f in fields(cls)})
        if strange:
            raise ValueError(f'a plan has no "{strange[0]}"; it has {", ".join(f.name for f in fields(cls))}')
        if not isinstance(row.get("problems"), str) or not row["problems"].strip():
            raise ValueError('"problems" is missing: name a JSONL file, or a built-in set such as countdown:40')
        given: dict[str, Any] = {"problems": row["problems"].strip()}
        if "models" in row:
            given["models"] = _list(row["models"], "models", str)
        if "scorers" in row:
            given["scorers"] = tuple(str(ScorerChoice.of(s)) for s in _list(row["scorers"], "scorers", object))
        if "seeds" in row:
            given["seeds"] = _list(row["seeds"], "seeds", int)
        if "strategies" in row:
            given["strategies"] = tuple(Chosen.of(s) for s in _list(row["strategies"], "strategies", object))
        if "budgets" in row:
            given["budgets"] = tuple(
                _made(Budget, b, "budgets") for b in _list(row["budgets"], "budgets", Mapping)
            ) or (Budget(),)
        if "n" in row:
            given["n"] = _one(row["n"], "n", int)
        if "limits" in row:
            given["limits"] = _made(Limits, row["limits"], "limits")
        for name in ("aggregation", "executor"):
            if name in row:
                given[name] = _one(row[name], name, str)
        return cls(**given)

    @classmethod
    def read(cls, path: Path) -> Plan:
        """A TOML or JSON file. Raises ValueError naming file and field."""
        try:
            text = path.read_text(encoding="utf-8")
            row = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
        except ValueError as error:
            raise ValueError(f"{path} is not {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from None
        try:
            return cls.from_json(row)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None

    def difference(self, other: Plan) -> str:
        """The first field in which another plan differs, as words; "" where it is the same."""
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            if mine != theirs:
                said = [", ".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in (mine, theirs)]
                return f'"{f.name}" is {said[0]} there and {said[1]} here'
        return ""


def _value(text: str) -> Any:
    """A number, true or false, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _one(value: Any, name: str, kind: type) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f'"{name}" is {str(value)[:60]!r}; it must be {"a whole number" if kind is int else "text"}')
    return value


def _list(value: Any, name: str, kind: type) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f'"{name}" is {str(value)[:60]!r}; it must be a list')
    for one in value:
        if not isinstance(one, kind) or (kind is int and isinstance(one, bool)):
            words = {int: "whole numbers", str: "texts", Mapping: "objects (tables)"}.get(kind, "values")
            raise ValueError(f'"{name}" holds {str(one)[:60]!r}; it must hold {words}')
    return tuple(value)


def _made(cls: Any, value: Any, name: str) -> Any:
    """A dataclass of numbers from an object. Raises ValueError naming the field."""
    if not isinstance(value, Mapping):
        raise ValueError(f'"{name}" holds {str(value)[:60]!r}; it must be an object')
    known = {f.name: f for f in fields(cls)}
    for key, number in value.items():
        if key not in known:
            raise ValueError(f'"{name}" has no "{key}"; it has {", ".join(known)}')
        whole = isinstance(known[key].default, int) or key == "tokens"
        if number is None and cls is Budget:
            continue
        if isinstance(number, bool) or not isinstance(number, int if whole else int | float):
            raise ValueError(
                f'"{name}": "{key}" is {str(number)[:60]!r}; it must be a {"whole " if whole else ""}number'
            )
        if cls is Limits and not (
            0 <= number <= 5 if key == "temperature" else 0 < number <= 1 if key == "top_p" else number >= 1
        ):
            raise ValueError(f'"{name}": "{key}" is {number}; it must be {_RANGES.get(key, "at least 1")}')
    whole = {key for key, f in known.items() if isinstance(f.default, int) or key == "tokens"}
    return cls(**{key: n if key in whole or n is None else float(n) for key, n in value.items()})


_RANGES = {"temperature": "between 0 and 5", "top_p": "above 0 and at most 1"}
