"""Every format: chosen by its beginning, cut anywhere with the same result, and no character lost.

WORLDLINE_FUZZ says how many random mixtures are read (`-k soup`): 3,000, and 100,000 in `.ci/run`.
"""

from __future__ import annotations

import os
import random
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.formats import FORMATS, choose, parse_response
from core.formats.events import AnswerText, Decided, FieldText, ParserEvent, StepClosed, StepOpened, StreamParser
from core.formats.tagged import END_OF_TURN
from core.run import TraceReader
from core.trace import Problem

FIRST = (
    "The train leaves at 9:40 and needs 95 minutes, so I add one hour and 35 minutes to the time at which it leaves."
)
SECOND = "Wait, 40 and 35 minutes are 75, which is another full hour. It arrives at 11:15 and not at 10:75, of course."
ANSWER = "It arrives at **11:15**.\n\nHave a good trip."
THOUGHT = f"{FIRST}\n\n{SECOND}"
H = "<|start|>assistant<|channel|>"
WHOLE = {
    "think": f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}<|im_end|>\n",
    "s1": f"<|im_start|>think\n{THOUGHT}\n<|im_start|>answer\n{ANSWER}<|im_end|>",
    "sky-t1": f"<|begin_of_thought|>\n\n{THOUGHT}\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n{ANSWER}\n\n<|end_of_solution|>",
    "harmony": f"<|channel|>analysis<|message|>{FIRST}<|end|>{H}analysis<|message|>{SECOND}<|end|>{H}final<|message|>{ANSWER}<|return|>",
    "magistral": f"[THINK]{THOUGHT}[/THINK]{ANSWER}</s>",
    "gemma": f"<|channel>thought\n{THOUGHT}\n<channel|>{ANSWER}<turn|>",
    "plain": THOUGHT,
}
DELIMITERS = [
    "<think>", "</think>", "<thinking>", "</thinking>", "◁think▷", "◁/think▷", "<|im_start|>think", "<|im_start|>answer",
    "<|begin_of_thought|>", "<|end_of_thought|>", "<|begin_of_solution|>", "<|end_of_solution|>", "[THINK]", "[/THINK]",
    "<|channel>thought", "<channel|>", "<|channel|>", "<|start|>", "<|message|>", "<|call|>", "<|constrain|>json",
    "<|start|>assistant<|channel|>analysis<|message|>", "<|channel|>final<|message|>", "<|reasoning_start|>",
    "<|reasoning_step_start|>", "<|reasoning_end|>", "Current State: 5:[2, 3], Operations: []", "Moving to Node #0,1", *END_OF_TURN,
]  # fmt: skip
PIECES = [
    "\n", "\n\n", " ", "   ", "\r\n", "\t", "$", "$$", "\\[", "\\]", "\\(", "\\)", "\\", "\\begin{x}", "\\end{x}", "```", "\n```\n", "~~~", "`",
    "- ", "1. ", "12) ", "### H", "**Bold**", "Step 1: ", "Wait, ", "Alternatively, ", "Hmm", "So the answer is 4.", "analysis", "final", "a", "<", "<|", "[",
    "b c. ", "e.g. ", "Dr. ", "3.5 ", "$5 and", "。", "等等", "」", "é", "İ", "ς", "...", "'\")]", "x" * 70, "First, we look at it. ", ":",
    "A sentence that is longer than sixty characters, so that a turn may follow it. ", "\ud800", "🙂", "\u2028", "\x1c",
]  # fmt: skip


def parse(pieces: list[str], name: str | None = None) -> tuple[StreamParser, list[ParserEvent]]:
    parser = choose("".join(pieces), ended=True, name=name)
    assert parser is not None
    events = [e for piece in pieces for e in parser.feed(piece)]
    return parser, merged(events + parser.close())


def merged(events: list[ParserEvent]) -> list[ParserEvent]:
    """Neighbouring text as one event: how the stream was cut must not matter beyond that."""
    out: list[ParserEvent] = []
    for e in events:
        last = out[-1] if out else None
        if isinstance(e, FieldText) and isinstance(last, FieldText) and (e.index, e.field) == (last.index, last.field):
            out[-1] = FieldText(e.index, e.field, last.text + e.text)
        elif isinstance(e, AnswerText) and isinstance(last, AnswerText):
            out[-1] = AnswerText(last.text + e.text)
        else:
            out.append(e)
    return out


def check_accounted(text: str, parser: StreamParser, events: list[ParserEvent]) -> None:
    """Every character belongs to exactly one step or to the answer's region, and what is shown stands there."""
    position = 0
    for step in parser.steps:
        assert step.start == position < step.end
        position = step.end
    start = parser.answer_start  # type: ignore[attr-defined]
    if parser.name not in ("steiner", "stream-of-search"):  # those two have tests of their own
        assert position == (len(text) if start is None else start)
        for step in parser.steps:
            assert step.thought == step.thought.strip() != ""
            assert step.thought in text[step.start : step.end]
            assert step.name
    if start is not None:
        rest = text[start:]
        for line in parser.answer.split("\n"):
            assert parser.name == "harmony" or line in rest
    opened = [e.index for e in events if isinstance(e, StepOpened)]
    assert opened == list(range(len(parser.steps)))
    assert len([e for e in events if isinstance(e, StepClosed)]) == len(opened)
    for step in parser.steps:
        shown = "".join(e.text for e in events if isinstance(e, FieldText) and e.index == step.index)
        assert len(shown) == len(step.name + step.thought + step.summary + step.reflection) or shown == step.thought
    assert "".join(e.text for e in events if isinstance(e, AnswerText)).strip() == parser.answer
    decided = {e.index: e.decision for e in events if isinstance(e, Decided)}
    assert all(step.decision == decided.get(step.index) for step in parser.steps)


def same(text: str, pieces: list[str], name: str | None = None) -> None:
    same_as(*parse([text], name), pieces, name)


def same_as(whole: StreamParser, events: list[ParserEvent], pieces: list[str], name: str | None = None) -> None:
    cut, cut_events = parse(pieces, name)
    assert cut.steps == whole.steps
    assert cut_events == events
    assert (cut.answer, cut.name) == (whole.answer, whole.name)
    assert cut.answer_start == whole.answer_start  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------------------- families
@pytest.mark.parametrize("name", WHOLE)
def test_a_response_is_recognised_and_cut_and_its_delimiters_are_not_shown(name: str) -> None:
    parser, events = parse([WHOLE[name]])
    assert parser.name == name
    assert [s.thought for s in parser.steps] == [FIRST, SECOND]
    assert parser.answer == ("" if name == "plain" else ANSWER)
    assert parser.steps[-1].decision == (None if name == "plain" else "finish")
    assert all(s.complete for s in parser.steps)
    check_accounted(WHOLE[name], parser, events)


@pytest.mark.parametrize("name", WHOLE)
def test_cut_at_every_character_gives_the_same(name: str) -> None:
    text = WHOLE[name]
    for at in range(len(text) + 1):
        same(text, [text[:at], text[at:]])
    same(text, list(text))


@pytest.mark.parametrize("name", [n for n in WHOLE if n not in ("plain", "harmony")])
def test_the_opening_delimiter_may_be_missing(name: str) -> None:
    text = WHOLE[name]
    text = text[text.index(FIRST) :]
    parser, events = parse([text])
    assert (parser.name, parser.answer) == (name, ANSWER)
    assert [s.thought for s in parser.steps] == [FIRST, SECOND]
    check_accounted(text, parser, events)


@pytest.mark.parametrize("name", [n for n in WHOLE if n != "plain"])
def test_a_response_that_was_cut_is_all_reasoning_and_its_last_step_incomplete(name: str) -> None:
    text = WHOLE[name]
    text = text[: text.index(SECOND) + 30]
    parser, events = parse([text])
    assert [s.thought for s in parser.steps] == [FIRST, SECOND[:30].strip()]
    assert (parser.answer, parser.steps[-1].complete, parser.steps[-1].decision) == ("", False, None)
    check_accounted(text, parser, events)


@pytest.mark.parametrize("name", FORMATS)
def test_the_beginning_is_undecided_until_it_tells(name: str) -> None:
    text = WHOLE.get(name, "")
    known = [parser.name for at in range(len(text) + 1) if (parser := choose(text[:at]))]
    assert set(known) <= {name}
    assert choose("", ended=True)


@pytest.mark.parametrize("prompt_ended_with", ["<|channel|>", "<|channel|>analysis", "<|start|>assistant", ""])
def test_harmony_headers_may_begin_in_the_prompt(prompt_ended_with: str) -> None:
    whole = "<|start|>assistant" + WHOLE["harmony"]
    text = whole[whole.index(prompt_ended_with) + len(prompt_ended_with) :]
    parser, events = parse([text])
    assert (parser.name, parser.answer) == ("harmony", ANSWER)
    assert [s.thought for s in parser.steps] == [FIRST, SECOND]
    check_accounted(text, parser, events)


def test_harmony_calls_and_what_they_return_are_steps() -> None:
    text = (
        "<|channel|>analysis<|message|>I look it up.<|end|><|start|>assistant to=functions.timetable<|channel|>commentary "
        '<|constrain|>json<|message|>{"from": "Bern"}<|call|><|start|>functions.timetable to=assistant<|channel|>commentary'
        f"<|message|>9:40<|end|>{H}final<|message|>At 9:40.<|return|>"
    )
    parser, events = parse([text])
    assert [s.thought for s in parser.steps] == ["I look it up.", '{"from": "Bern"}', "9:40"]
    assert parser.answer == "At 9:40."
    check_accounted(text, parser, events)
    same(text, list(text))


def test_an_answer_alone_and_empty_reasoning_are_an_answer() -> None:
    for text in ("<think>\n\n</think>\n\n4", "</think>4", "[THINK][/THINK]4", "<|channel|>final<|message|>4<|return|>"):
        parser, events = parse([text])
        assert (parser.steps, parser.answer) == ([], "4")
        check_accounted(text, parser, events)


def test_reasoning_resumes_when_another_block_follows_at_once() -> None:
    parser, _ = parse([f"<think>{FIRST}</think>\n<think>{SECOND}</think>4"])
    assert [s.thought for s in parser.steps] == [FIRST, SECOND]
    assert parser.answer == "4"


def test_once_the_answer_has_begun_later_tags_are_its_text() -> None:
    parser, _ = parse([f"<think>{FIRST}</think>Four. <think>Or five?</think> Four."])
    assert len(parser.steps) == 1
    assert parser.answer == "Four. <think>Or five?</think> Four."


def test_a_tag_inside_a_sentence_is_something_the_model_wrote_about() -> None:
    parser, _ = parse(["<think>The tag <think> opens it, </s> strikes out.</think>4"])
    assert parser.steps[0].thought == "The tag <think> opens it, </s> strikes out."


def test_the_end_of_a_thought_counts_even_in_an_open_code_block() -> None:
    parser, _ = parse(["<think>Try:\n```py\nprint(1)\n\n</think>\n4"])
    assert (len(parser.steps), parser.answer) == (1, "4")


def test_a_format_can_be_named_and_an_unknown_name_is_refused_with_the_list() -> None:
    steps, _, answer, form = parse_response("q", "<think>a</think>b", format="plain")
    assert ([s.thought for s in steps], answer, form) == (["<think>a</think>b"], "", "plain")  # whatever tags come
    assert parse_response("q", WHOLE["magistral"], format="s1")[2] == ""
    with pytest.raises(ValueError, match="harmony") as error:
        choose("x", name="nonsense")
    assert all(name in str(error.value) for name in FORMATS)
    with pytest.raises(ValueError, match="nonsense"):
        TraceReader(Problem.ask("q"), "m", format="nonsense")


def test_a_reader_streams_what_a_stored_response_reads_as() -> None:
    for name, text in WHOLE.items():
        reader = TraceReader(Problem.ask("q"), "m")
        for character in text:
            reader.feed(character)
        reader.close()
        steps, _, answer, form = parse_response("q", text)
        assert (
            (reader.parser.name, reader.parser.steps, reader.parser.answer)
            == (form, steps, answer)
            == (name, steps, answer)
        )  # type: ignore[union-attr]


# ----------------------------------------------------------------------------------------------------------- any cutting
@given(st.sampled_from(list(WHOLE)), st.randoms(use_true_random=False), st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_any_cutting_gives_the_same(name: str, rng: random.Random, cuts: int) -> None:
    text = WHOLE[name]
    at = sorted(rng.randrange(len(text) + 1) for _ in range(cuts))
    same(text, [text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)])


@given(
    st.lists(st.one_of(st.sampled_from(DELIMITERS + PIECES), st.text(max_size=6)), max_size=30),
    st.sampled_from([None, *FORMATS]),
)
@settings(max_examples=200, deadline=None)
def test_any_text_is_accounted_for_however_it_is_cut(parts: list[str], name: str | None) -> None:
    text = "".join(parts)
    parser, events = parse([text], name)
    check_accounted(text, parser, events)
    same(text, parts, name)
    same(text, list(text), name)


@pytest.mark.slow
def test_a_soup_of_all_delimiters_never_raises_and_loses_nothing() -> None:
    rng = random.Random(7)
    names = [None, *FORMATS]
    for _ in range(int(os.environ.get("WORLDLINE_FUZZ", "3000"))):
        parts = rng.choices(DELIMITERS + PIECES, k=rng.randrange(1, 30))
        text, name = "".join(parts), rng.choice(names)
        parser, events = parse([text], name)
        check_accounted(text, parser, events)
        same_as(parser, events, parts if rng.random() < 0.5 else list(text), name)


def test_a_long_run_of_white_space_or_a_long_word_takes_linear_time() -> None:
    for text in (" " * 200_000, "\n" * 200_000, "x" * 200_000, "$" * 200_000, "." * 200_000, "。" * 200_000):
        parser, _ = parse(["a", *(text[i : i + 50] for i in range(0, len(text), 50)), "b"], "think")
        assert parser.steps[-1].end == len(text) + 2


def test_nothing_is_held_back_within_a_sentence() -> None:
    parser = choose("<think>")
    assert parser is not None
    parser.feed("<think>")
    shown = ""
    for word in FIRST.split(" "):
        shown += "".join(e.text for e in parser.feed(word + " ") if isinstance(e, FieldText))
        assert FIRST.startswith(shown) and len(shown) >= FIRST.index(word) + len(word)


# Delimiters in every order, two at a time, around a word: the small cases that a soup may miss.
@pytest.mark.parametrize("first", DELIMITERS)
def test_any_two_delimiters(first: str) -> None:
    for second, gap in product(DELIMITERS, ("", "\n", "word")):
        text = f"{first}{gap}{second}end"
        parser, events = parse([text])
        check_accounted(text, parser, events)
        same(text, list(text))
