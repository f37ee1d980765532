"""Did memory run out? What a job's process can note about itself, what can be seen of it once it is gone, and what needs less.

The system kills without a word; but it counts: in `memory.events` (cgroup v2) or `memory.oom_control` (v1) of the group of a
process, and of the whole machine in `/proc/vmstat`. A count that rose while a job ran, and that job killed, is as near to the cause as one can come. Knows no trainer.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.recipe import Recipe

CGROUPS, OWN, MACHINE = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"), Path("/proc/vmstat")


def noted() -> dict[str, Any]:
    """For the status of the job that runs: the counts of kills for want of memory, by file; {} where the system has none."""
    files = [MACHINE]
    try:
        groups = [line.split(":", 2) for line in OWN.read_text().splitlines()]
    except OSError:
        groups = []
    for _, controllers, path in groups:
        v1 = "memory" in controllers.split(",")
        if v1 or not controllers:
            top, name = (CGROUPS / "memory", "memory.oom_control") if v1 else (CGROUPS, "memory.events")
            # In a container the path may be that of the machine, and the group's files lie at the top.
            files += [top / path.strip("/") / name, top / name]
    counts = {str(file): _kills(file) for file in files}
    return {name: count for name, count in counts.items() if count is not None}


def peak_bytes() -> int:
    """Most memory that this process has held so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def ran_out(before: dict[str, Any]) -> bool | None:
    """Whether the system has killed something for want of memory since `noted`; None where that cannot be known."""
    found = [(count, before[name]) for name in before if (count := _kills(Path(name))) is not None]
    if any(now > then for now, then in found):
        return True
    # A count that fell was begun anew, with the machine or the container.
    return False if found and all(now == then for now, then in found) else None


def less(recipe: Recipe) -> str:
    """What to set so that a job needs less memory, as the end of a sentence."""
    ways = []
    divisor = next((d for d in range(2, recipe.batch + 1) if recipe.batch % d == 0), None)
    if divisor is not None:
        ways.append(
            f"--set batch={recipe.batch // divisor} --set accumulate={recipe.accumulate * divisor} (the same result in less "
            "memory)"
        )
    if not recipe.gradient_checkpointing:
        ways.append("--set gradient_checkpointing=true (the same result, more slowly)")
    ways.append(
        f"--set max_tokens={max(16, recipe.max_tokens // 2)} (a smaller max_tokens leaves out or cuts what is longer)"
    )
    return ", or ".join(ways)


def _kills(file: Path) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, count = line.partition(" ")
        if name == "oom_kill" and count.strip().isdigit():
            return int(count)
    return None
