"""Free-form text is cut where a person would: never in a formula or a code block, at turns, with the tail kept."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.formats.events import ParserEvent
from core.formats.naming import name_of
from core.formats.segment import Segmenter

LONG = "The bridge is sixty metres long and the lorry moves at five metres a second, which we take to be constant throughout."


def cut(text: str) -> list[str]:
    segmenter, events = Segmenter(), list[ParserEvent]()
    segmenter.feed(text, events)
    segmenter.end(events)
    single = Segmenter()
    for character in text:
        single.feed(character, events)
    single.end(events)
    assert single.steps == segmenter.steps
    assert "".join(text[s.start : s.end] for s in segmenter.steps) == text
    return [s.thought for s in segmenter.steps]


def test_a_paragraph_is_a_step_and_an_unterminated_tail_is_kept() -> None:
    assert cut(f"{LONG}\n\n{LONG}\n\nThen the time it takes is the length of the bridge plus that of the lorry divi") == [
        LONG, LONG, "Then the time it takes is the length of the bridge plus that of the lorry divi",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "block",
    [
        "```py\nx = 1\n\n# Wait, is that right? Yes.\n\ny = 2\n```",
        "~~~\nfirst\n\nsecond\n~~~",
        "````\n```\n\ninside\n````",
        "$$\na = b + c\n\n+ d. Wait, e\n$$",
        "\\[\na = b\n\n= c. Wait, d\n\\]",
        "\\begin{align}\na &= b \\\\\n\n&= \\begin{cases} 1 \\\\ 2 \\end{cases}\n\n\\end{align}",
    ],
)
def test_code_and_displayed_formulas_stay_whole_and_with_their_lead_in(block: str) -> None:
    first = f"{LONG} We write it down:\n\n{block}"
    assert cut(f"{first}\n\n{LONG}\n\n{LONG}") == [first, LONG, LONG]


def test_a_derivation_without_blank_lines_is_cut_after_a_formula() -> None:
    line = "So it becomes this, by the rule from before:\n\\[\na = b + c\n\\]\n"
    steps = cut(line * 20)
    assert len(steps) > 2
    assert all(step.startswith("So it") and step.endswith("\\]") for step in steps)


@pytest.mark.parametrize("failure", ["Still not a match.", "That does not lead anywhere.", "This is too messy.", "So the guess was wrong.", "There is no such n."])  # fmt: skip
@pytest.mark.parametrize("start", ["Let's assume that it is round.", "Let me use the other side.", "Suppose it is a lorry.", "We could count the wheels."])  # fmt: skip
def test_a_fresh_start_after_a_failure_begins_a_step(failure: str, start: str) -> None:
    assert cut(f"{LONG} {failure} {start}") == [f"{LONG} {failure}", start]
    assert len(cut(f"{LONG} That is what it comes to. {start}")) == 1


def test_a_short_paragraph_that_turns_begins_a_step_however_small_the_one_before() -> None:
    assert cut("So the bridge is 40 metres.\n\nWait, that's wrong. It is 60.") == [
        "So the bridge is 40 metres.", "Wait, that's wrong. It is 60.",
    ]  # fmt: skip
    assert cut(f"{LONG}\n\nScratch that.\n\nIt is 60.") == [LONG, "Scratch that.\n\nIt is 60."]
    assert len(cut("Okay.\n\nWait, that's wrong.")) == 1


def test_a_turn_in_a_list_begins_a_step() -> None:
    items = f"- {LONG}\n- So that is what we know.", "- But maybe it is a ferry."
    assert cut("\n".join(items)) == list(items)


PIECES = st.sampled_from(
    [LONG, "So it's not.", "That is wrong.", "No.", "Let's assume x.", "Let me see.", "Maybe not.", "Wait,", "no that is", "But maybe", "- But perhaps",
     "1.", "Now,", "unless", "Oh,", "aha", " ", "  ", "\n", "\n\n", "\n   \n", "$x$.", "$5", "```\n", "\\[", "等等", "不对。", "Let's", "let"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=30), st.lists(st.integers(1, 40), max_size=20))
@settings(max_examples=200, deadline=None)
def test_wherever_the_stream_is_cut_the_steps_are_the_same(pieces: list[str], sizes: list[int]) -> None:
    text = "So " + " ".join(pieces)
    cut(text)
    whole, parts, at = Segmenter(), Segmenter(), 0
    whole.feed(text, [])
    whole.end([])
    for size in [*sizes, len(text)]:
        parts.feed(text[at : at + size], [])
        at += size
    parts.end([])
    assert parts.steps == whole.steps


def test_nothing_is_cut_inside_a_formula_in_the_line() -> None:
    text = f"{LONG} So we have $f(x) = 1. Wait, g(x) = 2$ and \\(a. Wait, b\\) as the two of them."
    assert cut(text) == [text]


def test_a_dollar_may_be_money() -> None:
    text = f"{LONG} It costs $5, so three of them cost $15."
    assert cut(f"{text} Wait, there is a discount of $2 million. Alternatively, nobody pays.") == [
        text, "Wait, there is a discount of $2 million. Alternatively, nobody pays.",
    ]  # fmt: skip


def test_a_block_that_never_closes_does_not_swallow_the_rest() -> None:
    assert len(cut("```\n" + f"{LONG}\n\n" * 400)) > 100
    assert len(cut("\\[ x = 1\n\n" + f"{LONG}\n\n" * 80)) > 40


@pytest.mark.parametrize("turn", ["Wait, ", "Alternatively, ", "Hmm, ", "But wait, ", "Let me check ", "Another approach ", "On second thought, ", "So the answer is "])  # fmt: skip
def test_a_turn_begins_a_step_in_the_middle_of_a_paragraph(turn: str) -> None:
    assert cut(f"{LONG} {turn}that is not all of it.") == [LONG, f"{turn}that is not all of it."]
    assert len(cut(f"{LONG[:-1]}, {turn.lower()}that is not all of it.")) == 1
    assert len(cut(f"Fine. {turn}that is not all of it.")) == 1


@pytest.mark.parametrize(
    "end", ["Dr.", "e.g.", "i.e.", "Fig.", "vs.", "(cf.", "we know that 3.5", "at https://example.org/a.b?c=d"]
)
def test_an_abbreviation_a_decimal_or_an_address_ends_no_sentence(end: str) -> None:
    assert len(cut(f"{LONG} They wrote {end} Wait, and nothing else.")) == 1


@pytest.mark.parametrize(
    "end", ["it.", 'it."', "it.)", "it!", "it?", "it...", "it…", "it.**", "x = 3.", "$x$.", "so on, etc.", "B."]
)
def test_closing_quotes_and_brackets_belong_to_the_sentence(end: str) -> None:
    assert cut(f"{LONG} They wrote {end} Wait, no.") == [f"{LONG} They wrote {end}", "Wait, no."]


def test_a_long_paragraph_is_cut_at_the_end_of_a_sentence() -> None:
    sentence = "A line by J. R. Smith et al. on page 3 says so, cf. No. 7, and Dr. Brown holds it to be 3.5 at most. "
    steps = cut(sentence * 40)
    assert len(steps) == 4
    assert all(step.startswith("A line by") and step.endswith("3.5 at most.") for step in steps)
    assert all(1200 < len(step) <= 1200 + len(sentence) for step in steps[:-1])


def test_chinese_full_stops_end_sentences_without_white_space() -> None:
    long = "我们先把这个问题分成两个部分来看，第一部分是计算桥的长度，第二部分是计算卡车通过桥所需要的时间，然后再把两部分的结果加在一起，最后检查单位是否一致。"
    assert cut(f"{long}等等，卡车也有长度。") == [long, "等等，卡车也有长度。"]


def test_a_list_stays_with_its_lead_in_and_long_items_are_steps() -> None:
    short = f"{LONG} Three things matter:\n\n- the length\n- the speed\n\n- the time"
    assert cut(f"{short}\n\n{LONG}") == [short, LONG]
    items = [f"{n}. {LONG} {LONG}" for n in (1, 2, 3)]
    assert cut("Three things matter:\n\n" + "\n\n".join(items)) == [f"Three things matter:\n\n{items[0]}", *items[1:]]


@pytest.mark.parametrize("marks", [("Step 1: ", "Step 2: "), ("### One\n", "### Two\n"), ("**Case 1.** ", "**Case 2.** "), ("1. **Length**: ", "2. **Speed**: ")])  # fmt: skip
def test_numbered_steps_and_headings_begin_steps(marks: tuple[str, str]) -> None:
    steps = [f"{mark}the lorry enters the bridge." for mark in marks]
    assert cut("\n".join(steps)) == steps
    assert cut("\n\n".join(steps)) == steps


def test_short_paragraphs_are_gathered() -> None:
    text = "So:\n\n2a = 10\n\na = 5\n\nThat's it."
    assert cut(text) == [text]
    assert cut(f"{LONG}\n\nSo that's it.") == [f"{LONG}\n\nSo that's it."]
    column = cut("\n\n".join(f"{n} * 17 = {n * 17}, and so on" for n in range(60)))
    assert len(column) > 2
    assert all(len(step) <= 500 for step in column)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("### Step 2: Find the **speed**\n\nIt is five.", "Step 2: Find the speed"),
        ("**Check**\nAll good.", "Check"),
        ("Okay, so I need the length. Then the rest.", "I need the length"),
        ("Wait, let's compute it.", "Let's compute it"),
        ("Wait.", "Wait"),
        ("Hmm, x = 3.", "x = 3"),
        ("So \\(\\frac{1}{2} \\cdot x \\leq \\boxed{7}\\) holds.", "1/2 · x ≤ 7 holds"),
        ("It is 3.5, e.g. Dr. Brown says so. And more.", "It is 3.5, e.g. Dr. Brown says so"),
        ("- the length", "the length"),
        ("\\[\nx = 1\n\\]", "x = 1"),
        ("```py\nprint(1)\n```", "print(1)"),
        ("...", "..."),
        ("$$", "$$"),
        ("我们先看第一部分。然后看第二部分。", "我们先看第一部分"),
        (LONG, "The bridge is sixty metres long and the lorry moves at …"),
    ],
)
def test_a_name_is_made_from_the_text(text: str, name: str) -> None:
    assert name_of(text) == name
    assert len(name) <= 60
