"""Steiner's streaming parser: cut the stream anywhere, lose nothing, never raise."""

from __future__ import annotations

import random
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from core.formats import parse_response
from core.formats import steiner_tokens as t
from core.formats.events import Decided, FieldText, StepClosed, StepOpened
from core.formats.steiner import SteinerParser
from training.synthesis.countdown import walks

WALKS = [next(w) for w in [walks(11)] for _ in range(40)]


def parse(pieces: list[str]) -> tuple[SteinerParser, list]:
    parser = SteinerParser()
    events = [e for piece in pieces for e in parser.feed(piece)]
    return parser, events + parser.close()


def merged(events: list) -> list:
    """Neighbouring text of one field as one event: how the stream was cut must not matter beyond that."""
    out: list = []
    for e in events:
        if isinstance(e, FieldText) and out and isinstance(out[-1], FieldText) and out[-1].field == e.field:
            out[-1] = FieldText(e.index, e.field, out[-1].text + e.text)
        elif type(e).__name__ == "AnswerText" and out and type(out[-1]) is type(e):
            out[-1] = type(e)(out[-1].text + e.text)
        else:
            out.append(e)
    return out


def test_fields_and_decisions_are_those_that_were_written() -> None:
    for walk in WALKS:
        parser, _ = parse([walk.response])
        assert parser.answer == walk.answer
        assert [(s.name, s.thought, s.summary, s.reflection) for s in parser.steps] == [
            (s.name, s.thought, s.summary, s.reflection) for s in walk.steps
        ]
        assert [s.decision for s in parser.steps[:-1]] == [s.decision for s in walk.steps[:-1]]
        assert parser.steps[-1].decision == "finish"


def test_cut_at_every_character_gives_the_same_steps_and_events() -> None:
    text = WALKS[0].response
    whole, events = parse([text])
    for at in range(len(text) + 1):
        cut, cut_events = parse([text[:at], text[at:]])
        assert cut.steps == whole.steps
        assert merged(cut_events) == merged(events)


@given(st.integers(0, len(WALKS) - 1), st.randoms(use_true_random=False), st.integers(0, 60))
@settings(max_examples=120, deadline=None)
def test_any_cutting_gives_the_same_steps(which: int, rng: random.Random, cuts: int) -> None:
    text = WALKS[which].response
    at = sorted(rng.randrange(len(text) + 1) for _ in range(cuts))
    parser, _ = parse([text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)])
    assert parser.steps == parse([text])[0].steps


@given(
    st.lists(
        st.one_of(st.sampled_from(t.TOKENS), st.text(max_size=8), st.sampled_from(["<|", "<|reasoning_", "\n"])),
        max_size=40,
    )
)
@settings(max_examples=300, deadline=None)
def test_any_soup_of_tokens_gives_contiguous_steps_and_loses_no_character(parts: list[str]) -> None:
    text = "".join(parts)
    whole, events = parse([text])
    single, single_events = parse(list(text))
    assert single.steps == whole.steps
    assert merged(single_events) == merged(events)
    position = 0
    for step in whole.steps:
        assert step.start == position
        position = step.end
    covered = whole.answer_start if whole.answer_start is not None else position
    begins = text[: text.find(t.REASONING_END)] if t.REASONING_END in text else text
    assert whole.steps or not re.sub("|".join(map(re.escape, t.TOKENS)), "", begins).strip()
    if whole.steps:
        assert covered == (whole.steps[-1].end if whole.answer_start is not None else len(text))
    opened = [e for e in events if isinstance(e, StepOpened)]
    closed = [e for e in events if isinstance(e, StepClosed)]
    assert len(opened) == len(closed) == len(whole.steps)
    for step in whole.steps:
        shown = "".join(e.text for e in events if isinstance(e, FieldText) and e.index == step.index)
        assert sorted(shown) == sorted(step.name + step.thought + step.summary + step.reflection)


def test_text_without_any_step_is_one() -> None:
    text = "<|reasoning_start|>\nTwo and two. It is 4. <|reasoning_end|>4"
    steps, _, answer, form = parse_response("2 + 2?", text)
    assert [(s.start, s.end, s.name, s.thought, s.decision) for s in steps] == [
        (0, text.index("<|reasoning_end|>"), "Two and two", "Two and two. It is 4.", "finish")
    ]
    assert (answer, form) == ("4", "steiner")
    assert [s.thought for s in parse_response("2 + 2?", "It is 4.", format="steiner")[0]] == ["It is 4."]


def test_white_space_between_tokens_is_tolerated() -> None:
    walk = WALKS[1]
    spaced = walk.response.replace("|><|", "|>\n<|")
    steps = parse([spaced])[0].steps
    assert [s.thought for s in steps] == [s.thought for s in walk.steps]


def test_a_stop_in_mid_step_leaves_an_incomplete_step() -> None:
    text = WALKS[2].response
    cut = text.index(t.SUMMARY_START) + len(t.SUMMARY_START) + 3
    parser, events = parse([text[:cut]])
    assert len(parser.steps) == 1
    assert not parser.steps[0].complete
    assert parser.steps[0].summary == text[cut - 3 : cut]
    assert parser.steps[0].end == cut
    assert not any(isinstance(e, Decided) for e in events)


def test_a_missing_opening_tag_changes_nothing() -> None:
    walk = WALKS[3]
    steps, _, answer, form = parse_response(walk.prompt, walk.response.removeprefix(t.REASONING_START))
    assert (len(steps), answer, form) == (len(walk.steps), walk.answer, "steiner")


def test_a_response_in_no_known_format_is_one_step() -> None:
    steps, nodes, answer, form = parse_response("why?", "just text <b>bold</b>")
    assert (form, answer, len(nodes)) == ("plain", "", 1)
    assert steps[0].thought == "just text <b>bold</b>"
    assert parse_response("why?", "")[0] == []
