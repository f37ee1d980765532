"""The folder of a job on disk: who may write it, its status, metrics, log and checkpoints.

One rule keeps it consistent: only the holder of `lock` writes `status.json`, `metrics.jsonl` and `checkpoints/`. The
lock is an flock, which the system drops when its holder dies, however it dies; so "is it alive" needs no process id,
which could be a zombie's or belong to somebody else by now. A wish to stop is a file of its own, `stop-requested`.

Knows no model, no trainer and no recipe.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from training.memory import peak_bytes

JobState = Literal["queued", "running", "stopping", "stopped", "failed", "done"]
JOB_STATES: tuple[JobState, ...] = ("queued", "running", "stopping", "stopped", "failed", "done")
STATUS, JOB, RECIPE, METRICS, LOG, LOCK, STOP = (
    "status.json", "job.json", "recipe.toml", "metrics.jsonl", "log.txt", "lock", "stop-requested",
)  # fmt: skip
COMPLETE = "complete.json"
# The newest may be the one that a kill interrupts, so the one before it is kept.
CHECKPOINTS_KEPT = 2
LOCK_PATIENCE_S = 2.0


class JobError(ValueError):
    """A sentence for `status.error` or for who asked: what went wrong and what to do."""


class FolderBusy(JobError):
    """A sentence: another process runs this job."""


@dataclass(frozen=True)
class JobStatus:
    """What `status.json` says. `figures` are the results; `phase` is what it is doing, in a word or two."""

    job_id: str
    kind: str
    state: JobState
    snapshot_id: str
    pid: int | None = None
    phase: str = ""
    step: int = 0
    total_steps: int = 0
    seconds: float = 0.0
    eta_s: float | None = None
    error: str = ""
    created_at: str = ""
    started_at: str | None = None
    ended_at: str | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    # For whoever finds the process gone: the most memory that it has held, and `memory.noted()` of its beginning.
    peak_bytes: int = 0
    kills: dict[str, int] = field(default_factory=dict)

    @property
    def resumable(self) -> bool:
        return self.state in ("stopped", "failed")

    @property
    def ended(self) -> bool:
        return self.state in ("stopped", "failed", "done")

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "resumable": self.resumable}


def write_atomically(path: Path, text: str) -> None:
    """Readers see the old file or the new one, never half of one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


class RunFolder:
    """Reads and writes one job's folder. Writing is for the holder of the lock."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self._lock: int | None = None

    # ------------------------------------------------------------------------------------------------------------ lock

    def acquire(self) -> int:
        """Take the lock and return its file descriptor (a child that inherits it holds it too). Raises FolderBusy."""
        fd = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + LOCK_PATIENCE_S  # a reader's probe holds it for an instant
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(fd)
                    raise FolderBusy(f"The job {self.path.name} is already running.") from None
                time.sleep(0.02)
        self._lock = fd
        return fd

    def inherit(self, fd: int) -> None:
        """Adopt a lock that the parent process took."""
        self._lock = fd

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def lock_fd(self) -> int | None:
        """For a child that must hold the lock as long as it lives."""
        return self._lock

    def is_held(self) -> bool:
        """Does a live process run this job?"""
        try:
            fd = os.open(self.path / LOCK, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    # ---------------------------------------------------------------------------------------------------------- status

    def job(self) -> dict[str, Any]:
        """Lineage, written once when the job was made."""
        return json.loads((self.path / JOB).read_text(encoding="utf-8"))

    def read_status(self) -> JobStatus:
        """As the process last wrote it; whether that process still lives is for the caller to ask."""
        values = json.loads((self.path / STATUS).read_text(encoding="utf-8"))
        return JobStatus(**{f.name: values[f.name] for f in fields(JobStatus) if f.name in values})

    def write_status(self, status: JobStatus) -> None:
        write_atomically(self.path / STATUS, json.dumps(status.to_json(), indent=1))

    def say(self, text: str) -> None:
        """A line in the log, with the time."""
        with (self.path / LOG).open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%H:%M:%S')}  {text}\n")

    def log_tail(self, lines: int = 5) -> str:
        try:
            return "\n".join((self.path / LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def request_stop(self) -> None:
        (self.path / STOP).touch()

    def stop_requested(self) -> bool:
        return (self.path / STOP).exists()

    def clear_stop(self) -> None:
        (self.path / STOP).unlink(missing_ok=True)

    # --------------------------------------------------------------------------------------------------------- metrics

    def add_metrics(self, row: dict[str, Any]) -> None:
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def forget_metrics_after(self, step: int) -> None:
        """Drop the rows of steps that will be done again, and a row that a kill cut short."""
        path = self.path / METRICS
        if not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if row.get("step", 0) <= step:
                kept.append(line + "\n")
        write_atomically(path, "".join(kept))

    # ----------------------------------------------------------------------------------------------------- checkpoints

    def mark_complete(self, checkpoint: Path, step: int, seconds: float) -> None:
        """Everything is on disk: say so in a file that is written last, then drop the oldest checkpoints."""
        sizes = {}
        for file in sorted(checkpoint.rglob("*")):
            if file.is_file():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
                sizes[str(file.relative_to(checkpoint))] = file.stat().st_size
        write_atomically(checkpoint / COMPLETE, json.dumps({"step": step, "seconds": seconds, "files": sizes}))
        for _, old in self._complete()[CHECKPOINTS_KEPT:]:
            (old / COMPLETE).unlink()  # first of all it stops counting as complete
            shutil.rmtree(old)

    def newest_checkpoint(self) -> tuple[Path, int, float] | None:
        """The newest complete checkpoint: folder, step, seconds of training until then."""
        for marker, checkpoint in self._complete():
            sizes: dict[str, int] = marker["files"]
            files = {name: checkpoint / name for name in sizes}
            if all(f.is_file() and f.stat().st_size == sizes[name] for name, f in files.items()):
                return checkpoint, int(marker["step"]), float(marker["seconds"])
        return None

    def drop_checkpoints_except(self, keep: Path | None) -> None:
        """Remove what a kill left half-written (and all others)."""
        if self.checkpoints.is_dir():
            for folder in self.checkpoints.iterdir():
                if folder != keep:
                    (folder / COMPLETE).unlink(missing_ok=True)
                    shutil.rmtree(folder, ignore_errors=True)

    def _complete(self) -> list[tuple[dict[str, Any], Path]]:
        """Complete checkpoints, newest first."""
        found = []
        for marker in self.checkpoints.glob(f"checkpoint-*/{COMPLETE}"):
            try:
                values = json.loads(marker.read_text(encoding="utf-8"))
                found.append((int(values["step"]), values, marker.parent))
            except (OSError, ValueError, KeyError):
                continue
        return [(values, folder) for _, values, folder in sorted(found, key=lambda f: f[0], reverse=True)]


class Stopped(Exception):
    """Somebody asked the job to stop, and it did."""


class PeerDone(Exception):
    """A process that only helps another one has done its share."""


class Run:
    """A job while it runs: the only place from which its status is written.

    `notify` is called with every new status (a progress bar); `asked_to_stop` is set by a signal. One that does not
    lead (a further process of the same job) says and writes nothing.
    """

    # Writing (and fsyncing) the status more often than this would cost more than the steps of a tiny model.
    STATUS_EVERY_S = 0.5

    def __init__(self, folder: RunFolder, status: JobStatus, notify=None, *, leads: bool = True) -> None:
        self.folder = folder
        self.leads = leads
        self.status = status
        self.asked_to_stop = False
        self._notify = notify
        self._written = 0.0
        self._started = time.monotonic()
        self.seconds_before = 0.0  # of training in earlier lives of the job

    def begin(self) -> None:
        """The waiting is over: from here on time counts."""
        self._started = time.monotonic()
        self.publish(replace(self.status, state="running", phase="starting"))

    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self._started

    def publish(self, status: JobStatus, *, now: bool = True) -> None:
        """Make this the status; `now=False` writes it only if the last writing was a while ago."""
        self.status = replace(status, seconds=round(self.seconds(), 1), peak_bytes=peak_bytes())
        if not self.leads:
            return
        if now or time.monotonic() - self._written > self.STATUS_EVERY_S:
            self.folder.write_status(self.status)
            self._written = time.monotonic()
        if self._notify is not None:
            self._notify(self.status)

    def phase(self, text: str) -> None:
        """Say what comes next, and stop here if somebody asked for it. Raises Stopped."""
        if self.leads:  # the others are told in the next step
            self.check_stop()
        self.say(text)
        self.publish(replace(self.status, phase=text))

    def say(self, text: str) -> None:
        """A line in the log."""
        if self.leads:
            self.folder.say(text)

    def stop_wanted(self) -> bool:
        return self.asked_to_stop or self.folder.stop_requested()

    def check_stop(self) -> None:
        if self.stop_wanted():
            raise Stopped
