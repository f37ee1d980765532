"""Exports: a snapshot as files that trainers elsewhere read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from app.api.common import Bench, In, needs, refusals
from app.api.errors import Refused
from app.api.snapshots import find_snapshot
from app.services import Services
from storage.exports import FORMATS, Plan, options_of
from storage.exports.policies import sentence

router = APIRouter(tags=["exports"], dependencies=[needs("researcher")])


class OptionOut(BaseModel):
    """Something that can be chosen about a format."""

    name: str = Field(examples=["neutral_as"])
    default: Any
    choices: list[Any] = Field(description="Empty when it is not a choice of few.")
    means: dict[str, str] = Field(description="A sentence for each value that has one.")


class FormatOut(BaseModel):
    """A format that snapshots can be exported to."""

    format: str = Field(examples=["stepwise"])
    summary: str
    options: list[OptionOut]
    columns: dict[str, str] = Field(description="What the rows hold; further columns tell where a row comes from.")
    cannot: list[str] = Field(description="What of a snapshot this format has no place for.")


class ExportIn(In):
    """Which format, with which options (GET /api/export-formats lists both)."""

    format: str = Field(examples=["stepwise"])
    options: dict[str, Any] = Field(default_factory=dict, examples=[{}])


class PlanOut(BaseModel):
    """What an export would hold."""

    pending: bool = Field(
        description="That of a large snapshot is still being counted, and all else is empty: ask again."
    )
    rows: int
    figures: dict[str, Any]
    warnings: list[str] = Field(description="Sentences worth reading before writing: gaps, class balance, long rows.")
    histogram: dict[str, int] = Field(description="Labels or pairs by name.", examples=[{"good": 120, "bad": 31}])
    left_out: dict[str, int] = Field(description="Rows of the snapshot (or comparisons) left out, by reason.")
    sample: list[dict[str, Any]] = Field(description="The first rows, long texts and lists shortened.")
    says: list[str] = Field(description="The policies in words.")
    cannot: list[str] = Field(description="What of a snapshot this format has no place for.")


class ExportOut(BaseModel):
    """What was written."""

    format: str
    folder: str
    files: list[str] = Field(examples=[["data.parquet", "data.jsonl", "manifest.json", "README.md"]])
    rows: int
    warnings: list[str]
    figures: dict[str, Any]


@router.get("/export-formats", summary="List export formats", response_model=list[FormatOut])
async def formats() -> list[FormatOut]:
    """Every format with its options and their defaults."""
    return [
        FormatOut(
            format=form.name,
            summary=form.summary,
            options=[
                OptionOut(
                    name=name,
                    default=default,
                    choices=list(allowed),
                    means={
                        str(value).lower(): said
                        for value in (allowed or ((True, False) if isinstance(default, bool) else (default,)))
                        if (said := sentence(name, value))
                    },
                )
                for name, default, allowed in options_of(form)
            ],
            columns=dict(form.columns),
            cannot=list(form.cannot),
        )
        for form in FORMATS.values()
    ]


@router.post(
    "/snapshots/{snapshot_id}/exports/preview", summary="What an export would hold", response_model=PlanOut,
    responses=refusals(400, 403, 404, 409, 422),
)  # fmt: skip
async def preview_export(bench: Bench, snapshot_id: str, asked: ExportIn) -> dict[str, Any]:
    """Rows, figures and warnings, without writing anything. Of a large snapshot they are counted in the background: ask until they are there."""
    snapshot = await find_snapshot(bench, snapshot_id)
    plan = await bench.exports.plan(snapshot, asked.format, asked.options)
    return {"pending": plan is None, **(plan or Plan()).to_json()}


@router.post(
    "/snapshots/{snapshot_id}/exports",
    summary="Export a snapshot",
    response_model=ExportOut,
    responses=refusals(400, 403, 404, 409, 422, 503),
)
async def write_export(bench: Bench, snapshot_id: str, asked: ExportIn) -> dict[str, Any]:
    """Write Parquet, JSONL, a manifest and a card: whole, or not at all. An earlier export is replaced."""
    snapshot = await find_snapshot(bench, snapshot_id)
    if asked.format not in FORMATS:
        raise _no_format(asked.format)
    folder = _folder(bench, snapshot_id, asked.format)
    return (await bench.exports.write(snapshot, asked.format, folder, asked.options)).to_json()


@router.get(
    "/snapshots/{snapshot_id}/exports/{format}/{file}", summary="Download a file of an export",
    response_class=FileResponse,
    responses={200: {"description": "The file.", "content": {"application/octet-stream": {}}}, **refusals(404, 409)},
)  # fmt: skip
async def download(bench: Bench, snapshot_id: str, format: str, file: str) -> Response:
    """One of the files that an export wrote."""
    await find_snapshot(bench, snapshot_id)
    if format not in FORMATS:
        raise _no_format(format)
    folder = _folder(bench, snapshot_id, format)
    # Compared with what is there, so that no name can lead out of the folder.
    path = next((p for p in folder.iterdir() if p.name == file and p.is_file()), None) if folder.is_dir() else None
    if path is None:
        raise Refused(404, f'There is no file "{file[:100]}" in the {format} export of this snapshot; export it first.')
    return FileResponse(path, filename=f"{snapshot_id}-{format}-{path.name}")


def _folder(bench: Services, snapshot_id: str, format: str) -> Path:
    return bench.data_dir / "exports" / snapshot_id / format


def _no_format(name: str) -> Refused:
    return Refused(422, f'The export format "{name[:100]}" is not known; it must be one of {", ".join(FORMATS)}.')
