"""A trainer that is not ours, watched as a job: metrics, progress, a stop at a checkpoint, and going on from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.recipe import resolve_recipe
from training.run_folder import JobStatus, Run, RunFolder, Stopped
from training.watch import arguments, train, watching


def trainer_of(run: Run, base: Path) -> Any:
    import torch
    import transformers

    torch.set_num_threads(1)
    recipe = resolve_recipe(
        "sft", ["device=cpu", "batch=2", "accumulate=1", "checkpoint_every=100", "learning_rate=1e-3"]
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    rows = [{"input_ids": [5 + i, 6, 7, 8 + i], "labels": [5 + i, 6, 7, 8 + i]} for i in range(8)]
    settings = transformers.TrainingArguments(**arguments(recipe, run), max_steps=6)
    return transformers.Trainer(model=model, args=settings, train_dataset=rows, callbacks=[watching(run, recipe)])


def test_it_stops_at_a_checkpoint_and_goes_on_from_it(tmp_path: Path, tiny_base: Path) -> None:
    folder = RunFolder(tmp_path)

    def stop_at_two(status: JobStatus) -> None:
        if status.step == 2:
            folder.request_stop()

    run = Run(folder, JobStatus("job", "dpo", "running", ""), stop_at_two)
    with pytest.raises(Stopped):
        train(trainer_of(run, tiny_base), run)
    newest = folder.newest_checkpoint()
    assert newest is not None
    assert newest[1] == 2
    folder.clear_stop()
    run = Run(folder, JobStatus("job", "dpo", "running", ""))
    train(trainer_of(run, tiny_base), run)
    assert (run.status.step, run.status.total_steps, run.status.eta_s) == (6, 6, 0.0)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(row["loss"] > 0 and "lr" in row for row in rows)
