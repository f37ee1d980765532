"""What of an earlier trace goes back to the model: all of it, or what it says without its thoughts, in every format."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.formats import parse_response
from core.formats import steiner_tokens as t
from core.trace import Earlier, Trace, new_id, problem_id_of
from core.turns import Turns, as_summary, in_full
from tests.core.test_formats import ANSWER, SECOND, THOUGHT, WHOLE
from training.synthesis.countdown import walks

WALKS = list(itertools.islice(walks(11), 20))


def read(response: str, prompt: str = "When does it arrive?") -> Trace:
    steps, nodes, answer, form = parse_response(prompt, response)
    return Trace(new_id(), problem_id_of(prompt), prompt, response, tuple(steps), tuple(nodes), answer, format=form)


@pytest.mark.parametrize("walk", WALKS, ids=lambda w: w.prompt)
def test_a_steiner_summary_is_a_steiner_text_without_thoughts(walk) -> None:
    trace = read(walk.response, walk.prompt)
    brief = as_summary(trace)
    again = read(brief, walk.prompt)
    assert [(s.name, s.summary, s.decision) for s in again.steps] == [
        (s.name, s.summary, s.decision) for s in trace.steps
    ]
    assert all(s.complete and not s.thought and not s.reflection for s in again.steps)
    assert (again.answer, again.format) == (trace.answer, "steiner")
    assert as_summary(again) == brief
    assert t.THOUGHT_START not in brief and t.REFLECTION_START not in brief
    assert in_full(trace) == walk.response


@given(cut=st.integers(0, len(WALKS[0].response)))
@settings(deadline=None)
def test_a_steiner_trace_cut_anywhere_has_a_whole_summary(cut: int) -> None:
    trace = read(WALKS[0].response[:cut])
    if trace.format != "steiner":
        return
    again = read(as_summary(trace))
    assert [(s.name, s.summary) for s in again.steps] == [(s.name, s.summary) for s in trace.steps]
    assert all(s.complete for s in again.steps)
    assert in_full(trace) == trace.response + ("" if t.REASONING_END in trace.response else t.REASONING_END)


@pytest.mark.parametrize("form", WHOLE)
def test_of_other_formats_the_answer_alone_is_the_summary(form: str) -> None:
    trace = read(WHOLE[form])
    assert trace.format == form
    assert as_summary(trace) == (SECOND if form == "plain" else ANSWER)
    # The chat template writes the end of the turn: a second one would be an empty turn.
    assert not in_full(trace).rstrip().endswith(("<|im_end|>", "</s>", "<turn|>", "<|return|>"))
    assert in_full(trace) == ANSWER if form == "harmony" else THOUGHT in in_full(trace)


@pytest.mark.parametrize(
    ("form", "opening"),
    [("think", "<think>"), ("s1", "<|im_start|>think"), ("sky-t1", "<|begin_of_thought|>"), ("magistral", "[THINK]"),
     ("gemma", "<|channel>thought")],
)  # fmt: skip
def test_an_opening_tag_that_stood_in_the_prompt_comes_back(form: str, opening: str) -> None:
    whole = read(WHOLE[form])
    headless = read(WHOLE[form].removeprefix(opening).lstrip())
    assert headless.format == form
    assert in_full(headless).startswith(opening + "\n")
    assert in_full(whole).count(opening) == in_full(headless).count(opening) == 1
    assert as_summary(headless) == as_summary(whole)


def test_the_opening_tag_is_of_the_spelling_that_closes_it() -> None:
    assert in_full(read(f"{THOUGHT}◁/think▷{ANSWER}")).startswith("◁think▷\n")
    headless = WALKS[0].response.removeprefix(t.REASONING_START)
    assert in_full(read(headless)) == WALKS[0].response


@pytest.mark.parametrize(("text", "ended"), [
    ("<think>\nSo", "<think>\nSo</think>"), ("◁think▷So", "◁think▷So◁/think▷"), ("[THINK]So", "[THINK]So[/THINK]"),
    ("<|begin_of_thought|>So", "<|begin_of_thought|>So<|end_of_thought|>"), ("So far so good", "So far so good"),
])  # fmt: skip
def test_thinking_that_was_cut_is_ended(text: str, ended: str) -> None:
    assert in_full(read(text)) == ended


@pytest.mark.parametrize(
    "text", ["", " ", "<think>", "</think>", "<|im_end|>", t.REASONING_START, t.STEP_START, "<|end|><|end|>"]
)
def test_next_to_nothing_is_still_a_message(text: str) -> None:
    trace = read(text)
    assert isinstance(in_full(trace), str) and isinstance(as_summary(trace), str)


@pytest.mark.slow
@given(
    st.lists(
        st.sampled_from(
            [*t.TOKENS, "<think>", "</think>", "<|im_end|>", "<|start|>", "<|message|>", "a", "\n\n", "</s>"]
        ),
        max_size=12,
    )
)
@settings(deadline=None, max_examples=300)
def test_any_mixture_of_delimiters_can_be_given(pieces: list[str]) -> None:
    trace = read("".join(pieces))
    assert not in_full(trace).rstrip().endswith(("<|im_end|>", "</s>")) or trace.format == "harmony"
    assert as_summary(read(as_summary(trace))) == as_summary(trace) or trace.format != "steiner"


def test_a_conversation_is_questions_and_responses_in_turn() -> None:
    traces = [read(w.response, w.prompt) for w in WALKS[:3]]
    for given_as, text in (("summaries", as_summary), ("full", in_full)):
        turns = Turns.of(traces, given_as)
        said = turns.messages("And then?")
        assert [m["role"] for m in said] == ["user", "assistant"] * 3 + ["user"]
        assert [m["content"] for m in said[::2]] == [*(w.prompt for w in WALKS[:3]), "And then?"]
        assert [m["content"] for m in said[1::2]] == [text(x) for x in traces]
        assert turns.earlier == Earlier(tuple(x.trace_id for x in traces), given_as)
    assert Turns().messages("Why?") == [{"role": "user", "content": "Why?"}]
    assert Turns().earlier is None


def test_what_was_saved_is_counted_against_full_thoughts() -> None:
    traces = [read(WHOLE["think"])]
    assert Turns.of(traces, "summaries").saved(900, 120) == (780, [])
    assert Turns.of(traces, "full").saved(900, 120) == (0, [])
    saved, (note,) = Turns.of(traces, "summaries").saved(120, 120)
    assert saved == 0 and "leaves the thoughts of earlier turns out by itself" in note
    assert Turns.of([read("x")], "full").saved(5, 5) == (0, [])


def test_a_trace_remembers_what_it_came_after() -> None:
    trace = read(WHOLE["think"])
    after = Trace.from_json({**trace.to_json(), "earlier": {"trace_ids": ["a", "b"], "given_as": "full"}})
    assert after.earlier == Earlier(("a", "b"), "full")
    assert Trace.from_json(after.to_json()) == after
    assert trace.to_json()["earlier"] is None


@pytest.mark.parametrize(
    ("earlier", "says"),
    [("x", '"earlier" must be an object'), ({"trace_ids": []}, '"earlier.trace_ids"'), ({"trace_ids": [3]}, '"earlier.trace_ids"'),
     ({"trace_ids": ["a"], "given_as": "none"}, "one of summaries, full")],
)  # fmt: skip
def test_a_wrong_chain_is_refused_with_the_field(earlier: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Trace.from_json({"prompt": "q", "response": "r", "earlier": earlier})
