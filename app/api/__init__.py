"""The HTTP API, one file a noun. The pages use it, and so may any script: everything is described at /api/docs."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from app.api import (
    assignments,
    checkpoints,
    console,
    docs,
    evals,
    exports,
    forks,
    health,
    imports,
    job_rows,
    jobs,
    keep,
    lineage,
    models,
    pairs,
    people,
    probes,
    problems,
    quality,
    queues,
    ratings,
    refinements,
    runs,
    scores,
    searches,
    snapshots,
    stats,
    traces,
    turns,
)
from app.api.common import only_known, refusals

# The order is the one of the documentation: the loop from question to trained model.
NOUNS = (
    health,
    people,
    models,
    problems,
    runs,
    searches,
    evals,
    probes,
    traces,
    imports,
    forks,
    turns,
    refinements,
    scores,
    queues,
    quality,
    assignments,
    ratings,
    pairs,
    stats,
    snapshots,
    exports,
    console,
    jobs,
    checkpoints,
    job_rows,
    lineage,
    keep,
    docs,
)


def router() -> APIRouter:
    """All routes, under /api."""
    # Every route may refuse a value: declared here so that no route documents a form of error that we do not have.
    api = APIRouter(prefix="/api", responses=refusals(422), dependencies=[Depends(only_known)])
    for noun in NOUNS:
        api.include_router(noun.router)
    api.include_router(queues.strategies_router)
    return api
