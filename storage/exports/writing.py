"""What all exports share: options read from plain values, length estimates, and a folder that is whole or not there.

Knows no format: a format hands over its options, rows and warnings as a `Format`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.trace import utc_now
from storage import cards
from storage.errors import ExportError
from storage.exports.columns import CHARS_PER_TOKEN
from storage.exports.lines import Bytes, one_line_each
from storage.exports.policies import CHOICES, Policies, in_words, sentence
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

DATA_PARQUET, DATA_JSONL = "data.parquet", "data.jsonl"
MANIFEST_FORMAT = "worldline-export"
CARRIED = 32_000_000  # bytes of a file that wait for the disk
BATCH = 512  # rows held at a time while writing; more only give Python's garbage collector more to walk over
SAMPLE = 3  # rows of the preview
SAMPLE_CHARS, SAMPLE_ITEMS = 600, 40  # of each text and list in it: enough to see what a row is

Row = dict[str, Any]
Sums = dict[str, str]  # sha256 of files by name


@dataclass
class Plan:
    """What an export will hold. `figures` are numbers for people, `histogram` counts labels by name, `warnings` are sentences,
    `left_out` counts rows by reason, `sample` holds the first rows, shortened. `says` and `cannot` are the policies and the
    format's limits in words.
    """

    rows: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    histogram: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    sample: list[Row] = field(default_factory=list)
    says: list[str] = field(default_factory=list)
    cannot: list[str] = field(default_factory=list)

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
class Looking:
    """What a format is given to look at: the rows as they pass by, how long a text is, and what was left out by reason
    (whole only when the rows are through).
    """

    snapshot: Snapshot
    options: Any
    made: Iterator[Any]
    count_tokens: Callable[[str], int]
    estimated: bool
    left: Counter[str]


@dataclass(frozen=True)
class Format:
    """One export format.

    options: a frozen dataclass made of `Policies`, with a default for every field; `uses` names the policies it honours,
    `choices` the values that its own fields may have. rows: makes the rows of a snapshot (one by one, or as Arrow's batches
    where they are many and full of text) and counts what is left out.
    look: reads them as they pass for figures and warnings. cannot: what of a snapshot the format has no place for.
    shown: the rows of a batch as people see them, where its columns are not what is written.
    save: writes `files` where they are not Parquet and JSONL of the rows; it is given the rows as they pass. configs: of the
    written files those that `load_dataset` reads, {configuration: {split: file}}; by default the first file.
    """

    name: str
    summary: str
    options: type
    uses: tuple[str, ...]
    choices: Mapping[str, tuple[Any, ...]]
    schema: Callable[[Any], pa.Schema]
    rows: Callable[[Snapshot, Any, Counter[str]], Iterator[Any]]
    look: Callable[[Looking], Plan]
    columns: Mapping[str, str]
    cannot: tuple[str, ...] = ()
    save: Callable[[Snapshot, Any, Path, Sums], AbstractContextManager[Callable[[Any], None]]] | None = None
    files: tuple[str, ...] = (DATA_PARQUET, DATA_JSONL)
    configs: Callable[[list[str]], dict[str, dict[str, str]]] | None = None
    shown: Callable[[pa.RecordBatch], list[Row]] = lambda batch: batch.to_pylist()


def options_of(form: Format) -> list[tuple[str, Any, tuple[Any, ...]]]:
    """(name, default, values it may have) of everything that can be chosen; no values where it is not a choice of few."""
    policies = {f.name for f in fields(Policies)}
    allowed = {**CHOICES, **form.choices}
    return [
        (f.name, f.default, tuple(allowed.get(f.name, ())))
        for f in fields(form.options)
        if f.name in form.uses or f.name not in policies
    ]


def read_options(form: Format, given: Mapping[str, Any]) -> Any:
    """Options from JSON or the command line. Raises ExportError naming the key, the value and what may stand there."""
    known = {name: (default, allowed) for name, default, allowed in options_of(form)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            raise ExportError(f'"{key}" is not an option of the {form.name} export; it has {", ".join(known)}.')
        default, allowed = known[key]
        assert default is not MISSING  # every option has a default
        values[key] = _converted(allowed, key, value, default)
    return form.options(**values)


def _converted(allowed: tuple[Any, ...], key: str, value: Any, default: Any) -> Any:
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
    if allowed and value not in allowed:
        raise ExportError(f'"{key}" is {value!r}; it must be one of {", ".join(map(str, allowed))}.')
    return value


def estimate_tokens(text: str) -> int:
    """Tokens of a text without a tokenizer: a quarter of its characters, or its spaces where there are more of them (words
    would have to be split: most of the time of an export).
    """
    return max(-(-len(text) // CHARS_PER_TOKEN), text.count(" "))


def make_plan(
    snapshot: Snapshot,
    form: Format,
    options: Any,
    count_tokens: Callable[[str], int] | None,
    each: Callable[[Any], None] | None = None,
) -> Plan:
    """Look at every row once; `each` is given the rows on the way, to be written."""
    left = Counter[str]()
    sample: list[Row] = []

    def passing() -> Iterator[Any]:
        for made in form.rows(snapshot, options, left):
            if len(sample) < SAMPLE:
                more = [made] if isinstance(made, dict) else form.shown(made.slice(0, SAMPLE - len(sample)))
                sample.extend(map(_shortened, more))
            if each is not None:
                each(made)
            yield made

    plan = form.look(Looking(snapshot, options, passing(), count_tokens or estimate_tokens, count_tokens is None, left))
    plan.sample, plan.left_out = sample, dict(sorted(left.items()))
    plan.says, plan.cannot = in_words(options, form.uses), list(form.cannot)
    return plan


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= SAMPLE_CHARS else f"{value[:SAMPLE_CHARS]}… ({len(value):,} characters)"
    if isinstance(value, list):
        more = [f"… {len(value) - SAMPLE_ITEMS:,} more"] if len(value) > SAMPLE_ITEMS else []
        return [_shortened(v) for v in value[:SAMPLE_ITEMS]] + more
    return {k: _shortened(v) for k, v in value.items()} if isinstance(value, dict) else value


def write(
    snapshot: Snapshot,
    form: Format,
    out_dir: Path,
    given: Mapping[str, Any],
    count_tokens: Callable[[str], int] | None,
) -> ExportReport:
    options = read_options(form, given)
    out_dir = out_dir.expanduser().absolute()
    before = _refuse_foreign(out_dir)
    try:
        with cards.whole_folder(out_dir) as work:
            sums: Sums = {}
            with (form.save or partial(_written, form))(snapshot, options, work, sums) as put:
                plan = make_plan(snapshot, form, options, count_tokens, put)
                if not plan.rows:
                    raise ExportError(f"Nothing was written. {' '.join(plan.warnings)}")
            written = [name for name in form.files if (work / name).exists()]
            check = f"written: {', '.join(written)}"
            if form.save is None and DATA_PARQUET in form.files:
                check = _schema_check(form, options, work / DATA_PARQUET, plan.rows)
            manifest = _manifest(snapshot, form, options, plan, check, work, written, sums)
            cards.write_json(work / cards.MANIFEST, manifest)
            (work / cards.CARD).write_text(_card(form, options, manifest), encoding="utf-8")
        files = [*written, cards.MANIFEST, cards.CARD]
        for stale in before - set(files):
            (out_dir / stale).unlink(missing_ok=True)
    except OSError as error:
        raise ExportError(f"The export could not be written to {out_dir}: {error.strerror or error}.") from None
    return ExportReport(form.name, out_dir, files, plan.rows, plan.warnings, plan.figures)


def _refuse_foreign(out_dir: Path) -> set[str]:
    """The files of an earlier export there. Only such are ever replaced; anything else is refused."""
    if out_dir.is_file():
        raise ExportError(f"{out_dir} is a file; give a folder for the export.")
    if not out_dir.is_dir() or not any(out_dir.iterdir()):
        return set()
    try:
        manifest = json.loads((out_dir / cards.MANIFEST).read_text(encoding="utf-8"))
        ours = isinstance(manifest, dict) and manifest.get("format") == MANIFEST_FORMAT
        known = {cards.MANIFEST, cards.CARD, *(manifest["sha256"] if ours else ())}
    except (OSError, ValueError, KeyError, TypeError):
        ours, known = False, set()
    there = {p.name for p in out_dir.iterdir() if not p.name.startswith(".")}
    others = there - known
    if not ours or others:
        shown = ", ".join(sorted(others or {p.name for p in out_dir.iterdir()})[:3])
        raise ExportError(
            f"{out_dir} already holds other files ({shown}); nothing was written. Give a new or an empty folder."
        )
    return there


@contextmanager
def _written(form: Format, snapshot: Snapshot, options: Any, work: Path, sums: Sums) -> Iterator[Callable[[Any], None]]:
    """Parquet, JSONL or both of the rows that are put, each written aside: for the most part without Python's lock."""
    import pyarrow as pa

    schema = form.schema(options)
    kinds = {DATA_PARQUET: _parquet, DATA_JSONL: _jsonl}
    with ExitStack() as stack:
        files = [
            stack.enter_context(aside(stack.enter_context(kinds[name](work / name, schema, sums))))
            for name in form.files
        ]
        rows: list[Row] = []

        def flush(batch: pa.RecordBatch) -> None:
            assert all(batch[name].null_count == 0 for name in form.columns if name in schema.names), (
                "an export made a null"
            )
            for write in files:
                write(batch)

        def put(made: Row | pa.RecordBatch) -> None:
            nonlocal rows
            if isinstance(made, pa.RecordBatch):
                flush(made)
                return
            rows.append(made)
            if len(rows) == BATCH:
                flush(pa.RecordBatch.from_pylist(rows, schema=schema))
                rows = []

        yield put
        if rows:
            flush(pa.RecordBatch.from_pylist(rows, schema=schema))


@contextmanager
def aside(write: Callable[[Any], object]) -> Iterator[Callable[[Any], None]]:
    """The same, done by another thread while the caller makes what is to be written next: one at a time, in their order."""
    before: Future[object] | None = None
    with ThreadPoolExecutor(1) as thread:

        def put(made: Any) -> None:
            nonlocal before
            if before is not None:
                before.result()
            before = thread.submit(write, made)

        yield put
        if before is not None:
            before.result()


@contextmanager
def _parquet(path: Path, schema: pa.Schema, sums: Sums) -> Iterator[Callable[[pa.RecordBatch], None]]:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        yield file.write_batch


@contextmanager
def _jsonl(path: Path, schema: pa.Schema, sums: Sums) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Each row one line to every reader."""
    import polars as pl

    with summed(path, sums) as write_bytes:

        def write(batch: pa.RecordBatch) -> None:
            made = BytesIO()
            pl.DataFrame(batch).write_ndjson(made)
            write_bytes(one_line_each(made.getbuffer()))

        yield write


@contextmanager
def summed(path: Path, sums: Sums) -> Iterator[Callable[[Bytes], None]]:
    """Write a file whose sha256 is known when it is closed: a gigabyte need not be read again. It goes to the disk on the way, and
    out of the memory in which the system would keep it, which others need more.
    """
    digest, fresh = hashlib.sha256(), 0
    with path.open("wb") as file, aside(_carried) as carry:

        def write(some: Bytes) -> None:
            nonlocal fresh
            digest.update(some)
            file.write(some)
            fresh += len(some)
            if fresh >= CARRIED:
                file.flush()
                carry(file.fileno())
                fresh = 0

        yield write
    sums[path.name] = digest.hexdigest()


def _carried(file: int) -> None:
    os.fsync(file)
    if hasattr(os, "posix_fadvise"):  # not on a Mac
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)


def _schema_check(form: Format, options: Any, path: Path, expected: int) -> str:
    """Read back what was written: the columns and the number of rows; nulls were looked for row group by row group."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        assert file.metadata.num_rows == expected, "an export wrote another number of rows than it planned"
        assert file.schema_arrow.equals(form.schema(options)), "an export wrote other columns than it declares"
    return f"read back: {expected} rows, columns {', '.join(form.columns)}, no nulls"


def _manifest(
    snapshot: Snapshot,
    form: Format,
    options: Any,
    plan: Plan,
    check: str,
    work: Path,
    written: list[str],
    sums: Sums,
) -> dict[str, Any]:
    chosen = asdict(options)
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
        "policies": {name: chosen[name] for name, _, _ in options_of(form)},
        "policies_in_words": plan.says,
        "cannot_carry": plan.cannot,
        "left_out": plan.left_out,
        "rows": plan.rows,
        "figures": plan.figures,
        "histogram": plan.histogram,
        "warnings": plan.warnings,
        "schema_check": check,
        "sha256": {name: sums.get(name) or cards.sha256_of(work / name) for name in written},
    }


def _card(form: Format, options: Any, manifest: Mapping[str, Any]) -> str:
    snapshot = manifest["snapshot"]
    title = f"Worldline {form.name} export of snapshot {snapshot['name'] or snapshot['snapshot_id']}"
    data = [name for name in manifest["sha256"] if name.endswith((".parquet", ".jsonl", ".json"))]
    configs = form.configs(data) if form.configs else {"default": {"train": data[0]}}
    chosen = {
        name: f"{json.dumps(value)}. {sentence(name, value)}".rstrip(" .") + "."
        for name, value in manifest["policies"].items()
    }
    lines = [
        cards.front_matter(title, configs, manifest["rows"]),
        f"# {title}\n",
        form.summary + "\n",
        cards.table(dict(form.columns)),
        "\nFurther columns tell where a row comes from; trainers ignore them.\n",
        "## Policies\n",
        cards.table(chosen),
        "\n## Figures\n",
        cards.table({"rows": manifest["rows"], **manifest["figures"], "left_out": manifest["left_out"]}),
        "\n## Lineage\n",
        cards.table({k: v for k, v in snapshot.items() if k != "spec"}),
    ]
    if form.cannot:
        lines += ["\n## What this format cannot carry\n", *(f"- {what}" for what in form.cannot)]
    if manifest["warnings"]:
        lines += ["\n## Warnings\n", *(f"- {w}" for w in manifest["warnings"])]
    kind = "parquet" if data[0].endswith(".parquet") else "json"
    lines += [
        "\n## Read it\n",
        "```python\nfrom datasets import load_dataset\n",
        f'rows = load_dataset("{kind}", data_files="{data[0]}", split="train")\n```\n',
    ]
    return "\n".join(lines)
