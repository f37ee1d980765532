"""Training jobs: a folder each, a process each. Make, start, watch, stop, resume; and what the process itself does.

    python -m training.jobs run FOLDER        # the process: everything it prints goes to FOLDER/log.txt

A job needs its folder and its frozen snapshot, never the database (which belongs to one process). It survives the
process that started it, and a kill: its newest complete checkpoint is where `resume_job` goes on, to bitwise the same
weights as if nothing had happened. One job at a time runs on a device (`devices.py`). Knows no web, no rating semantics
(rows.py), and no kind of job but by its name (kinds/).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from core.trace import new_id, utc_now
from training import memory
from training.checkpoints import Checkpoint, parent_of, record
from training.devices import WAITING, turn
from training.provenance import PACKAGE_ROOT, file_hashes, git_revision, version
from training.recipe import Recipe, RecipeError, read_recipe, resolve_recipe
from training.rows import RowsError, data_sha256
from training.run_folder import (
    JOB,
    LOG,
    METRICS,
    RECIPE,
    FolderBusy,
    JobError,
    JobState,
    JobStatus,
    PeerDone,
    Run,
    RunFolder,
    Stopped,
    write_atomically,
)

__all__ = [
    "FolderBusy",
    "JobError",
    "JobStatus",
    "create_job",
    "list_jobs",
    "log_after",
    "metrics_after",
    "model_folder",
    "read_status",
    "resolve_recipe",
    "resume_job",
    "run_job",
    "start_job",
    "stop_job",
]  # fmt: skip

LOCK_FD = "WORLDLINE_JOB_LOCK_FD"
# Processes that this process started, kept only so that the dead ones are reaped.
_children: list[subprocess.Popen[bytes]] = []
_ended: dict[int, int] = {}  # how they ended

# --------------------------------------------------------------------------------------------------- making, watching


def create_job(
    data_dir: Path, kind: str, snapshot_id: str = "", overrides: Sequence[str] = (), overlays: Sequence[Path | str] = ()
) -> Path:
    """Make a queued job and return its folder; nothing runs yet.

    Raises RecipeError (a key, a value) and RowsError (no such snapshot, or not as it was frozen) and writes nothing.
    """
    from training.kinds import KINDS

    recipe = resolve_recipe(kind, overrides, snapshot_id, overlays)
    snapshot_id, sha256 = recipe.snapshot, None
    if snapshot_id or KINDS[kind].needs_snapshot(recipe):
        if not snapshot_id or "/" in snapshot_id or snapshot_id.startswith("."):
            raise RowsError(
                f'"{snapshot_id}" is not the id of a snapshot. `worldline snapshot` makes one and prints its id.'
            )
        sha256 = data_sha256(data_dir / "snapshots" / snapshot_id)
    job_id = f"{kind}-{new_id()}"
    created_at = utc_now()
    job = {
        "job_id": job_id, "kind": kind, "created_at": created_at, "snapshot_id": snapshot_id, "snapshot_sha256": sha256,
        "files": file_hashes(KINDS[kind].files(recipe)), "git_revision": git_revision(), "version": version(),
    }  # fmt: skip
    jobs = data_dir / "jobs"
    jobs.mkdir(parents=True, exist_ok=True)
    making = jobs / f".{job_id}"
    making.mkdir()
    write_atomically(making / JOB, json.dumps(job, indent=1))
    write_atomically(making / RECIPE, recipe.to_toml())
    (making / LOG).touch()
    RunFolder(making).write_status(JobStatus(job_id, kind, "queued", snapshot_id, created_at=created_at))
    return making.rename(jobs / job_id)


def read_status(folder: Path) -> JobStatus:
    """The status, corrected by what is true now: a process that is gone did not succeed, whatever it wrote last."""
    _reap()
    run_folder = RunFolder(folder)
    alive = run_folder.is_held()
    status = run_folder.read_status()
    if alive:
        if status.state in ("queued", "running"):
            waits = status.state == "queued" and status.phase.startswith(WAITING)
            state: JobState = "stopping" if run_folder.stop_requested() else "queued" if waits else "running"
            return replace(status, state=state, phase=status.phase or "starting")
        return status
    launched = status.state == "queued" and status.started_at is not None
    if status.state == "running" or launched:
        status = run_folder.read_status()  # it may have ended between the two looks
        if status.state not in ("queued", "running"):
            return status
        if run_folder.stop_requested():
            return replace(status, state="stopped", pid=None, eta_s=None)
        return replace(status, state="failed", pid=None, eta_s=None, error=_why_gone(run_folder, status))
    return status


def _why_gone(run_folder: RunFolder, status: JobStatus) -> str:
    newest = run_folder.newest_checkpoint()
    mend = f"Resume goes on from step {newest[1]}." if newest else "Resume starts it from the beginning."
    if status.pid is None:
        return f"The job's process ended before it began. The end of its log: {run_folder.log_tail(3)!r}. {mend}"
    where = f"at step {status.step} of {status.total_steps}"
    for child in [child for child in _children if child.pid == status.pid]:
        with suppress(subprocess.TimeoutExpired):
            child.wait(1)  # its lock goes a moment before it does
    _reap()
    code = _ended.get(status.pid, -signal.SIGKILL)
    if code != -signal.SIGKILL:
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        return f"The job's process ({status.pid}) ended with {how} {where}, without a word. log.txt may say why. {mend}"
    killed = f"The job's process ({status.pid}) was killed {where}"
    held = f"it had held {status.peak_bytes / 2**30:.1f} GiB" if status.peak_bytes else "how much it held is not known"
    smaller = f"Start a new job with {_less(run_folder.path)}."
    ran_out = memory.ran_out(status.kills)
    if ran_out:
        return f"{killed}, and the system counted a kill because memory ran out; {held}. {smaller} {mend}"
    if ran_out is None:
        return (
            f"{killed}: by a person, by a restart of the machine, or by the system because memory ran out ({held}). {mend} If it "
            f"was memory: {smaller[0].lower()}{smaller[1:]}"
        )
    return f"{killed} by a person or a program; the system counted no kill for want of memory ({held}). {mend}"


def _less(folder: Path) -> str:
    try:
        return memory.less(read_recipe(folder / RECIPE))
    except RecipeError:
        return "a smaller batch or max_tokens"


def list_jobs(data_dir: Path) -> list[JobStatus]:
    """All jobs of a data folder, newest first. A folder that is not a readable job is left out."""
    found = []
    for status_file in (data_dir / "jobs").glob("[!.]*/status.json"):
        try:
            found.append(read_status(status_file.parent))
        except (OSError, ValueError, TypeError):
            continue
    return sorted(found, key=lambda s: (s.created_at, s.job_id), reverse=True)


def metrics_after(folder: Path, step: int = 0) -> list[dict]:
    """Rows of `metrics.jsonl` beyond `step`. A row that is being written is left for the next time."""
    try:
        text = (folder / METRICS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    complete = text[: text.rfind("\n") + 1]
    return [row for row in map(json.loads, complete.splitlines()) if row["step"] > step]


def log_after(folder: Path, offset: int = 0) -> tuple[str, int]:
    """The log from a byte offset on, and the next offset."""
    with (folder / LOG).open("rb") as log:
        log.seek(offset)
        data = log.read()
    return data.decode("utf-8", errors="replace"), offset + len(data)


def model_folder(folder: Path) -> Path | None:
    """The finished model of a job, or None."""
    model = folder / "model"
    return model if (model / "config.json").is_file() and read_status(folder).state == "done" else None


# ------------------------------------------------------------------------------------------------- starting, stopping


def start_job(folder: Path) -> int:
    """Run the job in a process and session of its own (it outlives us); returns its process id.

    Raises FolderBusy when it is running already, JobError when it is done.
    """
    _reap()
    run_folder = RunFolder(folder)
    fd = run_folder.acquire()
    try:
        status = run_folder.read_status()
        if status.state == "done":
            raise JobError(f"The job {status.job_id} is done. Make a new one to train again.")
        recipe = read_recipe(folder / RECIPE)
        run_folder.clear_stop()
        fresh = replace(
            status, state="queued", pid=None, phase="", error="", started_at=utc_now(), ended_at=None, eta_s=None
        )
        run_folder.write_status(fresh)
        env = {**os.environ, LOCK_FD: str(fd)}
        env["OMP_NUM_THREADS"] = str(recipe.threads)
        env["TOKENIZERS_PARALLELISM"] = "false"
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(PACKAGE_ROOT), env.get("PYTHONPATH"))))
        with (folder / LOG).open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "training.jobs", "run", str(folder.resolve())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, pass_fds=(fd,), start_new_session=True,
            )  # fmt: skip
    finally:
        run_folder.release()  # the child holds its own copy
    _children.append(child)
    return child.pid


def resume_job(folder: Path) -> int:
    """Go on from the newest complete checkpoint (from the beginning if there is none); returns the process id.

    Raises FolderBusy and JobError as `start_job` does, and RowsError when the snapshot is gone.
    """
    job = RunFolder(folder).job()
    _check_data(folder, job)
    return start_job(folder)


def stop_job(folder: Path) -> JobStatus:
    """Ask the job to save a checkpoint and stop. Returns at once; the status becomes `stopping`, then `stopped`."""
    run_folder = RunFolder(folder)
    status = read_status(folder)
    if status.ended:
        return status
    run_folder.request_stop()
    if status.state == "queued":  # never started: nobody else writes
        if run_folder.is_held():
            return read_status(folder)
        run_folder.write_status(replace(status, state="stopped", ended_at=utc_now()))
    elif status.pid is not None and run_folder.is_held():
        with suppress(ProcessLookupError):  # it may end in this moment
            os.kill(status.pid, signal.SIGTERM)
    return read_status(folder)


def _reap() -> None:
    _ended.update({child.pid: child.returncode for child in _children if child.poll() is not None})
    _children[:] = [child for child in _children if child.returncode is None]


# --------------------------------------------------------------------------------------------- what the proce


def run_job(folder: Path, progress: Callable[[JobStatus], None] | None = None) -> JobStatus:
    """Run (or resume) a job here and now; returns its last status. Never raises for what goes wrong inside the job.

    progress: called with every new status, about once a step. Ctrl-C and SIGTERM save a checkpoint and stop the job.
    Raises FolderBusy when another process runs it.
    """
    run_folder = RunFolder(folder)
    inherited = os.environ.pop(LOCK_FD, "")
    if inherited:
        run_folder.inherit(int(inherited))
    else:
        run_folder.acquire()
        if run_folder.read_status().state != "queued":
            run_folder.clear_stop()
    try:
        status = run_folder.read_status()
        if status.state == "done":
            return status
        began = replace(
            status, state="running", pid=os.getpid(), phase="starting", error="", ended_at=None,
            # A job that was not handed over is begun now: it stands behind those that wait.
            started_at=(inherited and status.started_at) or utc_now(), kills=memory.noted(),
        )  # fmt: skip
        run = Run(run_folder, began, progress)
        run.publish(began)
        with _stopping_by_signal(run):
            ended = _outcome(folder, run)
            run.publish(replace(ended, pid=None, phase="", eta_s=None, ended_at=utc_now()))
        if ended.state == "done":
            run_folder.drop_checkpoints_except(None)  # the model is whole and nothing will be resumed
        run_folder.clear_stop()
        return run.status
    finally:
        run_folder.release()


def _outcome(folder: Path, run: Run) -> JobStatus:
    """Do the work; every way in which it can end becomes a status."""
    try:
        _work(folder, run)
        run.folder.say("done")
        return replace(run.status, state="done")
    except (Stopped, KeyboardInterrupt):
        newest = run.folder.newest_checkpoint()
        run.folder.say(f"stopped; resume goes on from step {newest[1] if newest else 0}")
        return replace(run.status, state="stopped")
    except (JobError, RowsError, RecipeError) as error:
        run.folder.say(f"failed: {error}")
        return replace(run.status, state="failed", error=str(error))
    except Exception as error:  # the job ends here and says why; nothing is swallowed, the traceback is in the log
        run.folder.say(f"failed: {error!r}\n{traceback.format_exc()}")
        return replace(run.status, state="failed", error=explain(error, folder))


def _work(folder: Path, run: Run) -> None:
    from training.topology import peers

    recipe = read_recipe(folder / RECIPE)
    with turn(run, recipe):
        run.begin()
        with peers(folder, recipe, run.folder.lock_fd):
            _train(folder, recipe, run)


def _train(folder: Path, recipe: Recipe, run: Run) -> None:
    from training.kinds import KINDS
    from training.sinks import keep_here
    from training.topology import started

    keep_here(recipe.report_to, folder)

    kind = KINDS[recipe.kind]
    started(recipe)  # before hours of reading and measuring
    job = run.folder.job()
    snapshot = _check_data(folder, job)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is fetched: base models are folders
    run.phase("starting")
    import torch

    from training.base_model import base_folder, weights_sha256

    # The same number of threads adds in the same order: a resumed job must not differ in the last bit.
    torch.set_num_threads(recipe.threads)
    outcome = kind.train(snapshot, recipe, run)
    run.publish(replace(run.status, figures=outcome.figures, seconds=run.seconds()))
    base = base_folder(recipe.base)
    data = {"data.parquet": job["snapshot_sha256"]} if job["snapshot_sha256"] else {}
    made = Checkpoint(
        job["job_id"], recipe.kind, kind.used_as, utc_now(), job["snapshot_id"], data | job.get("files", {}) | outcome.files, recipe.base,
        weights_sha256(base), weights_sha256(folder / "model"), parent_of(recipe.base), run.status.total_steps,
        round(run.seconds(), 1), job["git_revision"], job["version"], outcome.figures,
    )  # fmt: skip
    lineage = {
        "snapshot": made.snapshot_id, "labels by": _who_judged(snapshot),
        **{f"{name} sha256": value for name, value in made.data.items()},
        "base model": made.base, "base weights sha256": made.base_sha256, "weights sha256": made.weights_sha256,
        "git revision": made.git_revision, "worldline": made.version, "torch": torch.__version__, "made at": made.made_at,
    }  # fmt: skip
    _write_card(folder, run, recipe, lineage, outcome.counts)
    record(folder, made)


def run_peer(folder: Path) -> int:
    """A further process of a job (`topology.py`): computes its share and writes nothing. Returns an exit code."""
    run_folder = RunFolder(folder)
    from training.topology import end_with_leader

    end_with_leader()
    run = Run(run_folder, replace(run_folder.read_status(), state="running"), leads=False)
    # The first process decides when to stop, and says so to all in the same step.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    try:
        _train(folder, read_recipe(folder / RECIPE), run)
    except (PeerDone, Stopped):
        return 0
    except Exception:  # the first process notices that this one is gone; why is in the log
        traceback.print_exc()
        return 1
    return 0


def _who_judged(snapshot: Path | None) -> str:
    """`people`, `simulated raters`, or the method that made the labels; empty where no snapshot was read or it does not say."""
    if snapshot is None or not (snapshot / "manifest.json").is_file():
        return ""
    manifest = json.loads((snapshot / "manifest.json").read_text(encoding="utf-8"))
    said = manifest.get("labels", "")
    return f"{manifest.get('source', 'a model')} (not people)" if said == "model" else said


def _write_card(folder: Path, run: Run, recipe: Recipe, lineage: dict, counts: dict[str, int]) -> None:
    from training.card import model_card

    card = model_card(run.folder.job(), run.status, recipe, lineage, counts)
    write_atomically(folder / "README.md", card)
    write_atomically(folder / "model" / "README.md", card)


def explain(error: Exception, folder: Path) -> str:
    """An unexpected error as a sentence with a suggestion where one is known."""
    text = str(error)
    ran_out = (
        isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in text
        # Another process of the job was killed, and this one only lost its connection.
        or memory.ran_out(RunFolder(folder).read_status().kills)
    )  # fmt: skip
    if ran_out:
        return f"Memory ran out. Start a new job with {_less(folder)}."
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"The disk or a file failed{where}: {error.strerror}. Mend that and resume."
    first = text.splitlines()[0] if text else "no message"
    return f"{type(error).__name__}: {first}. The whole traceback is in log.txt."


def _check_data(folder: Path, job: dict) -> Path | None:
    """The snapshot's folder, if the job has one; what the job was made for must still be what is there."""
    for path, sha256 in job.get("files", {}).items():
        if file_hashes([Path(path)])[path] != sha256:
            raise RowsError(f"{path} is not the file this job was made for (another SHA-256). Make a new job.")
    if not job["snapshot_id"]:
        return None
    snapshot = folder.resolve().parents[1] / "snapshots" / job["snapshot_id"]
    if data_sha256(snapshot) != job["snapshot_sha256"]:
        raise RowsError(
            f"Snapshot {job['snapshot_id']} is not the one this job was made for (another SHA-256). Make a new job."
        )
    return snapshot


@contextmanager
def _stopping_by_signal(run: Run) -> Iterator[None]:
    """SIGTERM and the first Ctrl-C ask for a stop; a second Ctrl-C interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may; there the file `stop-requested` does it
        return

    def ask(signum: int, frame: object) -> None:
        if signum == signal.SIGINT and run.asked_to_stop:
            raise KeyboardInterrupt
        run.asked_to_stop = True

    before = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str]) -> int:
    """`run FOLDER`: exit code 0 done, 3 stopped, 1 failed, 2 wrong use."""
    if len(arguments) != 2 or arguments[0] != "run":
        print("usage: python -m training.jobs run FOLDER", file=sys.stderr)
        return 2
    from training.topology import rank

    if rank() > 0:
        return run_peer(Path(arguments[1]))
    try:
        status = run_job(Path(arguments[1]))
    except (FolderBusy, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return {"done": 0, "stopped": 3}.get(status.state, 1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
