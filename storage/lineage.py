"""Where things come from and what became of them: ratings → snapshot → export or job (checkpoint), both ways.

Everything that is needed was written down when it was made: a job names its snapshot and its hash, an export the same, a
snapshot its assignments and the event it is as of, an event its assignment. This module only follows those names. Reads the
store and the folders beside it; knows no trainer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from storage.errors import SnapshotError, StoreError
from storage.events import format_utc
from storage.snapshots import DATA, PAIRS, SnapshotInfo, list_snapshots, load_snapshot
from storage.store import Store

MOST_SHOWN = 500  # of what something was made from at once; the count says how many there are
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}")


@dataclass(frozen=True)
class Node:
    """One thing. kind: job, export, snapshot, trace, assignment or rating."""

    kind: str
    id: str
    title: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lineage:
    """A thing, what it was made from (MOST_SHOWN of `n_made_from`), and what became of it."""

    node: Node
    made_from: list[Node]
    n_made_from: int
    became: list[Node]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def lineage(store: Store, data_dir: Path, what: str, after: int = 0) -> Lineage:
    """Of a job (or the path of its model), a snapshot, a trace, an assignment or a single rating event; `after` leaves out so
    many of what it was made from. Raises StoreError.
    """
    name = name_in(what)
    for find in (_of_job, _of_snapshot, _of_trace, _of_assignment, _of_event):
        found = find(store, Path(data_dir), name, max(0, after))
        if found is not None:
            return found
    raise StoreError(
        f'There is no job, snapshot, trace, assignment or rating "{what[:100]}"; give the id as a page or a manifest shows it.'
    )


def name_in(what: str) -> str:
    """The id in what was given: a path into a job's folder names its job."""
    parts = Path(what.strip()).parts
    if "jobs" in parts[:-1]:
        return parts[parts.index("jobs") + 1]
    name = parts[-1] if parts else ""
    return name if _ID.fullmatch(name) else ""


# ---- one finder a kind: None where the id is not of that kind


def _of_job(store: Store, data_dir: Path, name: str, after: int) -> Lineage | None:
    job = next((j for j in _jobs(data_dir) if j["job_id"] == name), None)
    if job is None:
        return None
    snapshot_id = str(job.get("snapshot_id", ""))
    try:
        info = load_snapshot(data_dir / "snapshots", snapshot_id).info
        same = info.sha256 == str(job.get("snapshot_sha256", "")).removeprefix("sha256:")
        state = (
            "the data it was trained on" if same else "changed since: its hash is not the one the job was trained on"
        )
        snapshot = _snapshot_node(info, data=state)
        rated, n = _assignments(info, max(0, after - 1))  # the first is the snapshot
    except SnapshotError as error:
        snapshot, rated, n = Node("snapshot", snapshot_id, str(error)), [], 0
    return Lineage(_job_node(job), [*([] if after else [snapshot]), *rated], 1 + n, [])


def _of_snapshot(store: Store, data_dir: Path, name: str, after: int) -> Lineage | None:
    info = next((s for s in list_snapshots(data_dir / "snapshots") if s.snapshot_id == name), None)
    if info is None:
        return None
    rated, n = _assignments(info, after) if not info.error else ([], 0)
    return Lineage(_snapshot_node(info), rated, n, list(_became(data_dir, [info])))


def _of_trace(store: Store, data_dir: Path, name: str, after: int) -> Lineage | None:
    found = store.query(
        "select trace_id, left(prompt, 200), model, source, created_at, n_steps from trace where trace_id = ? limit 1",
        [name],
    )
    if not found:
        return None
    trace_id, prompt, model, source, created, steps = found[0]
    facts = {"model": model, "source": source, "created_at": format_utc(created), "steps": steps}
    rows = store.query(
        "select assignment_id from assignment a left join pair p using (pair_id) where a.trace_id = $t or p.right_trace_id = $t "
        "order by leased_at, assignment_id", {"t": name},
    )  # fmt: skip
    ids = [row[0] for row in rows]
    nodes = _assignment_nodes(store, ids)
    for assignment_id in ids:
        nodes += _ratings(store, assignment_id)
    snapshots = _holding(data_dir, "trace_id", name)
    return Lineage(
        Node("trace", trace_id, prompt, facts),
        nodes[after : after + MOST_SHOWN],
        len(nodes),
        _with_snapshots(data_dir, snapshots),
    )


def _of_assignment(store: Store, data_dir: Path, name: str, after: int) -> Lineage | None:
    nodes = _assignment_nodes(store, [name])
    if not nodes:
        return None
    ratings = _ratings(store, name)
    snapshots = _holding(data_dir, "assignment_id", name)
    return Lineage(nodes[0], ratings[after : after + MOST_SHOWN], len(ratings), _with_snapshots(data_dir, snapshots))


def _of_event(store: Store, data_dir: Path, name: str, after: int) -> Lineage | None:
    found = store.query(
        "select assignment_id, server_seq, action from rating_event where event_id = ? order by server_seq limit 1",
        [name],
    )
    if not found:
        return None
    assignment_id, seq, action = found[0]
    snapshots = []
    for info in _holding(data_dir, "assignment_id", assignment_id):  # it is in those as of which it was the latest word
        if info.event_seq >= seq and any(n.id == name for n in _ratings(store, assignment_id, info.event_seq)):
            snapshots.append(info)
    node = next((n for n in _ratings(store, assignment_id, seq) if n.id == name), Node("rating", name, action))
    return Lineage(node, _assignment_nodes(store, [assignment_id]), 1, _with_snapshots(data_dir, snapshots))


# ---- nodes


def _snapshot_node(info: SnapshotInfo, **more: str) -> Node:
    facts = {
        "rows": info.n_rows, "traces": info.n_traces, "comparisons": info.n_pairs, "event_seq": info.event_seq,
        "created_at": info.created_at, "created_by": info.created_by, "sha256": info.sha256, **more,
    }  # fmt: skip
    return Node("snapshot", info.snapshot_id, info.name or info.error or "(no name)", facts)


def _job_node(job: dict[str, Any]) -> Node:
    keys = ("kind", "created_at", "snapshot_id", "snapshot_sha256", "git_revision", "version")
    return Node("job", job["job_id"], f"{job.get('kind', '')} job", {k: job[k] for k in keys if job.get(k)})


def _assignments(info: SnapshotInfo, after: int) -> tuple[list[Node], int]:
    """The assignments whose ratings a snapshot holds, by rater and time: some of them, and how many there are."""
    import duckdb
    import pyarrow.parquet as pq

    files = {kind: info.folder / file for file, kind in ((DATA, "trace_id"), (PAIRS, "pair_id"))}
    files = {kind: path for kind, path in files.items() if path.is_file()}
    if not files:
        return [], 0
    tables = " union all ".join(
        f"select rater_id, submitted_at, assignment_id, {kind} as item, '{kind}' as kind from read_parquet(?)"
        for kind in files
    )
    with duckdb.connect() as con:  # the first of many by an order: it need not sort them all
        rows = con.execute(
            f"{tables} order by rater_id, submitted_at, assignment_id limit {MOST_SHOWN} offset {after}",
            [str(path) for path in files.values()],
        ).fetchall()
    return [
        Node("assignment", assignment, f"{rater} on {item}", {"rater": rater, kind: item, "submitted_at": submitted})
        for rater, submitted, assignment, item, kind in rows
    ], sum(pq.read_metadata(path).num_rows for path in files.values())


def _assignment_nodes(store: Store, ids: list[str]) -> list[Node]:
    rows = store.query(
        "select assignment_id, rater_id, trace_id, pair_id, queue_id, status, submitted_at, rubric_id, rubric_version "
        "from assignment where assignment_id in (select unnest(?::varchar[])) order by leased_at, assignment_id", [ids],
    )  # fmt: skip
    return [
        Node("assignment", row[0], f"{row[1]} on {row[3] or row[2]}", {
            "rater": row[1], "trace_id": row[2], **({"pair_id": row[3]} if row[3] else {}), "queue": row[4], "status": row[5],
            "submitted_at": format_utc(row[6]), "rubric": f"{row[7]} v{row[8]}",
        })
        for row in rows
    ]  # fmt: skip


def _ratings(store: Store, assignment_id: str, seq: int | None = None) -> list[Node]:
    """The single ratings of an assignment that count (as of an event), each under the id of its event."""
    rows = store.query(
        "select event_id, target, step_idx, dimension, value, value_text, rater_id, ts_server, server_seq, prelabel_visible "
        "from (select * from rating_event where assignment_id = $a and action in ('set', 'clear') "
        "and ($s::bigint is null or server_seq <= $s) qualify row_number() over (partition by target, step_idx, dimension "
        "order by seq desc, server_seq desc) = 1 and action = 'set') order by step_idx nulls last, server_seq",
        {"a": assignment_id, "s": seq},
    )
    found = []
    for event_id, target, step, dimension, value, text, rater, at, server_seq, seen in rows:
        said = (
            f"{value:+g}" if value and dimension == "correctness" else f"{value:g}" if value is not None else text or ""
        )
        where = f"step {step + 1}: " if step is not None else "comparison: " if target == "pair" else "trace: "
        facts = {"rater": rater, "at": format_utc(at), "event": server_seq, "assignment_id": assignment_id}
        facts |= {"scores_were_visible": True} if seen else {}
        found.append(Node("rating", event_id, f"{where}{dimension} {said[:200]}", facts))
    return found


# ---- folders


def _jobs(data_dir: Path) -> Iterator[dict[str, Any]]:
    """What each job wrote down when it was made, newest first; broken folders are passed over."""
    for path in sorted((data_dir / "jobs").glob("[!.]*/job.json"), reverse=True):
        try:
            job = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(job, dict) and isinstance(job.get("job_id"), str):
            yield job


def _became(data_dir: Path, snapshots: list[SnapshotInfo]) -> Iterator[Node]:
    """Exports and jobs of snapshots."""
    ids = {info.snapshot_id for info in snapshots}
    for info in snapshots:
        for path in sorted((data_dir / "exports" / info.snapshot_id).glob("[!.]*/manifest.json")):
            try:
                manifest = json.loads(path.read_text(encoding="utf-8"))
                facts = {"rows": manifest["rows"], "created_at": manifest["created_at"], "folder": str(path.parent)}
                yield Node("export", f"{info.snapshot_id}/{manifest['export']}", f"{manifest['export']} export", facts)
            except (OSError, ValueError, KeyError, TypeError):
                continue
    yield from (_job_node(job) for job in _jobs(data_dir) if job.get("snapshot_id") in ids)


def _with_snapshots(data_dir: Path, snapshots: list[SnapshotInfo]) -> list[Node]:
    return [*map(_snapshot_node, snapshots), *_became(data_dir, snapshots)]


def _holding(data_dir: Path, column: str, value: str) -> list[SnapshotInfo]:
    """The snapshots with this trace or assignment in them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sides = {"trace_id": ("left_trace_id", "right_trace_id")}.get(column, (column,))
    found = []
    for info in list_snapshots(data_dir / "snapshots"):
        try:
            held = bool(pq.read_table(info.folder / DATA, columns=[column], filters=[(column, "=", value)]).num_rows)
            if not held and info.n_pairs:
                held = any(
                    pq.read_table(info.folder / PAIRS, columns=[side], filters=[(side, "=", value)]).num_rows
                    for side in sides
                )
        except (OSError, pa.ArrowException):  # a broken snapshot is listed as such on the Data page
            continue
        if held:
            found.append(info)
    return found
