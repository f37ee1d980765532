"""Turns: what a trace was asked after, and what the model is given of it when a question follows."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from app.api.common import Bench, blocking, find_trace, needs, refusals
from app.api.errors import Refused
from app.outcomes import judged_now
from app.services import Services
from core.trace import Earlier, GivenAs, Trace
from core.turns import Turns

router = APIRouter(prefix="/traces", tags=["turns"], dependencies=[needs("adjudicator")])

MOST_TURNS = 200


class TurnOut(BaseModel):
    """One earlier turn of a conversation."""

    trace_id: str
    prompt: str = Field("", examples=["Reach 24 from 4, 7, 8 and 8."])
    answer: str = ""
    model: str = ""
    finish_reason: str = ""
    solved: bool | None = Field(
        None, description="Checked from the steps, or by the problem's reference answer; null where nobody can say."
    )
    n_steps: int = 0
    known: bool = Field(True, description="false: this trace is not in the data folder (it was not imported).")


@router.get(
    "/{trace_id}/earlier", summary="What a trace was asked after", response_model=list[TurnOut],
    responses=refusals(404),
)  # fmt: skip
async def earlier_turns(
    bench: Bench, trace_id: Annotated[str, Path(description="A trace, or a run under way.")]
) -> list[dict[str, Any]]:
    """The turns before it, the first one first; empty for a question of its own."""
    run = bench.runs.get(trace_id)
    trace = bench.runs.trace_so_far(run) if run is not None else await find_trace(bench, trace_id)
    ids = trace.earlier.trace_ids if trace.earlier else ()
    found = await _read(bench, ids)
    return [_turn(found[i]) if i in found else {"trace_id": i, "known": False} for i in ids]


async def turns_after(bench: Services, trace_id: str, given_as: GivenAs) -> Turns:
    """The conversation up to and with a trace that has ended. Raises Refused 404, 409, 422."""
    last = await find_trace(bench, trace_id)
    if not last.response.strip():
        raise Refused(422, f"The trace {trace_id} has no text, so nothing can be asked after it; ask anew.")
    before = last.earlier.trace_ids if last.earlier else ()
    return await _turns(bench, before, given_as, [last])


async def turns_of(bench: Services, earlier: Earlier | None) -> Turns:
    """The turns that a trace was asked after, as they were given. Raises Refused 422."""
    return await _turns(bench, earlier.trace_ids, earlier.given_as, []) if earlier else Turns()


async def _turns(bench: Services, ids: tuple[str, ...], given_as: GivenAs, last: list[Trace]) -> Turns:
    if len(ids) + len(last) > MOST_TURNS:
        raise Refused(422, f"The conversation has {len(ids) + len(last):,} turns; at most {MOST_TURNS} are accepted.")
    found = await _read(bench, ids)
    for missing in (i for i in ids if i not in found):
        raise Refused(
            422, f"The conversation cannot be given to the model: its trace {missing[:100]} is not in this data folder. "
            "Import it, or ask anew.",
        )  # fmt: skip
    return Turns.of([*(found[i] for i in ids), *last], given_as)


async def _read(bench: Services, ids: tuple[str, ...]) -> dict[str, Trace]:
    def read() -> dict[str, Trace]:
        found = (trace for i in ids[:MOST_TURNS] if (trace := bench.store.trace(i)) is not None)
        return {trace.trace_id: judged_now(bench.store, trace) for trace in found}

    return await blocking(read) if ids else {}


def _turn(trace: Trace) -> dict[str, Any]:
    return {
        "trace_id": trace.trace_id, "prompt": trace.prompt, "answer": trace.answer, "model": trace.model,
        "finish_reason": trace.finish_reason, "solved": trace.solved, "n_steps": len(trace.steps),
    }  # fmt: skip
