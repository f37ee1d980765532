"""SQL over a snapshot: what a researcher asks before exporting anything. The limits are storage.console's."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from app.api.common import Bench, In, blocking, needs, refusals
from app.api.errors import Refused
from app.api.snapshots import find_snapshot
from storage.console import MOST_ROWS, MOST_SQL_CHARS, Answer, ConsoleBusy, ConsoleError, ask

router = APIRouter(prefix="/snapshots", tags=["snapshots"], dependencies=[needs("researcher")])


class SqlIn(In):
    """One query. Views: ratings (the snapshot's rows), steps (one row a step), comparisons (where there are any)."""

    sql: str = Field(
        min_length=1, max_length=MOST_SQL_CHARS, examples=["select rating, count(*) from steps group by rating"]
    )
    limit: int = Field(200, ge=1, le=MOST_ROWS, description="Rows of the answer; `cut` says that there were more.")


@router.post(
    "/{snapshot_id}/sql", summary="Ask a snapshot in SQL", response_model=Answer,
    responses=refusals(400, 403, 404, 409, 422, 429),
)  # fmt: skip
async def query(bench: Bench, snapshot_id: str, asked: SqlIn) -> Answer:
    """Read only, in a process of its own: ten seconds, no file, no network, long values shortened."""
    snapshot = await find_snapshot(bench, snapshot_id)
    try:
        return await blocking(lambda: ask(snapshot, asked.sql, asked.limit))
    except ConsoleBusy as error:
        raise Refused(429, str(error)) from None
    except ConsoleError as error:
        raise Refused(422, str(error)) from None
