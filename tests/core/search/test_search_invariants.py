"""What must hold of every search whatever a model writes: nothing depends on who was fast, a log and a pickle go on to the same end,
what is equal is one, what cannot be gone on from is not; and of each strategy, what its paper promises."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.engines.sampling import Sample
from core.search import strategies
from core.search.ledger import Budget
from core.search.search import Event, Search, replay
from core.search.strategies.mcts import Mcts
from core.search.strategies.particles import resample
from core.search.strategies.rebase import share_out
from core.search.strategies.steps import ENDING, softmax
from core.search.tree import ROOT, Node
from tests.core.search.scripted import Scripted, chance, follows, run, search

WAVES = {"wave": st.integers(0, 3), "enough": st.sampled_from([0.3, 0.7, 1.0]), "tries": st.integers(1, 3)}
POLICIES = (
    "0.3 any: stop; 1 any: best-of-n n=12 early_stop=true", "1 any: beam width=2 branch=3", "1 any: particles n=4",
    "0.6 any: mcts simulations=6 branch=2; 1 any: rebase n=5", "1 any: revision chains=2 rounds=1 pick=last",
    "1 any: plan-search plans=2", "1 any: planner plans=2 executions=2",
)  # fmt: skip
STRATEGIES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "linear": st.fixed_dictionaries({"waits": st.integers(0, 2)}),
    "best-of-n": st.fixed_dictionaries({"n": st.integers(1, 40), "early_stop": st.booleans(), "wave": st.integers(1, 5)}),
    "beam": st.fixed_dictionaries(
        {"width": st.integers(1, 4), "branch": st.integers(1, 4), "max_depth": st.integers(1, 8), **WAVES}
    ),
    "dvts": st.fixed_dictionaries(
        {"subtrees": st.integers(1, 4), "branch": st.integers(1, 4), "max_depth": st.integers(1, 8), **WAVES}
    ),
    "lookahead": st.fixed_dictionaries(
        {"width": st.integers(1, 3), "branch": st.integers(1, 3), "ahead": st.integers(1, 3), "max_depth": st.integers(1, 8)}
    ),
    "rebase": st.fixed_dictionaries({"n": st.integers(1, 12), "max_depth": st.integers(1, 8)}),
    "mcts": st.fixed_dictionaries(
        {"simulations": st.integers(1, 20), "branch": st.integers(1, 4), "parallel": st.integers(1, 5), "max_depth": st.integers(1, 6)}
    ),
    "particles": st.fixed_dictionaries({"n": st.integers(1, 12), "max_depth": st.integers(1, 8), **WAVES}),
    "revision": st.fixed_dictionaries(
        {"rounds": st.integers(0, 3), "chains": st.integers(1, 4), "pick": st.sampled_from(["last", "best"])}
    ),
    "plan-search": st.fixed_dictionaries(
        {"observations": st.integers(1, 4), "plans": st.integers(1, 6), "mend": st.booleans(), "solutions": st.integers(1, 3),
         "early_stop": st.booleans()}
    ),
    "planner": st.fixed_dictionaries({"plans": st.integers(1, 4), "executions": st.integers(1, 4)}),
    "compute-optimal": st.fixed_dictionaries({"probes": st.integers(1, 6), "policy": st.sampled_from(POLICIES)}),
}  # fmt: skip
any_strategy = st.sampled_from(list(STRATEGIES)).flatmap(lambda name: st.tuples(st.just(name), STRATEGIES[name]))
numbers = st.integers(0, 10_000)
budgets = st.none() | st.integers(20, 1500)


def timeless(one: Search) -> dict[str, Any]:
    """All there is of a search, but for how long it took."""
    state = one.state
    spent = {n: replace(s, seconds=0.0) for n, s in one.node_spent.items()}
    return {
        "nodes": state.tree.nodes, "memo": state.memo, "spent": state.spent, "waiting": state.waiting, "by node": spent,
        "in all": replace(one.spent, seconds=0.0), "choice": one.choice, "reason": one.reason,
    }  # fmt: skip


def child_counts(one: Search) -> dict[int, int]:
    """By depth, how many continuations were told of; what was written to its end for want of a step is apart."""
    out: dict[int, int] = {}
    for node in one.state.tree.nodes[1:]:
        if node.label != ENDING:
            depth = one.state.tree.depth(node.id)
            out[depth] = out.get(depth, 0) + node.count
    return out


# ---- every strategy


def test_every_strategy_is_tried_here() -> None:
    assert list(STRATEGIES) == list(strategies.STRATEGIES)


@settings(max_examples=40, deadline=None)
@given(any_strategy, numbers, numbers, budgets, numbers)
def test_a_search_does_not_depend_on_who_answers_first(
    strategy: tuple[str, dict[str, Any]], model: int, seed: int, tokens: int | None, when: int
) -> None:
    name, params = strategy
    budget = Budget(tokens=tokens)
    first = run(search(name, seed=seed, **params), Scripted(chance(model), drawn=True), budget=budget)
    late = Scripted(chance(model), drawn=True, late=Random(when))
    assert timeless(run(search(name, seed=seed, **params), late, budget=budget)) == timeless(first)


@settings(max_examples=30, deadline=None)
@given(any_strategy, numbers, numbers, budgets, numbers, st.data())
def test_a_log_replays_to_the_state_at_every_line_and_goes_on_to_the_same_end(
    strategy: tuple[str, dict[str, Any]], number: int, seed: int, tokens: int | None, when: int, data: st.DataObject
) -> None:
    name, params = strategy
    one = search(name, seed=seed, **params)
    lines: list[Event] = [one.start_event()]
    before: list[bytes] = []  # the state before each line

    def log(event: Event) -> None:
        before.append(pickle.dumps((one.state.tree, one.state.memo, one.state.spent, one.state.waiting)))
        lines.append(event)

    budget = Budget(tokens=tokens)
    run(one, Scripted(chance(number), drawn=True, late=Random(when)), budget=budget, log=log)
    end = timeless(one)
    for i, state in enumerate(before):
        again, _ = replay(lines[: i + 1])
        # The last line is written when the search has decided already.
        decided = lines[i + 1]["type"] == "done"
        if not decided:
            found = again.state.tree, again.state.memo, again.state.spent, again.state.waiting
            assert found == pickle.loads(state), f"after {i} lines"
    assert timeless(replay(lines)[0]) == end
    cut = data.draw(st.integers(1, len(lines) - 1))
    again, _ = replay(lines[:cut])
    copied = pickle.loads(pickle.dumps(again))
    for resumed in (again, copied):
        run(resumed, Scripted(chance(number), drawn=True, late=Random(when + 1)), budget=budget)
        assert timeless(resumed) == end


@pytest.mark.parametrize("tokens", [None, 150])
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("revision", {"rounds": 2, "chains": 3}),
        ("plan-search", {"observations": 3, "plans": 4, "solutions": 2}),
        ("planner", {"plans": 3, "executions": 2}),
        *(("compute-optimal", {"probes": 3, "policy": policy}) for policy in POLICIES),
    ],
)
def test_one_that_asks_anew_and_was_killed_after_any_line_goes_on_to_the_same_end(
    name: str, params: dict[str, Any], tokens: int | None
) -> None:
    budget, model = Budget(tokens=tokens), chance(5, ends=0.5)
    one = search(name, seed=2, **params)
    lines: list[Event] = [one.start_event()]
    run(one, Scripted(model, drawn=True, late=Random(1)), budget=budget, log=lines.append)
    assert len(lines) > 2
    for cut in range(1, len(lines)):
        again, _ = replay(lines[:cut])
        run(again, Scripted(model, drawn=True, late=Random(cut)), budget=budget)
        assert timeless(again) == timeless(one), f"killed after {cut} of {len(lines)} lines"


@settings(max_examples=40, deadline=None)
@given(any_strategy, numbers, numbers, budgets)
def test_what_is_equal_is_one_and_what_cannot_be_gone_on_from_is_not(
    strategy: tuple[str, dict[str, Any]], number: int, seed: int, tokens: int | None
) -> None:
    name, params = strategy
    model = Scripted(chance(number), drawn=True)
    one = run(search(name, seed=seed, **params), model, budget=Budget(tokens=tokens))
    tree = one.state.tree
    for node in tree.nodes:
        below = [(tree[c].text, tree[c].end, tree[c].prompt) for c in node.children]
        assert len(below) == len(set(below))
        if node.end in ("eos", "empty") or (node.end == "length" and name != "linear"):
            # A revision, or what a plan led to, hangs below it and answers a question of its own.
            assert all(tree[c].fresh for c in node.children)
    # What was asked for is what is there: no text is generated that no node holds.
    assert sum(n.tokens for n in tree.nodes) == model.wrote == one.spent.generated == one.state.spent
    dead = {tree.ids(n.id) for n in tree.nodes if n.end in ("eos", "empty") or (n.end == "length" and name != "linear")}
    alive = {tree.ids(n.id) for n in tree.nodes if n.end in ("root", "step")}
    assert not {r.written for r in model.requests} & (dead - alive)
    assert one.choice is not None
    if one.choice.node is not None:
        assert [n.id for n in tree.nodes if n.chosen] == sorted(n.id for n in tree.above(one.choice.node))
    if name != "linear" and tokens is None and tree.leaves():
        assert one.choice.node is not None and tree[one.choice.node].ended


@settings(max_examples=40, deadline=None)
@given(any_strategy, numbers, numbers, st.integers(1, 60), numbers)
def test_a_search_that_is_stopped_has_paid_for_all_that_was_written_and_replays(
    strategy: tuple[str, dict[str, Any]], number: int, seed: int, turns: int, when: int
) -> None:
    name, params = strategy
    model, one = Scripted(chance(number), drawn=True, late=Random(when)), search(name, seed=seed, **params)
    lines: list[Event] = [one.start_event()]
    run(one, model, log=lines.append, turns=turns)
    assert model.wrote == one.spent.generated == sum(n.tokens for n in one.state.tree.nodes)
    assert one.spent.uncounted == 0
    assert timeless(replay(lines)[0]) == timeless(one)


# ---- beam, lookahead


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["beam", "lookahead"]), numbers, st.integers(1, 4), st.integers(1, 3))
def test_no_more_beams_are_grown_than_the_width(name: str, number: int, width: int, branch: int) -> None:
    one = run(search(name, width=width, branch=branch), Scripted(chance(number), drawn=True))
    tree = one.state.tree
    grown: dict[int, int] = {}
    for node in tree.nodes[1:]:
        if any(tree[c].label != "ahead" for c in node.children):
            depth = tree.depth(node.id)
            grown[depth] = grown.get(depth, 0) + 1
    assert all(n <= width for n in grown.values())


@settings(max_examples=25, deadline=None)
@given(numbers, numbers, st.integers(1, 3))
def test_a_candidate_is_worth_what_its_rollout_came_to(number: int, seed: int, ahead: int) -> None:
    model = Scripted(chance(number), drawn=True)
    one = run(search("lookahead", seed=seed, width=2, branch=2, ahead=ahead, max_depth=3), model)
    tree = one.state.tree
    for node in tree.nodes:
        if node.value is None:
            continue
        # Anew, from the script alone: what comes at temperature 0, as far as it can be gone along.
        last: Node = node
        for _ in range(ahead):
            first = chance(number)("Which way?", tree.text(last.id))[0]
            said = first if first.startswith("=") else first + "\n"
            found = [tree[c] for c in last.children if tree[c].text == said and tree[c].end in ("step", "eos")]
            if not found:
                break
            last = found[0]
            if last.ended:
                break
        assert last is not node
        assert node.value == last.score


# ---- DVTS


def texts(one: Search) -> Counter[str]:
    """Every text of a tree and how often it was drawn."""
    out: Counter[str] = Counter()
    for node in one.state.tree.nodes[1:]:
        out[f"{one.state.tree.text(node.id)}|{node.end}"] += node.count
    return out


@settings(max_examples=30, deadline=None)
@given(numbers, numbers, st.integers(2, 4), st.integers(1, 4))
def test_one_subtrees_script_changes_no_other(number: int, seed: int, subtrees: int, branch: int) -> None:
    params = {"subtrees": subtrees, "branch": branch}
    before = run(search("dvts", seed=seed, **params), Scripted(chance(number, ends=0.1), drawn=True))
    tree = before.state.tree
    firsts = [tree[c] for c in tree[ROOT].children if tree[c].children]
    assume(len(firsts) > 1)
    changed = firsts[0].text

    def says(prompt: str, written: str) -> Any:
        return chance(number + 1 if written.startswith(changed) else number, ends=0.1)(prompt, written)

    after = run(search("dvts", seed=seed, **params), Scripted(says, drawn=True))

    def others(one: Search) -> dict[str, int]:
        return {t: n for t, n in texts(one).items() if not t.startswith(changed)}

    assert others(after) == others(before)


@settings(max_examples=40, deadline=None)
@given(numbers, numbers, st.integers(1, 3), st.integers(1, 4))
def test_a_further_subtree_adds_and_changes_nothing(number: int, seed: int, subtrees: int, branch: int) -> None:
    model = chance(number)
    fewer = run(search("dvts", seed=seed, subtrees=subtrees, branch=branch), Scripted(model, drawn=True))
    more = run(search("dvts", seed=seed, subtrees=subtrees + 1, branch=branch), Scripted(model, drawn=True))
    found = texts(more)
    assert texts(fewer) < found


# ---- REBASE


@given(st.integers(1, 500), st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0.01, 100))
def test_widths_sum_to_the_budget_and_follow_the_scores(budget: int, scores: list[float], balance: float) -> None:
    widths = share_out(budget, scores, balance)
    assert sum(widths) == budget
    shares = softmax(scores, balance)
    for width, share in zip(widths, shares, strict=True):
        assert math.floor(budget * share - 1e-6) <= width <= math.ceil(budget * share + 1e-6)
    best = max(range(len(shares)), key=lambda i: shares[i])
    assert widths[best] == max(widths)


@settings(max_examples=30, deadline=None)
@given(numbers, numbers, st.integers(1, 16), st.integers(1, 8))
def test_each_depth_of_rebase_spends_what_finished_answers_left(number: int, seed: int, n: int, max_depth: int) -> None:
    one = run(search("rebase", seed=seed, n=n, max_depth=max_depth), Scripted(chance(number), drawn=True))
    tree = one.state.tree
    ending = {n.parent for n in tree.nodes if n.label == ENDING and tree.depth(n.id) <= max_depth}
    counts = child_counts(one)
    for depth in sorted(counts):
        finished = sum(m.count for m in tree.nodes if m.ended and tree.depth(m.id) < depth)
        assert counts[depth] == n - finished
    if ending:  # nothing could be gone on from: those before it were written to their ends, by the same widths
        assert sum(m.count for m in tree.nodes if m.label == ENDING) == n


# ---- MCTS


@settings(max_examples=40, deadline=None)
@given(numbers, numbers, st.integers(1, 40), st.integers(1, 4), st.integers(1, 6), numbers)
def test_visits_at_the_root_are_the_simulations(
    number: int, seed: int, simulations: int, branch: int, parallel: int, when: int
) -> None:
    params = {"simulations": simulations, "branch": branch, "parallel": parallel}
    model = Scripted(chance(number, ends=0.15), drawn=True, late=Random(when))
    one = run(search("mcts", seed=seed, **params), model)
    tree, closed = one.state.tree, one.state.memo["closed"]
    root = tree[ROOT]
    assert root.visits == simulations or (ROOT in closed and root.visits < simulations)
    for node in tree.nodes:
        grown = [c for c in node.children if tree[c].label != ENDING]
        assert node.visits == (1 if grown or node.visits else 0) + sum(tree[c].visits for c in grown)
        if node.visits:
            assert node.value is not None and 0 <= node.value <= 1
        if node.ended:
            assert node.visits <= 1
    # Each simulation made one request, or came to an answer that was there and made none.
    steps = sum(1 for r in model.requests if r.stop)
    assert steps == root.visits - sum(n.visits for n in tree.nodes if n.ended)


def test_mcts_goes_deep_and_gives_a_good_line_more_visits_than_a_bad_one() -> None:
    ways = {
        "": ["good@.9", "bad@.1"],
        "good@.9": ["good@.9", "bad@.1"],
        "bad@.1": ["bad@.1", "poor@.2"],
        "poor@.2": ["bad@.1"],
    }

    def says(prompt: str, written: str) -> Any:  # it takes twenty lines to come to an end
        return ("= 7",) if written.count("\n") >= 20 else follows(ways)(prompt, written)

    one = run(search("mcts", simulations=40, branch=2), Scripted(says))
    tree = one.state.tree
    good, bad = (tree[c] for c in tree[ROOT].children)
    assert good.visits > 2 * bad.visits > 0
    assert max(tree.depth(n.id) for n in tree.nodes if n.visits) >= 4
    # None was finished, so the line of most visits was written to its end.
    assert [n.label for n in tree.leaves()] == [ENDING]
    assert one.choice is not None and one.choice.node == tree.leaves()[0].id


def test_answers_that_were_there_before_do_not_keep_mcts_from_growing_steps() -> None:
    one = search("mcts")
    one.state.tree.grow(ROOT, (Sample("= 1", (1,), "eos", 1),))
    one.state.waiting.clear()
    (asked,) = Mcts().ask(one.state)
    assert (asked.node, asked.unit) == (ROOT, "step")


@pytest.mark.parametrize("grown", ["= 1", "b@.5"])
def test_mcts_does_not_go_round_where_a_probe_was_cut_off(grown: str) -> None:
    def says(prompt: str, written: str) -> Any:  # of two probes one ends and one is too long; a step is `grown`
        first = len(model.requests) == 1
        return ("= 1", "a@.9") if first and not written else ("a@.9",) if first else (grown, "= 2")

    model = Scripted(says)
    policy = "1 any: mcts simulations=4 branch=1 parallel=2"
    one = run(search("compute-optimal", probes=2, policy=policy), model)
    assert one.state.memo["rule"] == policy
    assert [n.end for n in one.state.tree.nodes[1:3]] == ["eos", "length"]
    assert one.reason == "finished" and not one.state.tree[2].visits


def test_mcts_without_anything_to_go_on_from_writes_one_answer() -> None:
    one, cut = search("mcts"), Sample("too long", (1,), "length", 1)
    one.state.waiting.clear()
    one.state.memo.clear()
    one.state.tree.grow(ROOT, (cut,))
    (asked,) = Mcts().ask(one.state)
    Mcts().tell(one.state, replace(asked, k=1), one.state.tree.grow(ROOT, (replace(cut, text="also"),)))
    (asked,) = Mcts().ask(one.state)
    assert (asked.node, asked.label) == (ROOT, ENDING)


def test_simulations_in_flight_look_at_different_texts() -> None:
    ways = {"": ["a@.5", "b@.5", "c@.5"], **{x: ["d@.5", "e@.5"] for x in ("a@.5", "b@.5", "c@.5")}}
    model = Scripted(ways)
    run(search("mcts", simulations=4, branch=3, parallel=3), model)
    assert sorted("".join(map(chr, r.written)) for r in model.requests if r.stop) == ["", "a@.5\n", "b@.5\n", "c@.5\n"]


# ---- particle filtering


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40), st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_a_weight_gets_its_share_of_places_to_within_one(raw: list[float], n: int, u: float) -> None:
    assume(sum(raw) > 1e-3)
    weights = [w / sum(raw) for w in raw]
    drawn = resample(weights, n, u)
    assert len(drawn) == n
    assert drawn == sorted(drawn)
    for i, weight in enumerate(weights):
        assert math.floor(n * weight - 1e-6) <= drawn.count(i) <= math.ceil(n * weight + 1e-6)


def test_places_are_drawn_without_bias() -> None:
    weights = [0.05, 0.3, 0.15, 0.5]
    draw = Random(1)
    times = [resample(weights, 4, draw.random()) for _ in range(4000)]
    for i, weight in enumerate(weights):
        mean = sum(t.count(i) for t in times) / len(times)
        assert abs(mean - 4 * weight) < 0.05


@settings(max_examples=30, deadline=None)
@given(numbers, numbers, st.integers(1, 16))
def test_there_are_always_n_particles(number: int, seed: int, n: int) -> None:
    one = run(search("particles", seed=seed, n=n), Scripted(chance(number), drawn=True))
    places = one.state.memo["places"]
    tree = one.state.tree
    assert all(tree[p].ended and not tree[p].pruned for p in places)
    assert all(count <= n for count in child_counts(one).values())
    lost = any(m.end in ("empty", "length") for m in tree.nodes)
    assert len(places) == n or lost
    other = run(search("particles", seed=seed, n=n), Scripted(chance(number), drawn=True))
    assert other.state.memo == one.state.memo
