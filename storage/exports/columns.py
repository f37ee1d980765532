"""Texts of a snapshot in bulk: Python decides which steps a row has, Arrow moves them.

A million steps as Python strings cost most of the time of an export. So what is written is worked out from the narrow columns
alone (over arrays in `bulk.py`, or row by row, where each row says of which row of the snapshot it is made), and the texts
are then taken, cut or joined beside it, a batch at a time. Knows no policy and no format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from storage.exports.lines import one_line_each
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

T = TypeVar("T")

BATCH = 1024  # rows of a snapshot whose texts are in memory at a time
AT_ONCE = 64_000_000  # bytes that are made of them at a time
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


def ahead(batches: Iterator[T]) -> Iterator[T]:
    """The next one is read or made by a second thread (for the most part without Python's lock) while this one is used."""
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(next, batches, None)
        while (batch := waiting.result()) is not None:
            waiting = reader.submit(next, batches, None)
            yield batch


def column(values: Any, kind: pa.DataType) -> pa.Array:
    """Python's values or an array, as an array of this kind."""
    import pyarrow as pa

    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)


def some(rows: pa.RecordBatch, names: Iterable[str]) -> pa.RecordBatch:
    """These columns, as far as they are there: older snapshots and label sets have fewer."""
    return rows.select([name for name in names if name in rows.schema.names])


def few_at_once(sizes: Any) -> Iterator[tuple[int, int]]:
    """Neighbours that can be held at once, as the first of them and the end; sizes: bytes of each, a NumPy array."""
    import numpy as np

    held = np.cumsum(sizes, dtype=np.int64) // AT_ONCE
    cuts = [0, *(np.flatnonzero(np.diff(held)) + 1).tolist(), len(held)]
    yield from ((first, end) for first, end in pairwise(cuts) if first < end)


def record(columns: Mapping[str, Any], form: pa.Schema) -> pa.RecordBatch:
    """Columns of Python's values or arrays as rows of this form; one that is not given is null."""
    import pyarrow as pa

    n = len(next(iter(columns.values())))
    nothing = [None] * n
    return pa.RecordBatch.from_arrays(
        [column(columns.get(field.name, nothing), field.type) for field in form], schema=form
    )


def cut(texts: pa.StringArray, of: Any, start: Any, end: Any) -> list[bytes]:
    """Pieces of texts: of the texts `of` what stands from `start` to before `end`, in code points, (pieces,) each, as UTF-8: as
    Python's strings a gigabyte of them takes ten times as long.
    """
    import numpy as np

    data = b"".join((utf8(texts), b"\n"))  # one character more, which begins where the last text ends
    # Where every character begins, and which of them is the first of each text.
    heads = np.flatnonzero(np.frombuffer(data, np.int8) >= -64)  # the other bytes of a character are 0x80 to 0xBF
    first = np.searchsorted(heads, begins(texts)[:-1])[of]
    return [data[i:j] for i, j in zip(heads[first + start].tolist(), heads[first + end].tolist(), strict=True)]


def pieces(texts: pa.StringArray, start: Any, end: Any) -> list[memoryview]:
    """What stands from `start` to before `end` in all texts one after the other, in bytes, (pieces,) each. No copy, which is right
    for long ones: short ones are copied faster than pointed at.
    """
    data = utf8(texts)
    return [data[i:j] for i, j in zip(start.tolist(), end.tolist(), strict=True)]


def begins(texts: pa.StringArray) -> np.ndarray[Any, Any]:
    """Where each text begins in all of them one after the other, and at last the end, in bytes, (texts + 1,)."""
    import numpy as np
    import pyarrow.compute as pc

    return np.append(0, np.cumsum(pc.binary_length(texts).to_numpy(zero_copy_only=False), dtype=np.int64))


def utf8(texts: pa.StringArray) -> memoryview:
    """The texts one after the other, where they are."""
    import numpy as np

    _, offsets, buffer = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(buffer or b"")[ends[0] : ends[-1]]


def packed(*parts: Sequence[bytes | memoryview]) -> pa.StringArray:
    """Texts whose parts are given as UTF-8, row by row: one copy of their bytes."""
    import numpy as np
    import pyarrow as pa

    sizes = sum(np.fromiter(map(len, part), np.int64, len(part)) for part in parts)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    assert ends[-1] < 1 << 31, "more text at once than Arrow's offsets can tell: see `few_at_once`"
    values = b"".join(chain.from_iterable(zip(*parts, strict=True)))
    return pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(values))


def joined(*parts: pa.StringArray | str) -> pa.StringArray:
    """Texts one after the other, row by row."""
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(*parts, "")


def as_json(texts: pa.StringArray) -> pa.StringArray:
    """Each text as JSON, with its quotes; one line to every reader."""
    import numpy as np
    import polars as pl
    import pyarrow as pa
    import pyarrow.compute as pc

    made = BytesIO()
    pl.DataFrame({"": texts}).write_ndjson(made)
    lines = one_line_each(made.getbuffer())  # {"":"…"}, one a line
    ends = np.append(0, np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n")) + 1).astype(np.int32)
    objects = pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(lines))
    return pc.binary_slice(objects.view(pa.binary()), 4, -2).view(pa.string())


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


def said_tokens(said: pa.Array, count: Callable[[str], int] | None) -> np.ndarray[Any, Any]:
    """The same of each row of a column of texts, or of lists of messages, (rows,)."""
    import numpy as np
    import pyarrow as pa

    if not pa.types.is_list(said.type):
        return token_counts_by_run(said, count)
    so_far = np.concatenate([[0], np.cumsum(token_counts(said.flatten().field("content"), count))])
    ends = np.concatenate([[0], np.cumsum(said.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))])
    return so_far[ends[1:]] - so_far[ends[:-1]]


def token_counts_by_run(texts: pa.StringArray, count: Callable[[str], int] | None) -> np.ndarray[Any, Any]:
    """`token_counts` where equal texts stand side by side: each of them is counted once."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    new = np.append(True, pc.not_equal(texts[1:], texts[:-1]).to_numpy(zero_copy_only=False))
    return token_counts(texts.filter(pa.array(new)), count)[np.cumsum(new) - 1]
