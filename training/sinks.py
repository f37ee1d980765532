"""Where figures go beside `metrics.jsonl`: trackio and TensorBoard, each an optional extra. Nothing leaves the machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from training.run_folder import JobError


class Sink(Protocol):
    def add(self, row: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in the job's folder: `tensorboard --logdir DATA/jobs` compares all jobs."""

    def __init__(self, folder: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What an interrupted run wrote beyond its checkpoint is hidden, because those steps are done again.
        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1 if start else None)

    def add(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        self._writer.close()


class Trackio:
    """One local database for all jobs, `DATA/jobs/.trackio`; `TRACKIO_DIR=DATA/jobs/.trackio trackio show` opens it."""

    def __init__(self, folder: Path, start: int) -> None:
        keep_here(["trackio"], folder)
        import trackio

        self._run: Any = trackio.init(project="worldline", name=folder.name, resume="allow", embed=False)

    def add(self, row: dict[str, Any]) -> None:
        self._run.log({k: v for k, v in row.items() if k != "step"}, step=row["step"])

    def close(self) -> None:
        self._run.finish()


def keep_here(names: Sequence[str], folder: Path) -> None:
    """Before anything imports trackio (TRL does): it reads once, when it is imported, where it writes."""
    if "trackio" in names:
        os.environ.setdefault("TRACKIO_DIR", str(folder.parent / ".trackio"))
        os.environ.pop("TRACKIO_SPACE_ID", None)  # it would upload


SINKS: dict[str, Callable[[Path, int], Sink]] = {"tensorboard": TensorBoard, "trackio": Trackio}


@contextmanager
def opened(names: Sequence[str], folder: Path, start: int) -> Iterator[list[Sink]]:
    """The sinks of a job that begins after step `start`. Raises JobError when one is not installed."""
    sinks: list[Sink] = []
    try:
        for name in names:
            try:
                sinks.append(SINKS[name](folder, start))
            except ImportError as error:
                raise JobError(
                    f'report_to = ["{name}"] needs a package that is not installed ({error.name or error}): '
                    f"pip install 'worldline[{name}]'."
                ) from error
        yield sinks
    finally:
        for sink in sinks:
            sink.close()
