"""A thinking budget and "Wait" as a state machine over token ids. Knows no tensor and no engine.

Budget forcing after s1 (Muennighoff et al. 2025, arXiv 2501.19393): at the budget the end of thinking is forced; an end that
comes too early is taken back and "Wait" stands in its place. Steiner's format has a token for that thought, the turn back,
and a word between its tokens would belong to no step: there the token is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from core.control.bounds import BACKTRACK, END, FREE, Constraint
from core.control.limits import Thinking


@dataclass(frozen=True)
class Markers:
    """How a family of models marks its thinking.

    start and end are what is counted and looked for; `opens` is all that stands before a thought, where that is more than `start`.
    wait takes the place of an end that is taken back. tokens are tokens of their own in every vocabulary of the family; () for
    markers that are plain text, or that other models' vocabularies have too.
    """

    start: str
    end: str
    wait: str = "Wait"
    opens: str = ""
    tokens: tuple[str, ...] = ()

    @property
    def before(self) -> str:
        """What a thought is opened with in a text."""
        return self.opens or self.start


# The texts are those of `core/formats`, which this folder must not import.
STEINER = Markers("<|reasoning_start|>", END, BACKTRACK, tokens=("<|reasoning_start|>", END, BACKTRACK))
MAGISTRAL = Markers("[THINK]", "[/THINK]", tokens=("[THINK]", "[/THINK]"))
GEMMA = Markers("<|channel>", "<channel|>", opens="<|channel>thought\n", tokens=("<|channel>", "<channel|>"))
HARMONY = Markers(
    "<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>",
    tokens=("<|channel|>", "<|message|>", "<|end|>", "<|start|>"),
)  # fmt: skip
THINK = Markers("<think>", "</think>", tokens=("<think>", "</think>"))
KIMI = Markers("◁think▷", "◁/think▷", tokens=("◁think▷", "◁/think▷"))
SKY_T1 = Markers("<|begin_of_thought|>", "<|end_of_thought|>", opens="<|begin_of_thought|>\n\n")
IM_START = "<|im_start|>"
S1 = Markers(f"{IM_START}think", f"{IM_START}answer", opens=f"{IM_START}think\n")
FAMILIES = (STEINER, MAGISTRAL, GEMMA, HARMONY, THINK, KIMI, SKY_T1, S1)

# For models whose tokenizer cannot be seen, and for s1, whose tokenizer is that of its base. The first that fits.
_NAMED: tuple[tuple[str, Markers | None], ...] = (
    (r"steiner", STEINER), (r"magistral", MAGISTRAL), (r"gemma-?4", GEMMA), (r"gpt-?oss", HARMONY),
    (r"(^|[/_-])s1(\.\d)?([_-]|$)", S1), (r"sky-t1|openthinker-\d", SKY_T1), (r"kimi-vl.*thinking", KIMI),
    (r"qwq-32b-preview|instruct-2507|qwen3-coder|gemma|llama-3|mistral", None),
    (r"qwq|deepseek-r1|qwen3|thinking|reasoning|reasoner|think\b|smollm3|glm-(4\.[5-9]|[5-9])|minimax-m|nemotron", THINK),
)  # fmt: skip


def family_of(is_token: Callable[[str], bool], template: str = "", name: str = "") -> Markers | None:
    """The markers of a model: those that are tokens of it, else those in its chat template (or in a prompt that this made), else by
    its name. None for a model that marks nothing, or of which nothing is known.
    """
    for family in FAMILIES:
        if family.tokens and all(map(is_token, family.tokens)):
            return family
    for family in (SKY_T1, THINK, KIMI):
        if family.start in template:
            return family
    found = named(name)
    # A chat template that is seen and has none of them says that there are none, but for these two: s1's is that of its base, and
    # Mistral's own tokenizers read no marker in a text.
    return found if not template or found in (S1, MAGISTRAL) else None


def named(name: str) -> Markers | None:
    """The markers that a model's name promises; None where it promises none."""
    return next((markers for pattern, markers in _NAMED if re.search(pattern, name.lower())), None)


def countable(markers: Markers, is_token: Callable[[str], bool]) -> bool:
    """Whether a server that counts tokens between the markers finds them: plain text is cut into tokens in many ways."""
    needed = markers.tokens or ((IM_START,) if markers is S1 else ())
    return bool(needed) and all(map(is_token, needed))


def after_thinking(text: str) -> str:
    """What stands after a thought in any family's markers; "" where a thought has not ended."""
    for family in FAMILIES:
        if family.end in text:
            return text.rpartition(family.end)[2]
    return "" if text.lstrip().startswith(tuple(family.start for family in FAMILIES)) else text


def in_marks(text: str, markers: Markers | None) -> str:
    """A text whose thinking stands in `<think>` tags (a server took the model's own out), in the model's own markers."""
    if markers is None or markers.before == THINK.before or not text.startswith(THINK.start):
        return text
    thought, end, rest = text.removeprefix(THINK.start).partition(THINK.end)
    return markers.before + thought.removeprefix("\n") + (markers.end + rest if end else "")


@dataclass(frozen=True)
class ThinkingIds:
    """The markers as ids of one tokenizer."""

    start: int
    end: int
    wait: tuple[int, ...]

    @classmethod
    def of(cls, vocabulary: Mapping[str, int], encode: Callable[[str], list[int]]) -> ThinkingIds | None:
        """The first family whose markers are tokens of their own; None for a model that does not mark its thinking."""
        for family in FAMILIES:
            start, end = vocabulary.get(family.start), vocabulary.get(family.end)
            if start is not None and end is not None:
                return cls(start, end, tuple(encode(family.wait)))
        return None


class ThinkingControl:
    """One response against its `Thinking`. `seen` is the prompt (which may open the thinking) and what was written.

    Every thinking has the whole budget, as in vLLM: what stands in earlier turns of a prompt uses up nothing.
    """

    def __init__(self, ids: ThinkingIds, thinking: Thinking, seen: Iterable[int] = ()) -> None:
        self.ids, self.thinking = ids, thinking
        self.used = 0
        self.waits_left = thinking.waits
        self._on = False
        self._queued: list[int] = []
        for token in seen:
            self.push(token)

    def next(self) -> Constraint:
        """The constraint on the next token."""
        if self._queued:
            return Constraint(force=self._queued[0])
        if self._on and self._spent:
            return Constraint(force=self.ids.end)
        return FREE

    def instead_of(self, token: int) -> int:
        """What to write when the model has chosen `token`: itself, or the beginning of "Wait"."""
        if token != self.ids.end or not self._on or self._spent or not self.waits_left or not self.ids.wait:
            return token
        self.waits_left -= 1
        self._queued = list(self.ids.wait)
        return self._queued[0]

    def push(self, token: int) -> None:
        """Record the token that was written."""
        if self._queued and token == self._queued[0]:
            self._queued.pop(0)
        if token == self.ids.start:
            self._on, self.used = True, 0
        elif token == self.ids.end:
            self._on = False
        elif self._on:
            self.used += 1

    @property
    def _spent(self) -> bool:
        return self.thinking.budget is not None and self.used >= self.thinking.budget
