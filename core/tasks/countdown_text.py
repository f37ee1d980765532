"""The numbers game in words: how a question is asked, how a step is written, how a written step is checked.

Writing and checking stand side by side because they are one grammar. The checker trusts only the steps: what the answer
claims is never believed. Knows no tokens but Steiner's field names.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.tasks.countdown import (
    LARGEST_NUMBER,
    LARGEST_TARGET,
    OPERATIONS,
    SMALLEST_NUMBER,
    SMALLEST_TARGET,
    Countdown,
    Move,
    State,
    after,
    apply,
    pair_moves,
)

PHRASINGS = (
    "Reach {target} from {list}.",
    "Make {target} from {list}.",
    "Use {list} to reach {target}.",
    "How can I get {target} from {list}?",
    "Numbers: {commas}. Target: {target}.",
    "Reach {target} from {commas}.",
)
OPERATION_NAMES = {"+": "sum", "−": "difference", "×": "product", "÷": "quotient"}
TRY = ("Try", "What about")
LOOKING = "Looking for"
CLOSER = ": worth a closer look."
FOUND = ". That is it."
HERE = ": here it is."
NO_LUCK = ". No luck, back to"
RESTART = ". Dead end, all the way back to"
TOO_FAR = ": too far off, back to"
SOLVED = "Solved:"
UNSOLVED = "Not solved yet:"
UNSOLVED_TAIL = "was not found in these steps."


def in_words(numbers: State) -> str:
    """`4, 7, 8 and 8`"""
    if len(numbers) == 1:
        return str(numbers[0])
    return ", ".join(map(str, numbers[:-1])) + f" and {numbers[-1]}"


def ask(problem: Countdown, phrasing: int = 0) -> str:
    """The question in one of `PHRASINGS`."""
    return PHRASINGS[phrasing].format(
        target=problem.target, list=in_words(problem.numbers), commas=", ".join(map(str, problem.numbers))
    )


def understand(text: str) -> Countdown:
    """Read a question in any wording: the target is the number beside reach/make/get/target/to, the rest are the numbers.

    Raises ValueError with a sentence for the person who asked.
    """
    found = [(m.start(), int(m.group())) for m in re.finditer(r"\d{1,9}", text)]
    if not found:
        raise ValueError("This model plays the numbers game only. Ask, for example: Reach 24 from 4, 7, 8 and 8.")
    cue = re.search(
        r"(?:reach|make|get|target(?: is)?|goal|obtain|form|to|=|->|→)\W{0,3}(\d{1,9})(?!\d*\s*,)", text, re.I
    )
    target_at = cue.start(1) if cue else found[0][0]
    target = next(value for at, value in found if at == target_at)
    numbers = tuple(value for at, value in found if at != target_at)
    if len(numbers) not in (3, 4):
        raise ValueError(
            f"The numbers game takes 3 or 4 numbers and a target; this question has {len(numbers)} besides the target "
            f"{target}. Ask, for example: Reach 24 from 4, 7, 8 and 8."
        )
    wrong = [n for n in numbers if not SMALLEST_NUMBER <= n <= LARGEST_NUMBER]
    if wrong:
        raise ValueError(
            f"{in_words(tuple(wrong))} out of range: the pocket model knows numbers from {SMALLEST_NUMBER} to {LARGEST_NUMBER}."
        )
    if not SMALLEST_TARGET <= target <= LARGEST_TARGET:
        raise ValueError(
            f"The target {target} is out of range: the pocket model knows targets from {SMALLEST_TARGET} to {LARGEST_TARGET}."
        )
    return Countdown(numbers, target)


class StepText(Protocol):
    """What the checker reads of a step: Steiner's fields and the decision after it."""

    @property
    def name(self) -> str: ...
    @property
    def thought(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def reflection(self) -> str: ...
    @property
    def decision(self) -> str | None: ...


@dataclass(frozen=True)
class WrittenStep:
    """One step of the game, written out."""

    name: str
    thought: str
    summary: str
    reflection: str
    decision: str | None


def write_step(
    state: State,
    move: Move,
    target: int,
    *,
    back_to: State | None,
    root: State,
    verb: str = TRY[0],
    give_up: bool = False,
) -> WrittenStep:
    """Write one move. `back_to` is the state to return to after it, None to go on from here.

    `give_up` says that the move leaves 3 numbers that are judged not worth looking into.
    """
    left = after(state, move)
    thought = f"From {in_words(state)}: {move}"
    summary = f"Left: {in_words(left)}"
    verb = "Finish:" if len(left) == 1 else verb
    name = f"{verb} {move.a} {move.op} {move.b}"
    if len(left) == 1:
        return WrittenStep(name, thought, summary, f"{LOOKING} {target}{HERE}", "finish")
    if len(left) > 2:
        if give_up:
            assert back_to is not None
            return WrittenStep(name, thought, summary, f"{LOOKING} {target}{TOO_FAR} {in_words(back_to)}", "backtrack")
        return WrittenStep(name, thought, summary, f"{LOOKING} {target}{CLOSER}", "proceed")
    parts = []
    hit = False
    for option in pair_moves(*left):
        parts.append(f"{OPERATION_NAMES[option.op]} {option.result}")
        if option.result == target:
            hit = True
            break
    checked = f"{LOOKING} {target}: " + ", ".join(parts)
    if hit:
        return WrittenStep(name, thought, summary, checked + FOUND, "proceed")
    assert back_to is not None
    words = RESTART if len(root) > len(state) and len(back_to) == len(root) else NO_LUCK
    return WrittenStep(name, thought, summary, f"{checked}{words} {in_words(back_to)}", "backtrack")


def write_answer(target: int, path: list[Move] | None) -> str:
    """The answer in plain text: the moves that lead to the target, or that none was found."""
    if path is None:
        return f"{UNSOLVED} {target} {UNSOLVED_TAIL}"
    return f"{SOLVED} " + ", then ".join(map(str, path))


_LIST = r"(\d+(?:, \d+)*(?: and \d+)?)"
_OPS = "".join(re.escape(o) for o in OPERATIONS)
_THOUGHT = re.compile(rf"From {_LIST}: (\d+) ([{_OPS}]) (\d+) = (\d+)")
_NAME = re.compile(rf"(Try|What about|Finish:) (\d+) ([{_OPS}]) (\d+)")
_SUMMARY = re.compile(rf"Left: {_LIST}")
_LOOKING = re.compile(r"Looking for (\d+)(.*)", re.S)
_CHECKED = re.compile(r": ((?:(?:sum|difference|product|quotient) \d+(?:, )?)+)")
_BACK_TO = re.compile(rf"back to {_LIST}$")


def read_list(text: str) -> State:
    """`4, 7, 8 and 8` -> (4, 7, 8, 8)"""
    return tuple(int(n) for n in re.findall(r"\d+", text))


@dataclass
class StepCheck:
    """What the exact rules say of one written step. `ok` is True only if every claim in it holds."""

    ok: bool
    reasons: list[str] = field(default_factory=list)
    start: State | None = None
    left: State | None = None
    move: Move | None = None
    back_to: State | None = None
    returns_to_visited: bool | None = None  # None: this step does not backtrack


@dataclass
class TraceCheck:
    """All steps of a trace checked against the rules; `solved` is decided from the steps alone."""

    steps: list[StepCheck]
    solved: bool
    solved_at: int | None  # index of the step that leaves only the target

    @property
    def backtracks(self) -> list[StepCheck]:
        return [s for s in self.steps if s.returns_to_visited is not None]


def check(problem: Countdown, steps: Sequence[StepText], *, forced_end: bool = False) -> TraceCheck:
    """Check every claim of every step: grammar, arithmetic, that it starts from a visited state, that its reflection is
    true, and that the next step starts where this one says the search goes on.

    States are compared as multisets. forced_end: the step limit, not the reasoner, put the end after the last step, so
    that step may say "back to" without going there.
    """

    def bag(state: State) -> State:
        return tuple(sorted(state))

    visited = {bag(problem.numbers)}
    expected: State | None = bag(problem.numbers)
    out: list[StepCheck] = []
    solved_at: int | None = None
    for index, step in enumerate(steps):
        c = StepCheck(ok=True)
        out.append(c)
        m = _THOUGHT.fullmatch(step.thought.strip())
        named = _NAME.fullmatch(step.name.strip())
        left_match = _SUMMARY.fullmatch(step.summary.strip())
        looking = _LOOKING.fullmatch(step.reflection.strip())
        for what, match in (("name", named), ("thought", m), ("summary", left_match), ("reflection", looking)):
            if match is None:
                c.reasons.append(f"{what} is not well-formed")
        if m is None or named is None or left_match is None or looking is None:
            c.ok = False
            expected = None
            continue
        start = read_list(m[1])
        a, op, b, result = int(m[2]), m[3], int(m[4]), int(m[5])
        c.start = bag(start)
        if (int(named[2]), named[3], int(named[4])) != (a, op, b):
            c.reasons.append("the name announces another move")
        if c.start not in visited:
            c.reasons.append(f"starts from {in_words(start)}, which was never visited")
        elif expected is not None and c.start != expected:
            c.reasons.append(f"starts from {in_words(start)}, announced was {in_words(expected)}")
        truth = apply(a, op, b)
        if truth != result:
            c.reasons.append(f"{a} {op} {b} is not {result}")
        rest = list(start)
        try:
            rest.remove(a)
            rest.remove(b)
        except ValueError:
            c.reasons.append(f"{a} and {b} are not both in {in_words(start)}")
            rest = []
        left = read_list(left_match[1])
        c.left = bag(left)
        if c.left != bag((*rest, result)):
            c.reasons.append("what is left does not follow from the move")
        if not c.reasons:
            c.move = Move(a, op, b, result)
            visited.add(c.left)
            if len(left) == 1 and left[0] == problem.target and solved_at is None:
                solved_at = index
        c.reasons += _check_reflection(problem, left, int(looking[1]), looking[2])
        back = _BACK_TO.search(step.reflection.strip())
        if back:
            c.back_to = bag(read_list(back[1]))
        if step.decision == "backtrack":
            c.returns_to_visited = c.back_to in visited
            if not c.returns_to_visited:
                c.reasons.append("returns to a state that was never visited")
        elif back and not (forced_end and index == len(steps) - 1):
            c.reasons.append("says it goes back but does not backtrack")
        expected = c.back_to if step.decision == "backtrack" else c.left
        c.ok = not c.reasons
    # A backtrack must also arrive where it said it goes.
    for before, now in itertools.pairwise(out):
        if before.returns_to_visited and now.start is not None and now.start != before.back_to:
            before.returns_to_visited = False
    return TraceCheck(out, solved_at is not None, solved_at)


def _check_reflection(problem: Countdown, left: State, looking_for: int, rest: str) -> list[str]:
    reasons = []
    if looking_for != problem.target:
        reasons.append(f"looks for {looking_for}, the target is {problem.target}")
    if len(left) != 2:
        if len(left) == 1 and (rest == HERE) != (left[0] == problem.target):
            reasons.append("claims to be at the target and is not, or the other way round")
        return reasons
    found = _CHECKED.match(rest)
    if found is None:
        return [*reasons, "does not list what the two numbers make"]
    claimed = [(n, int(v)) for n, v in re.findall(r"(sum|difference|product|quotient) (\d+)", found[1])]
    truth = [(OPERATION_NAMES[m.op], m.result) for m in pair_moves(*left)]
    hit = next((i for i, (_, v) in enumerate(truth) if v == problem.target), None)
    wanted = truth if hit is None else truth[: hit + 1]
    if claimed != wanted:
        reasons.append("lists wrong results for the two numbers")
    if (FOUND in rest) != (hit is not None):
        reasons.append("says the target is there and it is not, or the other way round")
    return reasons
