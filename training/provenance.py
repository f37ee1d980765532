"""Where a job comes from: the revision of the source, the version, the hashes of what it read. Knows no job."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from training.rows import RowsError

PACKAGE_ROOT = Path(__file__).resolve().parents[1]


def git_revision() -> str | None:
    """The revision of the source that runs, with "+" when files differ from it; None for an installed package."""
    git = shutil.which("git")
    if git is None or not (PACKAGE_ROOT / ".git").exists():
        return None

    def ask(*arguments: str) -> str:
        asked = [git, "-C", str(PACKAGE_ROOT), *arguments]
        return subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return ask("rev-parse", "HEAD") + ("+" if ask("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def version() -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("worldline")
    except PackageNotFoundError:
        return "from source"


def file_hashes(files: Sequence[Path]) -> dict[str, str]:
    """SHA-256 by path. Raises RowsError that names a file which cannot be read."""
    found = {}
    for path in files:
        try:
            with path.open("rb") as file:
                found[str(path)] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise RowsError(f"{path} cannot be read: {error.strerror}.") from error
    return found
