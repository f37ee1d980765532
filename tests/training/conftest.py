"""A language model to start from, and snapshots rated by the oracle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.training.synthetic import examples, snapshot_rows, write_snapshot

os.environ.setdefault("OMP_NUM_THREADS", "1")  # measured: a second thread slows small models down on a busy machine


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights and the pocket tokenizer: enough for everything but learning."""
    import torch

    from training.pocket import PocketRecipe, new_model, save
    from training.synthesis.pocket_tokenizer import build

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = build()
    save(new_model(PocketRecipe(layers=2, width=32, heads=2, mlp=64, seed=3), tokenizer), tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tiny_base: Path):
    from training.base_model import load_tokenizer

    return load_tokenizer(tiny_base)


@pytest.fixture(scope="session")
def learned_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pocket model where it is installed, otherwise a small language model of short searches, trained here."""
    from core.pocket import model_dir

    try:
        return model_dir()
    except FileNotFoundError:
        return _small_language_model(tmp_path_factory.mktemp("learned") / "model")


def _small_language_model(folder: Path) -> Path:
    import torch

    from training.kinds.sft import NextToken
    from training.packing import batch_of, outputs
    from training.pocket import PocketRecipe, new_model, save
    from training.rows import TokenRow
    from training.synthesis.pocket_tokenizer import build

    torch.set_num_threads(1)
    tokenizer = build()
    model = new_model(PocketRecipe(layers=3, width=96, heads=4, mlp=192, seed=5), tokenizer)
    rows = []
    for example in examples(800, seed=99, longest=6):
        head = tokenizer(f"<|begin|>{example.walk.prompt}<|answer|>").input_ids
        body = tokenizer(f"{example.walk.response}<|end|>").input_ids
        rows.append(TokenRow(head + body, [-100] * len(head) + body, "", ""))
    rows.sort(key=lambda row: len(row.ids))
    objective = NextToken()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(5)
    for start in (16 * torch.randperm(len(rows) // 16, generator=generator)).tolist():
        batch = batch_of(rows[start : start + 16], objective, packed=False)
        (objective.loss_sum(outputs(model, batch, objective), batch.targets) / len(batch.at)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    save(model, tokenizer, folder)
    return folder


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder with one snapshot, "snap": 20 short searches, every fifth question held out."""
    write_snapshot(tmp_path, snapshot_rows(examples(20, longest=5)))
    return tmp_path
