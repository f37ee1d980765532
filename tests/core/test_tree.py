"""The tree of a walk: parents, where backtracks resume and what they replace, layout."""

from __future__ import annotations

import networkx as nx
import pytest

from core import layout, tree
from core.formats import parse_response
from core.tasks import countdown as game
from core.tasks import countdown_text as words
from core.trace import Placed, Step
from training.synthesis.countdown import walks


def true_parents(walk) -> list[int | None]:
    """The parents as the explorer knows them: the step that left the state a step starts from, on the explorer's stack."""
    check = words.check(walk.problem, walk.steps)
    stack: list[tuple[int | None, game.State]] = [(None, tuple(sorted(walk.problem.numbers)))]
    parents: list[int | None] = []
    for i, step in enumerate(check.steps):
        while stack[-1][1] != step.start:
            stack.pop()
        parents.append(stack[-1][0])
        stack.append((i, step.left))
    return parents


def test_every_parent_of_five_hundred_synthetic_searches_is_exact() -> None:
    stream = walks(5)
    backtracks = 0
    for _ in range(500):
        walk = next(stream)
        _, nodes, _, _ = parse_response(walk.prompt, walk.response)
        assert [n.parent for n in nodes] == true_parents(walk), walk.response
        backtracks += sum(n.is_backtrack for n in nodes)
    assert backtracks > 1000


def test_a_backtrack_has_two_facts_where_it_resumes_and_what_it_replaces() -> None:
    steps = [
        Step(0, 0, 1, summary="Left: 4, 8 and 56", decision="proceed"),
        Step(1, 1, 2, summary="Left: 8 and 60", reflection="No luck, back to 4, 8 and 56", decision="backtrack"),
        Step(
            2,
            2,
            3,
            summary="Left: 4 and 64",
            reflection="Dead end, all the way back to 4, 7, 8 and 8",
            decision="backtrack",
        ),
        Step(3, 3, 4, summary="Left: 7, 8 and 12"),
    ]
    nodes = tree.build("Reach 24 from 4, 7, 8 and 8.", steps)
    assert [n.parent for n in nodes] == [None, 0, 0, None]
    assert (nodes[2].resumes, nodes[2].replaces, nodes[2].confidence) == (0, 1, tree.NAMED)
    assert (nodes[3].resumes, nodes[3].replaces) == (None, 0)


def test_without_a_mention_the_default_is_the_parent_of_the_abandoned_step() -> None:
    steps = [Step(i, i, i + 1, thought="x", decision="backtrack" if i == 2 else "proceed") for i in range(4)]
    nodes = tree.build("prove it", steps)
    assert nodes[3] == Placed(1, True, 1, 2, tree.DEFAULT)


def test_a_restated_state_corrects_the_default_but_not_a_named_target() -> None:
    steps = [
        Step(0, 0, 1, summary="Left: 1, 2 and 3", decision="proceed"),
        Step(1, 1, 2, summary="Left: 2 and 4", decision="proceed"),
        Step(2, 2, 3, summary="Left: 8", decision="backtrack"),
        Step(3, 3, 4, thought="From 1, 2 and 3: 3 + 2 = 5"),
    ]
    nodes = tree.build("Reach 90 from 1, 1, 2 and 3.", steps)
    assert (nodes[3].parent, nodes[3].confidence) == (0, tree.RESTATED)


def test_back_to_step_n_is_understood() -> None:
    steps = [
        Step(0, 0, 1, decision="proceed"),
        Step(1, 1, 2, decision="proceed"),
        Step(2, 2, 3, reflection="Back to step 1.", decision="backtrack"),
        Step(3, 3, 4),
    ]
    assert tree.build("", steps)[3].parent == 0


def test_the_tree_is_a_tree_rooted_at_the_question() -> None:
    walk = next(walks(7))
    _, nodes, _, _ = parse_response(walk.prompt, walk.response)
    graph = tree.to_networkx(nodes)
    assert nx.is_arborescence(graph)
    assert graph.graph["walk"] == list(range(len(nodes)))
    for i in range(len(nodes)):
        assert tree.path_to(nodes, i) == [n for n in nx.shortest_path(graph, -1, i) if n >= 0]


def test_statistics_count_what_is_there() -> None:
    nodes = [Placed(None), Placed(0), Placed(0, True, 0, 1, 0.9), Placed(2), Placed(None, True, None, 0, 0.9)]
    assert tree.stats(nodes) == tree.TreeStats(steps=5, backtracks=2, branches=2, leaves=3, deepest=3)


@pytest.mark.parametrize("seed", range(5))
def test_layout_is_stable_while_the_tree_grows(seed: int) -> None:
    walk = next(w for w in walks(seed) if len(w.steps) > 8)
    _, nodes, _, _ = parse_response(walk.prompt, walk.response)
    final = layout.lay_out(nodes)
    growing = layout.Layout()
    for i, node in enumerate(nodes):
        growing.add(node)
        assert growing.places == final.places[: i + 1]
    at = [(p.column, p.depth) for p in final.places]
    assert len(set(at)) == len(at), "two steps share a place in the graph"
    assert all(0 <= p.lane < layout.MAX_LANES for p in final.places)


def test_runs_cover_every_step_once_and_break_at_branches() -> None:
    nodes = [Placed(None), Placed(0), Placed(1), Placed(1, True, 1, 2, 0.9), Placed(3)]
    assert layout.runs_of(nodes) == [layout.Run(0, 1, None, 0), layout.Run(2, 2, 0, 1), layout.Run(3, 4, 0, 1)]
