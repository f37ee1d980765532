"""How often a model reached the answer from a step: the count is kept, every kind of label follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.pocket_eval import wilson


@dataclass(frozen=True)
class Count:
    """`right` of `total` rollouts from the end of a step reached the right answer."""

    right: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.right <= self.total:
            raise ValueError(f"{self.right} of {self.total} rollouts cannot be right")

    @property
    def hard(self) -> int | None:
        """Hard estimation: 1 if any rollout is right (Wang et al. 2024, arXiv 2312.08935, eq. 3); None without a rollout."""
        return None if not self.total else int(self.right > 0)

    @property
    def soft(self) -> float | None:
        """Soft estimation: the share that is right (ibid., eq. 4)."""
        return None if not self.total else self.right / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the share (Wilson 1927): with 8 rollouts nothing finer than about ±0.3 is known."""
        return wilson(self.right, self.total)


def summary(counts: Sequence[Count | None]) -> str:
    """A sentence for people: how many rollouts of how many steps were right, and how much of a step's share is known."""
    known = [c for c in counts if c is not None and c.total]
    if not known:
        return ""
    right, total = sum(c.right for c in known), sum(c.total for c in known)
    width = sum(high - low for low, high in (c.interval for c in known)) / len(known)
    some = sum(0 < c.right < c.total for c in known)
    return (
        f"{right} of {total} rollouts from {len(known)} steps were right; from {sum(c.right > 0 for c in known)} steps any was, from "
        f"{some} some but not all. The 95 % interval (Wilson) of a step's share is {width:.2f} wide on average."
    )
