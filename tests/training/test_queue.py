"""One job at a time on a device, in the order in which they were started; sinks; overlays; the registry."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.training.test_jobs import make, wait_for
from training import jobs
from training.checkpoints import checkpoints
from training.devices import slots
from training.kinds import KINDS
from training.recipe import RecipeError, resolve_recipe, shipped_overlays

HOLD = """
import sys, time
from pathlib import Path
from training.devices import turn
from training.recipe import read_recipe
from training.run_folder import Run, RunFolder

folder = RunFolder(Path(sys.argv[1]))
folder.acquire()
with turn(Run(folder, folder.read_status()), read_recipe(folder.path / "recipe.toml")):
    print("mine", flush=True)
    time.sleep(600)
"""


def test_a_second_job_waits_and_goes_on_when_the_first_is_killed(data_dir: Path, tiny_base: Path) -> None:
    first, second, third = (make(data_dir, tiny_base, "device=cpu") for _ in range(3))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(first)], stdout=subprocess.PIPE, cwd=jobs.PACKAGE_ROOT
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mine\n"
        jobs.start_job(second)
        waiting = wait_for(second, lambda s: s.phase.startswith("waiting"))
        assert (waiting.state, waiting.phase) == ("queued", f"waiting for {first.name}")

        def stop_when_waiting(status: jobs.JobStatus) -> None:
            if status.phase.startswith("waiting"):
                jobs.RunFolder(third).request_stop()

        assert jobs.run_job(third, progress=stop_when_waiting).state == "stopped"
        holder.kill()
    running = wait_for(second, lambda s: s.state == "running")
    assert running.pid is not None
    os.kill(running.pid or 0, signal.SIGKILL)
    assert wait_for(second, lambda s: s.ended).state == "failed"


def test_processes_take_as_many_devices() -> None:
    assert slots(resolve_recipe("prm", ["device=cpu", "processes=2", "accumulate=2"])) == ["cpu"]
    assert slots(resolve_recipe("prm", ["device=cuda:1", "processes=2", "accumulate=2"])) == ["gpu-1", "gpu-2"]


def test_figures_go_to_tensorboard_and_the_registry_knows_the_parent(data_dir: Path, tiny_base: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = make(data_dir, tiny_base, "choose=either", "epochs=1", 'report_to=["tensorboard"]', kind="sft")
    assert jobs.run_job(first).state == "done"
    events = EventAccumulator(str(first / "tensorboard"))
    events.Reload()
    written = [(e.step, round(e.value, 4)) for e in events.Scalars("loss")]
    assert written == [(row["step"], round(row["loss"], 4)) for row in jobs.metrics_after(first)]
    second = make(data_dir, first / "model", "epochs=1")
    assert jobs.run_job(second).state == "done"
    newest, oldest = checkpoints(data_dir)
    assert (newest.job_id, newest.parent, newest.used_as) == (second.name, first.name, "scorer")
    assert (oldest.job_id, oldest.parent, oldest.used_as) == (first.name, None, "model")
    assert newest.base_sha256 == oldest.weights_sha256
    assert newest.data["data.parquet"] == jobs.RunFolder(second).job()["snapshot_sha256"]
    assert newest.figures == jobs.read_status(second).figures


def test_a_sink_that_is_not_installed_is_a_sentence(
    data_dir: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    status = jobs.run_job(make(data_dir, tiny_base, 'report_to=["trackio"]'))
    assert "pip install 'worldline[trackio]'" in status.error


def test_trackio_is_told_where_to_write_before_anything_imports_it(
    data_dir: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL does, and trackio reads the folder once."""
    monkeypatch.setenv("TRACKIO_DIR", "")
    monkeypatch.delenv("TRACKIO_DIR")
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/their-space")

    def train(*_: object) -> None:
        raise jobs.JobError(f"{os.environ['TRACKIO_DIR']} {os.environ.get('TRACKIO_SPACE_ID')}")

    monkeypatch.setitem(KINDS, "sft", replace(KINDS["sft"], train=train))
    folder = make(data_dir, tiny_base, 'report_to=["trackio"]', kind="sft")
    assert jobs.run_job(folder).error == f"{data_dir / 'jobs' / '.trackio'} None"


def test_a_dry_run_needs_no_snapshot_and_a_folder_can_be_made_for_torchrun(tmp_path: Path, data_dir: Path) -> None:
    dry = CliRunner().invoke(app, ["train", "prm", "--dry-run", "--data", str(tmp_path / "empty")])
    assert dry.exit_code == 0
    assert "Note: there is no snapshot in" in dry.stderr
    assert resolve_recipe("prm").to_toml() == dry.stdout
    refused = CliRunner().invoke(app, ["train", "prm", "--data", str(tmp_path / "empty")])
    assert refused.exit_code == 1 and "there is no snapshot" in refused.stderr
    made = CliRunner().invoke(app, ["train", "rl", "--create", "--set", "questions=4", "--data", str(data_dir)])
    assert made.exit_code == 0
    assert jobs.read_status(Path(made.stdout.strip())).state == "queued"


@pytest.mark.parametrize(("name", "processes", "parallel"), [("ddp", 8, "ddp"), ("fsdp2", 8, "fsdp2"), ("nodes", 16, "fsdp2")])  # fmt: skip
def test_there_is_an_overlay_a_topology(name: str, processes: int, parallel: str) -> None:
    recipe = resolve_recipe("sft", [], "", ["small", name])
    assert (recipe.processes, recipe.parallel, recipe.device) == (processes, parallel, "cuda")
    assert recipe.batch == 8, "the size of the model is another overlay's"


def test_overlays_are_laid_over_in_order_and_keys_win(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('kind = "prm"\nlearning_rate = 5e-5\nepochs = 7\n')
    recipe = resolve_recipe("prm", ["epochs=9"], "", ["small", mine])
    assert (recipe.dtype, recipe.learning_rate, recipe.epochs) == ("bfloat16", 5e-5, 9)
    for name in shipped_overlays():
        resolve_recipe("sft", [], "", [name])
    with pytest.raises(RecipeError, match='is for another kind of job than "sft"'):
        resolve_recipe("sft", [], "", [mine])
    mine.write_text("epoch = 7\n")
    with pytest.raises(RecipeError, match=r'"epoch" is not a key of .*mine\.toml\. Did you mean "epochs"'):
        resolve_recipe("prm", [], "", [mine])
    with pytest.raises(
        RecipeError, match=r"neither a TOML file nor a shipped overlay \(ddp, fsdp2, large, nodes, small, tiny\)"
    ):
        resolve_recipe("prm", [], "", ["huge"])


def test_a_job_that_is_resumed_in_a_terminal_stands_behind_those_that_wait(data_dir: Path, tiny_base: Path) -> None:
    folder = make(data_dir, tiny_base, "device=cpu", "epochs=1", "min_steps=1")
    run_folder = jobs.RunFolder(folder)
    long_ago = "2026-01-01T00:00:00.000Z"
    run_folder.write_status(replace(run_folder.read_status(), state="stopped", started_at=long_ago))
    assert jobs.run_job(folder).state == "done"
    assert (jobs.read_status(folder).started_at or "") > long_ago
