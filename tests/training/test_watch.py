"""A trainer that is not ours, watched as a job: metrics, progress, a stop at a checkpoint, and going on from it."""

from __future__ import annotations

import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from training.recipe import resolve_recipe
from training.run_folder import JobError, JobStatus, Run, RunFolder, Stopped
from training.topology import only_device
from training.watch import arguments, train

SMALL = ["device=cpu", "batch=2", "accumulate=1", "checkpoint_every=100", "learning_rate=1e-3"]
RECIPE = resolve_recipe("sft", SMALL)


def trainer_of(run: Run, base: Path) -> Any:
    import torch
    import transformers

    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    rows = [{"input_ids": [5 + i, 6, 7, 8 + i], "labels": [5 + i, 6, 7, 8 + i]} for i in range(8)]
    settings = transformers.TrainingArguments(**arguments(RECIPE, run, torch.device("cpu")), max_steps=6)
    return transformers.Trainer(model=model, args=settings, train_dataset=rows)


def test_it_stops_at_a_checkpoint_and_goes_on_from_it(tmp_path: Path, tiny_base: Path) -> None:
    folder = RunFolder(tmp_path)

    def stop_at_two(status: JobStatus) -> None:
        if status.step == 2:
            folder.request_stop()

    run = Run(folder, JobStatus("job", "dpo", "running", ""), stop_at_two)
    with pytest.raises(Stopped):
        train(trainer_of(run, tiny_base), run, RECIPE)
    newest = folder.newest_checkpoint()
    assert newest is not None
    assert newest[1] == 2
    folder.clear_stop()
    run = Run(folder, JobStatus("job", "dpo", "running", ""))
    train(trainer_of(run, tiny_base), run, RECIPE)
    assert (run.status.step, run.status.total_steps, run.status.eta_s) == (6, 6, 0.0)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(row["loss"] > 0 and "lr" in row for row in rows)


class FakeTrackio(types.ModuleType):
    """As much of trackio as is used; `rows` is what it was told."""

    def __init__(self) -> None:
        super().__init__("trackio")
        self.rows: list[tuple[int, dict[str, Any]]] = []
        self.began: dict[str, Any] = {}

    def init(self, **how: Any) -> FakeTrackio:
        self.began = {**how, "dir": os.environ["TRACKIO_DIR"], "space": os.environ.get("TRACKIO_SPACE_ID")}
        return self

    def log(self, row: dict[str, Any], step: int) -> None:
        self.rows.append((step, row))

    def finish(self) -> None:
        self.rows.append((-1, {}))


def test_its_figures_go_to_our_sinks_and_nowhere_else(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeTrackio()
    monkeypatch.setitem(sys.modules, "trackio", fake)
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/their-space")
    (tmp_path / "job").mkdir()
    run = Run(RunFolder(tmp_path / "job"), JobStatus("job", "dpo", "running", ""))
    trainer = trainer_of(run, tiny_base)
    assert not any(
        "Callback" in type(c).__name__ and "rackio" in type(c).__name__ for c in trainer.callback_handler.callbacks
    )
    train(trainer, run, RECIPE.model_copy(update={"report_to": ["trackio"]}))
    assert fake.began["project"] == "worldline" and fake.began["name"] == "job"
    assert fake.began["dir"] == str(tmp_path / ".trackio")
    assert fake.began["space"] is None, "nothing is uploaded"
    rows = [json.loads(line) for line in (tmp_path / "job" / "metrics.jsonl").read_text().splitlines()]
    assert fake.rows[:-1] == [(row.pop("step"), row) for row in rows]
    assert len(rows) == 6 and fake.rows[-1] == (-1, {}), "closed at the end"


def test_tensorboard_lies_beside_the_checkpoints_and_stays(tmp_path: Path, tiny_base: Path) -> None:
    pytest.importorskip("tensorboard")
    run = Run(RunFolder(tmp_path), JobStatus("job", "dpo", "running", ""))
    train(trainer_of(run, tiny_base), run, RECIPE.model_copy(update={"report_to": ["tensorboard"]}))
    run.folder.drop_checkpoints_except(None)  # as at a job's end
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    assert not list(tmp_path.glob("checkpoints/*"))


def test_a_sink_that_is_not_installed_is_a_sentence(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    run = Run(RunFolder(tmp_path), JobStatus("job", "dpo", "running", ""))
    with pytest.raises(JobError, match=r"pip install 'worldline\[trackio\]'"):
        train(trainer_of(run, tiny_base), run, RECIPE.model_copy(update={"report_to": ["trackio"]}))


@pytest.mark.parametrize(("device", "seen", "pinned"), [
    ("cuda:1", None, "1"), ("cuda:1", "4,6", "6"), ("cuda", None, "0"), ("auto", "5,7", "5"),
])  # fmt: skip
def test_a_trainer_of_others_sees_the_one_gpu_that_was_asked_for(
    device: str, seen: str | None, pinned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def count() -> int:
        """Two GPUs, of which a process sees those that the variable names."""
        names = os.environ.get("CUDA_VISIBLE_DEVICES")
        return 2 if names is None else len(names.split(","))

    monkeypatch.setattr(torch.cuda, "device_count", count)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen or "")
    if seen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    found = only_device(resolve_recipe("dpo", [f"device={device}"]))
    assert (str(found), os.environ["CUDA_VISIBLE_DEVICES"]) == ("cuda:0", pinned)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)  # too late: CUDA has looked already
    with pytest.raises(JobError, match="2 GPUs are seen where one was asked for"):
        only_device(resolve_recipe("dpo", ["device=cuda"]))
