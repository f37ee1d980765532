"""Blind reading: names go, everything else stays, and what went can be put back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.scrub import scrub

GIVEN_AWAY = [
    ("As an AI developed by DeepSeek, I add.", "As an AI developed by [model], I add."),
    ("I am Claude, made by Anthropic.", "I am [model], made by [maker]."),
    ("I'm ChatGPT, a large language model trained by OpenAI.", "I'm [model], a large language model trained by [maker]."),
    ("As a large language model trained by Google I cannot", "As a large language model trained by [maker] I cannot"),
    ("DeepSeek-R1-Distill-Qwen-7B says so, GPT-4o mini too", "[model] says so, [model] too"),
    ("I'm an AI assistant built by Acme Labs in 2024.", "I'm an AI assistant built by [maker] in 2024."),
    ("I was created by the research team at Acme.", "I was created by the research team at [maker]."),
    ("我是通义千问，由阿里云开发", "我是[model]，由[maker]开发"),
    ("lab/foo-7b thinks; foo-7b is done.", "[model] thinks; [model] is done."),
]  # fmt: skip
# Words of the subject that are also names: reasoning must stay readable.
LEFT_ALONE = [
    "Claude Shannon's theorem; the llama eats; phi = 1.618 and pi = 3.14; the Gemini constellation.",
    "Let o1 = 3 and o3 = 4. Use minimax search. I am going to use the lemma developed by Euler.",
    "As pi grows, grok the falcon's mistral. The synthetic pocket is cohere-nt.",
]


@pytest.mark.parametrize(("text", "shown"), GIVEN_AWAY)
def test_what_tells_the_writer_is_taken_out(text: str, shown: str) -> None:
    assert scrub(text, ["lab/foo-7b", "pocket", "synthetic"])[0] == shown


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_ordinary_words_stay(text: str) -> None:
    assert scrub(text, ["pocket", "synthetic"]) == (text, ())


_PIECES = st.sampled_from(
    [*(t for t, _ in GIVEN_AWAY), "GPT-4", "Qwen2.5", "[model]", " ", "\n", "x = 3 ", "😀", "by Meta"]
)


@given(st.lists(_PIECES | st.text(max_size=12), max_size=12).map("".join))
def test_putting_back_what_was_found_gives_the_raw_text(text: str) -> None:
    shown, found = scrub(text, ["lab/foo-7b"])
    for one in found:  # in order: what lies before is raw again, so offsets are those of the raw text
        assert shown[one.start : one.start + len(one.instead)] == one.instead
        shown = shown[: one.start] + one.words + shown[one.start + len(one.instead) :]
    assert shown == text
