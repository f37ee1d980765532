"""Convincing wrong answers, after "Let's Verify Step by Step" (Lightman et al. 2023, arXiv 2305.20050, section 4.2).

There, raters were shown solutions that the reward model scored high and whose answer was wrong: at least one of the two is
mistaken, so each rating teaches something. 80 % of a batch are the most convincing wrong answers, 20 % the most convincing
of the rest; here a random slice of all is kept besides and logged, because what was looked for cannot be evaluated on.
How convincing a trace is: the score of its last step.

Of pairs the same idea: one answer is right and one is wrong, and the reward model prefers the wrong one. One in five are the
pairs that it gets right by least.
"""

from __future__ import annotations

import duckdb

from storage.queues.settings import Queue
from storage.sampling.base import Order, Slice, Strategy, with_chance
from storage.sampling.scores import by_difference, by_scores

_CONVINCING = "p[len(p)] desc"
WRONG_SHARE = 0.8


def wrong(con: duckdb.DuckDBPyConnection, queue: Queue) -> list[str]:
    return by_scores(con, queue, _CONVINCING, "t.solved = false")


def others(con: duckdb.DuckDBPyConnection, queue: Queue) -> list[str]:
    return by_scores(con, queue, _CONVINCING, "t.solved is distinct from false")


# How much the reward model prefers the wrong answer of a pair to the right one.
_FOOLED = "if(l.solved, r.score - l.score, l.score - r.score)"
_ONE_IS_RIGHT = "l.solved <> r.solved"


def wrong_pairs(con: duckdb.DuckDBPyConnection, queue: Queue) -> list[str]:
    return by_difference(con, queue, f"{_FOOLED} desc", f"{_ONE_IS_RIGHT} and {_FOOLED} > 0")


def other_pairs(con: duckdb.DuckDBPyConnection, queue: Queue) -> list[str]:
    return by_difference(con, queue, f"{_FOOLED} desc", f"{_ONE_IS_RIGHT} and {_FOOLED} <= 0")


STRATEGY = Strategy(
    "convincing_wrong",
    "Convincing wrong answers",
    Order(
        "Four in five: wrong answers that the reward model scores high; one in five: the most convincing of the rest; with a "
        "random slice.",
        lambda queue: with_chance(
            queue,
            Slice("convincing_wrong", WRONG_SHARE, rank=wrong),
            Slice("convincing_other", 1 - WRONG_SHARE, rank=others),
        ),
        "No open trace of this queue has scores of a reward model and a checked answer, so the least rated comes first.",
    ),
    Order(
        "Four in five: pairs of a right and a wrong answer in which the reward model prefers the wrong one; one in five: those it "
        "gets right by least; with a random slice.",
        lambda queue: with_chance(
            queue,
            Slice("convincing_wrong", WRONG_SHARE, rank=wrong_pairs),
            Slice("convincing_other", 1 - WRONG_SHARE, rank=other_pairs),
        ),
        "No open pair of this queue has a right and a wrong answer that one reward model has scored, so the least rated comes first.",
    ),
)
