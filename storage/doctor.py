"""Is everything in a data folder as it should be? Each finding is a sentence with the mend in it.

What is checked: that rows belong to rows that are there, that no event is missing or double, that a status is what the
events say, that texts and snapshots have the checksums they had, and that what is kept ready (storage/settled.py) is what
the events say. What follows from the events is rebuilt on demand; the events themselves are never changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from storage import log_file, settled, snapshots
from storage.database import DATABASE
from storage.errors import CorruptFolder, SnapshotError, StoreError
from storage.store import Store

BACKUP = "Restore a backup (`worldline restore`) from before this happened."
REBUILD = "`worldline doctor --rebuild` makes it anew from the events."


@dataclass(frozen=True)
class Report:
    """counts: how much there is. findings: what is wrong. notes: worth knowing, not wrong. rebuilt: what was made anew."""

    counts: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rebuilt: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


# The status that the events of an assignment lead to; what never had such an event is not in it.
_STATUS = """
select assignment_id, max_by(action, (seq, server_seq)) as action, max(seq) as seq,
    max_by(coalesce(value_text, 'skip'), (seq, server_seq)) as reason, max_by(ts_server, (seq, server_seq)) as at
from rating_event where action in ('submit', 'reopen', 'skip') group by assignment_id"""
_STATUS_OF = "case action when 'submit' then 'submitted' when 'skip' then 'skipped' else 'leased' end"
_OFF = f"""
from assignment a left join ({_STATUS}) e using (assignment_id)
where if(e.action is null, a.status in ('submitted', 'skipped'), a.status <> {_STATUS_OF})"""

# (what is counted, as SQL; the sentence for a count that is not 0; the mend)
_CHECKS: tuple[tuple[str, str, str], ...] = (
    (
        "select count(*) from trace anti join problem using (problem_id)",
        "{n} traces have no problem.", BACKUP,
    ),
    (
        "select count(*) from (select trace_id, count(g.trace_id) as n from trace left join segmentation g using (trace_id) "
        "group by trace_id) where n <> 1",
        "{n} traces are not cut into steps in exactly one way.", BACKUP,
    ),
    (
        "select count(*) from segmentation anti join trace using (trace_id)",
        "{n} lists of steps belong to no trace.", BACKUP,
    ),
    (
        "with s as (select segmentation_id, count(*) as n, min(step_idx) as low, max(step_idx) as high, "
        "count(distinct step_idx) as several from step group by all), "
        "e as (select segmentation_id, count(*) as n from tree_edge group by all) "
        "select count(*) from segmentation g left join s using (segmentation_id) left join e using (segmentation_id) "
        "where g.n_steps <> coalesce(s.n, 0) or g.n_steps <> coalesce(e.n, 0) or s.several <> s.n or s.low <> 0 or s.high <> s.n - 1",
        "{n} traces lack steps, or have some twice.", BACKUP,
    ),
    (
        "select count(*) from step anti join segmentation using (segmentation_id)",
        "{n} steps belong to no trace.", BACKUP,
    ),
    (
        "select count(*) from trace where sha256(response) <> response_sha256",
        "{n} responses are not the text that was stored (another SHA-256).", BACKUP,
    ),
    (
        "select count(*) from step s join segmentation using (segmentation_id) join trace using (trace_id) "
        "where sha256(substr(response, s.char_start + 1, s.char_end - s.char_start)) <> s.text_sha256",
        "{n} steps are not the text that was stored (another SHA-256).", BACKUP,
    ),
    (
        "select count(*) from assignment anti join segmentation using (segmentation_id) where pair_id is null",
        "{n} assignments are of no trace that is here.", BACKUP,
    ),
    (
        "select count(*) from assignment anti join pair using (pair_id) where pair_id is not null",
        "{n} assignments are of no pair that is here.", BACKUP,
    ),
    (
        "select count(*) from assignment anti join queue using (queue_id)",
        "{n} assignments are of no queue that is here.", BACKUP,
    ),
    (
        "select count(*) from assignment anti join rater using (rater_id)",
        "{n} assignments are of nobody who is known here.", BACKUP,
    ),
    (
        "select count(*) - count(distinct assignment_id) from assignment",
        "{n} assignments are here twice.", BACKUP,
    ),
    (
        "select count(*) from rating_event anti join assignment using (assignment_id)",
        "{n} rating events belong to no assignment.", BACKUP,
    ),
    (
        "select count(*) from rating_event e join assignment a using (assignment_id) "
        "where e.rater_id <> a.rater_id or e.segmentation_id <> a.segmentation_id",
        "{n} rating events are of another rater or trace than their assignment.", BACKUP,
    ),
    (
        "select count(*) from rating_event e join segmentation g using (segmentation_id) where e.step_idx >= g.n_steps",
        "{n} rating events are of steps beyond the end of their trace.", BACKUP,
    ),
    (
        "select count(*) - count(distinct (assignment_id, event_id)) from rating_event",
        "{n} rating events are here twice.", BACKUP,
    ),
    (
        "select coalesce(max(server_seq), 0) - count(distinct server_seq) from rating_event",
        "{n} rating events are missing: their numbers have a gap.", BACKUP,
    ),
    (
        "select count(*) - count(distinct server_seq) from rating_event",
        "{n} rating events have the number of another.", BACKUP,
    ),
    (
        "select count(*) from model_score anti join trace using (trace_id)",
        "{n} scores of models are of no trace.", BACKUP,
    ),
    (
        "select count(*) from model_score join segmentation g using (segmentation_id) where len(step_values) <> g.n_steps",
        "{n} scores of models have another number of steps than their trace.", BACKUP,
    ),
    (
        "select count(*) from search anti join trace using (trace_id) where trace_id is not null",
        "{n} searches chose a trace that is not here.", BACKUP,
    ),
    (
        "select count(*) - count(distinct search_id) from search",
        "{n} searches are here twice.", BACKUP,
    ),
    (f"select count(*) {_OFF}", "{n} assignments have a status that their events do not lead to.", REBUILD),
)  # fmt: skip

_SETTLED = {
    "rows": "What is kept ready of {n} finished assignments is not what their events say.",
    "counts": "The counts kept ready of {n} assignments are not those of their ratings.",
    "missing": "{n} finished assignments are not kept ready, so that pages are slow.",
}
_COUNTED = ("problem", "trace", "step", "rater", "queue", "assignment", "rating_event", "search", "snapshot")


def examine(store: Store) -> Report:
    """Look at everything. Takes seconds for a hundred thousand traces; raters may go on meanwhile."""
    report = Report()
    for table in _COUNTED:
        report.counts[table] = _count(store, report, f"select count(*) from {table}")
    for sql, sentence, mend in _CHECKS:
        _say(report, _count(store, report, sql), sentence, mend)
    try:
        for name, n in store.read(settled.differences).items():
            _say(report, n, _SETTLED[name], REBUILD)
    except StoreError as error:
        report.findings.append(str(error))
    report.findings.extend(_snapshots(store))
    report.notes.extend(_searches(store))
    back = _count(
        store, report,
        "select count(*) from (select ts_server < lag(ts_server) over (order by server_seq) as back from rating_event) where back",
    )  # fmt: skip
    if back:
        report.notes.append(
            f"The clock of this machine was set back {_times(back)}; the order of ratings is not by the clock."
        )
    return report


def rebuild(store: Store) -> list[str]:
    """Make anew what follows from the events; returns a sentence for each thing that was different."""
    done: list[str] = store.write(_restate, None).result()
    if store.read(settled.differences):
        store.write(_resettle, None).result()
        done.append("What is kept ready of finished assignments was made anew from their events.")
    return done


def _resettle(con: duckdb.DuckDBPyConnection, calls: Sequence[None]) -> list[None]:
    con.execute(settled.REBUILD)
    return list(calls)


def _restate(con: duckdb.DuckDBPyConnection, calls: Sequence[None]) -> list[list[str]]:
    done = []
    wrong = [row[0] for row in con.execute(f"select assignment_id {_OFF}").fetchall()]
    if wrong:
        con.execute(
            f"update assignment a set status = coalesce({_STATUS_OF.replace('action', 'e.action')}, 'leased'), "
            "status_seq = coalesce(e.seq, -1), status_reason = if(e.action = 'skip', e.reason, ''), "
            "submitted_at = if(e.action = 'submit', e.at, null) "
            f"from (select b.assignment_id, s.* exclude (assignment_id) from assignment b left join ({_STATUS}) s using (assignment_id)) e "
            "where e.assignment_id = a.assignment_id and a.assignment_id in (select unnest(?::varchar[]))",
            [wrong],
        )
        done.append(f"The status of {len(wrong)} assignments was made anew from their events.")
    return [done for _ in calls]


def mend_log(folder: Path, *, mend: bool) -> list[str]:
    """Where the log of a folder is damaged: cut it before the damage; without `mend`, raise CorruptFolder with what that
    would do. Returns what was done, as sentences. Whatever else keeps the folder from being opened is left to who opens it.
    """
    path = log_file.log_of(Path(folder).expanduser().absolute() / DATABASE)
    try:
        Store.open(folder).close()
        return []
    except CorruptFolder as error:
        at = log_file.damage(str(error))
    except StoreError:
        at = None
    if at is None:
        return []
    beyond = path.stat().st_size - at
    if not mend:
        raise CorruptFolder(
            f"The log {path} is damaged at byte {at}. `worldline doctor --rebuild` opens the store with everything committed "
            f"before that: the {beyond} bytes from there on are lost to it, and a copy of the whole log is kept beside it. "
            "A backup that is newer than the damage is better."
        )
    kept = log_file.cut(path, at)
    at = path.stat().st_size
    beyond = kept.stat().st_size - at
    return [f"The log was cut at byte {at}, {beyond} bytes before its end; as it was it is in {kept}."]


def _count(store: Store, report: Report, sql: str) -> int:
    try:
        return int(store.query(sql)[0][0])
    except StoreError as error:
        if str(error) not in report.findings:
            report.findings.append(str(error))
        return 0


def _say(report: Report, n: int, sentence: str, mend: str) -> None:
    if n:
        report.findings.append(f"{sentence.format(n=n)} {mend}")


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def _snapshots(store: Store) -> Iterator[str]:
    known = dict(store.query("select snapshot_id, sha256 from snapshot"))
    root = store.folder / "snapshots"
    for snapshot_id, sha256 in known.items():
        data = root / snapshot_id / snapshots.DATA
        if not data.is_file():
            yield f"The snapshot {snapshot_id} is gone from {root}. Restore its folder from a backup, or freeze a new one."
            continue
        try:
            right = snapshots.load_snapshot(root, snapshot_id).info.sha256 == sha256  # its comparisons too
        except SnapshotError:
            right = False
        if not right:
            yield f"The snapshot {snapshot_id} was changed after it was frozen. Restore its folder from a backup, or freeze a new one."


def _searches(store: Store) -> Iterator[str]:
    """Logs may be deleted to make room, so one that is gone is worth a note and no more."""
    root = store.folder / "searches"
    gone = sum(
        not (root / f"{search_id}.jsonl").is_file() for (search_id,) in store.query("select search_id from search")
    )
    if gone:
        yield f"The logs of {gone} searches are gone from {root}: their trees cannot be shown any more; what they chose can."
    if broken := sorted(path.name for path in root.glob("*.broken")):
        yield f"{len(broken)} logs of searches in {root} could not be read and were set aside ({', '.join(broken[:3])})."
