"""Where things lie in a data folder, and where that folder is when nobody says. Knows names, opens nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def default_data_dir() -> Path:
    """The user's own data folder for Worldline; `WORLDLINE_DATA` overrides it."""
    if chosen := os.environ.get("WORLDLINE_DATA"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "worldline"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "worldline"
    base = os.environ.get("XDG_DATA_HOME")
    # The XDG specification: a relative path there is to be ignored.
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".local" / "share") / "worldline"


def runs_dir(data_dir: Path) -> Path:
    """Journals of runs, one JSONL file each."""
    return data_dir / "runs"


def searches_dir(data_dir: Path) -> Path:
    """Logs of searches, one JSONL file each."""
    return data_dir / "searches"


def evals_dir(data_dir: Path) -> Path:
    """Evaluations, one folder each."""
    return data_dir / "evals"


def probes_dir(data_dir: Path) -> Path:
    """Linear probes, one JSONL file each."""
    return data_dir / "probes"


def snapshots_dir(data_dir: Path) -> Path:
    """Frozen data sets, one folder each."""
    return data_dir / "snapshots"


def active_file(data_dir: Path) -> Path:
    """Which trained models are in use."""
    return data_dir / "active.json"


def owner_file(data_dir: Path) -> Path:
    """Who serves this folder: `{"pid", "url"}` while somebody does."""
    return data_dir / "owner.json"


def token_file(data_dir: Path) -> Path:
    """What a command shows to the server that owns this folder; only the owner of the folder can read it."""
    return data_dir / "owner.token"
