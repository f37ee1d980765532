"""In which order a queue hands out its items: one file a strategy, one line in the registry."""

from __future__ import annotations

from storage.sampling import chance, convincing_wrong, disagreement, least_rated, oldest, stratified, uncertainty
from storage.sampling.base import Slice, Strategy

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
FALLBACK = least_rated.STRATEGY


def drawn(slices: tuple[Slice, ...], draw: float) -> list[Slice]:
    """The slices in the order in which they are tried: the one that `draw` (0 to 1) falls in, the ranked others, and the
    least rated, which always has an item when there is one.
    """
    at, first = draw * sum(s.share for s in slices), slices[0]
    for s in slices:
        first = s
        if at < s.share:
            break
        at -= s.share
    return [
        first,
        *(s for s in slices if s is not first and s.rank),
        Slice("least_rated", order="taken, created_at, trace_id"),
    ]
