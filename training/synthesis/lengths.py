"""Which written searches are kept, by length, and how long the kept ones are. Knows counts, no tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

# Steiner's limits (Ji 2024, "A Small Step Towards Reproducing OpenAI o1"): reasoning below 4,096 tokens, all below 8,192.
REASONING_BELOW, TOTAL_BELOW = 4096, 8192
QUANTILES = (0, 5, 25, 50, 75, 95, 100)


@dataclass
class Lengths:
    """Counts what passes the limits. `reasoning` and `total` hold the kept lengths, `dropped` how many failed by which limit."""

    reasoning: list[int] = field(default_factory=list)
    total: list[int] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=lambda: {"reasoning": 0, "total": 0})

    def keep(self, reasoning: int, total: int) -> bool:
        """Whether a text of so many tokens stays; it is counted either way."""
        if reasoning >= REASONING_BELOW:
            self.dropped["reasoning"] += 1
        elif total >= TOTAL_BELOW:
            self.dropped["total"] += 1
        else:
            self.reasoning.append(reasoning)
            self.total.append(total)
            return True
        return False

    def add(self, other: Lengths) -> None:
        """Join what another process counted."""
        self.reasoning += other.reasoning
        self.total += other.total
        for limit, count in other.dropped.items():
            self.dropped[limit] += count

    def report(self) -> dict[str, object]:
        """For the manifest: how many, and the quantiles of both lengths."""
        return {
            "kept": len(self.total), "dropped": dict(self.dropped), "tokens": sum(self.total),
            "reasoning_tokens": quantiles(self.reasoning), "total_tokens": quantiles(self.total),
        }  # fmt: skip


def quantiles(lengths: Iterable[int]) -> dict[str, int]:
    """The value below which so many per cent lie (nearest rank); empty for no lengths."""
    ordered = sorted(lengths)
    if not ordered:
        return {}
    last = len(ordered) - 1
    return {f"p{q}": ordered[round(q / 100 * last)] for q in QUANTILES}
