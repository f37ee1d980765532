"""The documentation of the API as a page that asks nobody but us (the usual one fetches its scripts from a CDN)."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from app.api.common import needs

router = APIRouter(include_in_schema=False, dependencies=[needs("rater")])
PAGE = Path(__file__).parents[1] / "static" / "api-docs.html"


@router.get("/docs")
async def docs() -> FileResponse:
    """Renders /api/openapi.json."""
    return FileResponse(PAGE, media_type="text/html")
