"""Labels worked out over arrays are those that a reader of the rules would write down row by row."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.exports import bulk
from storage.exports.labels import CUTS, settled
from storage.exports.policies import CHOICES, Policies

MARKS = st.none() | st.sampled_from([-1, 0, 1])


@st.composite
def snapshot_row(draw: st.DrawFn) -> dict[str, Any]:
    n = draw(st.integers(1, 6))

    def steps(each: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(each, min_size=n, max_size=n))

    ratings = steps(MARKS)
    return {
        "rating": ratings, "unsure": [v is None and draw(st.booleans()) for v in ratings],
        "first_error": draw(st.none() | st.integers(0, n - 1)), "adjudicated": steps(MARKS),
        "recovered": steps(st.none() | st.integers(-1, 5)), "verdict": None, "adjudicated_verdict": None,
        "split": draw(st.sampled_from(["train", "test"])), "gold": draw(st.none() | st.just("gold")),
    }  # fmt: skip


def by_hand(row: dict[str, Any], policies: Policies) -> tuple[list[bool], str, int]:
    ratings, labels, cut = row["rating"], [], "end"
    for i, value in enumerate(ratings):
        if value is None:
            cut = "unsure" if row["unsure"][i] else "unrated"
            break
        if value == 0 and policies.neutral_as == "drop":
            cut = "neutral dropped"
            break
        labels.append(value > 0 or (value == 0 and policies.neutral_as == "positive"))
        if value < 0 and policies.stop_at_first_error:
            cut = "end" if i + 1 == len(ratings) else "first error"
            break
    beyond = ratings[len(labels) :]
    return labels, cut, len(beyond) - beyond.count(None)


SCHEMA = pa.schema(
    [
        ("rating", pa.list_(pa.int8())), ("unsure", pa.list_(pa.bool_())), ("first_error", pa.int32()),
        ("adjudicated", pa.list_(pa.int8())), ("recovered", pa.list_(pa.int32())), ("split", pa.string()), ("gold", pa.string()),
    ]
)  # fmt: skip
policies = st.builds(
    Policies, stop_at_first_error=st.booleans(),
    **{name: st.sampled_from(CHOICES[name]) for name in ("neutral_as", "recovered_as", "adjudicated", "gold", "split")},
)  # fmt: skip


@settings(deadline=None)  # the first one imports numpy
@given(st.lists(snapshot_row(), min_size=1, max_size=8), policies, st.integers(0, 3))
def test_as_row_by_row(rows: list[dict[str, Any]], chosen: Policies, skipped: int) -> None:
    batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA).slice(min(skipped, len(rows) - 1))
    rows = rows[min(skipped, len(rows) - 1) :]
    left: Counter[str] = Counter()
    at = bulk.kept(batch, chosen, left)
    expected = [
        row for row in rows
        if chosen.split in ("all", row["split"]) and not (chosen.gold == "leave_out" and row["gold"])
    ]  # fmt: skip
    assert len(at) == len(expected) and sum(left.values()) == len(rows) - len(expected)
    ratings = bulk.settled(batch.take(at), chosen)
    found = bulk.label(ratings, chosen.neutral_as, chosen.stop_at_first_error)
    made = [
        (found.good[start : start + n].tolist(), CUTS[cut], beyond)
        for start, n, cut, beyond in zip(ratings.ends, found.counts, found.cut, found.beyond, strict=False)
    ]
    assert made == [by_hand(settled(row, chosen), chosen) for row in expected]


@settings(deadline=None)  # the first one imports numpy
@given(st.lists(snapshot_row(), min_size=1, max_size=4), st.booleans())
def test_of_rows_already_settled(rows: list[dict[str, Any]], stop: bool) -> None:
    ratings = bulk.of_rows(rows)
    found = bulk.label(ratings, "positive", stop)
    for row, start, n, cut in zip(rows, ratings.ends, found.counts, found.cut, strict=False):
        labels, why, _ = by_hand(row, Policies(stop_at_first_error=stop))
        assert (found.good[start : start + n].tolist(), CUTS[cut]) == (labels, why)
    tied = bulk.of_rows([{"rating": [1, None, None], "unsure": [False] * 3, "tied": {1}, "few": {2}}])
    assert CUTS[bulk.label(tied, "drop", stop).cut[0]] == "raters tied"
