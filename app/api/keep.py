"""Keeping the data folder: a copy of it while the workbench runs, and whether all in it is as it should be."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from app.api.common import Bench, blocking, needs, refusals

router = APIRouter(tags=["keeping"], dependencies=[needs("admin")])
_TAR = {
    "content": {"application/x-tar": {}},
    "description": "The files, and `backup.json` with their SHA-256 at the end.",
}


class ReportOut(BaseModel):
    """What was looked at, and what was found."""

    counts: dict[str, int] = Field(description="How much there is.", examples=[{"trace": 120, "rating_event": 4211}])
    findings: list[str] = Field(description="What is wrong, each a sentence with the mend in it; empty: nothing.")
    notes: list[str] = Field(description="Worth knowing, but not wrong.")
    rebuilt: list[str] = Field(description="What was made anew from the events.")


@router.get(
    "/backup",
    summary="A copy of the data folder",
    response_class=StreamingResponse,
    responses={200: _TAR, **refusals(401, 403, 503)},
)
async def backup(bench: Bench) -> StreamingResponse:
    """A tar file of everything as of one moment; raters go on meanwhile. `worldline restore` makes a folder of it again.

    A stream that broke off lacks `backup.json`, its last file.
    """
    from storage.backup import stream

    headers = {"content-disposition": 'attachment; filename="worldline-backup.tar"'}
    return StreamingResponse(stream(bench.store), media_type="application/x-tar", headers=headers)


@router.get(
    "/doctor", summary="Is everything as it should be?", response_model=ReportOut, responses=refusals(401, 403, 503)
)
async def examine(bench: Bench) -> dict[str, Any]:
    """Checks that nothing is missing or double, texts and snapshots by their checksums, and what is kept ready against the
    events. Takes seconds in a large folder.
    """
    from storage import doctor

    report = await blocking(lambda: doctor.examine(bench.store))
    return report.to_json()


@router.post(
    "/doctor/rebuild", summary="Make anew what follows from the events", response_model=ReportOut,
    responses=refusals(401, 403, 503),
)  # fmt: skip
async def rebuild(bench: Bench) -> dict[str, Any]:
    """Then looks at everything once more. The events themselves are never changed."""
    from storage import doctor

    def work() -> dict[str, Any]:
        rebuilt = doctor.rebuild(bench.store)
        return {**doctor.examine(bench.store).to_json(), "rebuilt": rebuilt}

    return await blocking(work)
