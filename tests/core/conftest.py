"""A tiny model with random weights and the pocket model's tokenizer: real decoding, no skill."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from training.pocket import PocketRecipe, new_model, save
    from training.synthesis.pocket_tokenizer import build

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = build()
    save(new_model(PocketRecipe(layers=2, width=64, heads=2, mlp=96, seed=5), tokenizer), tokenizer, folder)
    return folder
