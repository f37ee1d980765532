"""What a sampling strategy is made of. Knows no queue's settings but those handed in, and claims nothing.

A strategy is one or more slices: how often each is drawn, and how it chooses. Which slice chose an item is written into the
assignment (`sampled_by`), so that ratings drawn by chance can be told from those that were looked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import duckdb

from storage.queues.settings import Queue

# Traces of a ranking that are kept ready. A claim tries them in order; it must outlast what raters do until the next ranking
# (storage/sampling/rankings.py), and 5,000 ids travel into a query in 2 ms.
SHORTLIST = 5000


@dataclass(frozen=True)
class Slice:
    """sampled_by: its name in the log. share: its part of what is handed out, of 1.

    Either `order`, SQL over the columns of `storage.queues.items` or, of pairs, of `storage.queues.pair_items` (and `done`,
    what is taken in the item's stratum, where `stratum` says in SQL what that is), or `rank`, the ids of the best items with a
    free place, best first.
    """

    sampled_by: str
    share: float = 1.0
    order: str = ""
    stratum: str = ""
    rank: Callable[[duckdb.DuckDBPyConnection, Queue], list[str]] | None = None


@dataclass(frozen=True)
class Order:
    """How a strategy orders one kind of item. lacking: the sentence for a ranking that has nothing to go by."""

    about: str
    slices: Callable[[Queue], tuple[Slice, ...]]
    lacking: str = ""


@dataclass(frozen=True)
class Strategy:
    """name: in the queue's settings. What it means for traces, and what for pairs."""

    name: str
    title: str
    traces: Order
    pairs: Order

    def of(self, unit: str) -> Order:
        """unit: trace or pair."""
        return self.pairs if unit == "pair" else self.traces


def always(
    order: str, name: str, stratum: Callable[[Queue], str] = lambda queue: ""
) -> Callable[[Queue], tuple[Slice, ...]]:
    """The slices of a strategy that is one ordering."""
    return lambda queue: (Slice(name, order=order, stratum=stratum(queue)),)


def with_chance(queue: Queue, *ranked: Slice) -> tuple[Slice, ...]:
    """The ranked slices, less the queue's random share of each, and the random slice."""
    share = queue.config.random_share
    kept = [Slice(s.sampled_by, s.share * (1 - share), rank=s.rank) for s in ranked]
    return (*kept, Slice("random_slice", share, order="random()"))
