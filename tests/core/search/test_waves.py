"""Steps drawn in waves and anew: what is spent at a depth depends on whether a step is good enough."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.search.base import Expand
from core.search.strategies.steps import share
from core.search.tree import ROOT
from tests.core.search.scripted import Scripted, run, search

# Each may draw four steps a depth.
FOUR: list[tuple[str, dict[str, Any]]] = [
    ("beam", {"width": 2, "branch": 2}),
    ("particles", {"n": 4}),
    ("dvts", {"subtrees": 1, "branch": 4}),
]
GOOD = {"": ["one@.95"], "one@.95": ["two@.95"], "two@.95": ["= 7"]}
POOR = {"": ["one@.5"], "one@.5": ["two@.5"], "two@.5": ["= 7"]}


def draws(name: str, params: dict[str, Any], table: dict[str, list[str]], **more: Any) -> list[list[int]]:
    """The sizes of the requests of each depth."""
    model = Scripted(table, drawn=True)
    run(search(name, **params, **more), model)
    found: dict[int, list[int]] = {}
    for request in model.requests:
        found.setdefault(list(request.written).count(ord("\n")), []).append(request.n)
    return [found[depth] for depth in sorted(found)]


@pytest.mark.parametrize(("name", "params"), FOUR)
def test_a_step_that_is_good_enough_has_no_rivals(name: str, params: dict[str, Any]) -> None:
    waves = draws(name, params, GOOD, wave=1, enough=0.9)
    assert waves[:2] == [[1], [1]]  # the depth of the answer is drawn in full by those that let no answer end them
    assert draws(name, params, GOOD, wave=3, enough=0.9)[0] == [3]
    assert draws(name, params, GOOD)[0] == [4]


@pytest.mark.parametrize(("name", "params"), FOUR)
def test_what_is_not_good_enough_costs_the_whole_depth_and_no_more(name: str, params: dict[str, Any]) -> None:
    assert draws(name, params, POOR, wave=3, enough=0.9)[:2] == [[3, 1], [4]]  # what begins badly is drawn at once
    assert draws(name, params, POOR, wave=8, enough=0.9)[:2] == [[4], [4]]
    assert draws(name, params, POOR, wave=1, enough=0.5)[:2] == [[1], [1, 3]]  # two steps of .5 are worth .25


@pytest.mark.parametrize(("name", "params"), FOUR)
def test_what_begins_well_is_drawn_again_before_it_is_gone_on_with(name: str, params: dict[str, Any]) -> None:
    assert draws(name, params, POOR, wave=1, enough=0.5, tries=3)[:2] == [[1], [1, 3, 4, 4]]
    assert draws(name, params, POOR, enough=0.9, tries=2)[:2] == [[4, 4], [4]]  # the question begins well
    assert draws(name, params, GOOD, enough=0.9, tries=2)[:2] == [[4], [4]]


@pytest.mark.parametrize(("name", "params"), FOUR)
@pytest.mark.parametrize("ways", [1, 2, 5])
def test_a_later_wave_draws_anew_and_the_best_of_all_waves_goes_on(
    name: str, params: dict[str, Any], ways: int
) -> None:
    steps = [f"{letter}@.{3 + i}" for i, letter in enumerate("abcde")][:ways]
    for seed in range(12):
        model = Scripted({"": steps}, drawn=True)
        one = run(search(name, seed=seed, wave=1, tries=2, **params, max_depth=1), model)
        firsts = [one.state.tree[n] for n in one.state.tree[ROOT].children]
        assert sum(n.count for n in firsts) == 8
        best = max(firsts, key=lambda n: n.score or 0)
        assert best.children or name == "particles"
    if ways == 5:
        assert len(firsts) > 1, "every wave drew the same"


@given(st.dictionaries(st.integers(0, 20), st.integers(1, 9), min_size=1), st.integers(0, 12))
def test_waves_add_up_to_what_a_depth_may_cost(wanted: dict[int, int], size: int) -> None:
    todo = [[node, k] for node, k in wanted.items()]
    drawn: list[list[Expand]] = []
    while todo:
        drawn.append(share(todo, size))
    total = dict.fromkeys(wanted, 0)
    for expands in drawn:
        assert sum(e.k for e in expands) <= size or not size
        most = max(e.k for e in expands)
        left = {n: wanted[n] - total[n] for n in wanted}
        drawn_now = {e.node: e.k for e in expands}
        assert all(drawn_now.get(n, 0) >= min(left[n], most - 1) for n in wanted), "not in turn"
        for e in expands:
            total[e.node] += e.k
    assert total == wanted
    assert all(sum(e.k for e in expands) == size for expands in drawn[:-1])


@pytest.mark.parametrize(("enough", "asked"), [(0.9, 2), (0.95, 6)])
def test_best_of_n_ends_with_the_first_answer_that_is_good_enough(enough: float, asked: int) -> None:
    model = Scripted({"": ["one@.92"], "one@.92": ["= 7"]}, drawn=True)
    one = run(search("best-of-n", n=6, vote="best", early_stop=True, wave=2, enough=enough), model)
    assert sum(r.n for r in model.requests) == asked
    assert one.choice is not None
    assert one.choice.answer == "= 7"
