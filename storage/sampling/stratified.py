"""Strata kept in balance: the next item comes from the stratum that fewest ratings went to.

Long traces and those with many backtracks are rare; by chance alone they would be rated rarely. Lengths and backtracks are
grouped by powers of two, so that a stratum means "about twice as many". A pair counts with both its traces together, and with
the two models that it compares.
"""

from __future__ import annotations

from storage.queues.settings import Queue
from storage.sampling.base import Order, Strategy, always

_PARTS = {
    "length": "floor(log2(n_steps))::varchar",
    "backtracks": "floor(log2(n_backtracks + 1))::varchar",
    "model": "model",
}


def _stratum(queue: Queue) -> str:
    return "concat_ws(chr(31), " + ", ".join(_PARTS[name] for name in queue.config.strata) + ")"


_SLICES = always("done, taken, random()", "stratified", _stratum)
STRATEGY = Strategy(
    "stratified",
    "Stratified",
    Order("From the stratum of length, backtracks or model that has fewest ratings, by chance within it.", _SLICES),
    Order(
        "From the stratum of both traces' length and backtracks, or of the two models, that has fewest comparisons, by chance "
        "within it.",
        _SLICES,
    ),
)
