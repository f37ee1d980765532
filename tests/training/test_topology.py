"""Two processes are one: the same losses, the same weights; and what was asked for is what runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training import jobs
from training.jobs import PACKAGE_ROOT
from training.recipe import RecipeError, resolve_recipe


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in jobs.metrics_after(folder)]


@pytest.mark.slow
def test_two_sharded_processes_lose_what_one_loses(
    data_dir: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FSDP2 over gloo on the CPU, six decimals, accumulation and a last step with fewer traces included."""
    from safetensors.torch import load_file

    settings = [f"base={tiny_base}", "device=cpu", "threads=1", "min_steps=1", "batch=3", "accumulate=2", "epochs=2"]
    runs = []
    for more in (["processes=1"], ["processes=2", "parallel=fsdp2"]):
        folder = jobs.create_job(data_dir, "prm", "snap", [*settings, *more, "learning_rate=1e-3"])
        status = jobs.run_job(folder)
        assert (status.state, status.error) == ("done", ""), (folder / "log.txt").read_text()
        runs.append(folder)
    one, two = map(losses, runs)
    assert len(one) == len(two) == 6
    assert two == pytest.approx(one, abs=1e-6)
    weights = [load_file(folder / "model" / "model.safetensors") for folder in runs]
    for name, tensor in weights[0].items():
        assert (tensor - weights[1][name]).abs().max() < 1e-5, name
    assert "shares" in (runs[1] / "log.txt").read_text()


def test_the_processes_of_a_recipe_must_be_those_that_were_started(
    data_dir: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    folder = jobs.create_job(data_dir, "prm", "snap", [f"base={tiny_base}", "device=cpu", "threads=1", "min_steps=1"])
    status = jobs.run_job(folder)
    assert status.state == "failed"
    assert "The recipe says processes = 1, but 4 were started" in status.error


@pytest.mark.parametrize("kind", ["prm", "dpo", "rl"])
def test_a_gpu_that_is_not_there_is_a_sentence(data_dir: Path, tiny_base: Path, kind: str) -> None:
    if kind != "prm":
        pytest.importorskip("trl")
    folder = jobs.create_job(data_dir, kind, "snap", [f"base={tiny_base}", "device=cuda:7", "threads=1", "min_steps=1"])
    assert "there is no GPU 7 here" in jobs.run_job(folder).error


@pytest.mark.parametrize("kind", ["dpo", "rl"])
def test_kinds_of_one_process_take_no_more(
    data_dir: Path, tiny_base: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for overrides in (["processes=2", "accumulate=2"], ["processes=2", "accumulate=2", "parallel=fsdp2"]):
        with pytest.raises(RecipeError, match=f"{kind} jobs run in one process, on one device; leave processes = 1"):
            resolve_recipe(kind, overrides)
    monkeypatch.setenv("WORLD_SIZE", "2")
    folder = jobs.create_job(data_dir, kind, "snap", [f"base={tiny_base}", "device=cpu", "threads=1"])
    assert "The recipe says processes = 1, but 2 were started" in jobs.run_job(folder).error


def test_shards_need_somebody_to_share_with() -> None:
    with pytest.raises(RecipeError, match="one process has nobody to share them with"):
        resolve_recipe("prm", ["parallel=fsdp2"])


def test_a_step_must_be_shared_evenly() -> None:
    with pytest.raises(RecipeError, match="make accumulate a multiple of processes"):
        resolve_recipe("prm", ["processes=2", "accumulate=3"])


def test_a_peer_ends_with_the_process_that_started_it() -> None:
    """Also before they have joined: it would hold the job's lock, and wait for days."""
    leader = "\n".join([
        "import os, subprocess, sys",
        "wait = 'import time; from training.topology import end_with_leader; end_with_leader(); print(1, flush=True); time.sleep(600)'",
        "env = {**os.environ, 'WORLDLINE_LEADER': str(os.getpid())}",
        "with subprocess.Popen([sys.executable, '-c', wait], env=env, stdout=subprocess.PIPE) as peer:",
        "    peer.stdout.readline(); print(peer.pid, flush=True); peer.wait()",
    ])  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", leader], stdout=subprocess.PIPE, cwd=PACKAGE_ROOT) as process:
        assert process.stdout is not None
        peer = int(process.stdout.readline())
        os.kill(peer, 0)
        process.kill()
    until = time.monotonic() + 30
    while _alive(peer) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _alive(peer)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
