"""What a finished trace answers, and whether that is right by a reference answer. For screens, where many traces of one problem stand side by side.

Judging takes long where mathematics is compared: for a thread. What was compared once stays known, for the newest problems.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from functools import lru_cache

from core.answers import Answers, answers_for, kind_of
from core.answers.extract import LONGEST, boxed, last_line, said
from core.answers.math import MathAnswers
from core.trace import CUT_OFF, Problem, Trace

log = logging.getLogger("worldline.answers")

MOST_CHARS = 4000  # of the end of an answer, where what it claims stands
CHECKED_BY = "checked_by"  # in a trace's stats, with "reference": what `solved` was decided by, where no exact rule did
BEGINNING = "beginning"  # in a trace's stats, true: it is a part that was exported, whose end nobody can judge
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """answer: in the form in which equal answers are equal, "" for none. right: None where nobody can say."""

    answer: str
    right: bool | None


def outcome(prompt: str, reference: str | None, text: str) -> Outcome:
    """Of a trace whose `final_text` this is. `reference` is the stored one: an answer, or a solution that ends in it."""
    with _LOCK:
        try:
            return _known(prompt, reference).judge(text)
        except (
            Exception
        ) as failure:  # a comparison that cannot be made (no math-verify) must not cost a page or a trace
            log.warning("an answer could not be judged: %s", failure)
            return Outcome("", None)


def judged(trace: Trace, reference: str | None) -> Trace:
    """The trace with `solved` by the reference answer, where no exact rule has decided it."""
    if reference is None or trace.solved is not None or trace.stats.get(BEGINNING):
        return trace
    text = final_text(trace.format, trace.finish_reason, trace.answer, trace.response)
    right = outcome(trace.prompt, reference, text).right
    return trace if right is None else replace(trace, solved=right, stats={**trace.stats, CHECKED_BY: "reference"})


def final_text(form: str, finish_reason: str, answer: str, response: str) -> str:
    """The end of what a trace answers; a text without tags answers itself. One that was cut off answers only what it names as its answer."""
    text = (answer or (response if form == "plain" else ""))[-MOST_CHARS:]
    if finish_reason in CUT_OFF and boxed(text) is None and said(text) is None:
        return ""
    return text


def named(reference: str) -> str | None:
    """The answer that a reference gives: what is in its box or behind "the answer is" or "####", or all of one short line. None: it is a
    text that no answer can be held against.
    """
    found = boxed(reference) or said(reference)
    if found is None and "\n" not in reference.strip():
        found = reference.strip()
    return found if found and len(found) <= LONGEST else None


@lru_cache(maxsize=64)
def _known(prompt: str, reference: str | None) -> _Judge:
    return _Judge(prompt, reference)


class _Judge:
    """Of one problem and its reference."""

    def __init__(self, prompt: str, reference: str | None) -> None:
        self.reference = named(reference) if reference else None
        problem = Problem.ask(prompt, answer=self.reference)
        self.kind = kind_of(problem)
        if self.kind == "code":  # a reference is no test
            self.kind, self.reference = "text", None
        # Words too are told apart by what compares mathematics: a number within them is what counts.
        self.answers: Answers = answers_for(problem) if self.kind in ("choice", "countdown") else MathAnswers(problem)

    def judge(self, text: str) -> Outcome:
        if not text.strip():
            return Outcome("", None if self.reference is None or self.kind == "countdown" else False)
        name = self.answers.canonical(text)
        if self.reference is None or self.kind == "countdown":
            return Outcome(name, None)
        if self.kind == "text":
            return Outcome(name, self._says(text))
        return Outcome(name, self.answers.right(text))

    def _says(self, text: str) -> bool | None:
        """Words are right where they are the reference's. Others may say the same: only a box is known to be meant as the answer."""
        assert self.reference is not None
        wanted = _words(self.reference)
        if any(place is not None and _words(place) == wanted for place in (boxed(text), said(text), last_line(text))):
            return True
        return None if boxed(text) is None else False


def _words(text: str) -> str:
    return " ".join(text.split()).strip("*_. ").casefold()
