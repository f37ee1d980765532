"""Convincing wrong answers, after "Let's Verify Step by Step" (Lightman et al. 2023, arXiv 2305.20050, section 4.2).

There, raters were shown solutions that the reward model scored high and whose answer was wrong: at least one of the two is
mistaken, so each rating teaches something. 80 % of a batch are the most convincing wrong answers, 20 % the most convincing
of the rest; here a random slice of all is kept besides and logged, because what was looked for cannot be evaluated on.
How convincing a trace is: the score of its last step.
"""

from __future__ import annotations

import duckdb

from storage.queues.settings import Queue
from storage.sampling.base import Slice, Strategy, with_chance
from storage.sampling.scores import by_scores

_CONVINCING = "p[len(p)] desc"
WRONG_SHARE = 0.8


def wrong(con: duckdb.DuckDBPyConnection, queue: Queue) -> list[str]:
    return by_scores(con, queue, _CONVINCING, "t.solved = false")


def others(con: duckdb.DuckDBPyConnection, queue: Queue) -> list[str]:
    return by_scores(con, queue, _CONVINCING, "t.solved is distinct from false")


STRATEGY = Strategy(
    "convincing_wrong",
    "Convincing wrong answers",
    "Four in five: wrong answers that the reward model scores high; one in five: the most convincing of the rest; with a "
    "random slice.",
    lambda queue: with_chance(
        queue,
        Slice("convincing_wrong", WRONG_SHARE, rank=wrong),
        Slice("convincing_other", 1 - WRONG_SHARE, rank=others),
    ),
    "No open trace of this queue has scores of a reward model and a checked answer, so the least rated comes first.",
)
