"""Strata kept in balance: the next item comes from the stratum that fewest ratings went to.

Long traces and those with many backtracks are rare; by chance alone they would be rated rarely. Lengths and backtracks are
grouped by powers of two, so that a stratum means "about twice as many".
"""

from __future__ import annotations

from storage.queues.settings import Queue
from storage.sampling.base import Strategy, always

_PARTS = {
    "length": "floor(log2(n_steps))::varchar",
    "backtracks": "floor(log2(n_backtracks + 1))::varchar",
    "model": "model",
}


def _stratum(queue: Queue) -> str:
    return "concat_ws(chr(31), " + ", ".join(_PARTS[name] for name in queue.config.strata) + ")"


STRATEGY = Strategy(
    "stratified",
    "Stratified",
    "From the stratum of length, backtracks or model that has fewest ratings, by chance within it.",
    always("done, taken, random()", "stratified", _stratum),
)
