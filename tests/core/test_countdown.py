"""The numbers game: the oracle, the wording, the checker that trusts nothing but the rules."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.tasks import countdown as game
from core.tasks import countdown_text as words
from training.synthesis.countdown import walk, walks


def brute_force(state: game.State) -> set[int]:
    """Every number reachable, by trying every order of every pair (slow and obvious)."""
    if len(state) == 1:
        return set(state)
    found: set[int] = set()
    for i, j in itertools.permutations(range(len(state)), 2):
        rest = tuple(n for k, n in enumerate(state) if k not in (i, j))
        a, b = state[i], state[j]
        results = [a + b, a * b]
        if a - b > 0:
            results.append(a - b)
        if b > 1 and a % b == 0:
            results.append(a // b)
        for r in results:
            if 1 <= r <= game.LARGEST:
                found |= brute_force((*rest, r))
    return found


@given(st.lists(st.integers(1, 13), min_size=2, max_size=3))
@settings(max_examples=150, deadline=None)
def test_the_oracle_agrees_with_brute_force(numbers: list[int]) -> None:
    assert game.reachable(tuple(numbers)) == brute_force(tuple(numbers))


def test_the_state_dag_reaches_exactly_what_the_oracle_says() -> None:
    dag = game.state_dag((4, 7, 8, 8))
    assert {s[0] for s in dag if len(s) == 1} == set(game.reachable((4, 7, 8, 8)))
    assert any(dag.in_degree(s) > 1 for s in dag), "different orders of moves must meet in one state"


def test_sampled_questions_are_solvable_and_on_their_side_of_the_split() -> None:
    rng = random.Random(3)
    for count, held_out in itertools.product(game.COUNTS, (True, False)):
        for _ in range(20):
            problem = game.sample(rng, count, held_out=held_out)
            assert len(problem.numbers) == count
            assert game.alive(problem.numbers, problem.target)
            assert problem.held_out is held_out


def test_no_training_walk_is_a_held_out_question() -> None:
    held_out = {p.key for p in game.held_out_set(500)}
    stream = walks(1)
    assert not any(next(stream).problem.key in held_out for _ in range(500))


def test_the_held_out_set_is_distinct_solvable_and_always_the_same() -> None:
    chosen = game.held_out_set(500)
    assert len({q.key for q in chosen}) == 500
    assert all(q.held_out and game.alive(q.numbers, q.target) for q in chosen)
    assert Counter(len(q.numbers) for q in chosen) == {3: len(game.held_out_questions(3)), 4: 288}
    assert Counter(len(q.numbers) for q in game.held_out_set(31)) == {3: 15, 4: 16}
    assert game.held_out_set(500) == chosen != game.held_out_set(500, seed=1)
    with pytest.raises(ValueError, match="there are 3803"):
        game.held_out_set(100_000)


@pytest.mark.parametrize("phrasing", range(len(words.PHRASINGS)))
@pytest.mark.parametrize("numbers", [(4, 7, 8, 8), (1, 13, 2)])
def test_every_phrasing_is_understood(phrasing: int, numbers: game.State) -> None:
    problem = game.Countdown(numbers, 24)
    assert words.understand(words.ask(problem, phrasing)) == problem


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "numbers game only"),
        ("Why is the sky blue?", "numbers game only"),
        ("Reach 24 from 4 and 7.", "3 or 4 numbers"),
        ("Reach 24 from 4, 7, 8, 8 and 2.", "3 or 4 numbers"),
        ("Reach 24 from 4, 7, 8 and 14.", "14 out of range"),
        ("Reach 240 from 4, 7, 8 and 8.", "240 is out of range"),
        ("Reach 24 from 0, 7, 8 and 8.", "0 out of range"),
    ],
)
def test_a_question_out_of_range_gets_a_sentence(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        words.understand(text)


def test_the_checker_accepts_everything_the_explorer_writes() -> None:
    stream = walks(9)
    for _ in range(300):
        w = next(stream)
        check = words.check(w.problem, w.steps)
        assert all(s.ok for s in check.steps), [s.reasons for s in check.steps]
        assert check.solved == (w.path is not None)
        assert all(b.returns_to_visited for b in check.backtracks)


def one_walk() -> tuple[game.Countdown, list[words.WrittenStep]]:
    problem = game.Countdown((13, 7, 1, 5), 57)
    return problem, walk(problem, random.Random(4), step_limit=30, insight=0.3, phrasing=0).steps


@pytest.mark.parametrize(
    ("field", "old", "new", "reason"),
    [
        ("thought", " = ", " = 1", "is not"),
        ("thought", "From ", "From 99, ", "never visited"),
        ("summary", "Left: ", "Left: 3, ", "does not follow"),
        ("reflection", "Looking for 57", "Looking for 58", "looks for 58"),
        ("name", "Try ", "Hmm ", "not well-formed"),
    ],
)
def test_a_false_claim_is_named(field: str, old: str, new: str, reason: str) -> None:
    problem, steps = one_walk()
    broken = replace(steps[0], **{field: getattr(steps[0], field).replace("What about", "Try").replace(old, new)})
    check = words.check(problem, [broken])
    assert not check.steps[0].ok
    assert reason in " ".join(check.steps[0].reasons)


def test_solved_is_decided_from_the_steps_not_from_claims() -> None:
    problem = game.Countdown((2, 3, 4), 24)
    claim = words.WrittenStep(
        "Finish: 6 × 4", "From 6 and 4: 6 × 4 = 24", "Left: 24", "Looking for 24: here it is.", "finish"
    )
    assert not words.check(problem, [claim]).solved, "6 and 4 was never visited"


def test_a_return_to_a_state_never_visited_is_counted_as_such() -> None:
    problem, steps = one_walk()
    first = next(s for s in steps if s.decision == "backtrack")
    wrong = replace(first, reflection=first.reflection.rsplit("back to", 1)[0] + "back to 1, 1, 1 and 1")
    check = words.check(problem, [*steps[: steps.index(first)], wrong])
    assert check.steps[-1].returns_to_visited is False


def test_a_forced_end_is_not_held_against_the_step_before_it() -> None:
    problem, steps = one_walk()
    at = next(i for i, s in enumerate(steps) if s.decision == "backtrack")
    cut = [*steps[:at], replace(steps[at], decision="finish")]
    assert not words.check(problem, cut).steps[-1].ok, "says back to, ends"
    assert words.check(problem, cut, forced_end=True).steps[-1].ok
    middle = [*cut, steps[at + 1]]
    assert not words.check(problem, middle, forced_end=True).steps[at].ok, "only the last step was forced"
