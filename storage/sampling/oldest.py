"""The oldest item first: a backlog worked off in the order it came."""

from __future__ import annotations

from storage.sampling.base import Order, Strategy, always

STRATEGY = Strategy(
    "oldest",
    "Oldest first",
    Order(
        "In the order in which the traces came; each gets all its raters before the next begins.",
        always("created_at, trace_id", "oldest"),
    ),
    Order(
        "In the order in which the pairs were made; each gets all its raters before the next begins.",
        always("created_at, pair_id", "oldest"),
    ),
)
