"""Mathematical answers: numbers are compared here, exactly; anything else by `math-verify` in a process of its own.

Equal answers of one problem get one name: the reference's where they are right, else that of the first one seen. Not simplified: two
answers are equal when math-verify says so (numbers to six places), which is not always transitive; the first match counts.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import ClassVar

from core.answers import math_process
from core.answers.extract import claimed, key_of
from core.trace import Problem

PLACES = 6  # math-verify's own: 0.333333 is 1/3
# A problem whose answers hang so often is compared by text alone from then on: nobody waits for the rest.
HANGS = 3
MOST_KNOWN = 64  # different answers of one problem that a new one is compared with

_INTEGER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d{1,60})")
_DECIMAL = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d{0,40})\.\d{1,40}|[+-]?\d{1,40}\.")
_MIXED = re.compile(r"([+-]?)(\d{1,40}) (\d{1,40}/\d{1,40})")  # 3 1/2
_FRACTION = re.compile(r"([+-]?)\\frac(?:\{([+-]?\d{1,40})\}|(\d))(?:\{(\d{1,40})\}|(\d))|([+-]?\d{1,40})/(\d{1,40})")
_ONE_NUMBER = re.compile(
    r"[+-]?\d{1,40} \d{1,40}/\d{1,40}|[+-]?(?:\d{1,3}(?:,\d{3})+|\d{1,40})(?:\.\d{1,40})?(?:/\d{1,40})?"
)
_WORD = re.compile(r"[^\W\d_]{2,}")
# Letters that stand side by side are a product to a computer algebra system, so that "evil" would be "live": words are compared as such.
# So are numbers: "1 2 3" would be 6.
_WORDS = re.compile(
    r"\d \d|(?<![\\a-zA-Z])(?!(?:sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi|arcsin|arccos|arctan)(?![^\W\d_]))[^\W\d_]{3,}"
)
_NAMES_ONLY = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox|mathbf)\{([^{}\\]*)\}")
_SPACES = re.compile(r"(?:\\[,;:! ]|\\(?:left|right|displaystyle|limits)(?![a-zA-Z])|\s|~)+")
_GROUPED = re.compile(r"(?<![\d.,/])(?<!\d )\d{1,3}(?: \d{3})+(?! ?[\d/])")  # thousands with spaces between: 12 000
# A formula in a line, by Pandoc's rule: no space within its dollar signs, no digit after them. "$12 and $4" is money.
_DOLLARS = re.compile(r"(?<!\\)\$(?!\s)((?:\\.|[^$\\])+)(?<!\s)\$(?!\d)", re.S)


def looks_mathematical(answer: str) -> bool:
    """Whether a reference answer is a number or LaTeX, and not words."""
    text = answer.strip()
    return bool(text) and (
        "\\" in text or number(_plain(text)) is not None or (not _WORD.search(text) and len(text) > 1)
    )


def number(text: str) -> Fraction | None:
    """An integer, a decimal or a fraction of two integers as it was written; None for anything else."""
    if _INTEGER.fullmatch(text):
        return Fraction(int(text.replace(",", "")))
    if _DECIMAL.fullmatch(text):
        return Fraction(text.replace(",", "").rstrip("."))
    mixed = _MIXED.fullmatch(text)
    if mixed:
        part = number(mixed[3])
        if part is None or not 0 < part < 1:
            return None
        return (int(mixed[2]) + part) * (-1 if mixed[1] == "-" else 1)
    found = _FRACTION.fullmatch(text)
    if found is None:
        return None
    sign, above, one_above, below, one_below, plain_above, plain_below = found.groups()
    under = int(below or one_below or plain_below)
    if not under:
        return None
    value = Fraction(int(above or one_above or plain_above), under)
    return -value if sign == "-" else value


def shown(value: Fraction) -> str:
    """The one way of writing a number: whole, as a short decimal, else as a fraction."""
    if 1 < value.denominator <= 10**6 and 10**6 % value.denominator == 0 and abs(value) < 10**9:
        return f"{value.numerator / value.denominator:.6f}".rstrip("0")
    return str(value)


class MathAnswers:
    """Of one problem. Safe to pickle; a copy goes on with the names that were given so far."""

    SLOW: ClassVar[bool] = True

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._names: dict[bytes, str] = {}  # a response's answer by the response's hash
        self._of_text: dict[str, str] = {}  # the name of an answer as it was written
        self._numbers: dict[Fraction, str] = {}
        self._others: list[tuple[str, str]] = []  # what math-verify can read: text, name
        self._hangs = 0
        self._right = self._name(tidy(problem.answer)) if problem.answer is not None else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MathAnswers) and self.problem == other.problem

    def canonical(self, response: str) -> str:
        key = key_of(response)
        if key not in self._names:
            self._names[key] = self._name(tidy(claimed(response)))
        return self._names[key]

    def right(self, response: str) -> bool | None:
        return None if self._right is None else self.canonical(response) == self._right

    def prepare(self, response: str) -> None:
        """Math-verify reads the answer once, so that what hangs does so here."""
        text = tidy(claimed(response))
        if not text or text in self._of_text or number(text) is not None or _is_words(text) or self._hangs >= HANGS:
            return
        if math_process.compare(text, ()).hung:
            self._hangs += 1
            self._of_text[text] = _as_text(text)  # and is not tried again

    def _name(self, text: str) -> str:
        if not text:
            return ""
        found = self._of_text.get(text)
        if found is None:
            found = self._of_text[text] = self._new_name(text)
        return found

    def _new_name(self, text: str) -> str:
        value = number(text)
        if value is not None:
            for known, name in self._numbers.items():
                if known == value or _close(known, value, text, name):
                    return name
        if self._hangs < HANGS and not _is_words(text) and (value is None or self._others):
            # Numbers are not compared with numbers again, expressions with both.
            known_texts = [t for t, _ in self._others[:MOST_KNOWN]]
            names = [n for _, n in self._others[:MOST_KNOWN]]
            if value is None:
                numbers = list(self._numbers.items())[:MOST_KNOWN]
                known_texts += [_latex(v) for v, _ in numbers]
                names += [n for _, n in numbers]
            compared = math_process.compare(text, known_texts)
            self._hangs += compared.hung
            if compared.equal is not None:
                return names[compared.equal]
            if value is None and compared.readable:
                self._others.append((text, text))
        if value is not None:
            self._numbers[value] = shown(value)
            return shown(value)
        return _as_text(text)


def tidy(answer: str) -> str:
    """An answer as math-verify should read it: without dollar signs, spacing and the full stop; of words with one number in them,
    the number; a name in `\\text{}` is the name."""
    text = answer.strip().strip("*_ ")
    inside = _last_math(text)
    if inside is not None:
        text = inside
    text = text.strip().rstrip(".。;,").strip()
    plain = _plain(text)
    if number(plain) is not None:
        return plain
    if "\\" not in text and _WORD.search(text):
        found = _ONE_NUMBER.findall(text)
        return _plain(found[0]) if len(found) == 1 else " ".join(text.split())
    return plain


def _plain(text: str) -> str:
    text = text.replace("\\$", "").replace("$", "").replace("−", "-").replace("{,}", ",")
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    whole = _NAMES_ONLY.fullmatch(text.strip())
    if whole:
        return " ".join(whole[1].split())
    text = _SPACES.sub(lambda m: " " if _keeps_apart(m) else "", text).strip()
    return _GROUPED.sub(lambda m: m[0].replace(" ", ""), text)


def _is_words(text: str) -> bool:
    return "\\" not in text and _WORDS.search(text) is not None


def _as_text(text: str) -> str:
    """The name of an answer that is compared by its text."""
    return text if any(c in text for c in "\\^_{}=") else text.casefold()


def _keeps_apart(match: re.Match[str]) -> bool:
    """Whether a space stands between what would become one: a command or word and what follows it (`\\sqrt x`), or two numbers
    (`3 1/2`, `2, 100`). `1,\\!000` is one number."""
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    if after.isdigit() and (before.isdigit() or before == ","):
        return "\\!" not in match[0]
    return match[0].isspace() and before.isalpha() and after.isalnum()


def _last_math(text: str) -> str | None:
    """What the last pair of dollar signs or `\\(…\\)` encloses; None where there is none."""
    formulas = list(_DOLLARS.finditer(text))
    if formulas:
        # An amount of money after it: which of the two is the answer is not known.
        return None if "$" in text[formulas[-1].end() :].lstrip("$") else formulas[-1][1]
    for begin, end in (("\\(", "\\)"), ("\\[", "\\]")):
        at = text.rfind(end)
        start = text.rfind(begin, 0, at) if at > 0 else -1
        if start >= 0 and text[at - 1 : at] != "\\":
            return text[start + len(begin) : at]
    return None


def _close(known: Fraction, value: Fraction, text: str, name: str) -> bool:
    """A decimal stands for what it is rounded from."""
    if "." not in text and "." not in name:
        return False
    return round(known, PLACES) == round(value, PLACES)


def _latex(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
