"""Exports: a snapshot turned into rows that trainers outside Worldline read. One file a format, one line here.

A format says what its options are, which rows it makes, and what to warn of; writing is the same for all
(`writing.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from storage.errors import ExportError
from storage.exports import (
    argilla,
    hf_folder,
    kto,
    label_studio,
    preference,
    prm800k,
    sft,
    step_dpo,
    stepwise,
    tree,
)
from storage.exports.writing import ExportReport, Format, Plan, make_plan, options_of, read_options, write
from storage.snapshots import Snapshot

# In the order in which they are offered.
FORMATS: dict[str, Format] = {
    "stepwise": stepwise.FORMAT,
    "prm800k": prm800k.FORMAT,
    "preference": preference.FORMAT,
    "step_dpo": step_dpo.FORMAT,
    "kto": kto.FORMAT,
    "sft": sft.FORMAT,
    "argilla": argilla.FORMAT,
    "label_studio": label_studio.FORMAT,
    "tree": tree.FORMAT,
    "hf_folder": hf_folder.FORMAT,
}

CountTokens = Callable[[str], int]

__all__ = ["FORMATS", "ExportError", "ExportReport", "Plan", "export", "options_of", "plan", "preflight"]


def plan(
    snapshot: Snapshot,
    format: str,
    options: Mapping[str, Any] | None = None,
    *,
    count_tokens: CountTokens | None = None,
) -> Plan:
    """Number of rows, figures and warnings of an export, without writing anything. Raises ExportError for unknown
    options.
    """
    form = _format(format)
    return make_plan(snapshot, form, read_options(form, options or {}), count_tokens)


def preflight(
    snapshot: Snapshot,
    format: str,
    options: Mapping[str, Any] | None = None,
    *,
    count_tokens: CountTokens | None = None,
) -> list[str]:
    """What to know before writing, as sentences."""
    return plan(snapshot, format, options, count_tokens=count_tokens).warnings


def export(
    snapshot: Snapshot,
    format: str,
    out_dir: Path,
    options: Mapping[str, Any] | None = None,
    *,
    count_tokens: CountTokens | None = None,
) -> ExportReport:
    """Write the data (data.parquet and data.jsonl, or what the format has instead), manifest.json and README.md into
    `out_dir`, whole or not at all.

    An earlier export in `out_dir` is replaced; a folder with anything else in it is refused. `count_tokens` gives the
    true length
    of a text for the warning about long rows; without it lengths are estimated. Raises ExportError.
    """
    return write(snapshot, _format(format), Path(out_dir), options or {}, count_tokens)


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise ExportError(f"The export format {name!r} is not known; it must be one of {', '.join(FORMATS)}.")
    return FORMATS[name]
