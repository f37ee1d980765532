"""Where the reward model is least sure: mean |p − 0.5| over the steps is smallest."""

from __future__ import annotations

import duckdb

from storage.queues.settings import Queue
from storage.sampling.base import Slice, Strategy, with_chance
from storage.sampling.scores import by_scores


def rank(con: duckdb.DuckDBPyConnection, queue: Queue) -> list[str]:
    return by_scores(con, queue, "list_avg(list_transform(p, x -> abs(x - 0.5)))")


STRATEGY = Strategy(
    "uncertainty",
    "Where the reward model is unsure",
    "The trace whose steps have scores nearest to one half, with a random slice.",
    lambda queue: with_chance(queue, Slice("uncertainty", rank=rank)),
    "No open trace of this queue has scores of a reward model, so the least rated comes first.",
)
