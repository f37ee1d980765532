"""The queue: one job at a time on a device, in the order in which they were started. There is no queue manager.

Each job's process waits for its own turn: it takes the lock of its device (an flock beside the jobs, which the system drops
with its holder), and an older one that waits goes first. So the order survives the workbench, jobs from the terminal and
from the page share it, and a killed job never blocks the next. Knows no training.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from training.recipe import Recipe, RecipeError, read_recipe
from training.run_folder import RECIPE, Run, RunFolder

LOOK_EVERY_S = 0.5
WAITING = "waiting for"


def slots(recipe: Recipe) -> list[str]:
    """The devices that a job needs for itself: "cpu", or "gpu-0", "gpu-1" …"""
    # By the device file, not by torch: a job that waits must not hold the memory of an import.
    gpu = recipe.device.startswith("cuda") or (recipe.device == "auto" and any(Path("/dev").glob("nvidia[0-9]*")))
    if not gpu:
        return ["cpu"]
    first = int(recipe.device.partition(":")[2] or 0)
    return [f"gpu-{first + i}" for i in range(recipe.processes)]


@contextmanager
def turn(run: Run, recipe: Recipe) -> Iterator[None]:
    """Hold the job's devices; waits for them first, and says for whom. Raises Stopped when asked to while it waits."""
    wanted = slots(recipe)
    said = ""
    while (held := _take(run.folder.path.parent, wanted)) is None or (older := _older(run, wanted)):
        if held is not None:
            _drop(held)
        ahead = older if held is not None else _holder(run.folder.path.parent, wanted)
        phase = f"{WAITING} {ahead}"
        if phase != said:
            said = phase
            run.publish(replace(run.status, state="queued", phase=phase))
            run.say(phase)
        run.check_stop()
        time.sleep(LOOK_EVERY_S)
    try:
        for fd in held:
            os.truncate(fd, 0)
            os.pwrite(fd, run.folder.path.name.encode(), 0)
        yield
    finally:
        _drop(held)


def _lock_file(jobs: Path, slot: str) -> Path:
    return jobs / f".{slot}.lock"


def _take(jobs: Path, wanted: list[str]) -> list[int] | None:
    held: list[int] = []
    for slot in wanted:
        fd = os.open(_lock_file(jobs, slot), os.O_RDWR | os.O_CREAT, 0o644)
        held.append(fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _drop(held)
            return None
    return held


def _drop(held: list[int]) -> None:
    for fd in held:
        os.close(fd)


def _holder(jobs: Path, wanted: list[str]) -> str:
    for slot in wanted:
        try:
            name = _lock_file(jobs, slot).read_text()
        except OSError:
            continue
        if name and (jobs / name).is_dir() and RunFolder(jobs / name).is_held():
            return name
    return "another job"


def _older(run: Run, wanted: list[str]) -> str | None:
    """A live job that waits for one of the same devices and was started before this one."""
    mine = (run.status.started_at or "", run.status.job_id)
    for path in run.folder.path.parent.glob("[!.]*/status.json"):
        other = RunFolder(path.parent)
        try:
            status = other.read_status()
            waits = status.state == "queued" and status.phase.startswith(WAITING)
            if not waits or (status.started_at or "", status.job_id) >= mine or not other.is_held():
                continue
            if set(slots(read_recipe(path.parent / RECIPE))) & set(wanted):
                return status.job_id
        except (OSError, ValueError, TypeError, RecipeError):
            continue
    return None
