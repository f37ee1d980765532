"""In which order a queue hands out its items: one file a strategy, one line in the registry."""

from __future__ import annotations

from storage.queues.settings import Queue
from storage.sampling import chance, convincing_wrong, disagreement, least_rated, oldest, stratified, uncertainty
from storage.sampling.base import Order, Slice, Strategy

STRATEGIES: dict[str, Strategy] = {
    s.name: s
    for s in (
        least_rated.STRATEGY,
        oldest.STRATEGY,
        chance.STRATEGY,
        stratified.STRATEGY,
        disagreement.STRATEGY,
        uncertainty.STRATEGY,
        convincing_wrong.STRATEGY,
    )
}


def order_of(queue: Queue) -> Order:
    """How a queue orders its items, as it is set."""
    return STRATEGIES[queue.sampling].of(queue.unit)


def drawn(queue: Queue, draw: float) -> list[Slice]:
    """The slices in the order in which they are tried: the one that `draw` (0 to 1) falls in, the ranked others, and the
    least rated, which always has an item when there is one.
    """
    slices = order_of(queue).slices(queue)
    at, first = draw * sum(s.share for s in slices), slices[0]
    for s in slices:
        first = s
        if at < s.share:
            break
        at -= s.share
    others = [s for s in slices if s is not first and s.rank]
    return [first, *others, *least_rated.STRATEGY.of(queue.unit).slices(queue)]
