"""Snapshots: look at what would be frozen, freeze it, read what was."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from pydantic import Field

from app.api.common import Bench, In, Me, blocking, needs, rater_of, refusals
from app.api.errors import Refused
from app.paths import snapshots_dir
from app.services import Services
from storage.errors import SnapshotError, StoreError
from storage.snapshots import (
    Preview,
    Snapshot,
    SnapshotInfo,
    SnapshotSpec,
    freeze,
    list_snapshots,
    load_snapshot,
    preview,
)

router = APIRouter(prefix="/snapshots", tags=["snapshots"], dependencies=[needs("researcher")])

MOST_NAME_CHARS = 200
_SPEC = {"models": ["pocket"], "raters": [], "trace_ids": [], "solved": None, "min_rated_steps": 0, "test_percent": 10}


class PreviewIn(In):
    """What should go in."""

    spec: dict[str, Any] = Field(
        default_factory=dict,
        description=(
            "models, raters, trace_ids (lists; empty means all), solved (true, false, null), "
            "min_rated_steps, test_percent."
        ),
        examples=[_SPEC],
    )


class FreezeIn(PreviewIn):
    """What should go in, and a name for people."""

    name: str = Field("", max_length=MOST_NAME_CHARS, examples=["first week"])


@dataclass(frozen=True, kw_only=True)
class DatedPreview(Preview):
    """`computed_at` (ISO 8601, UTC) is empty, and all counts 0, while a large store is counted for the first time; `fresh` false where something was
    judged since: ask again."""

    computed_at: str
    fresh: bool


@dataclass(frozen=True, kw_only=True)
class SnapshotDetail(SnapshotInfo):
    """A snapshot with its manifest; its checksum was verified just now."""

    manifest: dict[str, Any]


def spec_of(row: dict[str, Any]) -> SnapshotSpec:
    """Raises Refused 422."""
    try:
        return SnapshotSpec.from_json(row)
    except StoreError as error:
        raise Refused(422, str(error)) from None


async def find_snapshot(bench: Services, snapshot_id: str, *, anew: bool = False) -> Snapshot:
    """Load and verify; anew: also a file that was verified and not touched since. Raises Refused 404, 409 when it was changed."""
    root = snapshots_dir(bench.data_dir)
    try:
        return await blocking(lambda: load_snapshot(root, snapshot_id, anew=anew))
    except SnapshotError as error:
        there = snapshot_id.replace("-", "").replace("_", "").isalnum() and (root / snapshot_id).is_dir()
        raise Refused(409 if there else 404, str(error)) from None


@router.get("", summary="List snapshots", response_model=list[SnapshotInfo])
async def all_snapshots(bench: Bench) -> list[SnapshotInfo]:
    """Newest first."""
    return await blocking(lambda: list_snapshots(snapshots_dir(bench.data_dir)))


@router.post(
    "/preview", summary="What would be frozen", response_model=DatedPreview, responses=refusals(400, 403, 422, 503)
)
async def preview_snapshot(bench: Bench, asked: PreviewIn) -> DatedPreview:
    """Counts, class balance and warnings, without writing anything. A large store is counted in the background: the last counts there are, dated."""
    spec = spec_of(asked.spec)
    key = ("preview", json.dumps(spec.to_json()))
    report = await bench.quality.report(key, lambda con: preview(con, spec), counts_alone=True)
    value = report.value or Preview(0, 0, 0, {}, [])
    return DatedPreview(**vars(value), computed_at=report.computed_at, fresh=report.fresh)


@router.post(
    "",
    status_code=201,
    summary="Freeze a snapshot",
    response_model=SnapshotInfo,
    responses=refusals(400, 403, 422, 503),
)
async def freeze_snapshot(bench: Bench, asked: FreezeIn, me: Me) -> SnapshotInfo:
    """Write a folder with `data.parquet`, `manifest.json` and a card: whole, or not at all."""
    spec, by = spec_of(asked.spec), rater_of(None, me)
    root = snapshots_dir(bench.data_dir)
    return await blocking(lambda: freeze(bench.store, root, spec, by, name=asked.name.strip()))


@router.get("/{snapshot_id}", summary="One snapshot", response_model=SnapshotDetail, responses=refusals(404, 409))
async def one_snapshot(bench: Bench, snapshot_id: str) -> SnapshotDetail:
    """The manifest, after the checksum was verified."""
    snapshot = await find_snapshot(bench, snapshot_id, anew=True)
    return SnapshotDetail(**vars(snapshot.info), manifest=snapshot.manifest)
