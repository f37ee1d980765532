"""The tree of reasoning that marks nothing: golden trees, and what holds for any text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import tree
from core.formats import parse_response
from core.implicit.kinds import HEAD, TAIL
from core.implicit.recall import POSTINGS, TERMS
from core.implicit.tree import CLIMB, MENDED, ImplicitTree
from core.trace import KINDS, Placed, Problem, Step
from tests.core.implicit_traces import FIXTURES, Fixture


def place(texts: list[str], prompt: str = "") -> ImplicitTree:
    builder = ImplicitTree(prompt)
    for i, text in enumerate(texts):
        builder.add(Step(i, i, i + 1, thought=text), "proceed" if i else None)
    return builder


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda f: f.name)
def test_golden_trees(fixture: Fixture) -> None:
    nodes = place([line.text for line in fixture.lines], fixture.prompt).nodes
    assert [n.parent for n in nodes] == [line.parent for line in fixture.lines]
    assert [n.is_backtrack for n in nodes] == [line.kind == "backtrack" for line in fixture.lines]
    assert [n.replaces for n in nodes] == [line.replaces for line in fixture.lines]
    for node, line in zip(nodes, fixture.lines, strict=True):
        assert line.kind in ("-", node.kind), line.text
        assert node.resumes == (node.parent if node.is_backtrack else None)


@pytest.mark.parametrize(
    "text",
    [
        "Wait.",
        "Hmm, wait, is 7 even a divisor of 91? 7 * 13 = 91, yes.",
        "Actually, that's the same as before.",
        "Hold on, let me double-check the sign.",
        "Let me go back and verify each of the steps.",
        "Wait, let me make sure that I didn't make a mistake.",
        "There are many different ways to order the books.",
        "He bought tea instead of coffee.",
        "The pendulum swings back to the start.",
        "Then we go back and forth between the two.",
        'The hint says "start over if you are stuck".',
        "In the code, `alternatively` is just a variable name.",
        "If the assumption fails, the series diverges.",
        "Let me see if that is correct.",
        "The other method in the class is called `run`.",
        "She goes back home by another road.",
        "Plan a route through all of the towns.",
        "Wait, no mistake there, 7 * 7 is 49.",
        "Is it a square? No, it is a rectangle with equal sides, which is one.",
        "I could have used the diagonals as well.",
        "Hmm, maybe I also need the perimeter.",
        "Wait, actually, the side of 7 gives an area of 49.",
        "But wait, I need to consider whether the sides are equal.",
        "Actually, let me check the area once more.",
        "It is not too hard to see that the diagonal is 7 times the root of 2.",
    ],
)
def test_what_only_sounds_like_a_turn_is_none(text: str) -> None:
    before = ["Let me try to compute the area.", "The side is 7, so the area is 49.", "The circumference is 28."]
    assert place([*before, text]).nodes[-1].parent == 2
    assert not place([*before, text]).nodes[-1].is_backtrack


@pytest.mark.parametrize(
    "text",
    [
        "Let me start over.",
        "Let's try a different approach.",
        "That doesn't work. Let me try induction on n instead.",
        "Scrap that.",
        "Let me think about this differently.",
        "Alternatively, maybe I can use symmetry.",
        "On second thought, let me reconsider the problem.",
        "Not promising. Try a substitution.",
        "Let me backtrack.",
        "New idea: count the complement.",
        "Stattdessen nehme ich die Symmetrie.",
        "行不通,换个思路。",
        "Actually, let me think about this more systematically.",
        "Perhaps the problem means the other area.",
        "Wait, maybe the figure is a rhombus.",
        "Rather than integrating, we can count the squares.",
        "A better way is to use symmetry.",
        "**Changing course** I'm now looking at the complement.",
        "Besser ist es, die Fläche zu zerlegen.",
        "Actually, let me work with the diagonals.",
        "Hmm, here's a cleaner formulation with vectors.",
        "Let me redo all of this from scratch.",
    ],
)
def test_what_says_in_words_that_it_turns_is_a_turn(text: str) -> None:
    nodes = place(
        ["The problem asks for the area.", "Let me try to integrate.", "The integral is x^3 / 3.", text]
    ).nodes
    assert nodes[-1].is_backtrack and nodes[-1].kind == "backtrack"
    assert (nodes[-1].resumes, nodes[-1].replaces) == (0, 1)


@pytest.mark.parametrize("text", ["Wait, no, that's not right. The square is inscribed, so the side is shorter.", "Oops, I swapped the two sides.", "No, hold on. The sides are measured in feet.", "Hmm, that doesn't seem right. Let me just count the tiles."])  # fmt: skip
def test_what_takes_the_last_step_back_resumes_before_it(text: str) -> None:
    nodes = place(
        ["The problem asks for the area.", "Let me try to integrate.", "The integral is x^3 / 3.", text]
    ).nodes
    assert nodes[-1] == Placed(1, True, 1, 2, nodes[-1].confidence, "backtrack")


def test_another_way_to_see_the_same_stands_beside_it() -> None:
    nodes = place(
        ["Let me try to add the rows.", "They add up to 36.", "Another way to see it: 8 columns of 4.5."]
    ).nodes
    assert (nodes[-1].kind, nodes[-1].is_backtrack) == ("explore", False)


@pytest.mark.parametrize("verdict", ["That doesn't work.", "No.", "Too small.", "This contradicts the first clue.", "Something is off here.", "-43/42... hmm."])  # fmt: skip
def test_a_fresh_start_after_a_failure_turns_whatever_its_words(verdict: str) -> None:
    texts = ["The task is to find n.", "Let me try n = 14.", f"Then the sum is 8 times 14, which is 112. {verdict}"]
    for start in ("Take n = 15.", "Maybe n = 15.", "Let's look at the remainders.", "15 is next: 8 times 15 is 120."):
        assert place([*texts, start]).nodes[-1].is_backtrack, start
    for on in (
        "So the sum is never 113.",
        "This is because 8 divides it.",
        "But 8 divides 112.",
        "Let me double-check: 8 * 14 = 112.",
    ):
        assert not place([*texts, on]).nodes[-1].is_backtrack, on


def test_a_turn_announced_in_a_last_sentence_is_made_by_the_next_step() -> None:
    nodes = place([
        "The task is to tile the board.",
        "Let me try to colour it like a chess board.",
        "There are 32 white squares. There are 32 black ones. So this says nothing. Let me try another approach.",
        "Colour the columns in three colours.",
    ]).nodes  # fmt: skip
    assert [n.parent for n in nodes] == [None, 0, 1, 0]
    assert [n.is_backtrack for n in nodes] == [False, False, False, True]


def test_cases_stand_side_by_side_and_steps_in_a_row() -> None:
    cases = [
        "There are three.",
        "Case A: x < 0.",
        "Then x = -1.",
        "**Case B:** x = 0.",
        "No solution here.",
        "Case C. x > 0.",
    ]
    assert [n.parent for n in place(cases).nodes] == [None, 0, 1, 0, 3, 0]
    assert not any(n.is_backtrack for n in place(cases).nodes)
    steps = ["Step 1: expand.", "That gives 3x.", "Step 2: collect.", "In that case I think x = 1.", "Step 3: divide."]
    assert [n.parent for n in place(steps).nodes] == [None, 0, 1, 2, 3]


def test_an_open_step_waits_behind_the_last_one_and_only_its_own_end_moves_it() -> None:
    builder = place(["The problem asks for n.", "Let me try n = 3.", "3 doesn't work."])
    assert builder.open("proceed") == Placed(2)
    builder.close(Step(3, 3, 4, thought="Let me try n = 4 instead."))
    assert builder.nodes[3].parent == 0 and builder.depths == [0, 1, 2, 1]


def test_free_form_text_gets_its_tree_from_the_words_and_marked_text_from_its_marks() -> None:
    lines = FIXTURES[0].lines
    _, nodes, _, _ = parse_response(
        FIXTURES[0].prompt, "<think>\n" + "\n\n".join(x.text for x in lines) + "\n</think>\n\n1, 2, 3"
    )
    assert sum(n.is_backtrack for n in nodes) == 1
    assert isinstance(tree.tree_for("steiner", ""), tree.TreeBuilder)


TEXTS = st.one_of(
    st.text(max_size=60),
    st.sampled_from([line.text for f in FIXTURES for line in f.lines]),
    st.sampled_from(["", " ", "No.", "Step 1:", "back to step 99999999", "Case IV", "(1)", "\\tag{a}", "```", '"', "Wait " * 300, "=" * 900]),
)  # fmt: skip


@pytest.mark.slow
@given(st.lists(TEXTS, max_size=25), st.text(max_size=20))
@settings(max_examples=150, deadline=None)
def test_any_text_gives_a_tree_and_a_prefix_gives_the_same_beginning(texts: list[str], prompt: str) -> None:
    whole = place(texts, prompt)
    for i, node in enumerate(whole.nodes):
        assert node.parent is None or 0 <= node.parent < i
        assert node.kind in KINDS
        assert node.confidence is not None and 0 <= node.confidence <= 1
        assert node.is_backtrack == (node.kind == "backtrack") == (node.replaces is not None)
        assert node.replaces is None or node.replaces < i
        assert whole.depths[i] == (0 if node.parent is None else whole.depths[node.parent] + 1)
    for cut in {0, len(texts) // 2, max(0, len(texts) - 1)}:
        assert place(texts[:cut], prompt).nodes == whole.nodes[:cut]


@given(st.lists(TEXTS, min_size=1, max_size=25))
@settings(max_examples=50, deadline=None)
def test_no_older_step_ever_moves(texts: list[str]) -> None:
    builder = ImplicitTree()
    for i, text in enumerate(texts):
        before = list(builder.nodes)
        builder.open(None)
        builder.close(Step(i, i, i + 1, thought=text))
        assert builder.nodes[:i] == before


# What one step may cost: its terms, their postings (twice: for the tree and for the try that it replaces), and walks up.
MOST_WORK = TERMS + 2 * TERMS * POSTINGS + 6 * CLIMB + MENDED


@pytest.mark.parametrize("steps", [500, 4000])
def test_the_work_is_linear_however_often_a_trace_turns(steps: int) -> None:
    lines = [line.text for f in FIXTURES for line in f.lines]
    builder = place([lines[i % len(lines)] for i in range(steps)])
    assert builder.work + builder.recall.work < steps * MOST_WORK
    assert builder.work + builder.recall.work < steps * 150, "on ordinary text a step costs far less than it may"


def test_a_step_of_a_million_characters_is_read_at_its_ends() -> None:
    middle = "Let me start over. " * 50_000
    assert HEAD + TAIL < 2000
    builder = place(["Let me try x = 1.", "It is 1. " * 100 + middle + "It is 1. " * 100])
    assert not builder.nodes[1].is_backtrack


def test_a_run_streams_the_tree_of_the_format_that_it_turns_out_to_be() -> None:
    from core.run import TraceReader

    reader = TraceReader(Problem.ask(FIXTURES[0].prompt), "model")
    text = "\n\n".join(line.text for line in FIXTURES[0].lines)
    events = [e for piece in text for e in reader.feed(piece)] + reader.close()
    closed = [e["step"] for e in events if e["type"] == "step_close"]
    trace = reader.trace("stop", sampling={}, stats={})
    assert [s["parent"] for s in closed] == [n.parent for n in trace.nodes]
    assert [s["kind"] for s in closed] == [n.kind for n in trace.nodes]
    assert reader.backtracks == 1
