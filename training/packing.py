"""Rows of tokens as one batch: end to end without padding ("packed"), or padded, and the model's outputs where wanted.

Packed rows must not see each other. Each row's positions begin at 0 and attention runs row by row (`attend_within_rows`),
so nothing is computed for a pair of rows and nothing is masked away: the outputs are those of the row alone. Outputs are
asked for at the labelled positions only, so that the vocabulary is never multiplied with a token nobody looks at.
Not every architecture attends through transformers' interface (recurrent and hybrid models carry a state over the whole
batch): `packs_cleanly` asks the model itself. Knows no loss and no loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from training.rows import TokenRow

ATTENTION = "worldline_rows"
# Largest difference between a row's outputs alone and packed, float32: what the order of sums makes, with room.
CLEAN = 1e-3


class Objective(Protocol):
    """What is minimised: which outputs of a row are judged against what, and how."""

    causal_lm: ClassVar[bool]  # the outputs are logits over the vocabulary

    def targets(self, row: TokenRow) -> tuple[list[int], list[float]]:
        """Positions whose output is judged, and the target of each."""
        ...

    def loss_sum(self, outputs_NC: Any, targets_N: Any) -> Any:
        """Loss summed over N judged outputs."""
        ...


@dataclass(frozen=True)
class Batch:
    """ids (1, T) packed or (B, T) padded; `at` (N,) judged positions, counted over the flattened batch; `targets` (N,)."""

    ids: Any
    positions: Any | None  # (1, T), packed only
    lengths: tuple[int, ...]
    at: Any
    targets: Any

    def to(self, device: Any) -> Batch:
        positions = None if self.positions is None else self.positions.to(device)
        return Batch(self.ids.to(device), positions, self.lengths, self.at.to(device), self.targets.to(device))


def batch_of(rows: Sequence[TokenRow], objective: Objective, *, packed: bool) -> Batch:
    """Rows as tensors on the CPU. What stands at a padded place is never seen, so it is 0 for every tokenizer."""
    import torch

    longest = max(len(row.ids) for row in rows)
    at: list[int] = []
    targets: list[float] = []
    start = 0
    for row in rows:
        positions, wanted = objective.targets(row)
        at += [start + p for p in positions]
        targets += wanted
        start += len(row.ids) if packed else longest
    if packed:
        ids = torch.tensor([[i for row in rows for i in row.ids]])
        places = torch.cat([torch.arange(len(row.ids)) for row in rows])[None]
    else:
        ids, places = torch.zeros((len(rows), longest), dtype=torch.long), None
        for b, row in enumerate(rows):
            ids[b, : len(row.ids)] = torch.tensor(row.ids)
    lengths = tuple(len(row.ids) for row in rows)
    kind = torch.long if objective.causal_lm else torch.float32
    return Batch(ids, places, lengths, torch.tensor(at, dtype=torch.long), torch.tensor(targets, dtype=kind))


def outputs(model: Any, batch: Batch, objective: Objective) -> Any:
    """(N, C) float32: the model's outputs at the judged positions. Packed batches need `row_attention(model)`."""
    if batch.positions is None:
        # Padding is on the right of a causal model, where no judged position can see it: no attention mask is needed.
        return model(input_ids=batch.ids, use_cache=False).logits.flatten(0, 1)[batch.at].float()
    keep = {"logits_to_keep": batch.at} if objective.causal_lm else {}
    logits = model(
        input_ids=batch.ids, position_ids=batch.positions, row_lengths=batch.lengths, use_cache=False, **keep
    ).logits[0]
    return (logits if objective.causal_lm else logits[batch.at]).float()


def attend_within_rows(
    module: Any, query_1HTD: Any, key_1GTD: Any, value_1GTD: Any, mask: Any, *, row_lengths: Sequence[int],
    scaling: float | None = None, dropout: float = 0.0, sliding_window: int | None = None, softcap: float | None = None,
    **_: Any,
) -> tuple[Any, None]:  # fmt: skip
    """Causal attention of each row of a packed batch with itself alone; transformers' attention interface."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    if softcap is not None:
        raise NotImplementedError("attention with a soft cap is not computed row by row")
    groups = query_1HTD.shape[1] // key_1GTD.shape[1]
    if groups > 1:
        key_1GTD, value_1GTD = (x.repeat_interleave(groups, dim=1) for x in (key_1GTD, value_1GTD))
    found = []
    pieces = zip(*(x.split(list(row_lengths), dim=2) for x in (query_1HTD, key_1GTD, value_1GTD)), strict=True)
    for query, key, value in pieces:
        length, window = query.shape[2], None
        if sliding_window is not None and length > sliding_window:
            window = torch.ones(length, length, dtype=torch.bool, device=query.device).tril().triu(1 - sliding_window)
        found.append(
            scaled_dot_product_attention(
                query, key, value, attn_mask=window, dropout_p=dropout, is_causal=window is None, scale=scaling
            )
        )
    return torch.cat(found, dim=2).transpose(1, 2).contiguous(), None


@contextmanager
def row_attention(model: Any) -> Iterator[None]:
    """Within, the model takes packed batches and nothing else."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(ATTENTION, attend_within_rows)
    ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, _no_mask)
    before = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _no_mask(*_: Any, **__: Any) -> None:
    """The mask of a packed batch would be T × T; rows are cut out instead."""


def packs_cleanly(model: Any, rows: Sequence[TokenRow], objective: Objective) -> bool:
    """Does this architecture keep packed rows apart? Two rows are computed alone, padded, and packed."""
    import torch

    # Short rows with something to compare; the second one is where the first would leak into.
    two = sorted((r for r in rows if objective.targets(r)[0]), key=lambda r: len(r.ids))[:2]
    if not two:
        return False
    two *= 2 if len(two) == 1 else 1
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            alone = [outputs(model, batch_of([r], objective, packed=False).to(device), objective) for r in two]
            with row_attention(model):
                together = outputs(model, batch_of(two, objective, packed=True).to(device), objective)
    except (TypeError, ValueError, NotImplementedError, KeyError):
        return False  # it does not take rows at all
    finally:
        model.train(was_training)
    return bool((torch.cat(alone) - together).abs().max() <= CLEAN * max(1.0, float(together.abs().max())))
