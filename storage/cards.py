"""Small things that every folder written for others needs: dataset cards, checksums, files that are whole or not there.

Knows no database and no format of rows.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
CARD = "README.md"


def worldline_version() -> str:
    """The installed version, or "unknown" when run from a bare checkout."""
    try:
        return metadata.version("worldline")
    except metadata.PackageNotFoundError:
        return "unknown"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unchanged_sha256_of(path: Path) -> str:
    """The same, taken once for as long as the file system says that the file was not touched."""
    stat = path.stat()
    return _sha256_once(path, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@lru_cache(maxsize=256)
def _sha256_once(path: Path, *stat: int) -> str:
    return sha256_of(path)


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A work folder whose files become `target` when the block ends well, and vanish when it does not.

    A new target appears in one rename. In a target that exists the files are replaced one by one, the manifest last.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target if target.is_dir() else target.parent
    work = beside / f".{target.name}.{secrets.token_hex(4)}.part"
    work.mkdir()
    try:
        yield work
        for path in work.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        if beside is target:
            for path in sorted(work.iterdir(), key=lambda p: p.name == MANIFEST):
                path.replace(target / path.name)
        else:
            work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def table(rows: dict[str, Any]) -> str:
    """A two-column Markdown table; `|` and line breaks in values are kept from breaking it."""
    lines = ["| | |", "|---|---|"]
    lines += [f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items()]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) and value.isprintable() else json.dumps(value, ensure_ascii=False)
    return text.replace("|", "\\|").replace("\n", " ")


SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)


def front_matter(title: str, configs: Mapping[str, Mapping[str, str]], rows: int) -> str:
    """The head of a Hugging Face dataset card, so that `load_dataset(FOLDER)` takes these files and no other beside them.

    configs: {configuration: {split: file}}; the first is the default one.
    """
    size = next((name for most, name in SIZES if rows < most), "n>10M")
    lines = ["---", f"pretty_name: {json.dumps(title, ensure_ascii=False)}"]
    lines += [
        "tags:",
        "- worldline",
        "- process-reward-model",
        "- human-feedback",
        f"size_categories:\n- {size}",
        "configs:",
    ]
    for i, (config, files) in enumerate(configs.items()):
        lines += [f"- config_name: {config}", *(["  default: true"] if not i else []), "  data_files:"]
        for split, path in files.items():
            lines += [f"  - split: {split}", f"    path: {path}"]
    return "\n".join([*lines, "---", ""])
