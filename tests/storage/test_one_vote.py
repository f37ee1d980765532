"""Whose vote counts, how often, and by which name: one of each rater, and of an adjudicator what stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import adjudication
from storage.exports import export, plan
from storage.exports.labels import AGAIN
from storage.imports import read
from storage.queues.settings import DEFAULT_QUEUE, Queue, save_queues
from storage.rater_names import joined, several
from storage.snapshots import Snapshot, freeze, load_snapshot
from storage.store import Store
from tests.storage.helpers import Rater, make_trace, rate
from training.evaluation.solutions import read_snapshot
from training.rows import read_traces


def frozen(store: Store, root: Path) -> Snapshot:
    return load_snapshot(root, freeze(store, root).snapshot_id)


def test_a_rater_who_had_a_trace_in_two_queues_has_one_vote_and_the_last_word(store: Store, tmp_path: Path) -> None:
    store.write(save_queues, Queue("second", "Second")).result()
    trace = make_trace((None, 0))
    rate(store, trace, "ann", [1, 1], verdict=1)
    again = Rater(store, store.open_assignment("ann", trace.trace_id, "second"))
    for step in (0, 1):
        again.step(step, -1)
    again.verdict(-1)
    again.submit()
    snapshot = frozen(store, tmp_path)
    assert snapshot.info.n_rows == 2, "everything that was said is kept"
    for options in ({}, {"raters": "majority"}):
        found = plan(snapshot, "stepwise", options)
        assert (found.rows, found.histogram, found.left_out.get(AGAIN)) == (1, {"good": 0, "bad": 1}, 1), options
    assert plan(snapshot, "stepwise", {"raters": "majority", "min_raters": 2}).rows == 0, "ann alone is one rater"
    assert plan(snapshot, "kto").histogram == {"wanted": 0, "unwanted": 1}
    (judged,) = read_traces(snapshot.data_path.parent)
    assert [(j.rater_id, j.ratings, j.verdict) for j in judged.judgements] == [("ann", (-1, -1), -1)]
    (solution,) = read_snapshot(snapshot.data_path.parent, split="all")
    assert solution.labels == (0.0, 0.0)


def test_a_decision_stands_though_another_queue_took_its_own_back(store: Store, tmp_path: Path) -> None:
    store.write(save_queues, Queue("hard", "Hard")).result()
    trace = make_trace((None, 0))
    rate(store, trace, "ann", [1, 1])

    def decide(queue: str, value: float | None, text: str | None = None) -> None:
        decision = adjudication.Decision(
            queue,
            trace.trace_id,
            "correctness",
            1,
            value,
            text,
            "boss",
            "The sum is wrong." if value or text else "",
            False,
        )
        store.write(adjudication.decide, decision).result()

    decide(DEFAULT_QUEUE, -1)
    decide("hard", 1)
    decide("hard", None)  # taken back
    snapshot = frozen(store, tmp_path)
    (row,) = snapshot.rows(("adjudicated",))
    assert row["adjudicated"] == [None, -1]
    assert snapshot.manifest["counts"]["adjudicated_steps"] == 1


def test_a_branch_pair_names_only_those_who_rated_both(store: Store, tmp_path: Path) -> None:
    """An import makes ratings of each name: nobody may come back as having said what they did not say."""
    trace = make_trace((None, 0, 0), names=["top", "left", "right"])
    rate(store, trace, "ann", [1, -1, 1])
    rate(store, trace, "bob", [None, None, None], verdict=1)
    rate(store, trace, "cyd", [1, None, 1])
    snapshot = frozen(store, tmp_path)
    for form in ("step_dpo", "preference"):
        export(snapshot, form, tmp_path / form, {"source": "branch"})
        (row,) = _load(tmp_path / form)
        assert row["raters"] == "ann", form


@pytest.mark.parametrize("names", [["ann+lab@example.org", "bob"], ["50%", "a%2Bb", "+"], ["ann"]])
def test_a_name_may_hold_what_stands_between_names(names: list[str]) -> None:
    assert several(joined(names)) == sorted(names)
    assert several("") == [""]


def test_a_rater_with_a_plus_comes_back_as_one(store: Store, tmp_path: Path) -> None:
    rate(store, make_trace(), "ann+lab@example.org", [1, 1, 1], verdict=1)
    export(frozen(store, tmp_path), "sft", tmp_path / "out")
    (row,) = _load(tmp_path / "out")
    assert {r.rater for r in read(row, "data.jsonl:1").said} == {"ann+lab@example.org"}


def _load(folder: Path) -> list[dict]:
    import json

    return [json.loads(line) for line in (folder / "data.jsonl").read_text("utf-8").splitlines()]
