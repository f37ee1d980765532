"""Plain reasoning text: paragraphs as steps, tags found however they are cut, nothing lost."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.formats import choose, parse_response
from core.formats.plain import PlainParser
from core.formats.steiner import SteinerParser

THINKING = "<think>\nFirst, x = 3.5.\n\nThen y.\nStill the same step.\n\n```py\na = 1\n\nb = 2\n```\n\nSo done.\n</think>\n\nThe answer is **4**.\n\nReally."


def parse(pieces: list[str]) -> PlainParser:
    parser = PlainParser()
    for piece in pieces:
        parser.feed(piece)
    parser.close()
    return parser


def test_a_step_a_paragraph_and_code_blocks_stay_whole() -> None:
    parser = parse([THINKING])
    assert [s.thought for s in parser.steps] == [
        "First, x = 3.5.",
        "Then y.\nStill the same step.",
        "```py\na = 1\n\nb = 2\n```",
        "So done.",
    ]
    assert parser.answer == "The answer is **4**.\n\nReally."
    assert [s.decision for s in parser.steps] == ["proceed", "proceed", "proceed", "finish"]
    assert THINKING[parser.answer_start :].startswith("</think>")


def test_the_opening_tag_may_be_missing() -> None:
    assert parse([THINKING.removeprefix("<think>")]).answer == parse([THINKING]).answer


def test_without_tags_everything_is_reasoning() -> None:
    parser = parse(["one\n\ntwo"])
    assert [s.thought for s in parser.steps] == ["one", "two"]
    assert parser.answer == ""


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
        ("<|reasoning_start|>", SteinerParser),
        ("\n<|reasoning_step_start|>", SteinerParser),
        ("<think>", PlainParser),
        ("Hello", PlainParser),
        ("<|reas", type(None)),
        ("", type(None)),
    ],
)
def test_the_parser_is_chosen_by_the_first_characters(beginning: str, chosen: type) -> None:
    assert isinstance(choose(beginning), chosen)


def test_a_stored_response_reads_as_it_streamed() -> None:
    _, nodes, answer, form = parse_response("why?", THINKING)
    assert (form, answer, len(nodes)) == ("plain", parse([THINKING]).answer, 4)
    assert [n.parent for n in nodes] == [None, 0, 1, 2]
