"""Texts moved as columns are those that Python would cut and count, and no trace is torn by the batches that it comes in."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.exports import bulk, columns
from storage.exports.policies import Policies
from storage.exports.writing import estimate_tokens

TEXT = st.text(st.sampled_from("ab \n\x00é−😀\U0010ffff"), max_size=8)
TEXTS = st.lists(TEXT, min_size=1, max_size=6)


def column(texts: list[str], skipped: int) -> pa.StringArray:
    """As a part of a larger one."""
    return pa.array(["before é", *texts][: len(texts) + 1]).slice(1 - skipped)


@settings(deadline=None)  # the first one imports numpy
@given(TEXTS, st.integers(0, 1), st.data())
def test_pieces_are_what_python_would_cut(texts: list[str], skipped: int, data: st.DataObject) -> None:
    made = column(texts, skipped)
    texts = made.to_pylist()
    pieces = []
    for _ in range(data.draw(st.integers(0, 8))):
        of = data.draw(st.integers(0, len(texts) - 1))
        pieces.append((of, *sorted(data.draw(st.tuples(*[st.integers(0, len(texts[of]))] * 2)))))
    of, start, end = (np.array([piece[i] for piece in pieces], np.int64) for i in range(3))
    found = columns.packed(columns.cut(made, of, start, end))
    assert found.to_pylist() == [texts[t][a:b] for t, a, b in pieces]
    found.validate(full=True)
    assert bytes(columns.utf8(made)).decode() == "".join(texts)
    assert [json.loads(text) for text in columns.as_json(made).to_pylist()] == texts
    both = columns.packed([text.encode() for text in texts], [b"|"] * len(texts))
    assert both.to_pylist() == [text + "|" for text in texts]


@settings(deadline=None)
@given(TEXTS, st.integers(0, 1))
def test_tokens_are_counted_as_those_of_one_text(texts: list[str], skipped: int) -> None:
    made = column([text for text in texts for _ in "ab"], skipped)  # some stand side by side
    assert columns.said_tokens(made, None).tolist() == [estimate_tokens(text) for text in made.to_pylist()]
    assert columns.said_tokens(made, len).tolist() == [len(text) for text in made.to_pylist()]
    said = [[{"role": "user", "content": text} for text in texts[:i]] for i in range(len(texts) + 1)]
    chats = pa.array(said, pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))).slice(skipped)
    assert columns.said_tokens(chats, len).tolist() == [sum(map(len, texts[:i])) for i in range(skipped, len(said))]


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(1, 60))
def test_neighbours_are_held_together_as_far_as_they_can(sizes: list[int], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "AT_ONCE", most)
        found = list(columns.few_at_once(np.array(sizes, np.int64)))
    assert [i for first, end in found for i in range(first, end)] == list(range(len(sizes)))
    assert all(sum(sizes[first:end]) < 2 * most for first, end in found if end - first > 1 and max(sizes) < most)


class Frozen:
    """As much of a snapshot as is asked for: rows of traces that some raters judged, in batches of some size."""

    def __init__(self, rows: list[dict[str, Any]], size: int) -> None:
        self.manifest: dict[str, Any] = {"counts": {}}
        self._rows, self._size = rows, size

    def batches(self, names: tuple[str, ...], size: int) -> Any:
        whole = pa.RecordBatch.from_pylist(self._rows, schema=SCHEMA)
        yield from (whole.slice(at, self._size) for at in range(0, len(self._rows), self._size))


SCHEMA = pa.schema([
    ("segmentation_id", pa.string()), ("assignment_id", pa.string()), ("rating", pa.list_(pa.int8())),
    ("unsure", pa.list_(pa.bool_())), ("first_error", pa.int32()), ("split", pa.string()), ("gold", pa.string()),
    ("verdict", pa.int8()), ("adjudicated_verdict", pa.int8()), ("prompt", pa.string()), ("step_text", pa.list_(pa.string())),
])  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), max_size=8), st.integers(1, 5), st.integers(1, 3), st.data())
def test_traces_stay_whole(raters: list[int], size: int, least: int, data: st.DataObject) -> None:
    rows, expected, few = [], [], 0
    for trace, n in enumerate(raters):
        steps = data.draw(st.integers(1, 3))
        group = [
            {
                "segmentation_id": str(trace), "assignment_id": f"{trace}.{i}", "rating": [1] * steps, "unsure": [False] * steps,
                "split": "train", "gold": data.draw(st.none() | st.just("gold")), "verdict": data.draw(st.none() | st.just(1)),
                "adjudicated_verdict": data.draw(st.none() | st.just(-1)), "prompt": "q", "step_text": ["s"] * steps,
            }
            for i in range(n)
        ]  # fmt: skip
        rows += group
        kept = [row for row in group if row["gold"] is None]
        if len(kept) >= least:
            expected.append([(row["assignment_id"], row["adjudicated_verdict"] or row["verdict"]) for row in kept])
        else:
            few += len(kept)
    left: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "overtaken", lambda snapshot: frozenset())
        patch.setattr(columns, "AT_ONCE", 3)
        found = list(bulk.traces(Frozen(rows, size), Policies(min_raters=least), (), left))  # type: ignore[arg-type]
        parts = [p for some in found for p in some.parts(range(len(some.ends) - 1), lambda texts, rows, steps: texts)]
    assert [group for some in found for group in groups_of(some)] == expected
    assert [group for some, _ in parts for group in groups_of(some)] == expected
    assert [i for _, beside in parts for i in beside] == [i for some in found for i in range(len(some.ends) - 1)]
    for some, _ in parts:
        assert some.firsts["assignment_id"].to_pylist() == [group[0][0] for group in groups_of(some)]
        row, step = some.where()
        lengths = some.lengths().tolist()
        of = np.repeat(np.arange(len(lengths)), np.diff(some.ends))
        begins = np.cumsum([0, *lengths])
        assert step.tolist() == [begins[of[r]] + i for r in range(some.rows.num_rows) for i in range(lengths[of[r]])]
        assert row.tolist() == [r for r in range(some.rows.num_rows) for _ in range(lengths[of[r]])]
    assert left[f"of traces with fewer than {least} raters"] == few


def groups_of(some: bulk.Traces) -> list[list[tuple[str, int | None]]]:
    rows = list(zip(some.rows["assignment_id"].to_pylist(), some.rows["verdict"].to_pylist(), strict=True))
    return [rows[first:end] for first, end in zip(some.ends[:-1], some.ends[1:], strict=True)]
