"""The local engine's key-value cache: one tensor a layer, a row a request, rows kept dense.

A turn of the whole batch is a view on it and never a copy. Knows no sampling and no text.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from core.memory import share

if TYPE_CHECKING:
    import torch

# Of the machine's memory, and at most so much: of the pocket model's keys and values that is 139,000 tokens, the live texts of 40 searches
# of 8 beams. With too little, searches that take turns push out each other's texts before they are gone on with.
PARKED_SHARE, PARKED_BYTES = 16, 1 << 30


def dense_rows(model: Any) -> Any:
    """A transformers `Cache` with dense rows. Built in a function because its base class imports torch."""
    import torch
    from transformers.cache_utils import Cache

    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    layers, dtype, device = config.num_hidden_layers, model.dtype, model.device

    class DenseRows(Cache):
        """keys[layer], values[layer]: (rows, heads, capacity, head width). `begin_*` says what the next forward is."""

        def __init__(self) -> None:
            super().__init__(layers=[])
            self._rows, self._capacity = 4, 1024
            self._keys = [self._new() for _ in range(layers)]
            self._values = [self._new() for _ in range(layers)]
            self._prefill: tuple[int, int] | None = None
            self._positions = torch.zeros(0, dtype=torch.long)
            self._index = torch.zeros(0, dtype=torch.long)
            self._used = 0

        def _new(self) -> torch.Tensor:
            return torch.zeros(self._rows, heads, self._capacity, width, dtype=dtype, device=device)

        def _fit(self, rows: int, tokens: int) -> None:
            if rows <= self._rows and tokens <= self._capacity:
                return
            while self._rows < rows:
                self._rows *= 2
            while self._capacity < tokens:
                self._capacity *= 2
            for store in (self._keys, self._values):
                for i, old in enumerate(store):
                    store[i] = self._new()
                    store[i][: old.shape[0], :, : old.shape[2]] = old

        def begin_prefill(self, row: int, tokens: int) -> None:
            self._fit(row + 1, tokens)
            self._prefill = (row, tokens)

        def begin_decode(self, lengths: list[int]) -> torch.Tensor | None:
            """Prepare one token a row; returns the mask (rows, 1, 1, used), None for a single row."""
            self._used = max(lengths) + 1
            self._fit(len(lengths), self._used)
            self._prefill = None
            self._positions = torch.tensor(lengths, device=device)
            self._index = torch.arange(len(lengths), device=device)
            if len(lengths) == 1:
                return None
            return (torch.arange(self._used, device=device) <= self._positions[:, None])[:, None, None, :]

        def move(self, source: int, to: int, tokens: int) -> None:
            """Copy a row onto another place."""
            self._fit(to + 1, tokens)
            for store in (self._keys, self._values):
                for s in store:
                    s[to, :, :tokens] = s[source, :, :tokens]

        def take(self, row: int, tokens: int) -> list[torch.Tensor]:
            """A copy of a row's keys and values, to be `put` back later."""
            return [s[row, :, :tokens].clone() for store in (self._keys, self._values) for s in store]

        def put(self, row: int, kept: list[torch.Tensor]) -> None:
            tokens = kept[0].shape[1]
            self._fit(row + 1, tokens)
            for to, one in zip((s for store in (self._keys, self._values) for s in store), kept, strict=True):
                to[row, :, :tokens] = one

        def update(self, key_states, value_states, layer_idx, *args, **kwargs):
            keys, values = self._keys[layer_idx], self._values[layer_idx]
            if self._prefill is not None:
                row, tokens = self._prefill
                keys[row, :, :tokens] = key_states[0]
                values[row, :, :tokens] = value_states[0]
                return key_states, value_states
            n = len(self._index)
            keys[self._index, :, self._positions] = key_states[:, :, 0]
            values[self._index, :, self._positions] = value_states[:, :, 0]
            return keys[:n, :, : self._used], values[:n, :, : self._used]

        def get_seq_length(self, layer_idx: int = 0) -> int:
            return 0 if self._prefill is not None else self._used - 1

        def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
            return (query_length if self._prefill is not None else self._used), 0

    return DenseRows()


class Parked:
    """Keys and values of texts that a search may go on from, the last used last out. Knows the ids, not the text."""

    def __init__(self, most_bytes: int | None = None) -> None:
        self._most = share(PARKED_SHARE, PARKED_BYTES) if most_bytes is None else most_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[int, ...], tuple[list[torch.Tensor], int]] = OrderedDict()

    def keep(self, ids: tuple[int, ...], kept: list[torch.Tensor]) -> None:
        """`kept` are keys and values of all of `ids` but the last."""
        self._bytes -= self._kept.pop(ids, ([], 0))[1]
        size = sum(one.nbytes for one in kept)
        self._kept[ids] = kept, size
        self._bytes += size
        while self._bytes > self._most:
            self._bytes -= self._kept.popitem(last=False)[1][1]

    def find(self, ids: tuple[int, ...]) -> list[torch.Tensor] | None:
        """Those of exactly these ids."""
        found = self._kept.get(ids)
        if found is None:
            return None
        self._kept.move_to_end(ids)
        return found[0]
