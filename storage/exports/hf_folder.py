"""A Hugging Face dataset folder of the snapshot itself: everything that was frozen, one file a split, and a card.

    load_dataset(FOLDER)                     train and test, one row a trace and rater, all columns of the snapshot
    load_dataset(FOLDER, "comparisons")      one row a comparison, where there are any

The rows go from file to file inside DuckDB, never through Python: the size of a snapshot costs disk time alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.exports.policies import Policies
from storage.exports.writing import SAMPLE, Format, Looking, Plan, Row, Sums, aside
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

FILES = {"train": "train.parquet", "test": "test.parquet"}
COMPARISONS = "comparisons.parquet"
# Rows and bytes of a row group, which is in memory at once.
ROW_GROUP, GROUP_BYTES = 4096, 32_000_000
LEVEL = 1  # of zstd: a quarter less time than its usual 3, and no larger file where texts are alike
DICTIONARY = 16_000_000  # bytes of different texts of a column; with Arrow's own 1 MB the file is twice as large


@dataclass(frozen=True)
class HfFolderOptions(Policies):
    """Only the common policies: rows are as they were frozen."""

    gold: str = "keep"


def schema(options: Any) -> pa.Schema:
    raise AssertionError("the columns are the snapshot's own")


def rows(snapshot: Snapshot, options: HfFolderOptions, left: Counter[str]) -> Iterator[Row]:
    """The first rows, for the preview; writing does not go through here."""
    with _ratings(snapshot, options) as con:
        found = con.execute(f"select * from kept limit {SAMPLE}")
        names = [column[0] for column in found.description]
        yield from (dict(zip(names, row, strict=True)) for row in found.fetchall())


def _ratings(snapshot: Snapshot, options: HfFolderOptions) -> duckdb.DuckDBPyConnection:
    """A database in memory with the views `kept` and, where there are comparisons, `compared`: what the policies leave."""
    import duckdb

    con = duckdb.connect()
    con.execute("set enable_progress_bar = false")
    _view(con, "kept", snapshot.data_path, options, "segmentation_id")
    if snapshot.pairs_path is not None:
        _view(con, "compared", snapshot.pairs_path, options, "pair_id")
    return con


def _view(con: duckdb.DuckDBPyConnection, name: str, path: Path, options: HfFolderOptions, rated: str) -> None:
    """rated: the column that names what several raters may have judged."""
    source = f"read_parquet('{_quoted(path)}')"
    columns = {column for (column, *_) in con.execute(f"describe select * from {source}").fetchall()}
    where = ["true"]
    if options.split != "all":
        where.append(f"split = '{options.split}'")  # one of three words
    if options.gold == "leave_out" and "gold" in columns:
        where.append("gold is null")
    few = f"qualify count(*) over (partition by {rated}) >= {options.min_raters}" if options.min_raters > 1 else ""
    con.execute(f"create view {name} as select * from {source} where {' and '.join(where)} {few}")


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _row_bytes(path: Path) -> float:
    """How large a row of a Parquet file is in memory: the mean of a few from each of some row groups."""
    import pyarrow.parquet as pq

    size = rows = 0
    with pq.ParquetFile(path) as file:
        for group in range(0, file.num_row_groups, max(1, file.num_row_groups // 8)):
            some = next(file.iter_batches(batch_size=32, row_groups=[group]), None)
            if some is not None:
                size, rows = size + some.nbytes, rows + some.num_rows
    return size / max(1, rows)


@contextmanager
def save(snapshot: Snapshot, options: HfFolderOptions, work: Path, sums: Sums) -> Iterator[Callable[[Row], None]]:
    """A file for each split that has rows, and one for the comparisons; of the rows that pass nothing is needed."""
    yield lambda row: None
    with _ratings(snapshot, options) as con:
        for split, file in FILES.items():
            if con.execute("select count(*) from kept where split = ?", [split]).fetchall()[0][0]:
                _write(con, f"select * from kept where split = '{split}'", work / file, snapshot.data_path)
        if _compared(con, snapshot):
            assert snapshot.pairs_path is not None
            _write(con, "select * from compared", work / COMPARISONS, snapshot.pairs_path)


def _write(con: duckdb.DuckDBPyConnection, query: str, path: Path, like: Path) -> None:
    """What a query finds, in row groups that suit rows such as those of another file."""
    import pyarrow.parquet as pq

    found = con.execute(query).to_arrow_reader(max(1, min(ROW_GROUP, int(GROUP_BYTES / max(1.0, _row_bytes(like))))))
    kept = {"compression": "zstd", "compression_level": LEVEL, "dictionary_pagesize_limit": DICTIONARY}
    with pq.ParquetWriter(path, found.schema, **kept) as file, aside(file.write_batch) as put:
        for batch in found:
            put(batch)


def _compared(con: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> int:
    """How many comparisons the policies leave."""
    return int(con.execute("select count(*) from compared").fetchall()[0][0]) if snapshot.pairs_path else 0


def configs(files: list[str]) -> dict[str, dict[str, str]]:
    """The files as `load_dataset` names them."""
    ratings = {split: file for split, file in FILES.items() if file in files}
    found = {"ratings": ratings} if ratings else {}
    return {**found, **({"comparisons": {"train": COMPARISONS}} if COMPARISONS in files else {})}


def look(at: Looking) -> Plan:
    """Counts from the file's own columns."""
    plan = Plan()
    list(islice(at.made, SAMPLE))  # the preview
    with _ratings(at.snapshot, at.options) as con:
        n, traces, train, test = con.execute(
            "select count(*), count(distinct trace_id), count(*) filter (split = 'train'), count(*) filter (split = 'test') from kept"
        ).fetchall()[0]
        compared = _compared(con, at.snapshot)
        votes = dict(
            con.execute("select r, count(*) from (select unnest(rating) as r from kept) group by r").fetchall()
        )
    plan.rows = n + compared
    plan.histogram = {
        "good": votes.get(1, 0),
        "neutral": votes.get(0, 0),
        "bad": votes.get(-1, 0),
        "no rating": votes.get(None, 0),
    }
    plan.figures = {"traces": traces, "train_rows": train, "test_rows": test, "comparisons": compared}
    if left := at.snapshot.info.n_rows + at.snapshot.info.n_pairs - plan.rows:
        at.left["by the policies"] += left
    if not plan.rows:
        plan.warnings.append("There is no row to write: nothing of this snapshot is left by the policies above.")
    elif n and not (train and test):
        plan.warnings.append(
            f"All rows are in the {'train' if train else 'test'} split: there is no other side to measure on."
        )
    return plan


FORMAT = Format(
    name="hf_folder",
    summary="The whole snapshot as a Hugging Face dataset: every rater's rows, all columns, a file a split.",
    options=HfFolderOptions,
    uses=("min_raters", "gold", "split"),
    choices={},
    schema=schema,
    rows=rows,
    look=look,
    columns={
        "prompt": "the question (string)",
        "step_text": "the raw steps (list of strings); rating, unsure, rationale, … have an entry for each",
        "rater_id": "who rated (string)",
    },
    save=save,
    files=(*FILES.values(), COMPARISONS),
    configs=configs,
)
