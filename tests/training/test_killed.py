"""Killed with -9 in mid-run and resumed: every kind of loop ends with the weights of a job that nobody touched."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.training.test_dpo import rated as rated
from tests.training.test_jobs import LONG, make, steps_in_metrics, wait_for, weights
from tests.training.test_topology import losses
from training import jobs
from training.run_folder import RunFolder

pytestmark = pytest.mark.slow

TRL = ["device=cpu", "threads=1", "learning_rate=1e-3", "checkpoint_every=4"]


def killed_and_resumed(folder: Path, after: int) -> int:
    """Start the job, kill it once it has done so many steps, resume it to its end. Returns the step where it went on."""
    pid = jobs.start_job(folder)
    wait_for(folder, lambda s: s.step >= after or s.ended)
    os.kill(pid, signal.SIGKILL)
    killed = wait_for(folder, lambda s: s.state != "running")
    assert killed.state == "failed" and killed.step < killed.total_steps
    newest = RunFolder(folder).newest_checkpoint()
    assert newest is not None, "it was killed after its first checkpoint"
    jobs.resume_job(folder)
    done = wait_for(folder, lambda s: s.ended)
    assert (done.state, done.error) == ("done", ""), (folder / "log.txt").read_text()
    assert steps_in_metrics(folder) == list(range(1, done.total_steps + 1)), "none missing, none twice"
    return newest[1]


def test_preferences(rated: Path, tiny_base: Path) -> None:
    pytest.importorskip("trl")
    snapshot = (rated / "id").read_text()
    how = [*TRL, f"base={tiny_base}", "pairs=branch", "batch=1", "accumulate=2", "min_steps=60"]
    broken, whole = (jobs.create_job(rated, "dpo", snapshot, how) for _ in range(2))
    killed_and_resumed(broken, 6)
    assert jobs.run_job(whole).state == "done"
    assert weights(broken) == weights(whole)


@pytest.mark.parametrize(("reuse", "after"), [(1, 5), (3, 17)])
def test_reinforcement_also_between_two_steps_on_the_same_rollouts(
    tmp_path: Path, learned_base: Path, reuse: int, after: int
) -> None:
    pytest.importorskip("trl")
    how = [
        *TRL, f"base={learned_base}", f"reuse={reuse}", "questions=6", "group=2", "batch=2", "accumulate=2", "max_tokens=40",
        "held_out=0", "min_steps=30",
    ]  # fmt: skip
    broken, whole = (jobs.create_job(tmp_path, "rl", "", how) for _ in range(2))
    at = killed_and_resumed(broken, after)
    assert at > 3 * reuse, "the checkpoint lies in the second pass over the questions, which has an order of its own"
    assert reuse == 1 or at % reuse, "the checkpoint lies between two steps on one batch of rollouts"
    assert jobs.run_job(whole).state == "done"
    assert weights(broken) == weights(whole)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_two_processes(data_dir: Path, tiny_base: Path, parallel: str) -> None:
    two = ["processes=2", f"parallel={parallel}", "accumulate=2", "device=cpu"]
    settings = [*(s for s in LONG if not s.startswith(("accumulate", "epochs"))), "epochs=10", *two]  # 40 steps
    broken, whole = (make(data_dir, tiny_base, *settings) for _ in range(2))
    killed_and_resumed(broken, 12)
    assert jobs.run_job(whole).state == "done"
    assert weights(broken) == weights(whole)
    if parallel == "ddp":
        one = make(data_dir, tiny_base, *settings, "processes=1")
        assert jobs.run_job(one).state == "done"
        assert losses(whole) == pytest.approx(losses(one), abs=1e-6)
