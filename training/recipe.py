"""Recipes: everything that decides the weights of a job, typed, as flat TOML. An unknown key is an error that names it.

The defaults live in `recipes/<kind>.toml` (each with the reason beside it), never here; `resolve_recipe` lays overlays
(files of some keys) and then single keys over them and returns a frozen recipe, whose `to_toml()` is what a job's folder
keeps. What the kinds have in common is here; what only one has is in `kinds/<kind>.py`. Knows no data and no trainer.
After prime-rl's configuration: strict, layered, resolved, written beside the result.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

RECIPES = Path(__file__).parent / "recipes"
# More threads than this do not help a model of a few million parameters on batches of a few thousand tokens.
MOST_THREADS = 8


class RecipeError(ValueError):
    """A sentence that names the key, what is wrong with it, and the mend."""


class Recipe(BaseModel):
    """What jobs of all kinds have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    kind: ClassVar[str]

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
    packing: bool
    dtype: Literal["float32", "bfloat16"]
    gradient_checkpointing: bool
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
    processes: Annotated[int, Field(ge=1)]
    parallel: Literal["ddp", "fsdp2"]
    report_to: list[Literal["trackio", "tensorboard"]]
    checkpoint_every: Annotated[int, Field(ge=1)]
    log_every: Annotated[int, Field(ge=1)]
    threads: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _processes_share_a_step(self) -> Self:
        if self.accumulate % self.processes:
            raise PydanticCustomError(
                "share",
                "the {a} forward passes of a step (accumulate) cannot be shared evenly among {p} processes; "
                "make accumulate a multiple of processes",
                {"a": self.accumulate, "p": self.processes},
            )
        if self.parallel == "fsdp2" and self.processes == 1:
            raise PydanticCustomError(
                "shards",
                'parallel = "fsdp2" shares the weights among processes, and one process has nobody to share them with; '
                'set processes (and accumulate, a multiple of it), or parallel = "ddp"',
            )
        return self

    @property
    def traces_per_step(self) -> int:
        """Traces whose gradients make one step of the optimiser."""
        return self.batch * self.accumulate

    def passes(self, traces: int) -> int:
        """How often each of so many traces is seen: `epochs`, or more until there are `min_steps` steps."""
        return max(self.epochs, -(-self.min_steps * self.traces_per_step // traces))

    def to_toml(self) -> str:
        """The resolved recipe as TOML that `read_recipe` reads back to an equal recipe."""
        lines = [f"# The resolved recipe ({self.kind}): every key as it was used.", f'kind = "{self.kind}"']
        lines += [f"{key} = {_toml_value(value)}" for key, value in self.model_dump().items()]
        return "\n".join(lines) + "\n"


class OneProcessRecipe(Recipe):
    """What kinds have in common whose trainer is TRL's."""

    @model_validator(mode="after")
    def _one_process(self) -> Self:
        if self.processes != 1:
            raise PydanticCustomError(
                "alone",
                "{kind} jobs run in one process, on one device; leave processes = 1 (it is {p})",
                {"kind": self.kind, "p": self.processes},
            )
        return self


def resolve_recipe(
    kind: str, overrides: Sequence[str] = (), snapshot: str = "", overlays: Sequence[Path | str] = ()
) -> Any:
    """The shipped recipe of `kind` with overlays, then `key=value` overrides, then the snapshot laid over it.

    overlays: TOML files with some of the keys, or names of shipped ones (`recipes/overlays/`); a later one wins.
    `threads = 0` becomes the number chosen for this machine, so that a job that is resumed computes as it began.
    Returns the kind's own class of recipe. Raises RecipeError.
    """
    cls = _class_of(kind)
    values = tomllib.loads((RECIPES / f"{kind}.toml").read_text(encoding="utf-8"))
    for overlay in overlays:
        path = _overlay_path(overlay)
        found = _read_toml(path)
        if found.pop("kind", kind) != kind:
            raise RecipeError(f'{path} is for another kind of job than "{kind}".')
        _refuse_unknown(cls, found, str(path))
        values |= found
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not key:
            raise RecipeError(f'"{override}" is not of the form key=value. Example: epochs=2.')
        values[key] = _override_value(text.strip())
    values["snapshot"] = snapshot or values.get("snapshot", "")
    recipe = _validate(cls, values, f"the {kind} recipe")
    if recipe.threads == 0:
        recipe = recipe.model_copy(update={"threads": sensible_threads()})
    from training.kinds import KINDS

    if recipe.snapshot and not KINDS[kind].needs_snapshot(recipe):
        # The Train page sends one with every job; what is not read is not said to be what the model learned from.
        recipe = recipe.model_copy(update={"snapshot": ""})
    return recipe


def read_recipe(path: Path) -> Any:
    """A resolved recipe file, as a job's folder holds it. Raises RecipeError that names the file."""
    values = _read_toml(path)
    kind = values.pop("kind", None)
    if not isinstance(kind, str):
        raise RecipeError(f'{path} has no "kind": is it the recipe of a job?')
    return _validate(_class_of(kind, f"{path}: "), values, str(path))


def shipped_overlays() -> list[str]:
    """Names that `overlays` takes beside paths."""
    return sorted(path.stem for path in (RECIPES / "overlays").glob("*.toml"))


def _class_of(kind: str, where: str = "") -> type[Recipe]:
    from training.kinds import KINDS

    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f' Did you mean "{near[0]}"?' if near else ""
        raise RecipeError(f'{where}There is no kind of job "{kind}".{hint} Use one of: {", ".join(KINDS)}.')
    return KINDS[kind].recipe


def _overlay_path(overlay: Path | str) -> Path:
    path = Path(overlay)
    if path.suffix != ".toml" and not path.exists():
        path = RECIPES / "overlays" / f"{overlay}.toml"
        if not path.is_file():
            raise RecipeError(
                f'"{overlay}" is neither a TOML file nor a shipped overlay ({", ".join(shipped_overlays())}).'
            )
    return path


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}.") from error


def sensible_threads() -> int:
    """Half of the cores this process may use (the workbench streams on the others), at least 1, at most `MOST_THREADS`.

    Two threads on two contended cores were measured 2 to 4 times *slower* than one.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_THREADS, usable // 2))


def _refuse_unknown(cls: type[Recipe], values: dict[str, Any], where: str) -> None:
    known = list(cls.model_fields)
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise RecipeError(
                f'"{key}" is not a key of {where}. Did you mean "{near}"? Known keys: {", ".join(known)}.'
            )


def _validate(cls: type[Recipe], values: dict[str, Any], where: str) -> Recipe:
    _refuse_unknown(cls, values, where)
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise RecipeError(f'"{key}" is missing in {where}.') from error
        message = first["msg"][0].lower() + first["msg"][1:]
        if not key:  # about several keys: the message names them
            raise RecipeError(f"In {where}, {message}.") from error
        raise RecipeError(f'"{key}" in {where} cannot be {first["input"]!r}: {message}.') from error


def _override_value(text: str) -> Any:
    """What TOML reads (3, 1e-4, true, "x"); anything else is the text itself, so that base=/my/folder works."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _toml_value(value: bool | int | float | str | list[Any]) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)
