"""Snapshots: ratings frozen into a folder that needs no database to be read.

    <root>/<snapshot_id>/data.parquet     one row per submitted assignment (a trace as one rater judged it)
                         pairs.parquet    one row per submitted comparison, where there is any
                         manifest.json    what was asked for, up to which event, counts, balance, agreement, policies,
                         sha256
                         README.md        dataset card

Only submitted assignments count, as they stood at one event sequence number, which the manifest records. Knows no
trainer and
no export format. Which rows it has is in `frozen.py`, how they are written in `frozen_rows.py`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.trace import new_id, utc_now
from storage import cards, frozen, frozen_rows
from storage.errors import NothingRated, SnapshotError, StoreError
from storage.frozen import Selection
from storage.snapshot_card import card
from storage.store import Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

DATA, PAIRS = "data.parquet", "pairs.parquet"
FORMAT, FORMAT_VERSION = "worldline-snapshot", 1
LOPSIDED = 0.85  # above this share of one class a scorer that always says that class looks good: worth a warning
POLICIES = {
    "rows": "submitted assignments only, as they stood at event_seq",
    "unrated": "null in `rating`; never read as bad",
    "neutral": "0 is a deliberate rating; exports choose what it becomes (neutral_as)",
    "unsure": "null in `rating` and true in `unsure`; not a vote",
    "first_error": "the step marked so is bad; later steps stay as the rater left them, unrated unless rated",
    "split": "by SHA-256 of problem_id: one problem is never in both train and test",
    "corrections": "corrected_parent, corrected_kind, cuts (offsets into response at which a step should be cut) and joined "
    "(with the step before) are said of the steps as inferred; ratings are of those steps too",
    "earlier": "null, or as JSON the traces whose turns came before this one's question, and how they were given",
    "score": "what a model (`scorer`, `scorer_version`) last gave each step before it was frozen, 0 to 1, null where none did; "
    "never a rating",
    "adjudicated": "what an adjudicator settled, null where nobody did; exports say whether it overrules the raters",
    "better": "what a rater would have written in the step's place; recovered: the later step that put an error right, -1 none",
    "gold": "null, or gold / screening: the right judgement was known beforehand; exports leave such rows out by default",
    "pairs": "preference from -3 (left much better) to 3 (right), in the pair's own order; both_bad is a value of its own; "
    "adjudicated: what an adjudicator decided of it, null where nobody did",
    "text": "step_text[i] is response[step_start[i]:step_end[i]], offsets in Unicode code points",
}
# Raters whose name begins so are programs, and a snapshot never passes their ratings off as people's.
SIMULATED = "simulated:"
# Also label sets (`worldline label`) that came back by an import: the methods that name themselves as raters.
PROGRAMS = (SIMULATED, *(f"import:{method}:" for method in ("oracle", "rollouts", "binary-search", "prm", "simulated")))
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")


@dataclass(frozen=True)
class SnapshotSpec:
    """What goes into a snapshot. Empty lists mean "all"; `min_rated_steps` leaves out rows with fewer."""

    models: tuple[str, ...] = ()
    raters: tuple[str, ...] = ()
    trace_ids: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    solved: bool | None = None
    min_rated_steps: int = 0
    test_percent: int = 10

    @classmethod
    def from_json(cls, row: Mapping[str, Any] | None) -> SnapshotSpec:
        """Raises StoreError with a sentence for a key or value that is not known."""
        row = dict(row or {})
        known = [f.name for f in fields(cls)]
        for key, value in row.items():
            if key not in known:
                raise StoreError(f'"{key}" is not part of a snapshot spec; it may have {", ".join(known)}.')
            if key in ("models", "raters", "trace_ids", "queues"):
                if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
                    raise StoreError(f'"{key}" must be a list of strings.')
                row[key] = tuple(value)
            elif key == "solved":
                if value is not None and not isinstance(value, bool):
                    raise StoreError('"solved" must be true, false or null.')
            elif type(value) is not int or value < 0 or (key == "test_percent" and value > 100):
                raise StoreError(
                    f'"{key}" is {value!r}; it must be a whole number, not negative (a percentage at most 100).'
                )
        return cls(**row)

    def to_json(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Preview:
    """What a snapshot would hold. n_rows: submitted assignments (traces times raters); n_pairs: submitted comparisons; histogram: {good, neutral, bad,
    unsure, unrated} over steps; warnings: sentences worth reading before freezing; excluded: rows left out, by reason.
    """

    n_traces: int
    n_rows: int
    n_steps: int
    histogram: dict[str, int]
    warnings: list[str]
    excluded: dict[str, int] = field(default_factory=dict)
    n_pairs: int = 0


@dataclass(frozen=True)
class SnapshotInfo:
    """A frozen snapshot. n_rows: submitted assignments (traces times raters); event_seq: the last rating event that could
    be in it; `error` is a sentence when the folder cannot be read (then the counts are 0).
    """

    snapshot_id: str
    name: str
    folder: Path
    created_at: str
    created_by: str
    n_traces: int
    n_rows: int
    n_steps: int
    histogram: dict[str, int]
    event_seq: int
    sha256: str
    warnings: list[str] = field(default_factory=list)
    error: str = ""
    n_pairs: int = 0


@dataclass(frozen=True)
class Snapshot:
    """A snapshot whose checksum was found right."""

    info: SnapshotInfo
    manifest: dict[str, Any]

    @property
    def snapshot_id(self) -> str:
        return self.info.snapshot_id

    @property
    def folder(self) -> Path:
        return self.info.folder

    @property
    def data_path(self) -> Path:
        return self.info.folder / DATA

    @property
    def pairs_path(self) -> Path | None:
        """The comparisons, or None where there are none."""
        return self.info.folder / PAIRS if self.info.n_pairs else None

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows as an Arrow table (optionally some columns)."""
        import pyarrow.parquet as pq

        return pq.read_table(self.data_path, columns=list(columns) if columns else None)

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Row by row, so that a large snapshot never has to fit in memory. Rows of one trace stand together."""
        for batch in self.batches(columns, 256):
            values = batch.to_pydict()  # in half the time of `to_pylist`
            for row in zip(*values.values(), strict=True):
                yield dict(zip(values, row, strict=True))

    def batches(self, columns: Sequence[str] | None, size: int) -> Iterator[pa.RecordBatch]:
        """The rows as Arrow has them, at most `size` at a time; the same types whoever wrote them."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.data_path) as file:
            for batch in file.iter_batches(batch_size=size, columns=list(columns) if columns else None):
                kinds = [field.with_type(_small(field.type)) for field in batch.schema]
                yield batch if kinds == list(batch.schema) else batch.cast(pa.schema(kinds))

    def pairs(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """The comparisons (optionally some columns), those of one pair together."""
        import pyarrow.parquet as pq

        if self.pairs_path is not None:
            with pq.ParquetFile(self.pairs_path) as file:
                for batch in file.iter_batches(batch_size=256, columns=list(columns) if columns else None):
                    yield from batch.to_pylist()


def _small(kind: pa.DataType) -> pa.DataType:
    """The type without 64-bit offsets, which the columns of label sets have and those of frozen ratings have not."""
    import pyarrow as pa

    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_small(kind.value_type)))
    return pa.string() if pa.types.is_large_string(kind) else kind


def preview(con: duckdb.DuckDBPyConnection, spec: SnapshotSpec | Mapping[str, Any] | None = None) -> Preview:
    """What `freeze` would write now, with everything worth knowing before."""
    spec = _spec(spec)
    return _preview(spec, frozen.select(con, spec))


def freeze(
    store: Store,
    folder_root: Path,
    spec: SnapshotSpec | Mapping[str, Any] | None = None,
    created_by: str = "local",
    *,
    name: str = "",
) -> SnapshotInfo:
    """Write a snapshot folder under `folder_root` (whole or not at all). Raises NothingRated, StoreError."""
    spec = _spec(spec)
    selection = store.read(lambda con: frozen.select(con, spec, to_freeze=True))
    shown = _preview(spec, selection)
    if not shown.n_rows and not selection.pairs:
        raise NothingRated(shown.warnings[0])
    snapshot_id = new_id()
    folder = Path(folder_root) / snapshot_id
    try:
        with cards.whole_folder(folder) as work:
            frozen_rows.write_rows(store, spec, selection, work / DATA)
            manifest = _manifest(snapshot_id, name, spec, selection, shown, created_by, cards.sha256_of(work / DATA))
            if selection.pairs:
                frozen_rows.write_pairs(store, spec, selection, work / PAIRS)
                manifest["pairs"] = {"rows": len(selection.pairs), "sha256": cards.sha256_of(work / PAIRS)}
            cards.write_json(work / cards.MANIFEST, manifest)
            (work / cards.CARD).write_text(card(manifest, DATA), encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"The snapshot could not be written to {folder_root}: {error.strerror or error}. Nothing was kept."
        ) from None
    store.record_snapshot(
        snapshot_id,
        name,
        json.dumps(spec.to_json()),
        selection.event_seq,
        shown.n_rows,
        manifest["sha256"],
        created_by,
        str(folder),
    ).result()
    return _info(folder, manifest)


def list_snapshots(root: Path) -> list[SnapshotInfo]:
    """Newest first. A folder that cannot be read is listed with its `error`. Checksums are verified by
    `load_snapshot` only.
    """
    root = Path(root)
    if not root.is_dir():
        return []
    found = []
    for folder in root.iterdir():
        looks_like_one = any((folder / name).exists() for name in (cards.MANIFEST, DATA))
        if looks_like_one and not folder.name.startswith("."):
            try:
                found.append(_info(folder, _read_manifest(folder)))
            except SnapshotError as error:
                found.append(SnapshotInfo(folder.name, "", folder, "", "", 0, 0, 0, {}, 0, "", [], str(error)))
    return sorted(found, key=lambda info: (info.created_at, info.snapshot_id), reverse=True)


def load_snapshot(root: Path, snapshot_id: str, *, anew: bool = True) -> Snapshot:
    """Read a snapshot without any database. Raises SnapshotError when it is missing or was changed after freezing.
    anew=False: a file that was found right is taken for right until it is touched."""
    folder = Path(root) / snapshot_id
    if not _ID.fullmatch(snapshot_id) or not folder.is_dir():
        raise SnapshotError(f"There is no snapshot {snapshot_id!r} in {root}; check its id on the Data page.")
    manifest = _read_manifest(folder)
    hashes = {DATA: manifest["sha256"], **({PAIRS: manifest["pairs"]["sha256"]} if manifest.get("pairs") else {})}
    for file, sha256 in hashes.items():
        data = folder / file
        if not data.is_file():
            raise SnapshotError(f"{data} is missing; restore it from a copy, or freeze a new snapshot.")
        if (cards.sha256_of if anew else cards.unchanged_sha256_of)(data) != sha256:
            raise SnapshotError(
                f"{data} was changed after it was frozen (its sha256 is not the manifest's); restore it from a copy, "
                "or freeze a new snapshot."
            )
    return Snapshot(_info(folder, manifest), manifest)


def _spec(spec: SnapshotSpec | Mapping[str, Any] | None) -> SnapshotSpec:
    return spec if isinstance(spec, SnapshotSpec) else SnapshotSpec.from_json(spec)


def _preview(spec: SnapshotSpec, selection: Selection) -> Preview:
    n = selection.totals
    histogram = {name: n[name] for name in ("good", "neutral", "bad", "unsure")}
    histogram["unrated"] = n["steps"] - sum(histogram.values())
    return Preview(
        n_traces=n["traces"],
        n_rows=n["rows"],
        n_steps=n["steps"],
        histogram=histogram,
        warnings=_warnings(spec, selection),
        excluded=selection.excluded,
        n_pairs=len(selection.pairs),
    )


def _warnings(spec: SnapshotSpec, selection: Selection) -> list[str]:
    n, rows, excluded = selection.totals, selection.totals["rows"], selection.excluded
    left_out = ", ".join(f"{count} {reason}" for reason, count in excluded.items())
    if not rows and selection.pairs:
        return [
            *([f"Left out: {left_out}."] if left_out else []),
            "Only comparisons are submitted: exports of step ratings have no rows.",
        ]
    if not rows:
        detail = f" Left out: {left_out}." if left_out else ""
        return [
            f"Nothing to freeze: no submitted assignment has a rating.{detail} Rate and submit at least one trace "
            "on the Rate page."
        ]
    found = [f"Left out: {left_out}."] if left_out else []
    if n["gaps"]:
        found.append(
            f"{n['gaps']} of {rows} rows have unrated or unsure steps before rated ones; stepwise exports "
            "stop at the first such step."
        )
    rated = n["good"] + n["neutral"] + n["bad"]
    if not rated:
        found.append(
            "No step has a rating (only verdicts, notes or judgements of backtracks): a stepwise export or a PRM "
            "job has no rows."
        )
    for name in ("good", "bad"):
        if rated and n[name] / rated >= LOPSIDED:
            found.append(f"{n[name]} of {rated} rated steps are {name}: a scorer that always says so would look right.")
    recut = n["recut"]
    if recut:
        found.append(
            f"{recut} steps were re-cut: training and the stepwise and preference exports use the steps as they were "
            "rated; the tree export has them re-cut."
        )
    later = n["later"]
    if later:
        found.append(
            f"{later} of {rows} rows are later turns of a conversation: reward models take their question alone; "
            "fine-tuning and the stepwise, preference, step_dpo, kto, sft, argilla and label_studio exports give what came before "
            "it too, where those traces are in the snapshot."
        )
    if _simulated(selection):
        found.append(f"{_simulated(selection)} of {rows} rows are by simulated raters, not by people.")
    seen = n["prelabel_visible"]
    if seen:
        found.append(f"{seen} of {rows} rows hold ratings made while model scores were visible (prelabel_visible).")
    known = n["gold"]
    if known:
        found.append(
            f"{known} of {rows} rows are of gold or screening items, whose right judgement was known beforehand: exports "
            "leave them out unless asked for."
        )
    in_test = n["test"]
    if spec.test_percent and not in_test:
        found.append(
            "No problem falls into the test split yet: figures on held-out problems cannot be computed from this "
            "snapshot alone."
        )
    elif in_test == rows:
        found.append("Every problem falls into the test split: nothing is left to train on.")
    return found


def _manifest(
    snapshot_id: str, name: str, spec: SnapshotSpec, selection: Selection, shown: Preview, created_by: str, sha256: str
) -> dict[str, Any]:
    n = selection.totals
    rated = sum(shown.histogram[k] for k in ("good", "neutral", "bad"))
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "snapshot_id": snapshot_id,
        "name": name,
        "created_at": utc_now(),
        "created_by": created_by,
        # What training/labels makes says "model".
        "labels": "people"
        if not _simulated(selection)
        else "simulated raters"
        if _simulated(selection) == n["rows"]
        else "people and simulated raters",
        "worldline_version": cards.worldline_version(),
        "spec": spec.to_json(),
        "event_seq": selection.event_seq,
        "sha256": sha256,
        "counts": {
            "rows": shown.n_rows,
            "traces": shown.n_traces,
            "problems": n["problems"],
            "steps": shown.n_steps,
            "rated_steps": rated,
            "judged_backtracks": n["backtracks"],
            "verdicts": n["verdicts"],
            "better_steps": n["better"],
            "adjudicated_steps": n["adjudicated"],
            "gold_rows": n["gold"],
            "late_rows": n["late"],
            "pairs": len(selection.pairs),
            "train_rows": n["train"],
            "test_rows": n["test"],
        },
        "class_balance": {
            **shown.histogram,
            "positive_share": round(shown.histogram["good"] / rated, 4) if rated else None,
        },
        "corrections": _corrections(n),
        "by_rater": _count(selection.by["rater"], (row["rater_id"] for row in selection.pairs)),
        "by_model": _count(selection.by["model"]),
        "rubrics": _count(
            selection.by["rubric"], (f"{row['rubric_id']} v{row['rubric_version']}" for row in selection.pairs)
        ),
        "agreement": selection.agreement,
        "policies": POLICIES,
        "excluded": selection.excluded,
        "warnings": shown.warnings,
    }


def _simulated(selection: Selection) -> int:
    """Rows by raters that are programs."""
    return sum(count for rater, count in selection.by["rater"].items() if rater.startswith(PROGRAMS))


def _corrections(n: Mapping[str, int]) -> dict[str, int]:
    """How much of the trees and of the cutting raters corrected."""
    names = {"parents": "parents", "kinds": "kinds", "cuts": "cuts", "joins": "joins", "steps_recut": "recut"}
    return {shown: n[name] for shown, name in names.items()}


def _count(counted: Mapping[str, int], more: Iterable[str] = ()) -> dict[str, int]:
    counts = Counter(counted)
    counts.update(more)
    return dict(sorted(counts.items()))


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / cards.MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SnapshotError(
            f"{path} is missing, so {folder.name} is not a whole snapshot; restore it from a copy."
        ) from None
    except (OSError, ValueError) as error:
        raise SnapshotError(f"{path} cannot be read ({error}); restore it from a copy.") from None
    needed = ("snapshot_id", "created_at", "created_by", "counts", "class_balance", "event_seq", "sha256")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or any(key not in manifest for key in needed):
        raise SnapshotError(f"{path} is not the manifest of a Worldline snapshot; restore it from a copy.")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise SnapshotError(
            f"{path} has format version {manifest.get('format_version')}; this Worldline reads version "
            f"{FORMAT_VERSION}."
        )
    return manifest


def _info(folder: Path, manifest: Mapping[str, Any]) -> SnapshotInfo:
    counts = manifest["counts"]
    return SnapshotInfo(
        snapshot_id=manifest["snapshot_id"],
        name=manifest.get("name", ""),
        folder=folder,
        created_at=manifest["created_at"],
        created_by=manifest["created_by"],
        n_traces=counts["traces"],
        n_rows=counts["rows"],
        n_steps=counts["steps"],
        histogram={k: v for k, v in manifest["class_balance"].items() if k != "positive_share"},
        event_seq=manifest["event_seq"],
        sha256=manifest["sha256"],
        warnings=manifest.get("warnings", []),
        n_pairs=counts.get("pairs", 0),
    )
