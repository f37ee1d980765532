"""Turns: a question asked after a trace, and what of the traces before it goes back to the model.

Thoughts are long and were made to be left behind: Steiner writes a summary into every step so that later turns can do
without the thought (Yichao Ji, "A Small Step Towards Reproducing OpenAI o1", 2024). An earlier turn is given in full or as
summaries; either way as a question and a response, for the chat template of the engine's own tokenizer. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.formats import steiner_tokens as t
from core.formats.plain import LATE
from core.formats.tagged import END_OF_TURN
from core.trace import Earlier, GivenAs, Step, Trace

Message = dict[str, str]


@dataclass(frozen=True)
class Turn:
    """An earlier question, and its response as it is given to a model: with all thoughts, or without them."""

    trace_id: str
    prompt: str
    full: str
    summary: str

    @classmethod
    def of(cls, trace: Trace) -> Turn:
        return cls(trace.trace_id, trace.prompt, in_full(trace), as_summary(trace))


@dataclass(frozen=True)
class Turns:
    """The turns before a question, the first one first; none is a question of its own."""

    turns: tuple[Turn, ...] = ()
    given_as: GivenAs = "summaries"

    @classmethod
    def of(cls, traces: Sequence[Trace], given_as: GivenAs) -> Turns:
        return cls(tuple(Turn.of(trace) for trace in traces), given_as)

    @property
    def earlier(self) -> Earlier | None:
        """What is kept with the trace."""
        return Earlier(tuple(turn.trace_id for turn in self.turns), self.given_as) if self.turns else None

    @property
    def mend(self) -> str:
        """What to do when the conversation does not fit, as a sentence to be added; "" where there are no earlier turns."""
        if not self.turns:
            return ""
        fewer = "Give the earlier turns as summaries only, or ask" if self.given_as == "full" else "Ask"
        return f" {fewer} the question anew, without what came before."

    def messages(self, prompt: str, given_as: GivenAs | None = None) -> list[Message]:
        """The conversation for a chat template, `prompt` last. `given_as` overrides how the earlier turns are given."""
        full = (given_as or self.given_as) == "full"
        said: list[Message] = []
        for turn in self.turns:
            said.append({"role": "user", "content": turn.prompt})
            said.append({"role": "assistant", "content": turn.full if full else turn.summary})
        return [*said, {"role": "user", "content": prompt}]

    def saved(self, full_tokens: int, summary_tokens: int) -> tuple[int, list[str]]:
        """Prompt tokens saved against full thoughts, given what the whole prompt has both ways; and what is to be said of it."""
        notes = []
        if full_tokens == summary_tokens and any(turn.full != turn.summary for turn in self.turns):
            notes.append(
                "The chat template of this model leaves the thoughts of earlier turns out by itself: in full and as "
                f"summaries the prompt has the same {full_tokens:,} tokens."
            )
        return (full_tokens - summary_tokens if self.given_as == "summaries" else 0), notes


def in_full(trace: Trace) -> str:
    """The response as it was written, as a message of its own.

    The end-of-turn token goes, since the chat template writes it. An opening tag that stood in the prompt comes back, since
    the template writes it for the newest turn only; thinking that was cut is ended, so that it does not run into the next
    turn. Harmony's messages cannot stand inside a message (gpt-oss refuses them, and drops earlier analysis anyway): of
    these the answer alone is given.
    """
    if trace.format == "harmony":
        return as_summary(trace)
    text = trace.response
    while text.rstrip().endswith(END_OF_TURN):
        text = text.rstrip()
        text = text.removesuffix(next(token for token in END_OF_TURN if text.endswith(token)))
    opens, closes = _markers(trace.format)
    if not opens:
        return text
    written = [close for close in closes if close in text]
    # Of several spellings the tag is opened with the one that it is closed with.
    nth = min(closes.index(min(written, key=text.index)), len(opens) - 1) if written else 0
    if not text.lstrip().startswith(opens):
        gap = "" if trace.format == "steiner" else "\n"
        text = f"{opens[nth]}{gap}{text}"
    elif not written:
        nth = next(i for i, tag in enumerate(opens) if text.lstrip().startswith(tag))
    return text if written else text + closes[nth]


def as_summary(trace: Trace) -> str:
    """The response without its thoughts.

    In Steiner's format every step keeps its name, its summary and the decision after it, and the answer follows: valid text of
    that format, without thoughts and reflections. Elsewhere nothing but the answer is meant to be kept (so do the chat
    templates of these models); where none was marked, the last step stands for it.
    """
    if trace.format == "steiner":
        steps = "".join(_brief(step) + _decision(step) for step in trace.steps[:-1])
        return t.REASONING_START + steps + "".join(map(_brief, trace.steps[-1:])) + t.REASONING_END + trace.answer
    if trace.answer or not trace.steps:
        return trace.answer
    last = trace.steps[-1]
    return (last.thought or trace.step_text(last.index)).strip()


def _brief(step: Step) -> str:
    name, summary = f"{t.NAME_START}{step.name}{t.NAME_END}", f"{t.SUMMARY_START}{step.summary}{t.SUMMARY_END}"
    return f"{t.STEP_START}{name}{summary}{t.STEP_END}"


def _decision(step: Step) -> str:
    return {"proceed": t.PROCEED, "backtrack": t.BACKTRACK}.get(step.decision or "", "")


def _markers(form: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What begins and what ends thinking in a format; nothing for text without marks."""
    if form == "steiner":
        return (t.REASONING_START,), (t.REASONING_END,)
    return next(((e.opens, e.closes) for e in LATE if e.name == form), ((), ()))
