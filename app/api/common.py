"""What the routes share: how they get at the services, how errors are documented, who is asking. Knows no noun."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from app.api.errors import Refused
from app.eventlog import EventLog, stream
from app.people import Person
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
    401: "Nobody is logged in.",
    403: "Asked from a foreign page or under a foreign host name, or without the role that it takes.",
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


After = Annotated[int, Query(ge=-1, description="Number of the last event already seen; -1 for all.")]
LastEventId = Annotated[str | None, Header(description="Set by browsers that reconnect; counts like `after`.")]


def follow(
    log: EventLog, after: int, last_event_id: str | None, before_send: Callable[[], None] = lambda: None
) -> Response:
    """Server-sent events from where the reader stands; 204 where there is nothing more to come."""
    if last_event_id is not None and last_event_id.isdigit():
        after = max(after, int(last_event_id))
    if log.closed and after == log.last_seq:
        return Response(status_code=204)  # tells a browser's EventSource not to come again
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(
        stream(log, after, before_send=before_send), media_type="text/event-stream", headers=headers
    )


async def _services(request: Request) -> Services:  # async: FastAPI sends any other into a thread, for every request
    found: Services = request.app.state.services
    return found


Bench = Annotated[Services, Depends(_services)]


async def _person(request: Request) -> Person:
    """Set by app/login.py where there are accounts; without, the one person there is."""
    found: Person | None = getattr(request.state, "person", None)
    if found is not None:
        return found
    if getattr(request.state, "accounts", False):
        raise Refused(401, "You are not logged in; open /login.")
    name = _name(request.cookies.get(RATER_COOKIE) or LOCAL_RATER)
    return Person(name, name, "admin", alone=True)


Me = Annotated[Person, Depends(_person)]


def needs(role: str) -> Any:
    """A dependency of a route or router: whoever asks must have this role, or one above it."""

    async def check(me: Me) -> None:
        if not me.may(role):
            raise Refused(403, f"This needs the role {role}; you are {me.role}. Ask an admin of this workbench for it.")

    return Depends(check)


async def only_known(request: Request) -> None:
    """A dependency of all routes: a parameter that a route does not have is an error, as a field of a body is. A misspelt filter
    would else be none, and what it should have left out would be taken for found.
    """
    if not request.query_params:
        return
    known = _parameters(request.scope["route"].dependant)
    for name in request.query_params:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise Refused(422, f'"{name[:60]}" is not a parameter of {request.url.path}; {has}.')


def _parameters(dependant: Any) -> list[str]:
    """Of a route, those that stand after the question mark; also what its dependencies read there."""
    own = [field.alias for field in dependant.query_params]
    return own + [name for each in dependant.dependencies for name in _parameters(each)]


def check_own(created_by: str, me: Person) -> None:
    """What cannot be brought back is taken away by whoever made it, or by an admin. Raises Refused."""
    if not me.may("admin") and created_by != me.rater_id:
        raise Refused(403, f'"{created_by[:60]}" began this; only they and admins can delete it.')


def rater_of(asked: str | None, me: Person) -> str:
    """The rater who is meant: without accounts the name that was given, with accounts whoever is logged in."""
    if me.alone:
        return _name(asked) if asked else me.rater_id
    if asked is not None and asked != me.rater_id:
        raise Refused(
            403, f'You are logged in as "{me.rater_id}" and cannot work as "{asked[:60]}"; leave "rater" out.'
        )
    return me.rater_id


def _name(asked: str) -> str:
    rater = asked.strip()
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
