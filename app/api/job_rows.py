"""What a job would learn from, before it starts: some rows of its own making, each piece with what is done with it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.common import Bench, Me, needs, refusals
from app.api.errors import Refused
from app.api.jobs import JobIn
from app.people import Person
from training.kinds import KINDS
from training.masks import pieces
from training.recipe import Recipe, RecipeError, resolve_recipe
from training.rows import RowsError, TokenRow, data_sha256
from training.run_folder import JobError

router = APIRouter(prefix="/jobs", tags=["jobs"], dependencies=[needs("researcher")])

# Rows of the snapshot (or documents) that are made into token rows for a look, and rows that are shown of them.
EXAMINED = 200
SHOWN = 6


class PieceOut(BaseModel):
    """Neighbouring tokens that are treated alike."""

    text: str
    label: str = Field(description="read (no loss), learned, or a score to give there: good, bad, soft.")
    value: float | None = Field(None, description="The score, for a reward model.", examples=[0.67])


class RowOut(BaseModel):
    """One row as the model reads it."""

    trace_id: str
    split: str = Field(examples=["train"])
    n_tokens: int
    n_labels: int = Field(description="Tokens with a loss.")
    pieces: list[PieceOut]


class RowsOut(BaseModel):
    """Some rows, and what became of the traces that were looked at for them."""

    rows: list[RowOut]
    examined: int = Field(description="At most so many rows of the snapshot, or documents, were looked at.")
    n_train: int
    n_test: int
    counts: dict[str, int] = Field(examples=[{"traces": 12, "traces_not_chosen": 3}])


@router.post("/rows", summary="Show what is learned", response_model=RowsOut, responses=refusals(403, 409, 422))
async def rows(bench: Bench, me: Me, asked: JobIn) -> RowsOut:
    """Some rows, from all over what was looked at, as the job would train on them; nothing is started."""
    try:
        return await asyncio.to_thread(_rows, bench.data_dir, me, asked)
    except (RecipeError, RowsError) as error:
        raise Refused(422, str(error)) from None
    except JobError as error:
        raise Refused(409, str(error)) from None


def _rows(data_dir: Path, me: Person, asked: JobIn) -> RowsOut:
    recipe: Recipe = resolve_recipe(asked.kind, asked.set, asked.snapshot_id, [asked.size] if asked.size else [])
    kind = KINDS[asked.kind]
    if kind.rows is None:
        raise Refused(
            409, f"The rows of a {kind.title.lower()} are made while it is trained: there are none to show yet."
        )
    for path in kind.files(recipe):
        if not me.alone and not path.resolve().is_relative_to(data_dir.resolve()):
            raise Refused(
                403, f"{path} is outside of the data folder, and only files in it are shown here. A job may read it."
            )
    snapshot = None
    if asked.snapshot_id or kind.needs_snapshot(recipe):
        if not asked.snapshot_id or "/" in asked.snapshot_id or asked.snapshot_id.startswith("."):
            raise RowsError("Choose a snapshot first; the Data page freezes one.")
        snapshot = data_dir / "snapshots" / asked.snapshot_id
        data_sha256(snapshot)
    found, tokenizer = kind.rows(snapshot, recipe, EXAMINED)
    scores = kind.card.tag == "token-classification"

    def shown(row: TokenRow, split: str) -> RowOut:
        parts = pieces(row, tokenizer, scores=scores)
        return RowOut(
            trace_id=row.trace_id, split=split, n_tokens=len(row.ids), n_labels=sum(p.tokens for p in parts if p.label != "read"),
            pieces=[PieceOut(text=p.text, label=p.label, value=p.value) for p in parts],
        )  # fmt: skip

    made = [*((r, "train") for r in found.train), *((r, "test") for r in found.test)]
    n = min(SHOWN, len(made))
    some = [made[i * (len(made) - 1) // max(1, n - 1)] for i in range(n)]  # later turns and held-out rows among them
    return RowsOut(
        rows=[shown(row, split) for row, split in some], examined=EXAMINED, n_train=len(found.train),
        n_test=len(found.test), counts=found.counts,
    )  # fmt: skip
