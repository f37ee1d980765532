"""What is said of a job whose process is gone, or that ran out of memory: what can be known, and what needs less."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.training.test_jobs import make, wait_for
from training import jobs, memory
from training.recipe import resolve_recipe


@pytest.fixture
def counted(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which a system that is not ours counts its kills."""
    top = tmp_path_factory.mktemp("system")
    (top / "job").mkdir()
    (top / "own").write_text("0::/job\n")
    events = top / "job" / "memory.events"
    events.write_text("low 0\noom 2\noom_kill 2\n")
    monkeypatch.setattr(memory, "CGROUPS", top)
    monkeypatch.setattr(memory, "OWN", top / "own")
    monkeypatch.setattr(memory, "MACHINE", top / "none")
    return events


def test_kills_are_counted_where_the_system_counts_them(counted: Path) -> None:
    before = memory.noted()
    assert before == {str(counted): 2}
    assert memory.ran_out(before) is False
    counted.write_text("oom_kill 3\n")
    assert memory.ran_out(before) is True
    counted.write_text("oom_kill 0\n")
    assert memory.ran_out(before) is None, "begun anew, with the machine"
    counted.unlink()
    assert memory.ran_out(before) is None
    assert memory.ran_out({}) is None


def test_the_older_groups_count_too(counted: Path) -> None:
    top = counted.parents[1]
    (top / "own").write_text("4:cpu,memory:/job\n0::/\n")
    (top / "memory").mkdir()
    (top / "memory" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n")
    assert memory.noted() == {str(top / "memory" / "memory.oom_control"): 7}


@pytest.mark.parametrize(("grown", "said"), [(True, "the system counted a kill because memory ran out"), (False, "by a person or a program")])  # fmt: skip
def test_a_job_that_the_system_killed_is_told_from_one_that_a_person_killed(
    data_dir: Path, tiny_base: Path, counted: Path, grown: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(data_dir, tiny_base, "epochs=30", "batch=2", "accumulate=1", "checkpoint_every=10")
    pid = jobs.start_job(folder)
    running = wait_for(folder, lambda s: s.step >= 1 or s.ended)
    assert running.peak_bytes > 50 << 20, "it has imported torch"
    run_folder = jobs.RunFolder(folder)
    os.kill(pid, signal.SIGKILL)
    wait_for(folder, lambda s: s.ended)
    # Its process asked the real system; what it noted is put where a kill can be counted.
    status = run_folder.read_status()
    run_folder.write_status(jobs.replace(status, kills=memory.noted()))
    if grown:
        counted.write_text("oom_kill 3\n")
    failed = jobs.read_status(folder)
    assert said in failed.error and "GiB" in failed.error
    assert ("--set max_tokens=" in failed.error) == grown
    assert ("--set gradient_checkpointing=true" in failed.error) == grown
    assert "Resume" in failed.error


def test_a_process_that_crashed_is_not_called_killed(data_dir: Path, tiny_base: Path) -> None:
    folder = make(data_dir, tiny_base, "epochs=30", "batch=2", "accumulate=1")
    pid = jobs.start_job(folder)
    wait_for(folder, lambda s: s.step >= 1 or s.ended)
    os.kill(pid, signal.SIGABRT)
    assert "ended with SIGABRT at step" in wait_for(folder, lambda s: s.ended).error


def test_what_needs_less_is_true_of_the_recipe() -> None:
    eight = memory.less(resolve_recipe("prm", ["batch=8", "accumulate=2"]))
    assert eight.startswith("--set batch=4 --set accumulate=4 (the same result in less memory), or ")
    assert "--set batch=3 --set accumulate=3" in memory.less(resolve_recipe("prm", ["batch=9", "accumulate=1"]))
    one = memory.less(resolve_recipe("sft", ["batch=1", "accumulate=8", "max_tokens=2000"]))
    assert "batch" not in one
    assert "--set gradient_checkpointing=true" in one and "--set max_tokens=1000" in one
    assert "checkpointing" not in memory.less(resolve_recipe("sft", ["gradient_checkpointing=true"]))
