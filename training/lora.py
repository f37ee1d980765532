"""Low-rank adaptation: every linear layer W of the blocks becomes W + SCALE · B A, and only A and B are trained.

After Hu et al. 2021 ("LoRA", equation 3): A is drawn, B begins at zero, so training begins at the base model. The pair hangs
on the layer itself (two parameters and a forward hook), so the model keeps its class, and packing, checkpoints and DDP know
nothing of it. `merge` adds it to the weights; `save_adapter` writes the pairs in PEFT's format, which vLLM loads while it
serves. Not PEFT itself: that is for every kind of adapter, and its trainable tokens fail on tied embeddings; this is one
kind. Simplified: experts that are one tensor of three dimensions get no pair.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.run_folder import JobError

# alpha / rank: what is learned counts twice, whatever the rank (the usual alpha = 2 · rank).
SCALE = 2.0
A, B = "lora_A", "lora_B"


def add_lora(model: Any, rank: int, seed: int) -> list[Any]:
    """Freeze the model and hang a pair of `rank` on each linear layer but the output head; returns handles for `merge`.

    Raises JobError where the model has no linear layer.
    """
    import torch
    from torch import nn

    model.requires_grad_(False)
    chance = torch.Generator().manual_seed(seed)
    handles = []
    head = model.get_output_embeddings()
    for _, layer in model.named_modules():
        if isinstance(layer, nn.Linear) and layer is not head:
            bound = 1 / math.sqrt(layer.in_features)  # as a linear layer of that width is drawn
            drawn = torch.rand(rank, layer.in_features, generator=chance) * 2 * bound - bound
            layer.register_parameter(A, nn.Parameter(drawn.to(layer.weight)))
            layer.register_parameter(B, nn.Parameter(layer.weight.new_zeros(layer.out_features, rank)))
            handles.append(layer.register_forward_hook(_with_pair))
    if not handles:
        raise JobError(f"{type(model).__name__} has no linear layers that LoRA knows. Set lora_rank = 0.")
    return handles


def merge(model: Any, handles: list[Any]) -> None:
    """Add every pair to its layer's weight and take it away: an ordinary model remains."""
    import torch

    for handle in handles:
        handle.remove()
    with torch.no_grad():
        for _, layer in list(pairs(model)):
            layer.weight += SCALE * getattr(layer, B) @ getattr(layer, A)
            delattr(layer, A)
            delattr(layer, B)


def pairs(model: Any) -> Iterator[tuple[str, Any]]:
    """Layers that carry a pair, by name."""
    return ((name, layer) for name, layer in model.named_modules() if A in layer._parameters)


def save_adapter(model: Any, base: str, folder: Path) -> None:
    """The pairs as PEFT keeps them: `adapter_config.json` and `adapter_model.safetensors`."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors, targets, rank = {}, set(), 0
    for name, layer in pairs(model):
        for part in (A, B):
            tensors[f"base_model.model.{name}.{part}.weight"] = getattr(layer, part).detach().cpu().contiguous()
        targets.add(name.rpartition(".")[2])
        rank = getattr(layer, A).shape[0]
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": rank,
        "lora_alpha": int(SCALE * rank), "target_modules": sorted(targets), "lora_dropout": 0.0, "bias": "none",
        "inference_mode": True,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def _with_pair(layer: Any, inputs: tuple[Any, ...], output: Any) -> Any:
    from torch.nn.functional import linear

    return output + SCALE * linear(linear(inputs[0], getattr(layer, A)), getattr(layer, B))
