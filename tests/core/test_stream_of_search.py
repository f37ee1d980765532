"""Searches that name their nodes: steps are visits, parents are exact, ids that stand for two states are told apart."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import tree
from core.formats.stream_of_search import StreamOfSearchParser, begins

DEPTH_FIRST = """Current State: 10:[2, 3, 5], Operations: []
Exploring Operation: 2+3=5, Resulting Numbers: [5, 5]
Generated Node #0,0: 10:[5, 5] Operation: 2+3=5
Moving to Node #0,0
Current State: 10:[5, 5], Operations: ['2+3=5']
Exploring Operation: 5-5=0, Resulting Numbers: [0]
0,10 unequal: No Solution
Moving to Node #0,0
Current State: 10:[5, 5], Operations: ['2+3=5']
Exploring Operation: 5*5=25, Resulting Numbers: [25]
25,10 unequal: No Solution
Moving to Node #0
Current State: 10:[2, 3, 5], Operations: []
Exploring Operation: 3*5=15, Resulting Numbers: [2, 15]
Generated Node #0,1: 10:[2, 15] Operation: 3*5=15
Moving to Node #0,1
Current State: 10:[2, 15], Operations: ['3*5=15']
Exploring Operation: 15-2=13, Resulting Numbers: [13]
13,10 unequal: No Solution
No solution found.
"""
# Two leaves share the id #0,1,0 although they are different states, and #0,0,0 comes twice below #0,0.
BREADTH_FIRST = """Current State: 9:[1, 4, 4], Operations: []
Exploring Operation: 1+4=5, Resulting Numbers: [4, 5]
Generated Node #0,0: 9:[4, 5] Operation: 1+4=5
Exploring Operation: 4-1=3, Resulting Numbers: [4, 3]
Generated Node #0,1: 9:[4, 3] Operation: 4-1=3
Moving to Node #0,0
Current State: 9:[4, 5], Operations: ['1+4=5']
Exploring Operation: 5-4=1, Resulting Numbers: [1]
1,9 unequal: No Solution
Moving to Node #0,1
Current State: 9:[4, 3], Operations: ['4-1=3']
Exploring Operation: 4*3=12, Resulting Numbers: [12]
12,9 unequal: No Solution
Moving to Node #0,0,0
Current State: 9:[1], Operations: ['1+4=5', '5-4=1']
Moving to Node #0,1,0
Current State: 9:[12], Operations: ['4-1=3', '4*3=12']
Moving to Node #0,0,0
Current State: 9:[20], Operations: ['1+4=5', '4*5=20']
Moving to Node #0,1,0
Current State: 9:[7], Operations: ['4-1=3', '4+3=7']
"""


def read(text: str) -> tuple[StreamOfSearchParser, list]:
    parser = StreamOfSearchParser()
    parser.feed(text)
    parser.close()
    return parser, tree.build("", parser.steps, parser.name)


def test_a_step_is_a_visit_and_goes_back_to_the_first_visit_of_its_node() -> None:
    parser, nodes = read(DEPTH_FIRST)
    assert [s.name for s in parser.steps] == ["Node #0", "Node #0,0", "Node #0,0", "Node #0", "Node #0,1"]
    assert [n.parent for n in nodes] == [None, 0, 1, 0, 3]
    assert [n.is_backtrack for n in nodes] == [False, False, False, True, False]
    assert (nodes[3].resumes, nodes[3].replaces, nodes[3].confidence) == (0, 1, 1.0)
    assert [s.decision for s in parser.steps] == ["proceed", "backtrack", "backtrack", "proceed", "finish"]


def test_one_id_for_two_states_are_two_nodes() -> None:
    _, nodes = read(BREADTH_FIRST)
    # The second #0,0,0 is another state: it hangs on #0,0 and not on the first #0,0,0.
    assert [n.parent for n in nodes] == [None, 0, 0, 1, 2, 1, 2]


def test_a_search_that_ends_well_says_so() -> None:
    parser, _ = read("Current State: 5:[2, 3], Operations: []\n5,5 equal: Goal Reached\n")
    assert [s.decision for s in parser.steps] == ["finish"]


def test_the_format_is_known_by_its_first_line() -> None:
    assert begins(DEPTH_FIRST) is True
    assert begins("\nCurrent State: 10:[") is True
    assert begins("") is None
    assert begins("Current St") is None
    assert begins("Current State: 10") is None
    assert begins("Current State: Ohio") is False
    assert begins("<think>") is False


@pytest.mark.parametrize("text", [DEPTH_FIRST, BREADTH_FIRST])
def test_cut_at_every_character_gives_the_same(text: str) -> None:
    whole, nodes = read(text)
    for pieces in [*([text[:at], text[at:]] for at in range(len(text) + 1)), list(text)]:
        parser = StreamOfSearchParser()
        for piece in pieces:
            parser.feed(piece)
        parser.close()
        assert (parser.steps, parser.answer, parser.position) == (whole.steps, whole.answer, whole.position)
        assert tree.build("", parser.steps, parser.name) == nodes


LINES = st.sampled_from([
    "Current State: 5:[2, 3], Operations: []", "Moving to Node #0,1", "Moving to Node #0", "Moving to Node #0,1,0", "nonsense", "",
    "5,5 equal: Goal Reached", "No solution found.", "Current State: 5:[5], Operations: ['2+3=5']", "Moving to Node #", "  ",
])  # fmt: skip


@given(st.lists(LINES, max_size=25), st.sampled_from(["\n", "\r\n", "\n\n"]), st.randoms())
@settings(max_examples=200, deadline=None)
def test_any_cutting_gives_the_same_contiguous_steps_and_nothing_is_lost(
    lines: list[str], end: str, rng: random.Random
) -> None:
    text = end.join(lines)
    whole, nodes = read(text)
    pieces = StreamOfSearchParser()
    rest = text
    while rest:
        size = rng.randint(1, 9)
        pieces.feed(rest[:size])
        rest = rest[size:]
    pieces.close()
    assert pieces.steps == whole.steps
    assert "".join(text[s.start : s.end] for s in whole.steps) == (text if whole.steps else "")
    assert all(n.parent is None or n.parent < i for i, n in enumerate(nodes))


def test_a_line_that_never_ends_still_streams() -> None:
    parser = StreamOfSearchParser()
    events = [e for _ in range(100) for e in parser.feed("x" * 1000)]
    assert len(events) > 50
    parser.close()
    assert [(s.start, s.end) for s in parser.steps] == [(0, 100_000)]
