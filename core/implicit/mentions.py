"""What a text calls earlier steps: "step 3", "equation (2)", "Case 2", "my first approach", "the beginning".

Steps are registered under the names that they give themselves; a mention is looked up there. A plain "step 3" that no step
has claimed is the third step. Knows no kinds; costs a bounded piece of every text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from core.implicit.cues import word_set

READ = 320  # characters of a step in which a mention counts
_NUMERALS = {"i": "1", "ii": "2", "iii": "3", "iv": "4", "v": "5", "one": "1", "two": "2", "three": "3", "four": "4"}
# A letter only as a capital, and "I" only before a mark: "plan a trip" and "in that case I think" name nothing.
_NUMBER = r"(\d{1,4}|[IVX]{2,4}|I(?=[:.)])|[A-E]|(?i:one|two|three|four))"
_HEADING = re.compile(
    rf"\W*(?:(?i:(?:so|now|then|next|let's|let me|try|consider|for|in|okay|and|schritt)[\s,]+)){{0,3}}"
    rf"((?i:step|schritt|case|fall|cas|caso|option|scenario|possibility|approach|method|attempt|hypothesis|way|plan|idea))\s+#?{_NUMBER}\b(?!,? (?:and|or|fails?|gives|works|is|was))",
)
_CHINESE_CASE = re.compile(r"\W*(情况|情形|方法|方案)\s*([一二三四五六\d])")
_EQUATION = re.compile(
    r"\(\s*(\d{1,3})\s*\)\s*$|\\tag\{(\w{1,6})\}|\beq(?:uation|n|\.)?\s*\(?(\d{1,3})\)?", re.I | re.M
)
_STEP = re.compile(
    r"\b(step|schritt|case|option|scenario|possibility|approach|method|attempt|hypothesis|plan|idea)\s+#?(\d{1,4}|[a-e]\b)",
    re.I,
)
_ORDINAL = re.compile(
    r"\b(first|second|third|original|initial|previous|earlier|last)\s+(?:\w+\s)?(?:approach|method|idea|plan|attempt|strategy|way|calculation|route|line)\b",
    re.I,
)
_QUESTION = re.compile(
    r"\b(?:from scratch|start(?:ing)? (?:over|afresh|anew|fresh|all over|from the (?:beginning|start|top))|square one|drawing board|from the beginning|the very beginning"
    r"|back to (?:the )?(?:start|beginning|question|problem|original (?:problem|question))|(?:read|look at|reread|re-read) (?:it|the (?:problem|question)|the original)"
    r"|mis(?:read|understood|understanding|interpret(?:ed|ing)) the (?:problem|question)|von vorne|du début)|从头|重新开始|重新审题",
    re.I,
)
# Members of these stand side by side: "Case 2" hangs where "Case 1" hangs. Steps follow one another.
SIDE_BY_SIDE = word_set(
    "case fall cas caso option scenario possibility approach method attempt hypothesis way plan idea 情况 情形 方法 方案"
)
RIVALS = word_set("approach method attempt hypothesis way plan idea 方法 方案")  # a later one replaces a failed one

Name = tuple[str, str]


@dataclass(frozen=True)
class Mention:
    """`step`: an index. `plan`: the n-th way tried (0 first, -1 the one before). `question`: the beginning."""

    what: Literal["step", "plan", "question"]
    number: int = 0
    sure: float = 0.9


class Mentions:
    """Names of steps so far."""

    def __init__(self) -> None:
        self._named: dict[Name, int] = {}
        self._latest: dict[str, int] = {}

    def heading(self, text: str) -> Name | None:
        """The name that a step gives itself with its first words."""
        found = _HEADING.match(text, 0, 80) or _CHINESE_CASE.match(text, 0, 20)
        if found is None:
            return None
        number = found[2].lower()
        return found[1].lower(), _NUMERALS.get(number, number)

    def sibling(self, name: Name) -> int | None:
        """The latest other member of a side-by-side family, if this one is new."""
        return self._latest.get(name[0]) if name[0] in SIDE_BY_SIDE and name not in self._named else None

    def register(self, index: int, text: str, name: Name | None) -> None:
        if name is not None and name not in self._named:
            self._named[name] = self._latest[name[0]] = index
        if "(" in text or "q" in text or "\\tag" in text:
            for n, found in enumerate(_EQUATION.finditer(text, 0, 800)):
                self._named.setdefault(("eq", (found[1] or found[2] or found[3]).lower()), index)
                if n >= 8:
                    break

    def find(self, text: str, index: int, own: Name | None) -> Mention | None:
        """The first thing that the beginning of a text refers to."""
        head = text[:READ]
        for found in _STEP.finditer(head):
            name = (found[1].lower(), found[2].lower())
            if name == own:
                continue
            if name in self._named:
                return Mention("step", self._named[name])
            if name[0] in ("step", "schritt") and name[1].isdigit() and 1 <= int(name[1]) <= index:
                return Mention("step", int(name[1]) - 1, 0.8)
        for found in _EQUATION.finditer(head):
            step = self._named.get(("eq", (found[1] or found[2] or found[3]).lower()))
            if step is not None and step < index:
                return Mention("step", step)
        if _QUESTION.search(head):
            return Mention("question", sure=0.85)
        ordinal = _ORDINAL.search(head)
        if ordinal:
            word = ordinal[1].lower()
            return Mention(
                "plan", {"second": 1, "third": 2, "previous": -1, "earlier": -1, "last": -1}.get(word, 0), 0.7
            )
        return None
