"""Where the reward model is least sure: mean |p − 0.5| over the steps is smallest.

Of two traces it is least sure where they score alike: under Bradley and Terry's model the outcome is then an even bet.
"""

from __future__ import annotations

import duckdb

from storage.queues.settings import Queue
from storage.sampling.base import Order, Slice, Strategy, with_chance
from storage.sampling.scores import by_difference, by_scores


def rank(con: duckdb.DuckDBPyConnection, queue: Queue) -> list[str]:
    return by_scores(con, queue, "list_avg(list_transform(p, x -> abs(x - 0.5)))")


def rank_pairs(con: duckdb.DuckDBPyConnection, queue: Queue) -> list[str]:
    return by_difference(con, queue, "abs(l.score - r.score)")


STRATEGY = Strategy(
    "uncertainty",
    "Where the reward model is unsure",
    Order(
        "The trace whose steps have scores nearest to one half, with a random slice.",
        lambda queue: with_chance(queue, Slice("uncertainty", rank=rank)),
        "No open trace of this queue has scores of a reward model, so the least rated comes first.",
    ),
    Order(
        "The pair whose traces the reward model scores most alike, with a random slice.",
        lambda queue: with_chance(queue, Slice("uncertainty", rank=rank_pairs)),
        "No open pair of this queue has scores of one reward model on both sides, so the least rated comes first.",
    ),
)
