"""Steps re-cut by people: whatever is cut and joined, every character stays in one piece and the tree stays a tree."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.formats import steiner_tokens as t
from core.trace import Trace
from storage.events import EventError
from storage.exports import export, plan, preflight
from storage.recut import Row, agreed, pieces
from storage.snapshots import Snapshot, freeze, load_snapshot
from storage.store import Store
from tests.storage.helpers import Rater, make_trace


def row_of(lengths: list[int], **said: Any) -> Row:
    """A snapshot row of steps with these lengths, in a straight line unless `parent` says otherwise."""
    n = len(lengths)
    ends = [sum(lengths[: i + 1]) for i in range(n)]
    return {
        "step_start": [0, *ends[:-1]], "step_end": ends, "parent": [i - 1 if i else None for i in range(n)],
        "is_backtrack": [False] * n, "kind": ["derive"] * n, "corrected_parent": [None] * n, "corrected_kind": [None] * n,
        "cuts": [[] for _ in range(n)], "joined": [False] * n, "rating": [1] * n, "rater_id": "ann", "assignment_id": "a",
        **said,
    }  # fmt: skip


def spans(row: Row) -> list[tuple[int, int]]:
    return [(p.start, p.end) for p in pieces(row)]


@st.composite
def recut_rows(draw: st.DrawFn) -> Row:
    """Any steps, any tree over them, any corrections that the server would take."""
    lengths = draw(st.lists(st.integers(0, 9), min_size=1, max_size=8))
    n = len(lengths)
    row = row_of(lengths)
    earlier = [st.one_of(st.none(), st.integers(0, i - 1)) if i else st.none() for i in range(n)]
    row["parent"] = [draw(choice) for choice in earlier]
    row["is_backtrack"] = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    row["corrected_parent"] = [draw(st.one_of(st.none(), st.integers(-1, i - 1))) for i in range(n)]
    row["corrected_kind"] = [draw(st.sampled_from([None, "verify"])) for _ in range(n)]
    inside = [list(range(a + 1, b)) for a, b in zip(row["step_start"], row["step_end"], strict=True)]
    row["cuts"] = [sorted(draw(st.sets(st.sampled_from(places)))) if places else [] for places in inside]
    row["joined"] = [i > 0 and draw(st.booleans()) for i in range(n)]
    return row


@settings(max_examples=400, deadline=None)
@given(row=recut_rows())
def test_any_cuts_and_joins_leave_every_character_in_one_piece_and_a_tree(row: Row) -> None:
    found = pieces(row)
    assert found[0].start == 0
    assert found[-1].end == row["step_end"][-1]
    assert all(a.end == b.start for a, b in pairwise(found)), "contiguous"
    assert len(found) == len(row["joined"]) + sum(map(len, row["cuts"])) - sum(row["joined"])
    wanted = {s for s, j in zip(row["step_start"], row["joined"], strict=True) if not j} | {
        c for cs in row["cuts"] for c in cs
    }
    assert {p.start for p in found} == wanted
    for at, piece in enumerate(found):
        assert piece.parent is None or 0 <= piece.parent < at, "a parent comes before"
        if piece.of is None:
            assert (piece.parent, piece.kind, piece.is_backtrack) == (at - 1, "", False)
    stands = [p.of for p in found if p.of is not None]
    assert stands == sorted(set(stands)), "in order, no step twice"


@settings(max_examples=100, deadline=None)
@given(row=recut_rows())
def test_without_a_correction_nothing_changes(row: Row) -> None:
    n = len(row["joined"])
    row |= {"cuts": [[]] * n, "joined": [False] * n, "corrected_parent": [None] * n, "corrected_kind": [None] * n}
    found = pieces(row)
    assert [(p.start, p.end) for p in found] == list(zip(row["step_start"], row["step_end"], strict=True))
    for name in ("parent", "kind", "is_backtrack"):
        assert [getattr(p, name) for p in found] == row[name]
    assert [p.of for p in found] == list(range(n))


def test_a_kind_that_a_person_gave_says_whether_the_step_turns_back() -> None:
    row = row_of([10, 10, 10, 10], parent=[None, 0, 1, 1], is_backtrack=[False, False, False, True])
    row["corrected_parent"][2] = 0
    assert [p.is_backtrack for p in pieces(row)] == [False, False, True, True]
    row["corrected_kind"] = [None, None, "explore", "explore"]
    assert [p.is_backtrack for p in pieces(row)] == [False, False, False, False]
    row["corrected_kind"] = [None, "backtrack", "backtrack", "backtrack"]
    assert [p.is_backtrack for p in pieces(row)] == [False, False, True, True]


def test_the_first_piece_keeps_the_place_and_children_hang_from_the_last() -> None:
    """Step 1 is cut twice; 2 follows 1; 3 went back to 0 and is a check."""
    row = row_of([10, 10, 10, 10], parent=[None, 0, 1, 0], is_backtrack=[False, False, False, True])
    row["cuts"][1] = [13, 17]
    row["kind"] = ["setup", "derive", "derive", "verify"]
    found = pieces(row)
    assert spans(row) == [(0, 10), (10, 13), (13, 17), (17, 20), (20, 30), (30, 40)]
    assert [p.parent for p in found] == [None, 0, 1, 2, 3, 0]
    assert [p.kind for p in found] == ["setup", "derive", "", "", "derive", "verify"]
    assert [p.is_backtrack for p in found] == [False] * 5 + [True]
    assert [p.of for p in found] == [0, 1, None, None, 2, 3]


def test_a_joined_steps_children_hang_from_the_join() -> None:
    row = row_of([10, 10, 10, 10], parent=[None, 0, 1, 1], is_backtrack=[False, False, False, True])
    row["joined"] = [False, True, False, False]
    assert spans(row) == [(0, 20), (20, 30), (30, 40)]
    assert [p.parent for p in pieces(row)] == [None, 0, 0]
    assert [p.is_backtrack for p in pieces(row)] == [False, False, True]


@pytest.mark.parametrize("cut", [7, 13])
def test_a_boundary_that_was_moved_takes_its_step_along(cut: int) -> None:
    """Step 1 turns back to the question; a cut on either side of its start, and the start itself taken away."""
    row = row_of(
        [10, 10, 10], parent=[None, None, 1], is_backtrack=[False, True, False], kind=["derive", "backtrack", "derive"]
    )
    row["cuts"][cut // 10] = [cut]
    row["joined"] = [False, True, False]
    assert spans(row) == [(0, cut), (cut, 20), (20, 30)]
    found = pieces(row)
    assert [p.of for p in found] == [0, 1, 2]
    assert [p.parent for p in found] == [None, None, 1]
    assert [p.kind for p in found] == ["derive", "backtrack", "derive"]
    assert [p.is_backtrack for p in found] == [False, True, False]


def test_a_turn_back_over_what_was_joined_is_none() -> None:
    row = row_of([10, 10, 10], parent=[None, 0, 0], is_backtrack=[False, False, True])
    row["joined"] = [False, True, False]
    assert [(p.parent, p.is_backtrack) for p in pieces(row)] == [(None, False), (0, False)]


def test_more_than_half_of_those_who_saw_a_step_change_it() -> None:
    def said(name: str, cuts: list[int], joined: bool, **more: Any) -> Row:
        row = row_of([10, 10], rater_id=name, assignment_id=name, **more)
        row["cuts"][0], row["joined"][1] = cuts, joined
        return row

    two = agreed([said("ann", [3, 5], True), said("bob", [5], False)])
    assert (two["cuts"], two["joined"]) == ([[5], []], [False, False]), "a tie leaves it as inferred"
    three = agreed([said("ann", [3, 5], True), said("bob", [5], True), said("cid", [3, 7], False)])
    assert (three["cuts"], three["joined"]) == ([[3, 5], []], [False, True])
    assert three["rater_id"] == "ann+bob+cid"
    blind = said("dan", [], False, rating=[None, None])
    assert agreed([said("ann", [4], True), blind])["cuts"] == [[4], []], "who did not look has no vote"


# ---------------------------------------------------------------- from the event to the export


def _rated(store: Store, trace: Trace, name: str = "ann") -> Rater:
    store.add_trace(trace).result()
    return Rater(store, store.open_assignment(name, trace.trace_id))


def _freeze(store: Store, tmp_path: Path) -> Snapshot:
    return load_snapshot(tmp_path / "snapshots", freeze(store, tmp_path / "snapshots").snapshot_id)


def _tree(snapshot: Snapshot, folder: Path, **options: Any) -> list[dict[str, Any]]:
    export(snapshot, "tree", folder, options)
    return [json.loads(line) for line in (folder / "data.jsonl").read_text(encoding="utf-8").splitlines()]


def test_cuts_and_joins_are_frozen_and_exported_undone_ones_are_not(store: Store, tmp_path: Path) -> None:
    trace = make_trace((None, 0, 1, 1), names=["one 😀😀", "two", "three", "four"])  # offsets are code points
    hand = _rated(store, trace)
    at = trace.response.index("thought of two")
    early = trace.response.index("thought of one")
    hand.send("set", target="step", step_idx=1, dimension="cuts", value_text=str(at))
    hand.send("set", target="step", step_idx=0, dimension="cuts", value_text=f"{early} {early + 3}")
    hand.send("set", target="step", step_idx=0, dimension="cuts", value_text=str(early))  # one taken back
    hand.send("set", target="step", step_idx=2, dimension="cuts", value_text=str(trace.steps[2].start + 1))
    hand.send("clear", target="step", step_idx=2, dimension="cuts")
    hand.send("set", target="step", step_idx=3, dimension="joined", value=1)
    hand.step(0, 1)
    hand.submit()
    snapshot = _freeze(store, tmp_path)
    (row,) = snapshot.rows()
    assert row["cuts"] == [[early], [at], [], []]
    assert row["joined"] == [False, False, False, True]
    assert snapshot.manifest["corrections"] == {"parents": 0, "kinds": 0, "cuts": 2, "joins": 1, "steps_recut": 3}
    assert "| cuts | 2 |" in (snapshot.folder / "README.md").read_text()
    assert any("3 steps were re-cut" in w for w in snapshot.info.warnings)
    (tree,) = _tree(snapshot, tmp_path / "tree")
    assert tree["steps"] == [trace.step_text(i) for i in range(4)], "what was inferred is never changed"
    assert tree["parent"] == [-1, 0, 1, 1]
    assert "".join(tree["mended_steps"]) == trace.response[: trace.steps[-1].end]
    assert tree["mended_steps"][1].startswith("thought of one")
    assert tree["mended_steps"][3].startswith("thought of two")
    assert tree["mended_parent"] == [-1, 0, 1, 2, 3]
    assert tree["mended_from"] == [0, -1, 1, -1, 2]
    spans = list(zip(tree["mended_start"], tree["mended_end"], strict=True))
    assert [trace.response[a:b] for a, b in spans] == tree["mended_steps"]
    assert tree["seen"] == [True, True, False, True]


def test_labels_stay_with_the_steps_as_rated_and_that_is_said_before(store: Store, tmp_path: Path) -> None:
    trace = make_trace((None, 0, 0))
    hand = _rated(store, trace)
    for i, value in enumerate((1, -1, 1)):
        hand.step(i, value)
    hand.send("set", target="step", step_idx=1, dimension="joined", value=1)
    hand.submit()
    snapshot = _freeze(store, tmp_path)
    assert plan(snapshot, "stepwise").figures["labels"] == 2
    for name in ("stepwise", "preference"):
        assert any("1 steps in 1 rated traces were re-cut" in w for w in preflight(snapshot, name)), name
    assert not any("re-cut" in w for w in preflight(snapshot, "preference", {"source": "verdict"})), "whole traces"


def test_several_raters_by_majority(store: Store, tmp_path: Path) -> None:
    trace = make_trace((None, 0, 1))
    at = trace.steps[1].start + len(t.PROCEED)
    for name, cut, joined in (("ann", at, True), ("bob", at, False), ("cid", at + 2, False)):
        hand = _rated(store, trace, name)
        hand.send("set", target="step", step_idx=1, dimension="cuts", value_text=str(cut))
        hand.step(2, 1)
        if joined:
            hand.send("set", target="step", step_idx=2, dimension="joined", value=1)
        hand.submit()
    snapshot = _freeze(store, tmp_path)
    assert len(_tree(snapshot, tmp_path / "each")) == 3
    (row,) = _tree(snapshot, tmp_path / "majority", raters="majority")
    assert row["cuts"] == [[], [at], []]
    assert row["joined"] == [False, False, False]
    assert row["mended_start"] == [0, trace.steps[1].start, at, trace.steps[2].start]
    assert row["rater_id"] == "ann+bob+cid"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"dimension": "cuts", "value_text": ""}, "cuts are offsets"),
        ({"dimension": "cuts", "value_text": "9 8"}, "cuts are offsets"),
        ({"dimension": "cuts", "value_text": "8 8"}, "cuts are offsets"),
        ({"dimension": "cuts", "value_text": "1.5"}, "cuts are offsets"),
        ({"dimension": "cuts", "value_text": "99999999999"}, "cuts are offsets"),
        ({"dimension": "cuts", "value": 4}, "cuts are offsets"),
        ({"dimension": "joined", "value_text": "unsure"}, "joined takes 1"),
        ({"dimension": "joined", "value": 0}, "joined takes 1"),
        ({"dimension": "joined", "value": 1, "step_idx": 0}, "no step before it"),
    ],
)
def test_a_correction_that_cannot_be_is_refused_in_words(store: Store, fields: dict[str, Any], says: str) -> None:
    hand = _rated(store, make_trace((None, 0, 1)))
    with pytest.raises(EventError, match=says):
        hand.event("set", target="step", **{"step_idx": 1, **fields})


def test_a_cut_lies_strictly_inside_its_step(store: Store) -> None:
    trace = make_trace((None, 0, 1))
    hand = _rated(store, trace)
    start, end = trace.steps[1].start, trace.steps[1].end

    def cut(*at: int) -> Any:
        text = " ".join(map(str, at))
        return hand.event("set", target="step", step_idx=1, dimension="cuts", value_text=text)

    good = [cut(start + 1), cut(start + 1, end - 1)]
    bad = [cut(start), cut(end), cut(0), cut(start + 2, end + 4)]
    assert store.add_rating_events([*bad, *good]).result() == [e.event_id for e in good]
    reasons = store.why_rejected(bad)
    assert f"cuts at {start}; a cut of step 1 lies inside it, from {start + 1} to {end - 1}" in reasons[bad[0].event_id]
    assert f"cuts at {end + 4}" in reasons[bad[3].event_id]
    assert len(reasons) == 4
