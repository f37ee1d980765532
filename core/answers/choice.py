"""Multiple choice: an answer is the letter of one option, however it is written. Two letters are no answer.

Knows the options where the question lists them, so that their words are answers too.
"""

from __future__ import annotations

import re
from typing import ClassVar

from core.answers.extract import LONGEST, answer_text, boxed, last_line, said
from core.trace import Problem

LETTERS = "ABCDEFGHIJ"
# "A) …", "(A) …", "A. …" or "A: …" at the beginning of a line; or "(A) …" within one.
_OPTION = re.compile(r"^[ \t]*(?:\(([A-J])\)|([A-J])[).:])[ \t]+(\S.*)$", re.M)
_INLINE = re.compile(r"\(([A-J])\)[ \t]*([^()\n]{1,200})")
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\{([^{}]*)\}")
# A letter that stands for itself: bare, in brackets or stars, and before an option's own words.
_ALONE = re.compile(r"[*_(\[ ]*(?:[Oo]ption[ ]+|[Cc]hoice[ ]+)?[*_(\[]*([A-J])[*_)\]]*[.:,;!]?[*_]*")
_LEADS = re.compile(
    r"[*_(\[ ]*(?:[Oo]ption[ ]+|[Cc]hoice[ ]+)?[*_(\[]*([A-J])(?:[*_]*[)\]][*_]*[.:,;]?|[*_]*[.:,;]|[*_]{1,2})[*_]*(?=\s|$)"
)
_BECAUSE = re.compile(r"[*_(\[ ]*([A-J])[*_)\]]*[ ,]+(?:because|since|as|which|due|[–—-])(?!\w)")
_SECOND = re.compile(r"[*_)\]]*[ ,]*(?:or|and|/|&|,)[ ]*[*_(\[]*[A-J](?!\w)")


def options(prompt: str) -> dict[str, str]:
    """The options of a question by letter: at least two, in order from A; {} where it lists none."""
    for found in (
        [(m[1] or m[2], m[3]) for m in _OPTION.finditer(prompt)],
        [(m[1], m[2]) for m in _INLINE.finditer(prompt)],
    ):
        # The last list counts: a question with worked examples asks at its end.
        starts = [i for i, (letter, _) in enumerate(found) if letter == "A"]
        listed = found[starts[-1] :] if starts else []
        if len(listed) >= 2 and [letter for letter, _ in listed] == list(LETTERS[: len(listed)]):
            return {letter: _words(text) for letter, text in listed}
    return {}


class ChoiceAnswers:
    """Of one problem."""

    SLOW: ClassVar[bool] = False

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._options = options(problem.prompt)
        self._right = self._letter(problem.answer) if problem.answer is not None else None
        if self._right == "":
            raise ValueError(
                f'problem {problem.problem_id}: "answer" is {problem.answer!r}; a choice needs one letter, or the words of an option'
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChoiceAnswers) and self.problem == other.problem

    def canonical(self, response: str) -> str:
        text = answer_text(response)
        for place in (boxed(text), said(text), last_line(text)):
            if place is not None and (letter := self._letter(place)):
                return letter
        return ""

    def right(self, response: str) -> bool | None:
        return None if self._right is None else self.canonical(response) == self._right

    def prepare(self, response: str) -> None:
        """Nothing takes long here."""

    def _letter(self, text: str) -> str:
        """The one letter that a piece of text names, "" for none or several."""
        if len(text) > LONGEST:
            return ""
        text = _WRAPPED.sub(lambda m: m[1], text.replace("$", "")).strip()
        words = _words(text)
        named = [letter for letter, option in self._options.items() if option == words]
        if len(named) == 1:
            return named[0]
        bare = text.strip("()[]*_. ")
        if len(bare) == 1 and bare.upper() in LETTERS:  # a small letter only where nothing else is said
            return self._listed(bare.upper())
        for pattern in (_ALONE, _LEADS, _BECAUSE):
            match = pattern.fullmatch(text) if pattern is _ALONE else pattern.match(text)
            if match and not _SECOND.match(text, match.end(1)) and not _SECOND.match(text, match.end()):
                return self._listed(match[1])
        return ""

    def _listed(self, letter: str) -> str:
        return letter if not self._options or letter in self._options else ""


def _words(text: str) -> str:
    return " ".join(text.split()).strip("*_. ").casefold()
