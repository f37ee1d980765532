"""Refinements: a layer beside the trace, one a model and run, that survives a restart and changes nothing else."""

from __future__ import annotations

from pathlib import Path

from core.trace import Placed, new_id
from storage.refinements import Refinement
from storage.store import Store
from tests.storage.helpers import HOSTILE, make_trace


def test_refinements_come_back_as_they_were_and_the_trace_stays(tmp_path: Path) -> None:
    trace = make_trace((None, 0, 1, 0))
    labels = {1: Placed(0, kind="verify"), 3: Placed(0, True, 0, 1, 0.9, "backtrack"), 2: Placed(None, kind="plan")}
    made = [
        Refinement(new_id(), trace.trace_id, trace.segmentation_id, model, labels, {"error": model, "tokens": 5})
        for model in HOSTILE
    ]
    other = Refinement(new_id(), "another", "another:plain:1", "m", {})
    with Store.open(tmp_path / "data") as store:
        store.add_trace(trace).result()
        for one in [*made, other]:
            store.add_refinement(one).result()
        before = store.stats()
    with Store.open(tmp_path / "data") as store:
        found = store.refinements(trace.trace_id)
        assert [r.refinement_id for r in found] == [r.refinement_id for r in reversed(made)]
        for mine, kept in zip(reversed(made), found, strict=True):
            assert (kept.model, kept.segmentation_id, kept.labels, kept.stats) == (
                mine.model, mine.segmentation_id, labels, mine.stats
            )  # fmt: skip
            assert kept.created_at.endswith("Z")
        assert store.refinements("another")[0].labels == {}
        assert store.refinements("nobody") == []
        assert store.trace(trace.trace_id) == trace
        assert store.stats() == before
        assert store.scores(trace.trace_id) == []
