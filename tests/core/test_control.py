"""Step bounds: between them the model is free, below only the end is masked, at the maximum the end is forced."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.control.bounds import FREE, StepBounds, StepIds
from core.control.thinking import (
    FAMILIES,
    GEMMA,
    KIMI,
    MAGISTRAL,
    STEINER,
    THINK,
    Markers,
    ThinkingControl,
    ThinkingIds,
    after_thinking,
)
from core.engines.base import Bounds, Sampling, Thinking
from core.formats.steiner_tokens import TOKENS

IDS = StepIds(step_end=1, proceed=2, backtrack=3, end=4, eos=5)


@given(st.integers(0, 6), st.integers(0, 6), st.lists(st.integers(0, 9), max_size=80))
def test_any_model_obeys_the_bounds(low: int, extra: int, wishes: list[int]) -> None:
    bounds = Bounds(low, max(low + extra, 1))
    machine = StepBounds(IDS, bounds)
    for wish in wishes:
        constraint = machine.next()
        token = constraint.force if constraint.force is not None else 0 if wish in constraint.forbid else wish
        if token == IDS.end and not machine.ended:
            assert machine.steps >= bounds.min_steps
        if token in (IDS.proceed, IDS.backtrack) and not machine.ended and constraint.force is None:
            assert not (machine._at_decision and machine.steps >= bounds.max_steps)
        machine.push(token)


def test_between_the_bounds_nothing_is_touched() -> None:
    machine = StepBounds(IDS, Bounds(1, 3), seen=[0, 1])
    assert machine.next() == FREE


def test_below_the_minimum_only_the_end_is_masked() -> None:
    machine = StepBounds(IDS, Bounds(2, 3), seen=[0, 1])
    assert machine.next().force is None
    assert set(machine.next().forbid) == {IDS.end, IDS.eos}


def test_an_end_in_mid_step_ends_the_thinking_for_good() -> None:
    """A thinking budget forces one there: without this the model finished the step, and thought on, in its answer."""
    ids = replace(IDS, thinking=(1, 2, 3, 4, 6))
    assert set(StepBounds(ids, Bounds(), seen=[0, ids.end]).next().forbid) == {1, 2, 3, 4, 6}, (
        "the end of the answer is free"
    )
    assert StepBounds(ids, Bounds(), seen=[0, ids.step_end, ids.end]).next() == FREE


def test_the_tokens_of_the_format_are_found_in_a_vocabulary() -> None:
    vocabulary = {token: i for i, token in enumerate(TOKENS)}
    ids = StepIds.of(vocabulary, eos=99)
    assert ids is not None and sorted(ids.thinking) == sorted(vocabulary.values())
    assert StepIds.of({"a": 0}, eos=1) is None


def test_at_the_maximum_the_end_is_forced_and_told_apart_from_a_free_end() -> None:
    machine = StepBounds(IDS, Bounds(0, 1), seen=[0, 1])
    assert machine.next().force == IDS.end
    machine.push(IDS.end)
    assert machine.forced_end
    free = StepBounds(IDS, Bounds(0, 5), seen=[0, 1, IDS.end])
    assert free.ended
    assert not free.forced_end


@pytest.mark.parametrize("bad", [(-1, 3), (0, 0), (4, 3)])
def test_impossible_bounds_are_refused_with_the_rule(bad: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="needed: 0 <= min_steps <= max_steps"):
        Bounds(*bad)


@pytest.mark.parametrize("bad", [{"temperature": -1.0}, {"top_p": 0.0}, {"max_tokens": 0}, {"seed": -1}])
def test_impossible_sampling_is_refused_naming_the_field(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Sampling(**bad)


def test_the_tokens_of_control_are_those_of_the_format() -> None:
    from core.control import bounds, thinking
    from core.formats import steiner_tokens as t

    assert (bounds.STEP_END, bounds.PROCEED, bounds.BACKTRACK, bounds.END) == (
        t.STEP_END, t.PROCEED, t.BACKTRACK, t.REASONING_END,
    )  # fmt: skip
    assert (thinking.STEINER.start, thinking.STEINER.end) == (t.REASONING_START, t.REASONING_END)


@pytest.mark.parametrize("family", [STEINER, MAGISTRAL, GEMMA, THINK, KIMI])
def test_a_model_in_this_process_is_known_by_its_tokens(family: Markers) -> None:
    vocabulary = {token: i for i, token in enumerate(("a", family.start, family.end, family.wait))}
    assert ThinkingIds.of(vocabulary, lambda text: [vocabulary[text]]) == ThinkingIds(1, 2, (3,))
    assert ThinkingIds.of({"a": 0, "<|im_start|>": 1}, lambda text: [0]) is None


def test_what_stands_after_a_thought_is_found_in_every_familys_markers() -> None:
    for family in FAMILIES:
        assert after_thinking(f"{family.before}So{family.end}Yes.") == "Yes.", family
        assert after_thinking(f"{family.before}So") == "", family
    assert after_thinking("Yes.") == "Yes."


THINKING_IDS = ThinkingIds(start=1, end=2, wait=(7, 8))


def written_by(model: list[int], thinking: Thinking) -> list[int]:
    """What comes out when a model wishes for `model`, token by token."""
    machine, out = ThinkingControl(THINKING_IDS, thinking), []
    wishes = iter(model)
    while True:
        force = machine.next().force
        if force is None:
            wish = next(wishes, None)
            if wish is None:
                return out
            force = machine.instead_of(wish)
        machine.push(force)
        out.append(force)


def test_at_the_budget_the_end_of_thinking_is_forced_and_the_answer_is_free() -> None:
    assert written_by([1, 5, 5, 5, 5], Thinking(budget=2)) == [1, 5, 5, 2, 5, 5]


def test_an_end_is_taken_back_as_often_as_asked() -> None:
    assert written_by([1, 5, 2, 6, 2, 6, 2, 9], Thinking(waits=2)) == [1, 5, 7, 8, 6, 7, 8, 6, 2, 9]


def test_the_budget_wins_over_wait() -> None:
    assert written_by([1, 5, 5, 6], Thinking(budget=2, waits=3)) == [1, 5, 5, 2, 6]


def test_outside_of_thinking_nothing_is_touched() -> None:
    assert written_by([5, 2, 5, 5, 5], Thinking(budget=1, waits=1)) == [5, 2, 5, 5, 5]


@pytest.mark.parametrize("bad", [{"budget": 0}, {"waits": -1}])
def test_impossible_thinking_is_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match="it must be"):
        Thinking(**bad)
