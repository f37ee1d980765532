"""Recipes: everything that decides the weights of a job, typed, as flat TOML. An unknown key is an error that names it.

The defaults live in `recipes/<kind>.toml` (each with the reason beside it), never here; `resolve_recipe` lays overrides
over them and returns a frozen recipe, whose `to_toml()` is what a job's folder keeps. Knows no data and no trainer.
After prime-rl's configuration: strict, resolved, written beside the result.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Kind = Literal["prm", "sft"]
KINDS: tuple[Kind, ...] = ("prm", "sft")
RECIPES = Path(__file__).parent / "recipes"
# More threads than this do not help a model of a few million parameters on batches of a few thousand tokens.
MOST_THREADS = 8


class RecipeError(ValueError):
    """A sentence that names the key, what is wrong with it, and the mend."""


class Recipe(BaseModel):
    """What PRM and SFT jobs have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    snapshot: str
    base: str
    seed: int
    epochs: Annotated[int, Field(ge=1, le=1000)]
    min_steps: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    warmup: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Annotated[float, Field(gt=0)]
    batch: Annotated[int, Field(ge=1)]
    accumulate: Annotated[int, Field(ge=1)]
    max_tokens: Annotated[int, Field(ge=16)]
    checkpoint_every: Annotated[int, Field(ge=1)]
    log_every: Annotated[int, Field(ge=1)]
    threads: Annotated[int, Field(ge=0)]

    @property
    def kind(self) -> Kind:
        raise NotImplementedError

    @property
    def traces_per_step(self) -> int:
        """Traces whose gradients make one step of the optimiser."""
        return self.batch * self.accumulate

    def passes(self, traces: int) -> int:
        """How often each of so many traces is seen: `epochs`, or more until there are `min_steps` steps."""
        return max(self.epochs, -(-self.min_steps * self.traces_per_step // traces))

    def to_toml(self) -> str:
        """The resolved recipe as TOML that `read_recipe` reads back to an equal recipe."""
        lines = [f"# Resolved recipe of a {self.kind} job: every key as it was used.", f'kind = "{self.kind}"']
        lines += [f"{key} = {_toml_value(value)}" for key, value in self.model_dump().items()]
        return "\n".join(lines) + "\n"


class PrmRecipe(Recipe):
    """A process reward model from step ratings."""

    neutral_as: Literal["good", "bad", "ignore"]
    stop_at_first_error: bool
    disagreement: Literal["soft", "drop"]

    @property
    def kind(self) -> Kind:
        return "prm"


class SftRecipe(Recipe):
    """Supervised fine-tuning on traces that people approved."""

    choose: Literal["approved", "solved", "either"]
    backtracks: Literal["keep", "mask", "cut"]

    @property
    def kind(self) -> Kind:
        return "sft"


_CLASSES: dict[str, type[PrmRecipe] | type[SftRecipe]] = {"prm": PrmRecipe, "sft": SftRecipe}


def resolve_recipe(kind: str, overrides: Sequence[str] = (), snapshot: str = "") -> PrmRecipe | SftRecipe:
    """The shipped recipe of `kind` with `key=value` overrides and the snapshot laid over it.

    `threads = 0` becomes the number chosen for this machine, so that a job that is resumed computes as it began.
    Raises RecipeError.
    """
    if kind not in _CLASSES:
        raise RecipeError(f'There is no "{kind}" recipe. Use one of: {", ".join(KINDS)}.')
    values = tomllib.loads((RECIPES / f"{kind}.toml").read_text(encoding="utf-8"))
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not key:
            raise RecipeError(f'"{override}" is not of the form key=value. Example: epochs=2.')
        values[key] = _override_value(text.strip())
    values["snapshot"] = snapshot or values.get("snapshot", "")
    recipe = _validate(kind, values, f"the {kind} recipe")
    if recipe.threads == 0:
        recipe = recipe.model_copy(update={"threads": sensible_threads()})
    return recipe


def read_recipe(path: Path) -> PrmRecipe | SftRecipe:
    """A resolved recipe file, as a job's folder holds it. Raises RecipeError that names the file."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}.") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not valid TOML: {error}.") from error
    kind = values.pop("kind", None)
    if kind not in _CLASSES:
        raise RecipeError(f'{path}: "kind" must be one of {", ".join(KINDS)}, not {kind!r}.')
    return _validate(kind, values, str(path))


def sensible_threads() -> int:
    """Half of the cores this process may use (the workbench streams on the others), at least 1, at most `MOST_THREADS`.

    Two threads on two contended cores were measured 2 to 4 times *slower* than one.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_THREADS, usable // 2))


def _validate(kind: str, values: dict[str, Any], where: str) -> PrmRecipe | SftRecipe:
    cls = _CLASSES[kind]
    known = list(cls.model_fields)
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise RecipeError(
                f'"{key}" is not a key of {where}. Did you mean "{near}"? Known keys: {", ".join(known)}.'
            )
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise RecipeError(f'"{key}" is missing in {where}.') from error
        message = first["msg"][0].lower() + first["msg"][1:]
        raise RecipeError(f'"{key}" in {where} cannot be {first["input"]!r}: {message}.') from error


def _override_value(text: str) -> Any:
    """What TOML reads (3, 1e-4, true, "x"); anything else is the text itself, so that base=/my/folder works."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _toml_value(value: bool | int | float | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)
