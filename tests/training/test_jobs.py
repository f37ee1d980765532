"""Jobs as people meet them: made, run, killed, stopped, resumed; and every way to fail, with its sentence."""

from __future__ import annotations

import json
import math
import os
import re
import resource
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.training.synthetic import examples, snapshot_rows, unrated, write_snapshot
from training import jobs
from training.recipe import RecipeError, read_recipe
from training.rows import RowsError
from training.run_folder import COMPLETE, FolderBusy, JobError, JobStatus, RunFolder

# A busy machine needs up to twenty seconds to import torch and transformers.
PATIENCE_S = 120.0


def make(data_dir: Path, tiny_base: Path, *overrides: str, kind: str = "prm", snapshot: str = "snap") -> Path:
    return jobs.create_job(data_dir, kind, snapshot, [f"base={tiny_base}", "threads=1", "min_steps=1", *overrides])


def wait_for(folder: Path, what: Any) -> JobStatus:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        status = jobs.read_status(folder)
        if what(status):
            return status
        time.sleep(0.02)
    raise AssertionError(
        f"waited {PATIENCE_S} s; the job is at {jobs.read_status(folder)}\n{(folder / 'log.txt').read_text()}"
    )


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def steps_in_metrics(folder: Path) -> list[int]:
    return [row["step"] for row in jobs.metrics_after(folder)]


# ----------------------------------------------------------------------------------------------------------- going well


def test_a_job_leaves_a_model_its_figures_and_where_it_came_from(data_dir: Path, tiny_base: Path) -> None:
    folder = make(data_dir, tiny_base, "epochs=1", "batch=2", "accumulate=1")
    assert jobs.read_status(folder).state == "queued"
    assert jobs.model_folder(folder) is None
    seen: list[JobStatus] = []
    status = jobs.run_job(folder, progress=seen.append)
    assert (status.state, status.error) == ("done", "")
    assert status.step == status.total_steps == 8  # 16 training traces in pairs
    assert jobs.read_status(folder) == status
    assert [s.step for s in seen if s.phase.startswith("training")][-1] == 8
    assert {"auc", "base_rate", "n_test_steps"} <= status.figures.keys()
    assert status.figures["n_test_steps"] > 0

    rows = jobs.metrics_after(folder)
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert {"step", "loss", "lr", "tokens_per_s", "seconds"} <= rows[0].keys()
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert jobs.metrics_after(folder, 6) == rows[6:]
    text, following = jobs.log_after(folder)
    assert "training: 8 steps" in text
    assert jobs.log_after(folder, following) == ("", following)

    job = json.loads((folder / "job.json").read_text())
    manifest = json.loads((data_dir / "snapshots" / "snap" / "manifest.json").read_text())
    assert job["snapshot_sha256"] == manifest["sha256"]
    model = jobs.model_folder(folder)
    assert model is not None
    card = (model / "README.md").read_text(encoding="utf-8")
    assert card == (folder / "README.md").read_text(encoding="utf-8")
    for fact in ("snap", manifest["sha256"], str(tiny_base), str(status.figures["auc"]), "learning_rate"):
        assert fact in card
    assert read_recipe(folder / "recipe.toml").snapshot == "snap"
    assert not list((folder / "checkpoints").iterdir())
    assert [s.job_id for s in jobs.list_jobs(data_dir)] == [folder.name]
    with pytest.raises(JobError, match="is done"):
        jobs.resume_job(folder)


def test_fine_tuning_lowers_the_loss_on_approved_traces_of_other_questions(data_dir: Path, tiny_base: Path) -> None:
    folder = make(
        data_dir, tiny_base, "choose=either", "epochs=12", "learning_rate=1e-2", "batch=8", "accumulate=1", kind="sft"
    )
    status = jobs.run_job(folder)
    assert (status.state, status.error) == ("done", "")
    assert status.figures["loss_after"] < 0.8 * status.figures["loss_before"]
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.config.use_cache


def test_the_same_recipe_gives_the_same_weights(data_dir: Path, tiny_base: Path) -> None:
    made = [make(data_dir, tiny_base, "epochs=1", "learning_rate=1e-2") for _ in range(2)]
    for folder in made:
        assert jobs.run_job(folder).state == "done"
    assert weights(made[0]) == weights(made[1])
    other = make(data_dir, tiny_base, "epochs=1", "learning_rate=1e-2", "seed=2")
    jobs.run_job(other)
    assert weights(other) != weights(made[0])


# --------------------------------------------------------------------------------------------- killed, stopped, resumed

LONG = ("epochs=30", "batch=2", "accumulate=1", "learning_rate=1e-3", "checkpoint_every=10")  # 240 steps


@pytest.mark.slow
def test_a_job_killed_in_mid_run_and_resumed_ends_with_the_weights_of_an_unbroken_one(
    data_dir: Path, tiny_base: Path
) -> None:
    folder = make(data_dir, tiny_base, *LONG)
    pid = jobs.start_job(folder)
    with pytest.raises(FolderBusy, match="already running"):
        jobs.start_job(folder)
    wait_for(folder, lambda s: s.step >= 25 or s.ended)
    os.kill(pid, signal.SIGKILL)
    killed = wait_for(folder, lambda s: s.state != "running")
    assert killed.state == "failed"
    assert killed.resumable
    assert "was killed at step" in killed.error
    assert "GiB" in killed.error, "what it held"
    assert "Resume goes on from step" in killed.error
    assert 20 <= killed.step < killed.total_steps
    newest = RunFolder(folder).newest_checkpoint()
    assert newest is not None

    # As if the kill had hit while the next checkpoint was being written: with weights, but not whole.
    broken = folder / "checkpoints" / "checkpoint-9990"
    shutil.copytree(newest[0], broken)
    (broken / COMPLETE).unlink()
    (broken / "optimizer.pt").write_bytes(b"half")

    jobs.resume_job(folder)
    done = wait_for(folder, lambda s: s.ended)
    assert (done.state, done.error) == ("done", "")
    log = (folder / "log.txt").read_text()
    assert f"training: step {newest[1]} of 240" in log
    assert steps_in_metrics(folder) == list(range(1, 241))  # none missing, none twice

    unbroken = make(data_dir, tiny_base, *LONG)
    assert jobs.run_job(unbroken).state == "done"
    assert weights(folder) == weights(unbroken)
    assert done.figures == jobs.read_status(unbroken).figures


def test_a_stopped_job_goes_on_to_the_weights_of_an_unbroken_one(data_dir: Path, tiny_base: Path) -> None:
    settings = ("epochs=3", "batch=2", "accumulate=2", "learning_rate=1e-2", "checkpoint_every=100")
    folder = make(data_dir, tiny_base, *settings)

    def stop_at_five(status: JobStatus) -> None:
        if status.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    stopped = jobs.run_job(folder, progress=stop_at_five)
    assert signal.getsignal(signal.SIGTERM) is before
    assert (stopped.state, stopped.step, stopped.error) == ("stopped", 5, "")
    assert jobs.read_status(folder).resumable
    newest = RunFolder(folder).newest_checkpoint()
    assert newest is not None
    assert newest[1] == 5
    resumed = jobs.run_job(folder)
    assert (resumed.state, resumed.error) == ("done", "")
    assert resumed.seconds > newest[2]
    assert steps_in_metrics(folder) == list(range(1, 13))
    unbroken = make(data_dir, tiny_base, *settings)
    jobs.run_job(unbroken)
    assert weights(folder) == weights(unbroken)


def test_a_job_stopped_after_its_last_step_only_finishes(data_dir: Path, tiny_base: Path) -> None:
    folder = make(data_dir, tiny_base, "epochs=1", "learning_rate=1e-2")

    def stop_when_measuring(status: JobStatus) -> None:
        if status.phase.startswith("measuring"):
            RunFolder(folder).request_stop()

    assert jobs.run_job(folder, progress=stop_when_measuring).state == "stopped"
    assert jobs.run_job(folder).state == "done"
    unbroken = make(data_dir, tiny_base, "epochs=1", "learning_rate=1e-2")
    jobs.run_job(unbroken)
    assert weights(folder) == weights(unbroken)


def test_a_job_that_never_started_can_be_stopped_and_then_started(data_dir: Path, tiny_base: Path) -> None:
    folder = make(data_dir, tiny_base, "epochs=1")
    assert jobs.stop_job(folder).state == "stopped"
    assert jobs.run_job(folder).state == "done"
    assert jobs.stop_job(folder).state == "done"


def test_a_process_that_dies_before_it_can_say_anything_is_noticed(data_dir: Path, tiny_base: Path) -> None:
    folder = make(data_dir, tiny_base)
    os.kill(jobs.start_job(folder), signal.SIGKILL)
    status = wait_for(folder, lambda s: s.ended)
    assert status.state == "failed"
    assert "Resume starts it from the beginning" in status.error


def test_while_it_runs_and_when_asked_to_stop_the_status_says_so(data_dir: Path, tiny_base: Path) -> None:
    folder = make(data_dir, tiny_base, "epochs=1")
    seen: list[str] = []

    def look(status: JobStatus) -> None:
        seen.append(jobs.read_status(folder).state)
        if status.step == 1:
            seen.append(jobs.stop_job(folder).state)  # a signal to ourselves and the file

    assert jobs.run_job(folder, progress=look).state == "stopped"
    assert seen[0] == "running"
    assert "stopping" in seen
    assert not RunFolder(folder).stop_requested()


# ---------------------------------------------------------------------------------------------------------- going badly


def test_mistakes_are_found_before_a_job_is_made(data_dir: Path, tiny_base: Path) -> None:
    with pytest.raises(RecipeError, match='Did you mean "learning_rate"'):
        make(data_dir, tiny_base, "learning_rat=1")
    with pytest.raises(RowsError, match='There is no snapshot "other"'):
        make(data_dir, tiny_base, snapshot="other")
    with pytest.raises(RowsError, match="is not the id of a snapshot"):
        make(data_dir, tiny_base, snapshot="../snap")
    assert jobs.list_jobs(data_dir) == []


def test_a_snapshot_with_nothing_rated_fails_with_the_mend(tmp_path: Path, tiny_base: Path) -> None:
    write_snapshot(tmp_path, snapshot_rows([unrated(e) for e in examples(4, longest=4)]))
    status = jobs.run_job(make(tmp_path, tiny_base))
    assert status.state == "failed"
    assert "None of the 4 traces in the snapshot has a rated step" in status.error
    assert "Rate some steps, freeze a new snapshot" in status.error


def test_a_loss_that_explodes_ends_with_the_cause_and_a_suggestion(data_dir: Path, tiny_base: Path) -> None:
    status = jobs.run_job(make(data_dir, tiny_base, "learning_rate=1e30", "epochs=5", "warmup=0"))
    assert status.state == "failed"
    assert re.search(r"The (loss|gradient) became (nan|inf) at step \d", status.error)
    assert "--set learning_rate=" in status.error


def test_memory_that_runs_out_ends_with_a_suggestion(data_dir: Path, tiny_base: Path) -> None:
    """For real: from its first step on the process may map 64 MiB more than it has, and a step needs more."""
    folder = make(data_dir, tiny_base, "batch=512", "accumulate=2", "epochs=100", "packing=false")
    before = resource.getrlimit(resource.RLIMIT_AS)

    def limit(status: JobStatus) -> None:
        if status.phase.startswith("training") and status.step == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (64 << 20), before[1]))

    try:
        status = jobs.run_job(folder, progress=limit)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert status.state == "failed"
    assert "Memory ran out" in status.error
    assert "--set batch=256 --set accumulate=4" in status.error


def test_a_base_that_is_no_model_and_a_snapshot_that_changed_are_sentences(data_dir: Path, tiny_base: Path) -> None:
    status = jobs.run_job(jobs.create_job(data_dir, "prm", "snap", ["base=/nowhere/model"]))
    assert status.state == "failed"
    assert 'base = "/nowhere/model" is not a folder with a model' in status.error
    folder = make(data_dir, tiny_base)
    shutil.rmtree(data_dir / "snapshots" / "snap")
    write_snapshot(data_dir, snapshot_rows(examples(5, longest=3)))
    assert "is not the one this job was made for" in jobs.run_job(folder).error
    with pytest.raises(RowsError, match="is not the one this job was made for"):
        jobs.resume_job(folder)


@pytest.mark.parametrize(
    ("said", "by"),
    [
        ({"labels": "model", "source": "oracle:countdown"}, "`oracle:countdown (not people)`"),
        ({"labels": "people"}, "`people`"),
    ],
)
def test_the_card_says_who_judged(data_dir: Path, tiny_base: Path, said: dict[str, str], by: str) -> None:
    manifest = data_dir / "snapshots" / "snap" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | said))
    folder = make(data_dir, tiny_base, "epochs=1")
    assert jobs.run_job(folder).state == "done"
    card = (folder / "README.md").read_text()
    assert f"| labels by | {by} |" in card
    assert "imitates the people" not in card


def test_one_class_trains_with_a_warning(tmp_path: Path, tiny_base: Path) -> None:
    rows = snapshot_rows(examples(4, longest=4), test_every=99)
    for row in rows:
        row["rating"] = [1] * len(row["rating"])
    write_snapshot(tmp_path, rows)
    status = jobs.run_job(make(tmp_path, tiny_base, "epochs=1"))
    assert status.state == "done"
    assert "training labels are good" in status.figures["warnings"][0]
    assert status.figures["auc"].startswith("undefined")


def test_only_a_process_that_lives_holds_the_lock(data_dir: Path, tiny_base: Path) -> None:
    folder = make(data_dir, tiny_base)
    holder = RunFolder(folder)
    holder.acquire()
    assert RunFolder(folder).is_held()
    with pytest.raises(FolderBusy):
        jobs.run_job(folder)
    holder.release()
    assert not RunFolder(folder).is_held()


def test_a_checkpoint_counts_only_when_all_of_it_is_there(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step in (10, 20, 30):
        checkpoint = folder.checkpoints / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "weights").write_bytes(b"x" * step)
        folder.mark_complete(checkpoint, step, seconds=step / 10)
    assert sorted(p.name for p in folder.checkpoints.iterdir()) == ["checkpoint-20", "checkpoint-30"]
    newest = folder.newest_checkpoint()
    assert newest is not None
    assert newest[1:] == (30, 3.0)
    (folder.checkpoints / "checkpoint-30" / "weights").write_bytes(b"x")
    assert folder.newest_checkpoint() == (folder.checkpoints / "checkpoint-20", 20, 2.0)


def test_wrong_use_of_the_process_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert jobs.main([]) == 2
    assert "python -m training.jobs run FOLDER" in capsys.readouterr().err
