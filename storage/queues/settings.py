"""What a queue is: its unit, rubric, overlap, blindness, lease time, sampling, gold share, and which traces are in it.

A queue may be changed at any time; what was handed out before keeps the rubric version it was handed out with. Knows no
assignment and no HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any

import duckdb

from storage.errors import StoreError, WrongValue
from storage.events import format_utc
from storage.ratings import utc_now

DEFAULT_QUEUE = "default"
RUBRIC = ("steps", 1)
# A long trace takes a rater a quarter of an hour; the lease is renewed while events arrive.
LEASE_MINUTES = 60
MOST_LEASE_MINUTES = 7 * 24 * 60
MOST_OVERLAP = 100
MOST_TEXT = 300  # characters of a title or of a filter's text
UNITS = ("trace", "pair")
REFERENCES = ("shown", "after", "hidden")
SOLVED = ("any", "solved", "wrong", "unchecked")
STRATA = ("length", "backtracks", "model")


class SettingError(WrongValue):
    """A setting that cannot be; the message is a sentence naming the field and the mend."""


@dataclass(frozen=True)
class Config:
    """The settings that only some queues need. Empty filters let every trace in.

    reference: whether raters see the reference answer at once, after they have submitted, or never. random_share: the part
    of a ranking strategy's work that is drawn by chance instead, so that there is something unbiased to evaluate on.
    strata: what `stratified` keeps in balance. pause_below: a rater whose accuracy on gold items falls below it is paused,
    once they have had pause_after of them (0: nobody is).
    """

    model: str = ""
    source: str = ""
    solved: str = "any"
    text: str = ""
    reference: str = "after"
    random_share: float = 0.1
    strata: tuple[str, ...] = STRATA
    pause_below: float = 0.0
    pause_after: int = 5

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "strata": list(self.strata)}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Config:
        """A field that is not known is left out: a newer Worldline may have written it."""
        known = {f.name for f in fields(cls)}
        found = {key: value for key, value in row.items() if key in known}
        if "strata" in found:
            found["strata"] = tuple(found["strata"])
        return cls(**found)


@dataclass(frozen=True)
class Queue:
    """One queue. unit: trace or pair. overlap: raters an item (None: as many as want to). verify_mode shows model scores
    while rating; blind hides the model's name and what others judged. gold_share: the part of the items whose right
    judgement is known. created_at: ISO 8601, empty before it was saved.
    """

    queue_id: str
    title: str
    unit: str = "trace"
    rubric_id: str = RUBRIC[0]
    rubric_version: int = RUBRIC[1]
    overlap: int | None = None
    lease_minutes: int = LEASE_MINUTES
    verify_mode: bool = False
    blind: bool = True
    sampling: str = "least_rated"
    gold_share: float = 0.0
    config: Config = field(default_factory=Config)
    archived: bool = False
    created_at: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "config": self.config.to_json()}


@dataclass(frozen=True)
class Item:
    """What a claim may hand out: a trace, or a pair (then `trace_id` and `segmentation_id` are those of its left trace, and
    `swapped` says that the right one is shown on the left). sampled_by: which rule chose it. gold: None, gold or screening.
    """

    trace_id: str
    segmentation_id: str
    sampled_by: str
    pair_id: str | None = None
    swapped: bool | None = None
    gold: str | None = None

    @property
    def item_id(self) -> str:
        """What a slot is taken of."""
        return self.pair_id or self.trace_id


_COLUMNS = (
    "queue_id, title, unit, rubric_id, rubric_version, overlap, lease_minutes, verify_mode, blind, sampling, gold_share, "
    "config, archived, created_at"
)


def read_queue(con: duckdb.DuckDBPyConnection, queue_id: str) -> Queue | None:
    rows = _queues(con, "where queue_id = ?", [queue_id])
    return rows[0] if rows else None


def need_queue(con: duckdb.DuckDBPyConnection, queue_id: str) -> Queue:
    """Raises StoreError when there is none."""
    queue = read_queue(con, queue_id)
    if queue is None:
        raise StoreError(f"There is no queue {queue_id!r}.")
    return queue


def read_queues(con: duckdb.DuckDBPyConnection, *, archived: bool = False) -> list[Queue]:
    """All queues, oldest first; archived ones only when asked for."""
    return _queues(con, f"{'' if archived else 'where not archived'} order by created_at, queue_id", [])


def _queues(con: duckdb.DuckDBPyConnection, where: str, params: list[Any]) -> list[Queue]:
    rows = con.execute(f"select {_COLUMNS} from queue {where}", params).fetchall()
    return [Queue(*(*row[:11], Config.from_json(json.loads(row[11])), row[12], format_utc(row[13]))) for row in rows]


def save_queues(con: duckdb.DuckDBPyConnection, queues: Sequence[Queue]) -> list[Queue]:
    """Writer's operation: each is made, or changed when there is one of that id. Raises SettingError; a queue's unit cannot
    be changed, for what was rated in it stays of that unit.
    """
    saved = []
    for queue in queues:
        check(queue)
        before = read_queue(con, queue.queue_id)
        if before is not None and before.unit != queue.unit:
            raise SettingError(
                f'"unit" of the queue {queue.title!r} is {before.unit}; make another queue for the other.'
            )
        known = con.execute(
            "select 1 from rubric where rubric_id = ? and version = ?", [queue.rubric_id, queue.rubric_version]
        ).fetchone()
        if known is None:
            raise SettingError(f'"rubric_version" is {queue.rubric_version}, which {queue.rubric_id!r} does not have.')
        created = utc_now() if before is None else datetime.fromisoformat(before.created_at).replace(tzinfo=None)
        con.execute("delete from queue where queue_id = ?", [queue.queue_id])
        con.execute(
            f"insert into queue ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [queue.queue_id, queue.title, queue.unit, queue.rubric_id, queue.rubric_version, queue.overlap,
             queue.lease_minutes, queue.verify_mode, queue.blind, queue.sampling, queue.gold_share,
             json.dumps(queue.config.to_json()), queue.archived, created],
        )  # fmt: skip
        saved.append(replace(queue, created_at=format_utc(created)))
    return saved


def check(queue: Queue) -> None:
    """Raises SettingError, a sentence naming the field."""
    from storage.sampling import STRATEGIES

    config = queue.config
    _text("title", queue.title, least=1)
    for name in ("model", "source", "text"):
        _text(name, getattr(config, name))
    _one_of("unit", queue.unit, UNITS)
    _one_of("sampling", queue.sampling, tuple(STRATEGIES))
    _one_of("solved", config.solved, SOLVED)
    _one_of("reference", config.reference, REFERENCES)
    for stratum in config.strata:
        _one_of("strata", stratum, STRATA)
    if queue.sampling == "stratified" and not config.strata:
        raise SettingError(f'"strata" is empty; stratified sampling needs one or more of {", ".join(STRATA)}.')
    if queue.unit == "pair":
        _fits_pairs(queue)
    if queue.overlap is not None:
        _between("overlap", queue.overlap, 1, MOST_OVERLAP)
    _between("lease_minutes", queue.lease_minutes, 1, MOST_LEASE_MINUTES)
    _between("gold_share", queue.gold_share, 0, 1)
    _between("random_share", config.random_share, 0, 1)
    _between("pause_below", config.pause_below, 0, 1)
    _between("pause_after", config.pause_after, 1, 1000)


def _fits_pairs(queue: Queue) -> None:
    """Raises SettingError for what only single traces can have: nothing that is set is passed over in silence."""
    config, standard = queue.config, Config()
    for name in ("model", "source", "solved", "text"):
        if getattr(config, name) != getattr(standard, name):
            raise SettingError(
                f'"config.{name}" chooses single traces, and {queue.title!r} is a queue of pairs; leave it out, and choose the '
                "traces where the pairs are made."
            )
    if queue.verify_mode:
        raise SettingError(
            '"verify_mode" shows the scores of single steps, which a comparison never shows; leave it out.'
        )


def _text(name: str, value: str, least: int = 0) -> None:
    if not least <= len(value.strip()) or len(value) > MOST_TEXT or not value.isprintable():
        raise SettingError(f'"{name}" must be {least} to {MOST_TEXT} printable characters on one line.')


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingError(f'"{name}" is {value[:60]!r}; it must be one of {", ".join(allowed)}.')


def _between(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise SettingError(f'"{name}" is {value:g}; it must be from {least:g} to {most:g}.')
