"""What the routes share: how they get at the services, how errors are documented, who is asking. Knows no noun."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Cookie, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.errors import Refused
from app.services import Services
from core.trace import Trace

T = TypeVar("T")

RATER_COOKIE = "worldline_rater"
LOCAL_RATER = "local"
MOST_RATER_CHARS = 128


class In(BaseModel):
    """A request body: a field that is not known is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Problem(BaseModel):
    """Every error looks like this."""

    error: str = Field(
        description="One sentence: what is wrong and how to mend it.",
        examples=['"temperature" is 9; it must be at most 5.'],
    )


_REASONS = {
    400: "The body is not JSON.",
    403: "Asked from a foreign page or under a foreign host name.",
    404: "There is no such thing.",
    409: "Not possible in the present state.",
    413: "The body is too large.",
    422: "A value cannot be used; the sentence names the field.",
    429: "Too much at once; try again later.",
    503: "The store or the model does not work at the moment.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, for its documentation. JSON even where the answer is a page or a stream."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _REASONS[status], "content": content} for status in statuses}


async def _services(request: Request) -> Services:  # async: FastAPI sends any other into a thread, for every request
    found: Services = request.app.state.services
    return found


Bench = Annotated[Services, Depends(_services)]
RaterCookie = Annotated[str | None, Cookie(alias=RATER_COOKIE, include_in_schema=False)]


def rater_of(asked: str | None, cookie: str | None) -> str:
    """The rater who is meant: the field, else the cookie, else the one local rater."""
    rater = (asked or cookie or LOCAL_RATER).strip()
    if not rater or len(rater) > MOST_RATER_CHARS or not rater.isprintable():
        raise Refused(422, f'"rater" must be a name of 1 to {MOST_RATER_CHARS} printable characters.')
    return rater


async def blocking(work: Callable[[], T]) -> T:
    """Run something that waits for a disk in a thread, so that streams and key presses do not wait for it."""
    return await asyncio.to_thread(work)


async def find_trace(bench: Services, trace_id: str) -> Trace:
    """Raises Refused 404."""
    trace = await blocking(lambda: bench.store.trace(trace_id))
    if trace is None:
        running = bench.runs.get(trace_id)
        if running is not None and running.running:
            raise Refused(409, f"The run {trace_id} is still going on; its trace can be read when it is done.")
        raise Refused(404, f'There is no trace "{trace_id[:100]}".')
    return trace
