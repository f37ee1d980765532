"""The item that fewest have, then the oldest: raters spread before they overlap."""

from __future__ import annotations

from storage.sampling.base import Order, Strategy, always

STRATEGY = Strategy(
    "least_rated",
    "Least rated first",
    Order("The trace that fewest raters have, then the oldest.", always("taken, created_at, trace_id", "least_rated")),
    Order("The pair that fewest raters have, then the oldest.", always("taken, created_at, pair_id", "least_rated")),
)
