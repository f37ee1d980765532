"""A search may end before its budget where nothing can be better any more, and only there."""

from __future__ import annotations

import pytest

from core.engines.sampling import PieceEnd, SampleRequest
from tests.core.search.chance import STEP
from tests.core.search.writes import Says, Writes, drive, search


@pytest.mark.parametrize("early_stop", [True, False])
def test_a_finished_answer_that_nothing_can_beat_may_end_the_search(early_stop: bool) -> None:
    def piece(request: SampleRequest, i: int) -> tuple[str, PieceEnd]:
        if not request.written and i == 0:
            return "Answer: best", "eos"
        return f"worse {len(request.written)} {i}{STEP}", "step"

    engine = Writes(piece)
    params = {"width": 2, "branch": 2, "max_depth": 6, "vote": "best", "early_stop": early_stop}
    judge = Says(best=(0.9,), **{str(i): (0.4,) for i in range(4)})
    one = drive(engine, search("beam", **params), judge)
    assert one.choice is not None
    assert one.choice.answer == "answer: best"
    assert (len(engine.requests) == 1) == early_stop


@pytest.mark.parametrize(("score", "asked"), [(1.0, 2), (0.99, 8)])
def test_best_of_n_stops_early_only_where_nothing_can_be_better(score: float, asked: int) -> None:
    engine = Writes(lambda r, i: (f"Answer: {'ab'[i]}", "eos"))
    params = {"n": 8, "vote": "best", "early_stop": True, "wave": 2}
    one = drive(engine, search("best-of-n", **params), Says(a=(0.2,), b=(score,)))
    assert sum(r.n for r in engine.requests) == asked
    assert one.choice is not None
    assert one.choice.answer == "answer: b"


@pytest.mark.parametrize("score", [1.0, 0.9])
def test_subtrees_stop_early_only_where_nothing_can_be_better(score: float) -> None:
    def piece(request: SampleRequest, i: int) -> tuple[str, PieceEnd]:
        if not request.written and i == 0:
            return "Answer: b", "eos"
        return f"{len(request.written)} go{STEP}", "step"

    engine = Writes(piece)
    params = {"subtrees": 3, "branch": 2, "max_depth": 4, "vote": "best", "early_stop": True}
    one = drive(engine, search("dvts", **params), Says(b=(score,), go=(0.95,)))
    assert any(r.written for r in engine.requests) == (score < 1)
    assert one.choice is not None
    chosen = one.state.tree[one.choice.node]
    assert (chosen.pruned, one.state.tree[0].pruned) == (False, False)


@pytest.mark.parametrize("score", [1.0, 0.9])
def test_particles_stop_early_only_where_nothing_can_be_better(score: float) -> None:
    def piece(request: SampleRequest, i: int) -> tuple[str, PieceEnd]:
        if i:
            return f"go{STEP}", "step"
        return f"Answer: {'a' if request.written else 'b'}", "eos"

    engine = Writes(piece)
    params = {"n": 4, "early_stop": True, "max_depth": 5}
    one = drive(engine, search("particles", **params), Says(a=(0.5,), b=(score,), go=(0.9,)))
    assert (len(engine.requests) == 1) == (score == 1.0)
    assert one.choice is not None
    assert one.choice.answer == "answer: b"
