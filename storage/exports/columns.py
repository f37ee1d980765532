"""Texts of a snapshot in bulk: Python decides which steps a row has, Arrow moves them.

A million steps as Python strings cost most of the time of an export. So a format that writes many texts makes its rows from
the narrow columns alone, and each says of which row of the snapshot it is made; the texts are then taken beside it, a
batch at a time. Knows no policy and no format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

T = TypeVar("T")

BATCH = 1024  # rows of a snapshot whose texts are in memory at a time
CHARS_PER_TOKEN = 4  # the usual rule of thumb for English; the count of spaces is the other bound


def beside(
    snapshot: Snapshot, columns: Sequence[str], made: Iterable[tuple[int, T]]
) -> Iterator[tuple[pa.RecordBatch, list[int], list[T]]]:
    """Rows made of a snapshot's rows, with the number of that row (ascending), beside the batch with its texts: the batch,
    the numbers counted from its beginning, the rows. A batch without any is passed over.
    """
    made = iter(made)
    waiting = next(made, None)
    start = 0
    for batch in ahead(snapshot.batches(columns, BATCH)):
        at: list[int] = []
        here: list[T] = []
        while waiting is not None and waiting[0] < start + batch.num_rows:
            at.append(waiting[0] - start)
            here.append(waiting[1])
            waiting = next(made, None)
        start += batch.num_rows
        if here:
            yield batch, at, here


def ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The next batch is read and unpacked by a second thread (without Python's lock) while this one is used."""
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(next, batches, None)
        while (batch := waiting.result()) is not None:
            waiting = reader.submit(next, batches, None)
            yield batch


def column(values: Any, kind: pa.DataType) -> pa.Array:
    """Python's values or an array, as an array of this kind."""
    import pyarrow as pa

    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)


def chosen(lists: pa.ListArray, at: Sequence[int], which: Iterable[Sequence[int]]) -> pa.ListArray:
    """For each row number in `at` a list of the entries that `which` names (numbers within the row's list)."""
    import numpy as np
    import pyarrow as pa

    starts = lists.offsets.to_numpy()[np.asarray(at, dtype=np.int64)]
    named = list(which)
    counts = np.fromiter(map(len, named), np.int64, len(named))
    flat = np.fromiter((i for one in named for i in one), np.int64, int(counts.sum()))
    values = lists.values.take(pa.array(flat + np.repeat(starts, counts)))
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32()), values)


def occurrences(texts: pa.StringArray, what: str) -> np.ndarray[Any, Any]:
    """How often `what` is in each text; for a single byte straight from the buffer, in a quarter of Arrow's time."""
    import numpy as np
    import pyarrow.compute as pc

    byte = what.encode()
    if len(byte) != 1 or not len(texts):
        return np.asarray(pc.count_substring(texts, what))  # type: ignore[attr-defined]
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    found = np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]] == byte[0]
    return np.diff(np.searchsorted(np.flatnonzero(found), ends - ends[0]))


def token_counts(texts: pa.StringArray, count: Callable[[str], int] | None) -> np.ndarray[Any, Any]:
    """Tokens of each text; without a tokenizer a quarter of its characters, or its spaces where there are more of them."""
    import numpy as np
    import pyarrow.compute as pc

    if count is not None:
        return np.fromiter(map(count, texts.to_pylist()), np.int64, len(texts))
    characters = np.asarray(pc.utf8_length(texts), dtype=np.int64)  # type: ignore[attr-defined]
    return np.maximum(-(-characters // CHARS_PER_TOKEN), occurrences(texts, " "))
