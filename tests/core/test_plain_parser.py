"""Text that begins without a tag: a late closing tag makes it a family's, without one everything is reasoning."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.formats import choose, parse_response
from core.formats.plain import PlainParser

STEPS = [
    "First, x is 3.5, because the two halves of the rope are equally long and the whole of it measures seven.",
    "Then y follows from the second equation, which holds x and y alone.\nIt is still the same step, on a line of its own.",
    "The program that checks both of them is this, and it prints nothing when they are right:\n\n```py\na = 1\n\nb = 2\n```",
]
UNOPENED = "\n" + "\n\n".join(STEPS) + "\n</think>\n\nThe answer is **4**.\n\nReally."
THINKING = "<think>" + UNOPENED


def parse(pieces: list[str]) -> PlainParser:
    parser = PlainParser()
    for piece in pieces:
        parser.feed(piece)
    parser.close()
    return parser


def test_a_step_a_paragraph_and_code_blocks_stay_whole() -> None:
    parser = parse([UNOPENED])
    assert [s.thought for s in parser.steps] == STEPS
    assert parser.answer == "The answer is **4**.\n\nReally."
    assert [s.decision for s in parser.steps] == ["proceed", "proceed", "finish"]
    assert parser.answer_start is not None
    assert UNOPENED[parser.answer_start :].startswith("</think>")


def test_a_late_closing_tag_names_the_family() -> None:
    assert parse([UNOPENED]).name == "think"
    assert parse(["one\n\ntwo"]).name == "plain"
    for closing, name in [("<|end_of_thought|>", "sky-t1"), ("[/THINK]", "magistral"), ("<channel|>", "gemma")]:
        parser = parse(["So it is 4.", closing, "\n4"])
        assert (parser.name, parser.answer, len(parser.steps)) == (name, "4", 1)


def test_the_opening_tag_may_be_missing() -> None:
    assert parse([UNOPENED]).answer == parse([THINKING]).answer
    assert [s.thought for s in parse([UNOPENED]).steps] == [s.thought for s in parse([THINKING]).steps]


def test_without_tags_everything_is_reasoning() -> None:
    parser = parse([STEPS[0] + "\n\n" + STEPS[1] + "\n\n**Final Answer**\n\\boxed{4}"])
    assert [s.thought for s in parser.steps] == [*STEPS[:2], "**Final Answer**\n\\boxed{4}"]
    assert parser.answer == ""
    assert parser.steps[-1].complete


@given(
    st.lists(
        st.sampled_from(["a", "b c", "\n", "\n\n", " ", "```", "`", "<think>", "</think>", "<", "</thi", "é"]),
        max_size=30,
    ),
    st.randoms(),
)
@settings(max_examples=300, deadline=None)
def test_any_cutting_gives_the_same_contiguous_steps(parts: list[str], rng: random.Random) -> None:
    text = "".join(parts)
    whole = parse([text])
    single = parse(list(text))
    assert single.steps == whole.steps
    assert single.answer == whole.answer
    position = 0
    for step in whole.steps:
        assert step.start == position
        position = step.end
    if whole.steps:
        assert position == (len(text) if whole.answer_start is None else whole.answer_start)


@pytest.mark.parametrize(
    ("beginning", "chosen"),
    [
        ("<|reasoning_start|>", "steiner"),
        ("\n<|reasoning_step_start|>", "steiner"),
        ("<think>", "think"),
        ("</think>", "think"),
        ("Hello", "plain"),
        ("<|reas", None),
        ("", None),
    ],
)
def test_the_parser_is_chosen_by_the_first_characters(beginning: str, chosen: str | None) -> None:
    parser = choose(beginning)
    assert (parser and parser.name) == chosen


def test_a_stored_response_reads_as_it_streamed() -> None:
    _, nodes, answer, form = parse_response("why?", THINKING)
    assert (form, answer, len(nodes)) == ("think", parse([THINKING]).answer, 3)
    assert nodes[0].parent is None
