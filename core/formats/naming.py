"""A step's name, made from its text: the heading or the first sentence, without markup, at most 60 characters.

Knows nothing about formats; reads the first few hundred characters of a step only.
"""

from __future__ import annotations

import re

LONGEST_NAME = 60
_READ = 300  # a first sentence longer than this is cut anyway
_SHORTEST = 4  # what is left after an opener must say something ("Wait, no." keeps its "Wait")

_HEADING = re.compile(r"#{1,6}\s+")
_FENCE = re.compile(r"(?:```+|~~~+)[^\n]*\n?")
_BULLET = re.compile(r"[-*+•]\s+")
# Talk that leads into a thought and tells nothing about it. With a comma nearly any of them; without one only the plain ones.
_OPENER = re.compile(
    r"(?:(?:okay|ok|alright|all right|hmm+|wait|well|oh|right|so|now|but|and|also|yeah|yes|actually|let's see|let me see"
    r"|wait a (?:second|minute|moment)|hold on)\s*(?:[,.!…]|\.\.\.|\s[-–—](?=\s))+\s*"
    r"|(?:okay|ok|alright|hmm+|so|but wait)\s+(?=\S))",
    re.I,
)
# LaTeX that reads well as text; every other command keeps its name without the backslash.
_TEX = (
    (re.compile(r"\\d?t?frac\{([^{}]*)\}\{([^{}]*)\}"), r"\1/\2"),
    (re.compile(r"\\sqrt\{([^{}]*)\}"), r"√\1"),
    (re.compile(r"\\(?:boxed|text|textbf|mathrm|mathbf|operatorname|emph)\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\(?:left|right|displaystyle|!)(?![A-Za-z])"), ""),
    (re.compile(r"\\(?:quad|qquad|[,;: ])(?![A-Za-z])"), " "),
    (re.compile(r"\\d?t?binom\{([^{}]*)\}\{([^{}]*)\}"), r"C(\1, \2)"),
    (re.compile(r"\\(?:begin|end)\{[^{}]*\}"), " "),
    (re.compile(r"\\\\"), " "),
    (re.compile(r"\\[\[\]()]|\$\$?"), ""),
)
_SYMBOLS = {
    "cdot": "·", "times": "×", "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥", "neq": "≠", "ne": "≠", "pm": "±",
    "approx": "≈", "equiv": "≡", "infty": "∞", "pi": "π", "theta": "θ", "alpha": "α", "beta": "β", "implies": "⇒",
    "to": "→", "Rightarrow": "⇒", "rightarrow": "→", "in": "∈", "ldots": "…", "dots": "…", "cdots": "…", "sum": "Σ",
}  # fmt: skip
_COMMAND = re.compile(r"\\([A-Za-z]+)|\\(.)")
_WORD = re.compile(
    r"[a-z]{3,}\b(?!\()|[a-z]+'[a-z]|(?:if|is|in|it|we|no|to|so|do|by|on|at|as|my)\b"
)  # a word, not a variable
_NOISE = re.compile(r"[\\$*_`{}]")
_MARKUP = re.compile(r"\*\*|__|`|(?<!\w)\*(?=\S)|(?<=\S)\*(?!\w)")
# A sentence ends before white space that is followed by a capital, unless the dot belongs to an abbreviation or initial.
_SENTENCE = re.compile(
    r"(?:(?<!\b[A-Z])(?<!\be\.g)(?<!\bi\.e)(?<!\bDr)(?<!\bMr)(?<!\bMs)(?<!\bvs)(?<!\bcf)(?<!\bFig)(?<!\bEq)(?<!^\d)(?<!^\d\d)[.]"
    r"|[!?…])[\"')\]*”’]*(?=\s+[^a-z\s])|[。！？]"
)


def name_of(thought: str) -> str:
    """The name of a step with this text; empty only for a text without a visible character."""
    text = thought[:_READ].strip()
    heading = _HEADING.match(text)
    line = _clean(text[heading.end() :].split("\n", 1)[0] if heading else _first_line(text))
    if not heading:
        line = _without_openers(line)
        end = _SENTENCE.search(line)
        if end:
            line = line[: end.end()]
    line = line.strip().rstrip(".:,;。").strip() or text.split("\n", 1)[0].strip()
    return _cut(line)


def _first_line(text: str) -> str:
    fence = _FENCE.match(text)
    if fence:
        text = text[fence.end() :].lstrip() or text
    bullet = _BULLET.match(text)
    if bullet:
        text = text[bullet.end() :]
    for line in text.split("\n"):
        if _clean(line):  # a line with nothing but "\[" names nothing
            return line
    return text.split("\n", 1)[0]


def _clean(line: str) -> str:
    if not _NOISE.search(line):
        return " ".join(line.split())
    for pattern, instead in _TEX:
        line = pattern.sub(instead, line)
    line = _COMMAND.sub(lambda m: _SYMBOLS.get(m[1], m[1]) if m[1] else m[2], line)
    return " ".join(_MARKUP.sub("", line).replace("{", "").replace("}", "").split())


def _without_openers(line: str) -> str:
    while found := _OPENER.match(line):
        rest = line[found.end() :]
        if len(rest.strip(" .,!?…")) < _SHORTEST:
            break
        line = rest
        if _WORD.match(line):
            line = line[0].upper() + line[1:]
    return line


def _cut(line: str) -> str:
    if len(line) <= LONGEST_NAME:
        return line
    room = line[: LONGEST_NAME - 1]
    at = room.rfind(" ")
    # A text without spaces (Chinese, a long formula) is cut where the room ends.
    return (room[:at] if at > LONGEST_NAME // 3 else room[:-1]).rstrip(" ,;:.") + " …"
