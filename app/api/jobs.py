"""Training jobs: start, watch, stop, resume, and put the result to use."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app.api.common import Bench, In, blocking, needs, refusals
from app.api.errors import Refused
from app.services import Services
from training import jobs as training_jobs
from training.jobs import FolderBusy, JobError
from training.kinds import KINDS
from training.recipe import RecipeError, resolve_recipe, shipped_overlays
from training.rows import RowsError

router = APIRouter(prefix="/jobs", tags=["jobs"], dependencies=[needs("researcher")])

T = TypeVar("T")
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}")
LOG_AT_ONCE = 256 * 1024


class JobIn(In):
    """What to train, on what."""

    kind: str = Field(description="One of the kinds that GET /jobs/kinds lists.", examples=["prm"], max_length=40)
    snapshot_id: str = Field(
        "", description="Not for kinds that read no snapshot.", examples=["01kaexr0v7m3p9d2k4c6h8n5qs"]
    )
    set: list[str] = Field(
        default_factory=list, max_length=100, description="Changes to the recipe.", examples=[["epochs=2"]]
    )
    size: str = Field("", description="A shipped overlay, such as large; see GET /jobs/kinds.", max_length=40)


class KindOut(BaseModel):
    """A kind of job."""

    name: str = Field(examples=["prm"])
    title: str = Field(examples=["Process reward model"])
    does: str = Field(description="What it does, in half a sentence.")
    hint: str = Field(description="Some changes to its recipe, as an example.")
    used_as: str = Field(description="scorer, model, or file: what can be done with the result.")


class KindsOut(BaseModel):
    """What can be trained."""

    kinds: list[KindOut]
    sizes: list[str] = Field(description="Shipped overlays for a recipe.", examples=[["ddp", "large", "small", "tiny"]])


class RecipeOut(BaseModel):
    """The recipe as a job would use it."""

    toml: str


class JobOut(BaseModel):
    """Where a job stands."""

    model_config = ConfigDict(extra="allow")

    job_id: str
    kind: str = Field(examples=["prm"])
    state: str = Field(description="queued, running, stopping, stopped, failed or done", examples=["running"])
    snapshot_id: str
    pid: int | None = None
    phase: str = Field("", examples=["training"])
    step: int = Field(examples=[120])
    total_steps: int = Field(examples=[400])
    seconds: float
    eta_s: float | None = None
    error: str = ""
    started_at: str | None = None
    ended_at: str | None = None
    figures: dict[str, Any] = Field(examples=[{"auc": 0.91, "base_rate": 0.62, "n_test_steps": 340}])
    resumable: bool
    in_use: bool = Field(description="Whether its model is the reward model in use, or can be chosen for runs.")
    again: bool = Field(
        description="Whether it is a language model in use that can be put to use once more: a server that was started anew, or was "
        "given other weights, no longer has it."
    )


class MetricsOut(BaseModel):
    """Rows of the job's own metrics.jsonl, and where it stands."""

    rows: list[dict[str, Any]] = Field(
        examples=[[{"step": 10, "loss": 0.61, "lr": 0.0003, "tokens_per_s": 5200.0, "seconds": 4.1}]]
    )
    status: JobOut


class LogOut(BaseModel):
    """A piece of the log."""

    text: str
    next: int = Field(description="Send it as `after` to get what comes next.")


class UseOut(BaseModel):
    """What is in use now."""

    job_id: str
    kind: str
    model: str | None = Field(None, description="For a language model: the id to start runs with.")
    scorer: str | None = Field(None, description="For a scorer: the reward model in use.")
    note: str = Field("", description="For a language model: where it runs, and why not elsewhere.")


@router.get("", summary="List jobs", response_model=list[JobOut])
async def all_jobs(bench: Bench) -> list[dict[str, Any]]:
    """Newest first."""
    found = await blocking(lambda: training_jobs.list_jobs(bench.data_dir))
    return [_json(bench, status) for status in found]


@router.get("/kinds", summary="What can be trained", response_model=KindsOut)
async def kinds() -> KindsOut:
    """Each kind with the words for it, and the sizes that a recipe can be laid out for."""
    found = [KindOut(name=k.name, title=k.title, does=k.does, hint=k.hint, used_as=k.used_as) for k in KINDS.values()]
    return KindsOut(kinds=found, sizes=shipped_overlays())


@router.post("/recipe", summary="Resolve a recipe", response_model=RecipeOut, responses=refusals(403, 422))
async def recipe(asked: JobIn) -> RecipeOut:
    """Every key as a job with these settings would use it; nothing is started."""

    def resolved() -> str:
        return resolve_recipe(asked.kind, asked.set, asked.snapshot_id, [asked.size] if asked.size else []).to_toml()

    return RecipeOut(toml=await _try(resolved))


@router.post("", status_code=201, summary="Start a job", response_model=JobOut, responses=refusals(400, 403, 409, 422))
async def start(bench: Bench, asked: JobIn) -> dict[str, Any]:
    """Make a job and start it in a process of its own. It waits while another runs on its device, and goes on when the
    server stops."""

    def make_and_start() -> Path:
        sizes = [asked.size] if asked.size else []
        folder = training_jobs.create_job(bench.data_dir, asked.kind, asked.snapshot_id, asked.set, sizes)
        training_jobs.start_job(folder)
        return folder

    return await _status(bench, await _try(make_and_start))


@router.get("/{job_id}", summary="One job", response_model=JobOut, responses=refusals(404))
async def one_job(bench: Bench, job_id: str) -> dict[str, Any]:
    """Where it stands. A job whose process was killed is `failed` and can be resumed."""
    return await _status(bench, _folder(bench, job_id))


@router.get("/{job_id}/metrics", summary="Metrics of a job", response_model=MetricsOut, responses=refusals(404, 422))
async def metrics(
    bench: Bench, job_id: str, after: Annotated[int, Query(ge=-1, description="Only rows beyond this step.")] = -1
) -> dict[str, Any]:
    """New rows since the last time, and the status."""
    folder = _folder(bench, job_id)
    rows = await blocking(lambda: training_jobs.metrics_after(folder, after))
    return {"rows": finite(rows), "status": await _status(bench, folder)}


@router.get("/{job_id}/log", summary="Log of a job", response_model=LogOut, responses=refusals(404, 422))
async def log(
    bench: Bench,
    job_id: str,
    after: Annotated[int, Query(ge=0, description="Byte to begin at: `next` of the last answer.")] = 0,
) -> dict[str, Any]:
    """What the job has printed since the last time."""
    folder = _folder(bench, job_id)
    text, following = await blocking(lambda: training_jobs.log_after(folder, after))
    return {"text": text, "next": following}


@router.post("/{job_id}/stop", summary="Stop a job", response_model=JobOut, responses=refusals(403, 404, 409))
async def stop(bench: Bench, job_id: str) -> dict[str, Any]:
    """Ask it to save a checkpoint and stop; the state becomes `stopping`, then `stopped`."""
    folder = _folder(bench, job_id)
    await _try(lambda: training_jobs.stop_job(folder))
    return await _status(bench, folder)


@router.post("/{job_id}/resume", summary="Resume a job", response_model=JobOut, responses=refusals(403, 404, 409, 422))
async def resume(bench: Bench, job_id: str) -> dict[str, Any]:
    """Go on from the newest checkpoint after a stop, a failure or a kill."""
    folder = _folder(bench, job_id)
    await _try(lambda: training_jobs.resume_job(folder))
    return await _status(bench, folder)


@router.post("/{job_id}/use", summary="Use the result", response_model=UseOut, responses=refusals(403, 404, 409))
async def use(bench: Bench, job_id: str) -> UseOut:
    """A scorer becomes the reward model in use, and all traces get its scores. A language model joins the models: a vLLM that serves
    its base and takes adapters while it runs is given its low-rank pairs, otherwise it runs in this process."""
    folder = _folder(bench, job_id)
    status = await blocking(lambda: training_jobs.read_status(folder))
    if await blocking(lambda: training_jobs.model_folder(folder)) is None:
        raise Refused(409, f"The job {job_id} is {status.state}; only the model of a job that is done can be used.")
    used_as = KINDS[status.kind].used_as
    if used_as == "file":
        raise Refused(
            409,
            f"The model of {job_id} judges whole responses, not steps, so it cannot score traces step by step. A search takes it as its "
            f"scorer: choose the job there, give its id to `worldline search`, or orm:{folder / 'model'} to `worldline eval`.",
        )
    if used_as == "scorer":
        bench.models.use_scorer(job_id)
        bench.scoring.rescore_soon()
        return UseOut(job_id=job_id, kind=status.kind, model=None, scorer=job_id, note="")
    entry, note = await bench.models.use_tuned(job_id)
    return UseOut(job_id=job_id, kind=status.kind, model=entry.id, scorer=None, note=note)


def _folder(bench: Services, job_id: str) -> Path:
    folder = bench.data_dir / "jobs" / job_id
    if not _ID.fullmatch(job_id) or not (folder / "status.json").is_file():
        raise Refused(404, f'There is no job "{job_id[:100]}".')
    return folder


async def _status(bench: Services, folder: Path) -> dict[str, Any]:
    return _json(bench, await blocking(lambda: training_jobs.read_status(folder)))


def _json(bench: Services, status: training_jobs.JobStatus) -> dict[str, Any]:
    found: dict[str, Any] = finite(status.to_json())
    in_use = in_use_now(bench, status.job_id)
    again = in_use and status.job_id != bench.models.scorer_job and bool(bench.models.addresses())
    return {**found, "in_use": in_use, "again": again}


def in_use_now(bench: Services, job_id: str) -> bool:
    return job_id == bench.models.scorer_job or any(m.id == job_id for m in bench.models.all())


async def _try(work: Callable[[], T]) -> T:
    """Run in a thread; what a person can mend becomes a refusal."""
    try:
        return await asyncio.to_thread(work)
    except (RecipeError, RowsError) as error:
        raise Refused(422, str(error)) from None
    except (FolderBusy, JobError) as error:
        raise Refused(409, str(error)) from None
    except OSError as error:
        raise Refused(503, f"The job's folder could not be written: {error.strerror or error}.") from None


def finite(value: Any) -> Any:
    """JSON has no NaN: a figure that is not finite becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value
