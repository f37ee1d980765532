"""Where in a response its answer stands: after the thinking, in a box, behind "the answer is", or in the last line.

Text in, text out, by scanning once: model text is hostile, so nothing here backtracks or evaluates. Knows no kind of problem.
"""

from __future__ import annotations

import hashlib
import re

from core.formats import choose

# "The answer is", "Final answer:", "**Answer**:" and GSM8K's "####"; what follows on the same line is the answer.
_SAID = re.compile(
    r"(?i:\banswer\b[*_]{0,2}(?:[ \t]{0,4}(?:is|are|=|:)){1,2}|^####)[*_]{0,2}[ \t]{0,4}:?[ \t]{0,4}", re.M
)
_BOXES = ("\\boxed", "\\fbox")
# A line that is longer is no answer; the same bound keeps every comparison short.
LONGEST = 500
# Boxes without an end that are looked at, from the last one back: a response of nothing else would take minutes.
TRIES = 20


def key_of(response: str) -> bytes:
    """16 bytes by which a memo knows a response without keeping it."""
    return hashlib.blake2b(response.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def answer_text(response: str) -> str:
    """What stands after the thinking. A response without marks of thinking is all answer; one that ended in its thinking has none."""
    parser = choose(response, ended=True)
    assert parser is not None
    parser.feed(response)
    parser.close()
    return response if parser.name == "plain" and not parser.answer else parser.answer


def boxed(text: str) -> str | None:
    """What is in the last `\\boxed{…}`, with its braces matched; None where there is none, or its end is missing."""
    at, tries = max(text.rfind(box) for box in _BOXES), 0
    while at >= 0 and tries < TRIES:
        tries += 1
        start = text.find("{", at, at + 10)
        if start >= 0 and not text[at + 6 : start].strip("ed "):
            end = _closing(text, start)
            if end is not None:
                return text[start + 1 : end].strip()
        at = max(text.rfind(box, 0, at) for box in _BOXES)
    return None


def said(text: str) -> str | None:
    """What follows the last "answer is", "Answer:" or "####" on its line."""
    ends = [match.end() for match in _SAID.finditer(text)]
    if not ends:
        return None
    rest = text[ends[-1] :].partition("\n")[0].strip()
    return rest or None


def last_line(text: str) -> str:
    """The last line with anything on it."""
    return text.rstrip().rpartition("\n")[2].strip()


def claimed(response: str) -> str:
    """The answer as it was written: the last box, what was said to be the answer, the last line; "" where there is none, or only
    something longer than `LONGEST`."""
    text = answer_text(response)
    found = boxed(text)
    if found is None:
        found = said(text)
    if found is None:
        found = last_line(text)
    return found if len(found) <= LONGEST else ""


def _closing(text: str, start: int) -> int | None:
    depth, at = 0, start
    while at < len(text) and at - start <= 2 * LONGEST:
        if text[at] == "\\":
            at += 1
        elif text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
        at += 1
    return None
