"""Evaluations: start one, watch it, read its figures, compare its cells, take its results away."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, Field

from app.api.common import Bench, In, Me, blocking, check_own, needs, refusals
from app.api.errors import Refused
from app.api.jobs import finite
from app.evals import TooManyEvaluations
from app.people import Person
from app.services import Services
from core.evaluation.folder import Evaluation, EvaluationError, Status
from core.evaluation.plan import Plan
from core.evaluation.problems import BUILT_IN, Asked
from core.scoring.prm import ScorerError

router = APIRouter(prefix="/evals", tags=["evals"], dependencies=[needs("researcher")])

EVAL_ID = "01kaexr0v7m3p9d2k4c6h8n5qs"
PROBLEMS_AT_ONCE = 200
PLAN = {
    "problems": "countdown:20", "models": ["pocket"], "strategies": ["linear", "beam width=4 branch=4"], "scorers": ["countdown-oracle"],
    "n": 8, "seeds": [0], "budgets": [{"tokens": 4000}],
}  # fmt: skip


class PlanIn(In):
    """What to evaluate."""

    plan: dict[str, Any] = Field(
        description="problems, models, strategies, scorers, n, budgets, seeds, limits, aggregation, executor; see docs/evaluate.md.",
        examples=[PLAN],
    )
    name: str = Field("", max_length=120, description="For people; the problems' name where it is empty.")


class CellOut(BaseModel):
    """One combination of model, strategy, scorer and budget."""

    cell_id: str = Field(examples=["f55e9c2b"])
    label: str = Field(examples=["pocket · beam width=4 branch=4 · countdown-oracle · 4000 tokens"])
    pool: bool = Field(description="The answers that the curves over k are made of.")


class EvalOut(BaseModel):
    """An evaluation and where it stands."""

    eval_id: str = Field(examples=[EVAL_ID])
    name: str
    created_at: str
    created_by: str
    problems: int
    plan: dict[str, Any] = Field(examples=[PLAN])
    cells: list[CellOut]
    state: str = Field(description="running, stopped, failed or done", examples=["running"])
    done: int = Field(description="Finished searches.")
    total: int
    failed: int = Field(description="Searches that a model or scorer broke off; they are tried again when it goes on.")
    seconds: float
    left_s: float | None = Field(description="Seconds left, null while nobody can say.")
    error: str
    resumable: bool


class CheckOut(BaseModel):
    """What a plan comes to."""

    problems: int
    searches: int
    cells: list[CellOut]
    first: list[str] = Field(description="The first questions.")


class SetsOut(BaseModel):
    """Problems to choose from."""

    built_in: list[str] = Field(examples=[["countdown:20", "countdown:40:4"]])
    uploaded: list[str]
    paths: bool = Field(description="Whether a path on the server's disk may be named: not where others log in.")


class UploadedOut(BaseModel):
    """A file of problems, kept."""

    name: str = Field(description='What to send as "problems".', examples=["math500-0a1b2c3d.jsonl"])
    problems: int


class FiguresOut(BaseModel):
    """Every figure: a row a cell, curves over k, bins of difficulty, and what must be known to read them."""

    cells: list[dict[str, Any]]
    curves: list[dict[str, Any]]
    difficulty: list[dict[str, Any]]
    notes: list[str]


class ProblemsOut(BaseModel):
    """Problems with what came of each in every cell."""

    total: int
    problems: list[dict[str, Any]]


class ComparisonOut(BaseModel):
    """Two cells over the problems that both have."""

    a: str
    b: str
    problems: int
    both: int
    only_a: int
    only_b: int
    neither: int
    difference: float = Field(description="Accuracy of b less that of a.")
    ci: list[float] | None
    p: float | None = Field(description="McNemar's exact test; null with several tries a problem.")
    pairs: list[dict[str, Any]]
    notes: list[str]


@router.get("", summary="List evaluations", response_model=list[EvalOut])
async def all_evals(bench: Bench) -> list[dict[str, Any]]:
    """Newest first, also those that `worldline eval` made in this data folder."""
    return [_json(evaluation, status) for evaluation, status in await bench.evals.all()]


@router.get("/problems", summary="Problems to choose from", response_model=SetsOut)
async def problem_sets(bench: Bench, me: Me) -> SetsOut:
    """Built-in sets (any number of problems may stand in their names) and uploaded files."""
    uploaded = await blocking(bench.evals.sets_blocking)
    built_in = [f"{BUILT_IN}:20", f"{BUILT_IN}:20:3", f"{BUILT_IN}:20:4", f"{BUILT_IN}:100", f"{BUILT_IN}:400"]
    return SetsOut(built_in=built_in, uploaded=uploaded, paths=_paths(me))


@router.post(
    "/problems", status_code=201, summary="Upload problems", response_model=UploadedOut, responses=refusals(400, 403, 413, 422),
    openapi_extra={
        "requestBody": {
            "description": "JSONL: question (or problem, prompt) and answer (or solution, tests) a line; at most 64 MB.", "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)  # fmt: skip
async def upload(
    bench: Bench, request: Request,
    name: Annotated[str, Query(max_length=200, description="The file's name.")] = "problems.jsonl",
) -> UploadedOut:  # fmt: skip
    """A line that cannot be used refuses the file, and is named with its field."""
    data = await request.body()  # the guard has measured it
    shown = name.replace("\\", "/").rpartition("/")[2] or "problems.jsonl"
    try:
        kept, count = await blocking(lambda: bench.evals.upload_blocking(shown, data))
    except ValueError as error:
        raise Refused(422, f"{error}.") from None
    return UploadedOut(name=kept, problems=count)


@router.delete("/problems/{name}", status_code=204, summary="Delete uploaded problems", responses=refusals(403, 404))
async def delete_problems(bench: Bench, me: Me, name: str) -> None:
    """For good, by an admin. Evaluations over them stay as they are, and can go on: each has a copy."""
    if not _paths(me):
        raise Refused(403, "Uploaded problems are there for everybody; an admin can delete them.")
    if not await blocking(lambda: bench.evals.drop_set_blocking(name)):
        raise Refused(404, f'There is no uploaded file "{name[:100]}".')


@router.post("/check", summary="What a plan comes to", response_model=CheckOut, responses=refusals(400, 403, 422))
async def check(bench: Bench, me: Me, asked: PlanIn) -> CheckOut:
    """Cells and searches of a plan, and whether all of it can be had; nothing is started."""
    plan, problems = await _planned(bench, me, asked)
    searches = sum(len(problems) * len(plan.seeds_of(cell)) for cell in plan.cells)
    return CheckOut(
        problems=len(problems),
        searches=searches,
        cells=_cells(plan),
        first=[p.problem.prompt[:300] for p in problems[:3]],
    )


@router.post(
    "", status_code=201, summary="Start an evaluation", response_model=EvalOut, responses=refusals(400, 403, 422, 429)
)
async def start(bench: Bench, me: Me, asked: PlanIn) -> dict[str, Any]:
    """It runs in the server, goes on when the server starts again, and shares the models with whoever searches meanwhile."""
    plan, _ = await _planned(bench, me, asked)
    try:
        made = await bench.evals.start(plan, asked.name.strip(), me.rater_id)
    except TooManyEvaluations as refusal:
        raise Refused(429, str(refusal)) from None
    return await _status(bench, made)


@router.get("/{eval_id}", summary="One evaluation", response_model=EvalOut, responses=refusals(404))
async def one_eval(bench: Bench, eval_id: str) -> dict[str, Any]:
    """Where it stands."""
    return await _status(bench, await _find(bench, eval_id))


@router.get(
    "/{eval_id}/figures", summary="Figures of an evaluation", response_model=FiguresOut, responses=refusals(404)
)
async def read_figures(bench: Bench, eval_id: str) -> dict[str, Any]:
    """Of what is finished now."""
    found: dict[str, Any] = finite(await bench.evals.figures(await _find(bench, eval_id)))
    return found


@router.get(
    "/{eval_id}/problems", summary="Outcomes by problem", response_model=ProblemsOut, responses=refusals(404, 422)
)
async def read_problems(
    bench: Bench, eval_id: str, after: Annotated[int, Query(ge=0, description="How many to leave out.")] = 0
) -> dict[str, Any]:
    """Two hundred at a time: question, reference answer, and in each cell how many tries were right, and the searches behind them."""
    found = await bench.evals.problems_of(await _find(bench, eval_id))
    return {"total": len(found), "problems": found[after : after + PROBLEMS_AT_ONCE]}


@router.get(
    "/{eval_id}/comparable",
    summary="Evaluations to compare with",
    response_model=list[str],
    responses=refusals(404),
)
async def read_comparable(bench: Bench, eval_id: str) -> list[str]:
    """The ids of the others that have at least one problem in common with it, the newest first."""
    return await bench.evals.comparable(await _find(bench, eval_id))


@router.get(
    "/{eval_id}/comparison",
    summary="Compare two cells",
    response_model=ComparisonOut,
    responses=refusals(404, 409, 422),
)
async def read_comparison(
    bench: Bench, eval_id: str, a: Annotated[str, Query(description="A cell.", max_length=60)],
    b: Annotated[str, Query(description="Another cell.", max_length=60)],
    other: Annotated[str, Query(description="The evaluation of b, where it is another one.", max_length=60)] = "",
) -> dict[str, Any]:  # fmt: skip
    """Problem by problem: both, one alone, neither."""
    first = await _find(bench, eval_id)
    second = await _find(bench, other) if other else first
    try:
        return (await bench.evals.compared(first, a, second, b)).to_json()
    except EvaluationError as error:
        raise Refused(409, f"{_capital(str(error))}.") from None


@router.post("/{eval_id}/stop", summary="Stop an evaluation", response_model=EvalOut, responses=refusals(403, 404, 409))
async def stop(bench: Bench, eval_id: str) -> dict[str, Any]:
    """It ends where it stands, and can go on from there."""
    evaluation = await _find(bench, eval_id)
    try:
        await bench.evals.stop(evaluation)
    except EvaluationError as error:
        raise Refused(409, str(error)) from None
    return await _status(bench, evaluation)


@router.post(
    "/{eval_id}/resume",
    summary="Go on with an evaluation",
    response_model=EvalOut,
    responses=refusals(403, 404, 409, 429),
)
async def resume(bench: Bench, eval_id: str) -> dict[str, Any]:
    """After a stop, a failure or a kill: finished searches stay, those under way go on from their logs."""
    evaluation = await _find(bench, eval_id)
    try:
        await bench.evals.resume(evaluation)
    except EvaluationError as error:
        raise Refused(409, str(error)) from None
    except TooManyEvaluations as refusal:
        raise Refused(429, str(refusal)) from None
    return await _status(bench, evaluation)


@router.delete("/{eval_id}", status_code=204, summary="Delete an evaluation", responses=refusals(403, 404, 409))
async def delete(bench: Bench, me: Me, eval_id: str) -> None:
    """Its results and the searches behind them, for good; traces that were kept from it stay. One's own, or as an admin; not while it runs."""
    evaluation = await _find(bench, eval_id)
    check_own(evaluation.created_by, me)
    try:
        await bench.evals.delete(evaluation)
    except EvaluationError as error:
        raise Refused(409, f"{_capital(str(error)).rstrip('.')}.") from None


_FILES = {"results.parquet": "application/vnd.apache.parquet", "report.md": "text/markdown"}


@router.get(
    "/{eval_id}/files/{file}", summary="Take results away", response_class=FileResponse,
    responses={200: {"description": "The file.", "content": {"application/octet-stream": {}}}, **refusals(404)},
)  # fmt: skip
async def take(bench: Bench, eval_id: str, file: str) -> Response:
    """`results.parquet` (a row a search) or `report.md`, of what is finished now."""
    evaluation = await _find(bench, eval_id)
    if file not in _FILES:
        raise Refused(404, f'An evaluation has no file "{file[:60]}"; it has {" and ".join(_FILES)}.')
    path = await bench.evals.written(evaluation, file)
    return FileResponse(path, media_type=_FILES[file], filename=f"{evaluation.eval_id}-{file}")


def _paths(me: Person) -> bool:
    """A path reads whatever the server may read: for who owns the machine, or an admin."""
    return me.alone or me.role == "admin"


async def _planned(bench: Services, me: Person, asked: PlanIn) -> tuple[Plan, list[Asked]]:
    """The plan and its problems, both usable. Raises Refused."""
    try:
        plan = bench.evals.settled(Plan.from_json(asked.plan))
        known = plan.problems.startswith(BUILT_IN) or plan.problems in await blocking(bench.evals.sets_blocking)
        if not known and not _paths(me):
            raise ValueError(
                f'"problems" is "{plan.problems[:60]}"; name a built-in set, such as countdown:20, or upload a file'
            )
        if not _paths(me):
            bench.evals.check_mine(plan)
        problems = await asyncio.to_thread(bench.evals.problems_blocking, plan.problems)
        await bench.evals.check(plan, problems)
    except (ValueError, ScorerError, OSError) as error:
        raise Refused(422, f"{_capital(str(error)).rstrip('.')}.") from None
    return plan, problems


async def _find(bench: Services, eval_id: str) -> Evaluation:
    found = await bench.evals.find(eval_id)
    if found is None:
        raise Refused(404, f'There is no evaluation "{eval_id[:100]}".')
    return found


async def _status(bench: Services, evaluation: Evaluation) -> dict[str, Any]:
    return _json(evaluation, await blocking(lambda: bench.evals.status_blocking(evaluation)))


def _json(evaluation: Evaluation, status: Status) -> dict[str, Any]:
    row: dict[str, Any] = finite({
        "eval_id": evaluation.eval_id, "name": evaluation.name, "created_at": evaluation.created_at, "created_by": evaluation.created_by,
        "problems": len(evaluation.problems), "plan": evaluation.plan.to_json(), "cells": [c.model_dump() for c in _cells(evaluation.plan)],
        **asdict(status), "resumable": status.resumable,
    })  # fmt: skip
    return row


def _cells(plan: Plan) -> list[CellOut]:
    return [CellOut(cell_id=c.cell_id, label=c.label, pool=c.pool) for c in plan.cells]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
