"""OmegaPRM's binary search: the first step from which no rollout gets right, in O(k log M) rollouts instead of O(k M).

Luo et al. 2024, arXiv 2406.06592, §3.2: MC(mid) > 0 means the error is later, MC(mid) = 0 that it is here or before. That assumes
what is lost stays lost. **A model that backtracks breaks it**: it recovers from a bad step, so MC falls and rises again, and the
search finds *a* step after which it failed, not the first. `monotone` says whether the counts that were made contradict it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.trace import Trace
from training.labels.counts import Count
from training.labels.rollouts import Check, Completer, N

CAVEAT = (
    "Binary search takes for granted that what is lost stays lost. A model that turns back recovers, so the step that was found "
    "may not be the first bad one; a row's `note` says where the counts contradict it."
)


@dataclass(frozen=True)
class FirstError:
    """`step`: index of the first bad step, None where the last step still reaches the answer. `counts` by step index."""

    step: int | None
    counts: Mapping[int, Count]

    @property
    def monotone(self) -> bool:
        """False if a later step was reached from which the share was higher by more than chance (95 % intervals apart)."""
        found = [self.counts[i] for i in sorted(self.counts)]
        return all(b.interval[0] <= a.interval[1] for i, a in enumerate(found) for b in found[i + 1 :])

    def labels(self, steps: int) -> list[float | None]:
        """1 before the error, 0 at it, nothing known after it."""
        if self.step is None:
            return [1.0] * steps
        return [1.0] * self.step + [0.0] + [None] * (steps - self.step - 1)


async def find(completer: Completer, trace: Trace, check: Check, n: int = N) -> FirstError:
    """Search one trace. Raises what `Completer.count` raises, and ValueError for a trace without steps."""
    if not trace.steps:
        raise ValueError(f"Trace {trace.trace_id} has no steps.")
    counts: dict[int, Count] = {}
    last = len(trace.steps) - 1
    counts[last] = await completer.count(trace, last, check, n)
    if counts[last].right:
        return FirstError(None, counts)
    low, high = 0, last  # the first bad step lies in [low, high]
    while low < high:
        middle = (low + high) // 2
        counts[middle] = await completer.count(trace, middle, check, n)
        if counts[middle].right:
            low = middle + 1
        else:
            high = middle
    return FirstError(low, counts)
