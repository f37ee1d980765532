"""10,000 DAGs of the numbers game and five paths from each, on two processes, with every path counted in tokens."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.table import Row

DAGS, PATHS = 10_000, 5
PROMISED_S = 300.0


def measure() -> list[Row]:
    """Once: it is minutes long."""
    from training.synthesis.countdown_dags import write

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        made = write(Path(folder) / "paths.jsonl", dags=DAGS, paths=PATHS)
        seconds = time.perf_counter() - started
    return [
        Row(f"synthesis: {DAGS:,} DAGs, {made['paths']:,} paths", seconds, "s", PROMISED_S, "promised"),
    ]
