"""The hand on the wheel as text, in every format: what a model is given to go on from, and what that reads as."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from core.formats import FORMATS
from core.formats import steiner_tokens as t
from core.run import TraceReader
from core.steer import ANSWER_IN_WORDS, TURN_BACK, WAIT, Fork, actions, fork
from core.trace import Action, Problem, Trace
from tests.core.test_formats import ANSWER, FIRST, SECOND, THOUGHT
from tests.core.test_formats import WHOLE as FREE
from tests.core.test_stream_of_search import DEPTH_FIRST as SEARCH


def a_step(name: str, thought: str) -> str:
    return (
        f"{t.STEP_START}{t.NAME_START}{name}{t.NAME_END}{t.THOUGHT_START}{thought}{t.THOUGHT_END}"
        f"{t.SUMMARY_START}S{t.SUMMARY_END}{t.REFLECTION_START}R{t.REFLECTION_END}{t.STEP_END}"
    )


WHOLE = {
    **FREE,
    "steiner": f"{t.REASONING_START}{a_step('A', FIRST)}{t.PROCEED}{a_step('B', SECOND)}{t.REASONING_END}{ANSWER}",
    "stream-of-search": SEARCH,
}
# Text that no rule would begin a step with: it would melt into the step before.
MELTS = "and so it goes on, without a pause."


def read(text: str, reason: str = "stop", cuts: Sequence[int] = (), form: str | None = None) -> Trace:
    reader = TraceReader(Problem.ask("When does it arrive?"), "m", "t", form)
    reader.begin(text, cuts)
    reader.close()
    return reader.trace(reason, sampling={}, stats={})


def gone_on(made: Fork, more: str, *, pieces: int = 3) -> Trace:
    """The fork's trace when the model writes `more` after the prefix, in small pieces."""
    reader = TraceReader(Problem.ask("When does it arrive?"), "m", "fork")
    reader.begin(made.prefix, made.cuts)
    for at in range(0, len(more), pieces):
        reader.feed(more[at : at + pieces])
    reader.close()
    return reader.trace("stop", sampling={}, stats={})


def check_shared(old: Trace, made: Fork, new: Trace) -> None:
    """The shared steps are those of the other trace, and nothing that was written anew stands in them."""
    n = made.origin.step + 1
    assert [(s.start, s.name, s.thought) for s in new.steps[:n]] == [
        (s.start, s.name, s.thought) for s in old.steps[:n]
    ]
    assert all(s.end <= made.origin.kept for s in new.steps[:n])
    assert new.response[: made.origin.kept] == old.response[: made.origin.kept]
    rest = new.steps[n:]
    assert new.steps[-1].end <= len(new.response)
    assert [s.start for s in rest] == [s.end for s in new.steps[n - 1 : -1]] if n else True


def test_every_format_has_its_example() -> None:
    assert set(WHOLE) == set(FORMATS)
    for form, text in WHOLE.items():
        assert read(text).format == form


@pytest.mark.parametrize("form", WHOLE)
@pytest.mark.parametrize("action", ["continue", "backtrack", "wait"])
def test_what_is_written_anew_stands_in_no_shared_step(form: str, action: Action) -> None:
    old = read(WHOLE[form])
    assert len(old.steps) >= 2
    for step in range(len(old.steps)):
        made = fork(old, step, action)
        assert made.origin.step == step
        more = MELTS if form != "steiner" or action == "wait" else a_step("C", MELTS)
        new = gone_on(made, more)
        check_shared(old, made, new)
        assert len(new.steps) > step + 1
        assert MELTS in new.response[made.origin.kept :]


@pytest.mark.parametrize("form", WHOLE)
def test_a_fork_of_a_fork_keeps_every_border(form: str) -> None:
    old = read(WHOLE[form])
    more = MELTS if form != "steiner" else a_step("C", MELTS)
    first = fork(old, 0, "continue")
    second = gone_on(first, more)
    again = fork(second, 1, "continue")
    third = gone_on(again, more if form != "steiner" else t.PROCEED + a_step("D", MELTS))
    check_shared(second, again, third)
    assert len(third.steps) >= 3


@pytest.mark.parametrize("form", sorted(set(WHOLE) - {"steiner"}))
def test_an_edited_step_keeps_what_leads_into_it(form: str) -> None:
    old = read(WHOLE[form])
    for step in range(len(old.steps)):
        made = fork(old, step, "edit", text="A new thought about the train.")
        new = gone_on(made, MELTS)
        assert new.format == (form if step or form != "stream-of-search" else "plain")
        assert new.steps[step].thought == "A new thought about the train."
        assert made.prefix == WHOLE[form][: made.origin.kept] + new.response[made.origin.kept : len(made.prefix)]
        lead = old.step_text(step).partition(old.steps[step].thought)[0]
        assert new.step_text(step).startswith(lead)
        assert new.steps[step + 1].thought == MELTS, "the model's words are not the person's"
        check_shared(old, made, new)


def test_the_opening_tags_stand_before_the_edit() -> None:
    leads = {
        "think": "<think>\n", "s1": "<|im_start|>think\n", "sky-t1": "<|begin_of_thought|>\n\n", "magistral": "[THINK]",
        "gemma": "<|channel>thought\n", "harmony": "<|channel|>analysis<|message|>",
    }  # fmt: skip
    for form, lead in leads.items():
        assert fork(read(WHOLE[form]), 0, "edit", text="New.").prefix.startswith(f"{lead}New.")
    made = fork(read(WHOLE["harmony"]), 1, "edit", text="New.")
    assert made.prefix.rstrip().endswith("<|end|><|start|>assistant<|channel|>analysis<|message|>New.")


@pytest.mark.parametrize("form", WHOLE)
def test_answer_now_ends_the_thinking(form: str) -> None:
    old = read(WHOLE[form])
    made = fork(old, 0, "answer")
    new = gone_on(made, "It is 11:15.")
    if form in ("plain", "stream-of-search"):
        assert made.prefix.endswith(ANSWER_IN_WORDS)
        assert new.steps[1].thought.startswith("**Final Answer**")
    else:
        assert (new.answer, len(new.steps)) == ("It is 11:15.", 1)
    assert new.format == form
    check_shared(old, made, new)


@pytest.mark.parametrize("form", sorted(set(WHOLE) - {"steiner"}))
def test_turning_back_and_doubt_are_words_that_begin_a_step(form: str) -> None:
    old = read(WHOLE[form])
    for action, words in (("backtrack", TURN_BACK.strip()), ("wait", WAIT)):
        made = fork(old, 0, action)  # type: ignore[arg-type]
        assert made.prefix == old.response[: old.steps[0].end].rstrip() + "\n\n" + words + (
            "\n\n" if action == "backtrack" else ""
        )
        new = gone_on(made, " the clock says otherwise." if action == "wait" else MELTS)
        assert new.steps[1].thought.startswith(words)
    turned = gone_on(fork(old, 0, "backtrack"), "Suppose that it leaves at 9:30 instead.")
    if form != "stream-of-search":  # its decisions are in its own moves
        assert turned.nodes[1].is_backtrack


def test_doubt_in_steiners_format_is_the_beginning_of_the_next_thought() -> None:
    old = read(WHOLE["steiner"])
    assert "wait" in actions("steiner")
    made = fork(old, 0, "wait")
    new = gone_on(
        made, f" 40 and 35 are 75.{t.THOUGHT_END}{t.STEP_END}{t.PROCEED}{a_step('C', 'x')}{t.REASONING_END}11:15"
    )
    assert [s.name for s in new.steps] == ["A", "Wait", "C"]
    assert new.steps[1].thought == "Wait, 40 and 35 are 75."
    assert old.steps[0].decision == new.steps[0].decision == "proceed"
    assert new.answer == "11:15"


# ------------------------------------------------------------------------------------------------------------- resume
def cuts_of(form: str) -> dict[str, int]:
    """Places at which a model may be cut off: in a thought, in the middle of a word, in the answer."""
    text = WHOLE[form]
    word = text.index("another") + 3 if "another" in text else len(text) // 2
    places = {"between": text.index(SECOND[:5]) if SECOND[:5] in text else len(text) // 3, "word": word}
    return places | ({"answer": text.index("arrives at **") + 4} if ANSWER in text else {})


@pytest.mark.parametrize("form", WHOLE)
@pytest.mark.parametrize("place", ["between", "word", "answer"])
def test_what_was_cut_is_gone_on_with_as_if_it_had_not_been(form: str, place: str) -> None:
    at = cuts_of(form).get(place)
    if at is None:
        pytest.skip("this format has no answer of its own")
    whole, text = read(WHOLE[form]), WHOLE[form]
    cut = read(text[:at], "length")
    made = fork(cut, None, "resume")
    assert made.prefix == text[:at]
    assert (made.origin.kept, made.origin.action) == (at, "resume")
    new = gone_on(made, text[at:])
    assert (new.steps, new.answer, new.format) == (whole.steps, whole.answer, whole.format)
    check_shared(cut, made, new)
    if place == "answer":
        assert made.origin.step == len(cut.steps) - 1, "with the answer begun, all steps stand"
    elif form != "steiner":
        assert made.origin.step == len(cut.steps) - 2, "the last step goes on, so it is not shared"


def test_going_on_anew_where_it_was_cut_shares_what_was_whole() -> None:
    text = WHOLE["think"]
    cut = read(text[: cuts_of("think")["word"]], "length")
    made = fork(cut, len(cut.steps) - 1, "continue")
    assert made.origin.step == len(cut.steps) - 2
    check_shared(cut, made, gone_on(made, "other hour."))
    half = read(WHOLE["steiner"][: WHOLE["steiner"].index(SECOND) + 9], "cancelled")
    assert fork(half, 1, "continue").origin.step == 0


def test_nothing_to_go_on_with_is_the_question_again() -> None:
    made = fork(read("", "error"), None, "resume")
    assert (made.prefix, made.origin.step, made.cuts) == ("", -1, ())


def test_an_end_of_turn_is_not_gone_on_from() -> None:
    old = read(f"<think>\n{THOUGHT}<|im_end|>\n")
    assert fork(old, len(old.steps) - 1, "continue").prefix == f"<think>\n{THOUGHT}"
    steiner = read(f"{t.REASONING_START}{a_step('A', FIRST)}{t.PROCEED}", "cancelled")
    assert fork(steiner, 0, "backtrack").prefix.endswith(t.STEP_END + t.BACKTRACK)


def test_a_step_is_needed_where_one_counts() -> None:
    with pytest.raises(ValueError, match='"step" is missing'):
        fork(read(WHOLE["think"]), None, "continue")
    with pytest.raises(ValueError, match="cannot be done in the format think"):
        fork(read(WHOLE["think"]), 0, "proceed")
