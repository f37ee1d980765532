"""What a kind of training job is. One file a kind in `kinds/`, one line in its registry, one recipe in `recipes/`.

Everything else reads kinds from the registry: the command, the page, the model card, the registry of checkpoints. Knows
no kind, no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from training.recipe import Recipe
from training.rows import Rows
from training.run_folder import Run


def in_words(counts: Mapping[str, int]) -> str:
    """For the log: "200 traces, 16 traces over max tokens"."""
    return ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items())


@dataclass(frozen=True)
class Outcome:
    """What a kind's `train` returns: figures for people to judge by, what became of the data, and which files were read beside
    the snapshot's `data.parquet`, with their sha256.
    """

    figures: dict[str, Any]
    counts: dict[str, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """The kind's part of the model card, as Markdown."""

    tag: str  # Hugging Face's pipeline tag
    use: str
    figures: str  # what the figures mean
    limits: str


@dataclass(frozen=True)
class Kind:
    """A kind of job. `train` leaves the model in `run.folder.path / "model"`.

    train: (snapshot folder or None, recipe, run) -> Outcome. It says what it does with `run.phase`, trains with
        `loop.fit` (or reports through `watch.watching`), and raises JobError, RowsError or Stopped.
    used_as: what "use in workbench" does with the result: it scores steps, it answers questions, or neither.
    rows: (snapshot folder or None, recipe, most) -> the rows that `train` learns from, of all traces or of the first `most`,
        and the tokenizer they were made with; what the page shows before a start. None: rows are made while training.
    files: input files beside the snapshot; their hashes are kept, and a job whose files changed is not resumed.
    """

    name: str
    title: str
    does: str
    recipe: type[Recipe]
    train: Callable[[Path | None, Any, Run], Outcome]
    card: Card
    used_as: Literal["scorer", "model", "file"]
    hint: str = ""  # some overrides, one a line, as an example on the page
    needs_snapshot: Callable[[Any], bool] = lambda recipe: True
    files: Callable[[Any], list[Path]] = lambda recipe: []
    rows: Callable[[Path | None, Any, int | None], tuple[Rows, Any]] | None = None
