"""Two steps that continue the same one make a pair, worked out over arrays as somebody would who looks at one trace after another."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.formats import steiner_tokens as t
from storage.exports import branches, bulk, export, plan, preflight
from storage.exports.policies import Policies
from storage.snapshots import Snapshot, freeze, load_snapshot
from storage.store import Store
from tests.storage.helpers import Rater, make_trace, rate, rows_of


def _freeze(store: Store, tmp_path: Path) -> Snapshot:
    return load_snapshot(tmp_path / "snapshots", freeze(store, tmp_path / "snapshots").snapshot_id)


def test_preference_pairs_siblings_at_a_branch_after_a_shared_prefix(store: Store, tmp_path: Path) -> None:
    """Steps 1, 3 and 4 go on from step 0; 2 goes on from 1. Ratings: 1 bad, 3 neutral, 4 good."""
    trace = make_trace((None, 0, 1, 0, 0), names=["root", "first try", "deeper", "second try", "third try"])
    rate(store, trace, "ann", [1, -1, -1, 0, 1])
    export(_freeze(store, tmp_path), "preference", tmp_path / "out", {"source": "branch"})
    data = rows_of(tmp_path / "out")
    assert {(r["chosen_step"], r["rejected_step"], r["margin"]) for r in data} == {
        (3, 1, 1.0),
        (4, 1, 2.0),
        (4, 3, 1.0),
    }
    head = trace.response[: trace.steps[0].end] + t.PROCEED
    for row in data:
        assert row["prompt"] == trace.prompt + head
        assert row["chosen"] != row["rejected"]
        for side in ("chosen", "rejected"):
            text = row[side]
            assert text.startswith(t.STEP_START), "how a branch was entered must not give the pair away"
            assert trace.step_text(row[f"{side}_step"]).endswith(text)
    directly = next(r for r in data if r["rejected_step"] == 1)
    assert trace.response.startswith(head + directly["rejected"]), "byte for byte what the model wrote"


def test_branches_at_the_question_itself_make_pairs(store: Store, tmp_path: Path) -> None:
    trace = make_trace((None, None), names=["wrong", "right"])
    rate(store, trace, "ann", [-1, 1])
    export(_freeze(store, tmp_path), "preference", tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    assert row["prompt"] == trace.prompt + t.REASONING_START
    assert (row["chosen_step"], row["rejected_step"]) == (1, 0)


def test_ties_unsure_and_unrated_never_make_a_pair(store: Store, tmp_path: Path) -> None:
    rate(store, make_trace((None, 0, 0, 0, 0)), "ann", [1, 1, 1, "unsure", None], verdict=1)
    rate(store, make_trace((None,), names=["other"]), "ann", [1], verdict=1)
    trace = make_trace((None, None), names=["a", "b"], prompt="raters disagree")
    rate(store, trace, "ann", [1, -1])
    rate(store, trace, "bob", [-1, 1])
    snapshot = _freeze(store, tmp_path)
    assert plan(snapshot, "preference").rows == 0
    assert "There is no pair to write" in preflight(snapshot, "preference")[0]


def test_what_one_rater_left_open_and_another_said_is_not_called_open(store: Store, tmp_path: Path) -> None:
    both, half = (make_trace((None, 0, 0), names=[n, f"{n} left", f"{n} right"]) for n in ("both", "half"))
    rate(store, both, "ann", [1, -1, 1], verdict=1)
    rate(store, both, "bob", [1, "unsure", 1])
    rate(store, half, "ann", [1, 1, None])
    rate(store, half, "bob", [1, -1, "unsure"])
    snapshot = _freeze(store, tmp_path)
    branches = "1 of 2 branching points have a branch that nobody rated"
    for name, silent in (("preference", "1 of 2 rated traces have no verdict"), ("step_dpo", branches)):
        said = " ".join(plan(snapshot, name).warnings)
        assert silent in said and branches in said, said


def test_a_branching_point_gives_its_widest_pairs(store: Store, tmp_path: Path) -> None:
    trace = make_trace((None, 0, 0, 0, 0, 0))
    rate(store, trace, "ann", [1, 0, 1, -1, 1, 0])
    snapshot = _freeze(store, tmp_path)
    report = export(snapshot, "step_dpo", tmp_path / "two", {"max_pairs_per_branch": 2})
    rows = [json.loads(line) for line in (tmp_path / "two" / "data.jsonl").read_text().splitlines()]
    assert {(r["chosen_step"], r["rejected_step"]) for r in rows} == {(2, 3), (4, 3)}, "the only ones that are 2 apart"
    assert any("6 pairs are left out" in w for w in report.warnings), "eight pairs are apart, two are kept"
    assert export(snapshot, "step_dpo", tmp_path / "all", {"max_pairs_per_branch": 99}).rows == 8


def test_a_better_step_is_a_pair_once_enough_raters_wrote_it(store: Store, tmp_path: Path) -> None:
    trace = make_trace((None, 0))
    store.add_trace(trace).result()
    for rater, text in (("ann", "the same"), ("bob", "the same"), ("cyd", "another")):
        hand = Rater(store, store.open_assignment(rater, trace.trace_id))
        hand.step(0, 1)
        hand.step(1, -1)
        hand.send("set", target="step", step_idx=1, dimension="better", value_text=text)
        hand.submit()
    snapshot = _freeze(store, tmp_path)
    found = {n: plan(snapshot, "step_dpo", {"source": "better", "min_raters": n}).rows for n in (1, 2, 3)}
    assert found == {1: 2, 2: 1, 3: 0}


@st.composite
def a_trace(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The rows of one trace, one a rater."""
    n = draw(st.integers(1, 7))
    parents = [None, *(draw(st.none() | st.integers(0, i - 1)) for i in range(1, n))]
    texts = []
    for i, parent in enumerate(parents):
        lead = t.BACKTRACK if i and parent != i - 1 else draw(st.sampled_from(["", t.REASONING_START, t.PROCEED]))
        texts.append(lead + draw(st.sampled_from(["a", "b−", "😀", ""])))
    ends = [len("".join(texts[: i + 1])) for i in range(n)]
    trace = {
        "prompt": draw(st.sampled_from(["q", "é?"])), "response": "".join(texts) + "!", "step_text": texts, "parent": parents,
        "step_end": ends, "first_error": None, "unsure": [False] * n, "segmentation_id": str(draw(st.integers(0, 10**9))),
    }  # fmt: skip
    raters = draw(st.lists(st.sampled_from(["ann", "b+b", "c%"]), min_size=1, max_size=3, unique=True))
    votes = st.lists(st.none() | st.sampled_from([-1, 0, 1]), min_size=n, max_size=n)
    return [{**trace, "rater_id": r, "prelabel_visible": draw(st.booleans()), "rating": draw(votes)} for r in raters]


SCHEMA = pa.schema([
    ("prompt", pa.string()), ("response", pa.string()), ("step_text", pa.list_(pa.string())), ("parent", pa.list_(pa.int32())),
    ("step_end", pa.list_(pa.int32())), ("first_error", pa.int32()), ("unsure", pa.list_(pa.bool_())),
    ("segmentation_id", pa.string()), ("rater_id", pa.string()), ("prelabel_visible", pa.bool_()),
    ("rating", pa.list_(pa.int8())),
])  # fmt: skip
Counts = tuple[int, int, int]


def by_hand(rows: list[dict[str, Any]], least: int, most: int) -> tuple[list[dict[str, Any]], Counts]:
    """The pairs of one trace; branching points, those with an unrated side, and pairs beyond the most of one."""
    first, found, branching, unrated, beyond = rows[0], [], 0, 0, 0
    texts, parents = first["step_text"], first["parent"]

    def votes(i: int) -> list[int]:
        return [row["rating"][i] for row in rows if row["rating"][i] is not None]

    def body(i: int) -> str:
        for lead in (t.REASONING_START, t.PROCEED, t.BACKTRACK):
            if texts[i].startswith(lead):
                return texts[i][len(lead) :]
        return texts[i]

    for parent in dict.fromkeys(parents):
        siblings = [i for i, p in enumerate(parents) if p == parent]
        if len(siblings) == 1:
            continue
        branching += 1
        unrated += any(not votes(i) for i in siblings)
        lead = texts[siblings[0]].removesuffix(body(siblings[0]))
        if lead == t.BACKTRACK:
            lead = t.REASONING_START if parent is None else t.PROCEED
        pairs = []
        for i, j in combinations(siblings, 2):
            a, b = votes(i), votes(j)
            if min(len(a), len(b)) < least or sum(a) / len(a) == sum(b) / len(b) or body(i) == body(j):
                continue
            better, worse = (i, j) if sum(a) / len(a) > sum(b) / len(b) else (j, i)
            judges = [r for r in rows if r["rating"][i] is not None and r["rating"][j] is not None]
            judges = judges or [r for r in rows if r["rating"][i] is not None or r["rating"][j] is not None]
            pairs.append({
                "prompt": first["prompt"] + first["response"][: 0 if parent is None else first["step_end"][parent]] + lead,
                "chosen": body(better), "rejected": body(worse), "margin": round(abs(sum(a) / len(a) - sum(b) / len(b)), 4),
                "n_votes": len(a) + len(b), "question": first["prompt"], "chosen_step": better, "rejected_step": worse,
                "raters": "+".join(sorted(r["rater_id"].replace("%", "%25").replace("+", "%2B") for r in judges)),
                "prelabel_visible": any(r["prelabel_visible"] for r in judges),
            })  # fmt: skip
        if len(pairs) > most:
            beyond += len(pairs) - most
            pairs = sorted(pairs, key=lambda pair: -pair["margin"])[:most]
        found += pairs
    return found, (branching, unrated, beyond)


@settings(deadline=None)  # the first one imports numpy
@given(
    st.lists(a_trace(), min_size=1, max_size=6),
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(0, 2),
    st.sampled_from([3, 10**9]),
)
def test_pairs_are_those_of_one_trace_after_another(
    made: list[list[dict[str, Any]]], least: int, most: int, skipped: int, at_once: int
) -> None:
    flat = [row for rows in made for row in rows]
    skipped = min(skipped, len(made) - 1)
    before = sum(map(len, made[:skipped]))
    batch = pa.RecordBatch.from_pylist(flat, schema=SCHEMA).slice(before)  # as a part of a larger one
    ends = [sum(map(len, made[skipped:i])) for i in range(skipped, len(made) + 1)]
    traces = bulk.Traces(batch, bulk.settled(batch, Policies()), np.array(ends))
    left: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.exports.columns.AT_ONCE", at_once)
        parts = list(branches.pairs(traces, least, most, left))
    got = [
        dict(zip(columns, row, strict=True)) | {"trace": int(trace)}
        for of, columns in parts
        for trace, *row in zip(of, *(_values(column) for column in columns.values()), strict=True)
    ]
    expected, counts = [], Counter[str]()
    for i, rows in enumerate(made[skipped:]):
        pairs, (branching, unrated, beyond) = by_hand(rows, least, most)
        expected += [{**pair, "trace": i} for pair in pairs]
        counts.update({branches.BRANCHING: branching, branches.OPEN: unrated, branches.BEYOND: beyond})
    assert got == expected
    assert +left == +counts


def _values(column: Any) -> list[Any]:
    return column.to_pylist() if isinstance(column, pa.Array) else list(getattr(column, "tolist", lambda: column)())
