"""Which earlier step a text goes on from: an inverted index over numbers, names and formulas, with bounded work a step.

A term counts the more, the fewer steps have it (IDF), and a formula such as "x = 5" more than its parts. Only the first
`TERMS` different terms of a step are kept, and only the latest `POSTINGS` steps of a term: so the work is linear in the
trace, and a trace that repeats itself does not grow slow. `work` counts every term and every posting touched.
Knows no kinds and no tree.
"""

from __future__ import annotations

import math
import re
from collections import deque

from core.implicit.cues import word_set

TERMS = 40  # different terms kept of a step
POSTINGS = 12  # latest steps kept of a term
READ = 800  # characters of a step that are looked at
# A formula (the only one with "="), a number, a word.
_TERM = re.compile(r"[A-Za-z]\w{0,9}(?:\([^()\s]{1,8}\))?\s?=\s?-?[\w./]{1,12}|\d+(?:[.,/]\d+)*|[A-Za-z]\w*")
_COMMON = word_set(
    "this that then there these those with from have which where would could should because since about into when what "
    "just like also need find think maybe another same other term terms each here first second next value values number "
    "numbers equation expression frac cdot times left right text boxed therefore thus hence"
)


def terms(text: str) -> dict[str, float]:
    """Term -> weight, in order of appearance, at most `TERMS`."""
    found: dict[str, float] = {}
    for term in _TERM.findall(text, 0, READ):
        if "=" in term:
            term, weight = term.replace(" ", ""), 3.0
        elif len(term) < 2:
            continue
        elif term[0].isdigit():
            weight = 1.0
        else:
            if len(term) < 4:
                continue
            term, weight = term.lower(), 0.6
            if term in _COMMON:
                continue
        found.setdefault(term, weight)
        if len(found) >= TERMS:
            break
    return found


class Recall:
    """Remembers steps by their terms; `best` finds the step that shares most with a text."""

    def __init__(self) -> None:
        self.work = 0
        self._steps = 0
        self._of: dict[str, deque[int]] = {}
        self._count: dict[str, int] = {}

    def remember(self, index: int, found: dict[str, float]) -> None:
        """Add a step."""
        self._steps += 1
        self.work += len(found)
        for term in found:
            self._count[term] = self._count.get(term, 0) + 1
            steps = self._of.get(term)
            if steps is None:
                steps = self._of[term] = deque(maxlen=POSTINGS)
            steps.append(index)

    def scores(self, found: dict[str, float]) -> dict[int, float]:
        """Step -> summed weight of the terms shared with it."""
        scores: dict[int, float] = {}
        for term, weight in found.items():
            steps = self._of.get(term)
            if steps is None:
                continue
            self.work += len(steps)
            rare = weight * math.log(1 + self._steps / self._count[term])
            for step in steps:
                scores[step] = scores.get(step, 0.0) + rare
        return scores
