"""The numbers game: reach a target from 3 or 4 numbers, each used exactly once.

Knows the rules, the exact oracle (which targets can a state still reach) and the state DAG of a question.
Knows nothing about text, tokens or models: the wording lives in `countdown_text.py`.

Rules: a move replaces two numbers a >= b by one of a + b, a - b, a * b, a / b. Results are whole numbers
from 1 to `LARGEST`; division must come out even and never by 1 (that is multiplication by 1).
"""

from __future__ import annotations

import hashlib
import itertools
import random
from dataclasses import dataclass
from functools import lru_cache

# Largest intermediate result. Numbers are one token each in the pocket model, so the bound is its vocabulary. Of 13,586
# solvable (4 numbers, target) pairs with a bound of 400, 13,511 (99.4 %) stay solvable with 128, 97.8 % with 99.
LARGEST = 128
SMALLEST_NUMBER, LARGEST_NUMBER = 1, 13
SMALLEST_TARGET, LARGEST_TARGET = 10, 99
COUNTS = (3, 4)
OPERATIONS = ("+", "−", "×", "÷")
# One problem in this many is never trained on (chosen by a hash of the problem, not by a list).
HELD_OUT_IN = 20

State = tuple[int, ...]


@dataclass(frozen=True)
class Move:
    """`a op b = result`, with a >= b."""

    a: int
    op: str
    b: int
    result: int

    def __str__(self) -> str:
        return f"{self.a} {self.op} {self.b} = {self.result}"


@dataclass(frozen=True)
class Countdown:
    """One question of the game. Numbers keep the order in which they were asked."""

    numbers: State
    target: int

    @property
    def key(self) -> tuple[State, int]:
        """What makes two questions the same question: the multiset of numbers and the target."""
        return tuple(sorted(self.numbers)), self.target

    @property
    def held_out(self) -> bool:
        """True for the questions that no training set of ours may contain."""
        digest = hashlib.sha256(repr(self.key).encode()).digest()
        return int.from_bytes(digest[:4], "big") % HELD_OUT_IN == 0


def apply(a: int, op: str, b: int) -> int | None:
    """The result of `a op b` under the rules, or None where the rules forbid it."""
    if a < b:
        return None
    if op == "+":
        result = a + b
    elif op == "−":
        result = a - b
    elif op == "×":
        result = a * b
    elif op == "÷":
        if b <= 1 or a % b:
            return None
        result = a // b
    else:
        return None
    return result if 1 <= result <= LARGEST else None


@lru_cache(maxsize=1 << 18)
def pair_moves(a: int, b: int) -> tuple[Move, ...]:
    """All moves on one pair, in the order sum, difference, product, quotient."""
    hi, lo = max(a, b), min(a, b)
    found = ((op, apply(hi, op, lo)) for op in OPERATIONS)
    return tuple(Move(hi, op, lo, r) for op, r in found if r is not None)


def moves(state: State) -> list[Move]:
    """All distinct moves from a state."""
    seen: dict[Move, None] = {}
    for i, j in itertools.combinations(range(len(state)), 2):
        for m in pair_moves(state[i], state[j]):
            seen[m] = None
    return list(seen)


def after(state: State, move: Move) -> State:
    """The state that a move leaves: what was not used, in its order, then the result.

    Raises ValueError when the state does not hold both operands.
    """
    rest = list(state)
    rest.remove(move.a)
    rest.remove(move.b)
    return (*rest, move.result)


@lru_cache(maxsize=1 << 20)
def _reach(state: State) -> frozenset[int]:
    if len(state) == 1:
        return frozenset(state)
    found: set[int] = set()
    for i, j in itertools.combinations(range(len(state)), 2):
        rest = state[:i] + state[i + 1 : j] + state[j + 1 :]
        for m in pair_moves(state[i], state[j]):
            found |= _reach(tuple(sorted((*rest, m.result))))
    return frozenset(found)


def reachable(state: State) -> frozenset[int]:
    """The exact oracle: every number this state can still become, all numbers used."""
    return _reach(tuple(sorted(state)))


def alive(state: State, target: int) -> bool:
    """Can `target` still be reached from `state`?"""
    return target in reachable(state)


def sample(rng: random.Random, count: int, *, held_out: bool) -> Countdown:
    """A random solvable question with `count` numbers, from one side of the held-out split."""
    while True:
        numbers = tuple(rng.randint(SMALLEST_NUMBER, LARGEST_NUMBER) for _ in range(count))
        targets = [t for t in reachable(numbers) if SMALLEST_TARGET <= t <= LARGEST_TARGET]
        if targets:
            problem = Countdown(numbers, rng.choice(sorted(targets)))
            if problem.held_out == held_out:
                return problem


def held_out_questions(count: int) -> list[Countdown]:
    """Every solvable held-out question with `count` numbers: 212 with 3, 3,591 with 4."""
    every = (
        Countdown(numbers, target)
        for numbers in itertools.combinations_with_replacement(range(SMALLEST_NUMBER, LARGEST_NUMBER + 1), count)
        for target in sorted(reachable(numbers))
        if SMALLEST_TARGET <= target <= LARGEST_TARGET
    )
    return [q for q in every if q.held_out]


def held_out_set(problems: int, seed: int = 2026) -> list[Countdown]:
    """Distinct held-out questions, always the same for a seed: half with 3 numbers, or all that there are, the rest with 4.

    Raises ValueError where there are not so many.
    """
    rng = random.Random(seed)
    with_3, with_4 = (held_out_questions(count) for count in COUNTS)
    few = min(problems // 2, len(with_3))
    if problems - few > len(with_4):
        raise ValueError(f"{problems} held-out questions were asked for; there are {len(with_3) + len(with_4)}")
    chosen = rng.sample(with_3, few) + rng.sample(with_4, problems - few)
    return [Countdown(tuple(rng.sample(q.numbers, len(q.numbers))), q.target) for q in chosen]


def state_dag(numbers: State):
    """The exact DAG of all states of a question, as a networkx DiGraph.

    Nodes are sorted states; an edge carries its `move`. Different orders of moves meet in the same node, which is why
    this is a DAG and not a tree.
    """
    import networkx as nx

    dag = nx.DiGraph()
    root = tuple(sorted(numbers))
    dag.add_node(root)
    frontier = [root]
    while frontier:
        state = frontier.pop()
        for move in moves(state):
            child = tuple(sorted(after(state, move)))
            if child not in dag:
                dag.add_node(child)
                frontier.append(child)
            dag.add_edge(state, child, move=move)
    return dag
