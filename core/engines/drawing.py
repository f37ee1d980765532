"""The next token of many rows at once: constraints, temperature, nucleus, one draw a row. Knows no model and no text.

Each row has random numbers of its own, so what a row draws does not depend on who is beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Protocol

from core.control.bounds import Constraint
from core.engines.base import Sampling

if TYPE_CHECKING:
    import torch


class Drawing(Protocol):
    """What is asked of a row."""

    sampling: Sampling
    random: Random

    def constraint(self) -> Constraint:
        """On the next token."""
        ...


def draw(logits_RV: torch.Tensor, rows: Sequence[Drawing]) -> list[int]:
    """One token id a row from logits of shape (rows, vocabulary): the nucleus after Holtzman et al. 2020, the draw by the
    inverse of the cumulative probability."""
    import torch

    chosen: list[int | None] = []
    for i, row in enumerate(rows):
        constraint = row.constraint()
        chosen.append(constraint.force)
        if constraint.forbid:
            logits_RV[i, list(constraint.forbid)] = float("-inf")
    greedy = logits_RV.argmax(-1).tolist()
    temperatures = [row.sampling.temperature for row in rows]
    if not any(temperatures):
        return [g if c is None else c for c, g in zip(chosen, greedy, strict=True)]
    heat_R1 = torch.tensor([t or 1.0 for t in temperatures])[:, None]
    p_RV = torch.softmax(logits_RV / heat_R1, dim=-1)
    if any(row.sampling.top_p < 1 for row in rows):
        p_RV = _nucleus(p_RV, torch.tensor([row.sampling.top_p for row in rows])[:, None])
    up_to_RV = p_RV.double().cumsum(-1)
    at_R1 = torch.tensor([[row.random.random()] for row in rows], dtype=torch.double) * up_to_RV[:, -1:]
    # right=True: the first whose sum lies above; a token without probability has the sum of the one before it.
    drawn = torch.searchsorted(up_to_RV, at_R1, right=True)[:, 0].clamp_(max=p_RV.shape[1] - 1).tolist()
    return [
        c if c is not None else d if t else g for c, d, g, t in zip(chosen, drawn, greedy, temperatures, strict=True)
    ]


def _nucleus(p_RV: torch.Tensor, top_p_R1: torch.Tensor) -> torch.Tensor:
    import torch

    ordered, order = p_RV.sort(descending=True, dim=-1)
    ordered[ordered.cumsum(-1) - ordered >= top_p_R1] = 0
    return torch.zeros_like(p_RV).scatter_(-1, order, ordered)
