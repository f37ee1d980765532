"""The registry of checkpoints: every finished model of a data folder, what made it, from what, with which figures.

A job writes `checkpoint.json` beside its model when both are whole; the registry is those files, so there is nothing that
could disagree with the disk. Knows job folders; knows no trainer and no page.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from training.run_folder import write_atomically

CHECKPOINT = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """A finished model. `base` is a folder or "pocket"; `parent` is the job that made that folder, if one did."""

    job_id: str
    kind: str
    used_as: str  # "scorer", "model" or "file": see training.kind.Kind
    made_at: str
    snapshot_id: str
    data: dict[str, str]  # SHA-256 of what it read, by name
    base: str
    base_sha256: str
    weights_sha256: str
    parent: str | None
    steps: int
    seconds: float
    git_revision: str | None
    version: str
    figures: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def record(folder: Path, checkpoint: Checkpoint) -> None:
    """Enter the model of a job's folder into the registry."""
    write_atomically(folder / CHECKPOINT, json.dumps(checkpoint.to_json(), indent=1))


def checkpoints(data_dir: Path) -> list[Checkpoint]:
    """All of a data folder, newest first. One whose model is gone, or whose entry is broken, is left out."""
    found = []
    for path in (data_dir / "jobs").glob(f"[!.]*/{CHECKPOINT}"):
        if (path.parent / "model" / "config.json").is_file():
            try:
                found.append(Checkpoint(**json.loads(path.read_text(encoding="utf-8"))))
            except (OSError, ValueError, TypeError):
                continue
    return sorted(found, key=lambda c: (c.made_at, c.job_id), reverse=True)


def parent_of(base: str) -> str | None:
    """The job whose model a base folder is: `…/jobs/<id>/model`."""
    path = Path(base).expanduser()
    made_here = path.name == "model" and path.parent.parent.name == "jobs"
    return path.parent.name if made_here else None
