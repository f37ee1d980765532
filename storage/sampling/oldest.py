"""The oldest trace first: a backlog worked off in the order it came."""

from __future__ import annotations

from storage.sampling.base import Strategy, always

STRATEGY = Strategy(
    "oldest",
    "Oldest first",
    "In the order in which the traces came; each gets all its raters before the next begins.",
    always("created_at, trace_id", "oldest"),
)
