"""What the strategies over whole answers ask a model, each wording a named constant, and how they read what it writes: as lines.

A wording is filled by `str.format`, which leaves braces in what is filled in alone. Model text is never evaluated.
"""

from __future__ import annotations

import re

from core.answers import kind_of
from core.answers.extract import answer_text
from core.trace import Problem

# What is quoted in a question, from its end: a text without end would leave no room to answer.
QUOTED = 20_000

REVISE = """{problem}

Here is an attempt:

{attempt}

Check it step by step. If something is wrong, say what, and mend it; if all is right, confirm it. Then give the complete answer anew. \
{form}"""

OBSERVE = """{problem}

Do not solve this yet. List up to {most} short, different observations about it that could help to solve it: properties, special cases, \
known methods, pitfalls. Write one observation a line, each beginning with "- ", and nothing else."""

PLAN = """{problem}

Observations:
{observations}

Use these observations to describe, in plain words and step by step, a way to solve the problem. Write no solution yet, only the plan."""

MEND = """{problem}

Somebody proposes this plan:

{plan}

The plan is wrong or incomplete somewhere. Say briefly where, and then write the mended plan in full, in plain words and step by step. \
Write no solution yet."""

SOLVE = """{problem}

Follow this plan:

{plan}

{form}"""

PLAN_FOR_ANOTHER = """{problem}

Do not answer this yet. Write a plan for somebody who works exactly but has no ideas of their own: numbered steps, each with what to \
work out and how, so that following them gives the answer."""

EXECUTE = """{problem}

Carry out this plan exactly:

{plan}

{form}"""

# How an answer must be written so that it can be read, by the kind of problem (`core/answers`).
FORMS = {
    "math": "Put the final answer in \\boxed{}.",
    "choice": "End with the letter of the right option in \\boxed{}.",
    "code": "Write the complete Python program in one ```python block.",
}
# The same as regular expressions, for engines that can hold a model to one. Other kinds have rules that no expression says.
PATTERNS = {"math": r"[\s\S]*\\boxed\{[^\n]+\}[.$]?", "choice": r"[\s\S]*\\boxed\{[A-J]\}\.?"}
ANY_FORM = "Write the answer on the last line."

_BULLET = re.compile(r"[ \t]*(?:[-*•–]|\(?\d{1,3}[.)])[ \t]+(\S.*)")


def form_of(problem: Problem) -> str:
    return FORMS.get(problem.task or kind_of(problem), ANY_FORM)


def pattern_of(problem: Problem) -> str:
    return PATTERNS.get(problem.task or kind_of(problem), "")


def quoted(response: str) -> str:
    """What a response says after its thinking, or all of it where it has said nothing else, as part of another question."""
    return (answer_text(response).strip() or response.strip())[-QUOTED:]


def items(response: str, most: int, longest: int = 500) -> list[str]:
    """A list that a model wrote: its bulleted or numbered lines, or all lines where it set none; each once, at most `most`."""
    lines = [line.strip() for line in quoted(response).splitlines() if line.strip()]
    marked = [match[1].strip() for line in lines if (match := _BULLET.fullmatch(line))]
    plain = [line for line in lines if not line.endswith(":") and not line.startswith(("#", "```"))]
    return [item[:longest] for item in dict.fromkeys(marked or plain)][:most]
