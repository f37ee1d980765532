"""Model-FLOPs utilisation: arithmetic that the model needs, over what the device could have done in that time.

After PaLM (Chowdhery et al. 2022, appendix B): 6 FLOPs a parameter and token for forward and backward (embedding tables
are looked up, not multiplied), and for attention 12 · layers · width a token and *visible* token. Ours counts the tokens
that are really visible (half a row on average, and no other row of a packed batch), so it is the stricter figure. What is
computed a second time for gradient checkpointing does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Dense bfloat16 peak in FLOP/s, from NVIDIA's data sheets (SXM, without sparsity). Unknown devices report no utilisation.
PEAK_BF16 = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12}


def multiplied_parameters(model: Any) -> int:
    """Parameters that every token is multiplied with: all but the embedding table, the output table included."""
    table = model.get_input_embeddings().weight
    tied = model.get_output_embeddings() is not None and model.get_output_embeddings().weight is table
    return sum(p.numel() for p in model.parameters()) - (0 if tied else table.numel())


def row_flops(parameters: int, layers: int, width: int, lengths: Sequence[int]) -> float:
    """FLOPs of one forward and backward pass over rows of these lengths (tokens)."""
    return float(sum(6 * parameters * n + 12 * layers * width * n * (n + 1) / 2 for n in lengths))


def peak_of(device_name: str) -> float | None:
    """bfloat16 peak of a device by its name, such as "NVIDIA H200"."""
    return next((peak for part, peak in PEAK_BF16.items() if part in device_name), None)
