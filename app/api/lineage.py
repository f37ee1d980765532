"""Lineage: from a checkpoint to the single ratings behind it, and back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.api.common import Bench, blocking, needs, refusals
from app.api.errors import Refused
from storage.errors import StoreError
from storage.lineage import Lineage, lineage

router = APIRouter(prefix="/lineage", tags=["lineage"], dependencies=[needs("researcher")])


@router.get("/{id}", summary="Where something comes from", response_model=Lineage, responses=refusals(404, 422))
async def one(
    bench: Bench,
    id: Annotated[
        str, Path(description="Of a job, a snapshot, a trace, an assignment or a rating event.", max_length=200)
    ],
    after: Annotated[
        int, Query(description="How many of what it was made from to leave out; 500 come at once.", ge=0, le=10**9)
    ] = 0,
) -> Lineage:
    """What it was made from and what became of it, one step each way; follow the ids to go on."""
    try:
        return await blocking(lambda: lineage(bench.store, bench.data_dir, id, after))
    except StoreError as error:
        raise Refused(404, str(error)) from None
