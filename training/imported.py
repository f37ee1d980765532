"""A reward model that was trained elsewhere, entered into the registry: from then on it is used as if a job had made it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from core.scoring import families
from core.scoring.prm import PrmScorer
from core.trace import new_id, utc_now
from training.base_model import weights_sha256
from training.checkpoints import Checkpoint, record
from training.provenance import git_revision, version
from training.run_folder import JOB, LOG, JobStatus, RunFolder, write_atomically

KIND = "prm"


def import_prm(data_dir: Path, folder: Path, family: str | None = None) -> str:
    """Check that a folder scores, and enter it; returns the id under which it can be used. Raises ScorerError.

    Its files become links where the disk is the same (weights are large), else copies. The family is written into the copy's
    config.json, for the name of a folder, by which some families are known, is gone then.
    """
    folder = folder.expanduser().resolve()
    known = PrmScorer(folder, family=family, device="cpu").family.name
    job_id, now = f"{KIND}-{new_id()}", utc_now()
    jobs = data_dir / "jobs"
    making = jobs / f".{job_id}"
    model = making / "model"
    model.mkdir(parents=True)
    try:
        for path in folder.iterdir():
            if path.is_file() and path.name != "config.json":
                _link(path, model / path.name)
        config = {**families.read_config(folder), families.NAMED: known}
        (model / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        facts: dict[str, object] = {
            "job_id": job_id,
            "kind": KIND,
            "created_at": now,
            "snapshot_id": "",
            "snapshot_sha256": None,
            "files": {},
        }
        write_atomically(
            making / JOB, json.dumps(facts | {"git_revision": git_revision(), "version": version()}, indent=1)
        )
        (making / LOG).write_text(f"imported from {folder}, family {known}\n", encoding="utf-8")
        figures = {"imported_from": str(folder), "family": known}
        done = JobStatus(job_id, KIND, "done", "", created_at=now, started_at=now, ended_at=now, figures=figures)
        RunFolder(making).write_status(done)
        sha = weights_sha256(model)
        made = Checkpoint(
            job_id, KIND, "scorer", now, "", {}, str(folder), sha, sha, None, 0, 0.0, git_revision(), version(), figures
        )  # fmt: skip
        record(making, made)
        making.rename(jobs / job_id)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    return job_id


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path.resolve(), to)
    except OSError:
        shutil.copy2(path, to)
