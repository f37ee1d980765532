"""Step rewards and advantages: what they promise, whatever the rollout."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.formats import steiner_tokens as t
from core.tasks import countdown as game
from core.tasks import countdown_text as words
from tests.training.synthetic import examples
from training.rewards.advantages import normalised, step_advantages, to_come, token_advantages
from training.rewards.dag import BROKEN, DagWeights, Node, nodes_of, places, potential, step_rewards
from training.rewards.guards import guards
from training.rewards.outcome import solved
from training.rewards.rollout import ANSWER, Rollout, read
from training.synthesis.countdown import walks

numbers = st.floats(-5, 5, allow_nan=False)


@pytest.fixture(scope="module")
def written(tokenizer: Any) -> list[Rollout]:
    """Written searches as rollouts of tokens, some cut in the midst of a step."""
    found = []
    for i, walk in enumerate(itertools.islice(walks(3), 25)):
        ids = tokenizer(walk.response, add_special_tokens=False).input_ids + [tokenizer.eos_token_id]
        found.append(read(tokenizer, walk.prompt, ids[: len(ids) // 2] if i % 3 == 0 else ids))
    return found


@given(st.lists(numbers, max_size=30))
def test_an_advantage_says_more_or_less_than_the_group_not_how_much_it_is(values: list[float]) -> None:
    found = normalised(values)
    assert abs(math.fsum(found)) < 1e-6 * max(len(values), 1)
    assert (
        [a < b for a, b in itertools.pairwise(found)] == [a < b for a, b in itertools.pairwise(values)]
        or max(map(abs, values), default=0) < 1e-6
        or len(set(values)) > 1
    )
    if len(set(values)) == 1:
        assert all(abs(a) < 1e-6 for a in found)


@given(st.lists(st.lists(numbers, max_size=8), min_size=2, max_size=6), st.floats(0, 1))
def test_step_advantages_sum_to_zero_over_a_group_and_keep_its_shape(group: list[list[float]], discount: float) -> None:
    found = step_advantages(group, discount)
    assert [len(one) for one in found] == [len(one) for one in group]
    assert abs(math.fsum(a for one in found for a in one)) < 1e-5


@given(st.lists(st.lists(st.tuples(numbers, st.integers(0, 2)), max_size=8), min_size=2, max_size=6))
def test_steps_are_compared_with_those_that_began_at_an_equal_place(group: list[list[tuple[float, int]]]) -> None:
    rewards, places = ([[step[k] for step in one] for one in group] for k in (0, 1))
    found = step_advantages(rewards, 0.5, places)
    for place in range(3):
        own = [
            a for one, where in zip(found, places, strict=True) for a, p in zip(one, where, strict=True) if p == place
        ]
        assert abs(math.fsum(own)) < 1e-5


@given(st.lists(numbers, max_size=12), st.floats(0, 1))
def test_rewards_to_come_are_the_sum_they_are_defined_as(rewards: list[float], discount: float) -> None:
    brute = [sum(reward * discount**k for k, reward in enumerate(rewards[i:])) for i in range(len(rewards))]
    assert to_come(rewards, discount) == pytest.approx(brute, abs=1e-9)


def test_every_token_belongs_to_the_step_in_which_it_begins(tokenizer: Any, written: list[Rollout]) -> None:
    for rollout in written:
        ids = tokenizer(rollout.response, add_special_tokens=False).input_ids
        assert len(rollout.step_of) == len(ids) + rollout.finished
        for index, step in enumerate(rollout.steps):
            own = [i for i, s in zip(ids, rollout.step_of, strict=False) if s == index]
            assert tokenizer.decode(own) == rollout.response[step.start : step.end]
        rest = [i for i, s in zip(ids, rollout.step_of, strict=False) if s == ANSWER]
        assert tokenizer.decode(rest) == rollout.response[rollout.steps[-1].end :]


@given(data=st.data())
def test_an_advantage_lands_on_exactly_the_tokens_of_its_step(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    steps = data.draw(st.lists(numbers, min_size=len(lengths), max_size=len(lengths)))
    whole = data.draw(numbers)
    step_of = [i for i, n in enumerate(lengths) for _ in range(n)] + [ANSWER, ANSWER]
    found = token_advantages(step_of, steps, whole)
    assert found == [whole + steps[i] if i >= 0 else whole for i in step_of]


def test_the_rewards_of_a_search_are_differences_of_a_potential(written: list[Rollout]) -> None:
    """Without costs they add up to the potential of where it ended, less that of the question, whatever lies between."""
    weights = DagWeights(cost=0.0, repeat=0.0, e_i=0.3)
    ended = 0
    for rollout in (r for r in written if r.finished and solved(r)):
        problem = words.understand(rollout.prompt)
        nodes = nodes_of(problem)
        root = nodes[tuple(sorted(problem.numbers))]
        end = potential(nodes[(problem.target,)], root, len(problem.numbers) - 1, weights)
        start = potential(root, root, len(problem.numbers) - 1, weights)
        assert sum(step_rewards(rollout, weights)) == pytest.approx(end - start)
        ended += 1
    assert ended > 5


def test_a_place_in_the_dag_is_what_a_search_of_it_finds() -> None:
    """Brute force: distances by breadth, degrees by counting, and that a state is dead only if no way leads on."""
    problem = game.sample(random.Random(5), 4, held_out=False)
    dag = game.state_dag(problem.numbers)
    import networkx as nx

    root = tuple(sorted(problem.numbers))
    to_answer = nx.single_source_shortest_path_length(dag.reverse(), (problem.target,))
    from_question = nx.single_source_shortest_path_length(dag, root)
    assert nodes_of(problem) == {
        state: Node(dag.in_degree(state), dag.out_degree(state), from_question[state], to_answer.get(state))
        for state in dag
    }


def test_a_step_is_worth_more_the_nearer_it_leads_and_turning_back_is_paid() -> None:
    weights = DagWeights(cost=0.0, repeat=0.0)
    for example in examples(40, seed=4, longest=25):
        response = example.walk.response
        rollout = _rollout(example.walk.prompt, response)
        rewards = step_rewards(rollout, weights)
        checked = words.check(example.walk.problem, list(rollout.steps))
        for step, claim, reward in zip(rollout.steps, checked.steps, rewards, strict=True):
            was = game.alive(claim.start, example.walk.problem.target)
            to = claim.back_to if step.decision == "backtrack" else claim.left
            now = game.alive(to, example.walk.problem.target)
            if was and not now:
                assert reward < 0
            if now and not was:
                assert reward > 0
            if was and now and to != claim.start and step.decision != "backtrack":
                assert reward > 0 or weights.e_o > 0


@pytest.mark.parametrize("part", ["d_e", "e_o", "e_i", "d_s"])
def test_a_weight_of_zero_leaves_its_part_out(part: str) -> None:
    root, live, dead = Node(0, 9, 0, 3), Node(2, 4, 1, 2), Node(3, 5, 2, None)
    every = {"d_e": 1.0, "e_o": 0.5, "e_i": 0.5, "d_s": 0.5}
    with_it, without = (DagWeights(**(every | {part: value})) for value in (every[part], 0.0))
    changed = [n for n in (live, dead) if potential(n, root, 3, with_it) != potential(n, root, 3, without)]
    assert changed == [dead if part == "d_s" else live]


def test_a_step_that_breaks_a_rule_is_never_worth_it() -> None:
    walk = next(w for w in walks(8) if w.path and len(w.steps) > 3)
    move = walk.steps[0].thought
    wrong = walk.response.replace(move, move[:-1] + str((int(move[-1]) + 1) % 10), 1)
    rewards = step_rewards(_rollout(walk.prompt, wrong), DagWeights())
    assert rewards[0] <= BROKEN
    assert step_rewards(_rollout(walk.prompt, walk.response), DagWeights())[0] > BROKEN


def test_the_same_step_again_costs() -> None:
    walk = next(w for w in walks(8) if w.steps[0].decision == "backtrack")
    one = walk.response[: walk.response.index(t.STEP_END) + len(t.STEP_END)]
    twice = one + t.BACKTRACK + one.removeprefix(t.REASONING_START)
    thrice = twice + t.BACKTRACK + one.removeprefix(t.REASONING_START)
    first, second, *_ = step_rewards(_rollout(walk.prompt, thrice), DagWeights(repeat=0.5))
    assert first - second == pytest.approx(0.5)
    figures = guards([_rollout(walk.prompt, thrice)])
    assert (figures.steps, figures.repeated) == (3, pytest.approx(2 / 3, abs=1e-3))


def test_guards_see_what_runs_away(written: list[Rollout]) -> None:
    figures = guards(written)
    steps = [s for r in written for s in r.steps]
    assert figures.backtracks == pytest.approx(sum(s.decision == "backtrack" for s in steps) / len(steps), abs=1e-4)
    assert figures.finished == pytest.approx(sum(r.finished for r in written) / len(written), abs=1e-4)
    assert figures.well_formed == 1.0, "a step that the budget cut is not malformed"
    torn = _rollout(written[1].prompt, written[1].response.replace(t.SUMMARY_START, ""))
    assert guards([torn]).well_formed < 1.0


def test_other_questions_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="numbers game only"):
        step_rewards(_rollout("What is love?", "Baby."), DagWeights())


def _rollout(prompt: str, response: str) -> Rollout:
    from core.formats import parse_response

    steps, _, answer, _ = parse_response(prompt, response)
    return Rollout(prompt, response, tuple(steps), answer, (), True)


def test_a_step_that_the_budget_cut_is_compared_with_none(written: list[Rollout]) -> None:
    """It has no reward: beside steps that cost something its tokens would be reinforced for being cut."""
    cut = [r for r in written if not r.finished and r.steps and not r.steps[-1].complete]
    assert cut
    for rollout in cut:
        assert places(rollout)[-1] is None and step_rewards(rollout, DagWeights())[-1] == 0.0
        assert places(rollout)[0] == (0, True)
