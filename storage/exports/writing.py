"""What all exports share: options read from plain values, length estimates, and a folder that is whole or not there.

Knows no format: a format hands over its options, rows and warnings as a `Format`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.trace import utc_now
from storage import cards
from storage.errors import ExportError
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

DATA_PARQUET, DATA_JSONL = "data.parquet", "data.jsonl"
MANIFEST_FORMAT = "worldline-export"
CHARS_PER_TOKEN = 4  # the usual rule of thumb for English; the count of words is the other bound
BATCH = 512  # rows held at a time while writing

# Line breaks to some readers (`str.splitlines`), though not to JSONL: escaped, so that a row is one line to everybody.
_LINE_BREAKS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}

Row = dict[str, Any]


@dataclass
class Plan:
    """What an export will hold. `figures` are numbers for people, `warnings` sentences; filled while the rows are
    made.
    """

    rows: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ExportReport:
    """What was written where."""

    format: str
    folder: Path
    files: list[str]
    rows: int
    warnings: list[str]
    figures: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "folder": str(self.folder)}


@dataclass(frozen=True)
class Format:
    """One export format.

    options: a frozen dataclass with a default for every field; `choices` names the values a field may have.
    rows: makes the rows of a snapshot. look: reads them once more for figures and warnings.
    """

    name: str
    summary: str
    options: type
    choices: Mapping[str, tuple[Any, ...]]
    schema: Callable[[], pa.Schema]
    rows: Callable[[Snapshot, Any], Iterator[Row]]
    look: Callable[[Snapshot, Any, Iterator[Row], Callable[[str], int], bool], Plan]
    columns: Mapping[str, str]


def read_options(form: Format, given: Mapping[str, Any]) -> Any:
    """Options from JSON or the command line. Raises ExportError naming the key, the value and what may stand there."""
    known = {f.name: f for f in fields(form.options)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            raise ExportError(f'"{key}" is not an option of the {form.name} export; it has {", ".join(known)}.')
        default = known[key].default
        assert default is not MISSING  # every option has a default
        values[key] = _converted(form, key, value, default)
    return form.options(**values)


def _converted(form: Format, key: str, value: Any, default: Any) -> Any:
    if isinstance(default, bool):
        if isinstance(value, str) and value.lower() in ("true", "false"):
            value = value.lower() == "true"
        if not isinstance(value, bool):
            raise ExportError(f'"{key}" is {value!r}; it must be true or false.')
    elif isinstance(default, int):
        try:
            value = int(value) if not isinstance(value, bool | float) else None
        except (TypeError, ValueError):
            value = None
        if value is None or value < 1:
            raise ExportError(f'"{key}" must be a whole number of at least 1.')
    elif not isinstance(value, str):
        raise ExportError(f'"{key}" is {value!r}; it must be text.')
    allowed = form.choices.get(key)
    if allowed and value not in allowed:
        raise ExportError(f'"{key}" is {value!r}; it must be one of {", ".join(map(str, allowed))}.')
    return value


def estimate_tokens(text: str) -> int:
    """Tokens of a text without a tokenizer: a quarter of its characters, or its words where there are more of them."""
    return max(math.ceil(len(text) / CHARS_PER_TOKEN), len(text.split()))


def make_plan(
    snapshot: Snapshot, form: Format, given: Mapping[str, Any], count_tokens: Callable[[str], int] | None
) -> Plan:
    options = read_options(form, given)
    return form.look(
        snapshot, options, form.rows(snapshot, options), count_tokens or estimate_tokens, count_tokens is None
    )


def write(
    snapshot: Snapshot,
    form: Format,
    out_dir: Path,
    given: Mapping[str, Any],
    count_tokens: Callable[[str], int] | None,
) -> ExportReport:
    options = read_options(form, given)
    out_dir = out_dir.expanduser().absolute()
    _refuse_foreign(out_dir)
    plan = make_plan(snapshot, form, given, count_tokens)
    if not plan.rows:
        raise ExportError(f"Nothing was written. {' '.join(plan.warnings)}")
    try:
        with cards.whole_folder(out_dir) as work:
            _write_rows(form, form.rows(snapshot, options), work)
            check = _schema_check(form, work / DATA_PARQUET, plan.rows)
            manifest = _manifest(snapshot, form, options, plan, check, work)
            cards.write_json(work / cards.MANIFEST, manifest)
            (work / cards.CARD).write_text(_card(form, manifest), encoding="utf-8")
    except OSError as error:
        raise ExportError(f"The export could not be written to {out_dir}: {error.strerror or error}.") from None
    files = [DATA_PARQUET, DATA_JSONL, cards.MANIFEST, cards.CARD]
    return ExportReport(form.name, out_dir, files, plan.rows, plan.warnings, plan.figures)


def _refuse_foreign(out_dir: Path) -> None:
    """Replace only what an export of ours left; nothing else is ever overwritten."""
    if out_dir.is_file():
        raise ExportError(f"{out_dir} is a file; give a folder for the export.")
    if not out_dir.is_dir() or not any(out_dir.iterdir()):
        return
    try:
        manifest = json.loads((out_dir / cards.MANIFEST).read_text(encoding="utf-8"))
        ours = isinstance(manifest, dict) and manifest.get("format") == MANIFEST_FORMAT
    except (OSError, ValueError):
        ours = False
    others = {p.name for p in out_dir.iterdir() if not p.name.startswith(".")} - {
        DATA_PARQUET,
        DATA_JSONL,
        cards.MANIFEST,
        cards.CARD,
    }
    if not ours or others:
        shown = ", ".join(sorted(others or {p.name for p in out_dir.iterdir()})[:3])
        raise ExportError(
            f"{out_dir} already holds other files ({shown}); nothing was written. Give a new or an empty folder."
        )


def _write_rows(form: Format, rows: Iterator[Row], work: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = form.schema()
    with (
        pq.ParquetWriter(work / DATA_PARQUET, schema, compression="zstd") as parquet,
        (work / DATA_JSONL).open("w", encoding="utf-8") as jsonl,
    ):
        batch: list[Row] = []
        for row in rows:
            jsonl.write(json.dumps(row, ensure_ascii=False).translate(_LINE_BREAKS) + "\n")
            batch.append(row)
            if len(batch) == BATCH:
                parquet.write_table(pa.Table.from_pylist(batch, schema=schema))
                batch = []
        if batch:
            parquet.write_table(pa.Table.from_pylist(batch, schema=schema))


def _schema_check(form: Format, path: Path, expected: int) -> str:
    """Read back what was written: the columns, the number of rows, no null where trainers accept none."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        assert file.metadata.num_rows == expected, "an export wrote another number of rows than it planned"
        assert file.schema_arrow.equals(form.schema()), "an export wrote other columns than it declares"
        for batch in file.iter_batches(columns=list(form.columns)):
            assert all(column.null_count == 0 for column in batch.columns), "an export wrote a null"
    return f"read back: {expected} rows, columns {', '.join(form.columns)}, no nulls"


def _manifest(snapshot: Snapshot, form: Format, options: Any, plan: Plan, check: str, work: Path) -> dict[str, Any]:
    return {
        "format": MANIFEST_FORMAT,
        "format_version": 1,
        "export": form.name,
        "created_at": utc_now(),
        "worldline_version": cards.worldline_version(),
        "snapshot": {
            "snapshot_id": snapshot.snapshot_id,
            "name": snapshot.info.name,
            "sha256": snapshot.info.sha256,
            "event_seq": snapshot.info.event_seq,
            "spec": snapshot.manifest.get("spec"),
            "agreement": snapshot.manifest.get("agreement"),
            "excluded": snapshot.manifest.get("excluded"),
        },
        "policies": asdict(options),
        "rows": plan.rows,
        "figures": plan.figures,
        "warnings": plan.warnings,
        "schema_check": check,
        "sha256": {name: cards.sha256_of(work / name) for name in (DATA_PARQUET, DATA_JSONL)},
    }


def _card(form: Format, manifest: Mapping[str, Any]) -> str:
    snapshot = manifest["snapshot"]
    title = f"Worldline {form.name} export of snapshot {snapshot['name'] or snapshot['snapshot_id']}"
    lines = [
        cards.front_matter(title, DATA_PARQUET),
        f"# {title}\n",
        form.summary + "\n",
        cards.table(dict(form.columns)),
        "\nFurther columns tell where a row comes from; trainers ignore them.\n",
        "## Policies\n",
        cards.table(manifest["policies"]),
        "\n## Figures\n",
        cards.table({"rows": manifest["rows"], **manifest["figures"]}),
        "\n## Lineage\n",
        cards.table({k: v for k, v in snapshot.items() if k != "spec"}),
    ]
    if manifest["warnings"]:
        lines += ["\n## Warnings\n", *(f"- {w}" for w in manifest["warnings"])]
    lines += [
        "\n## Read it\n",
        "```python\nfrom datasets import load_dataset\n",
        f'rows = load_dataset("parquet", data_files="{DATA_PARQUET}", split="train")\n```\n',
    ]
    return "\n".join(lines)
