"""Searches: what strategies there are, start one, follow its tree, keep what it found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import fields
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from app import search_nodes
from app.api.common import After, Bench, In, LastEventId, Me, follow, needs, refusals
from app.api.errors import Refused
from app.api.runs import EXAMPLE, MOST_STEPS, MOST_TOKENS, QUESTION_LIMIT
from app.models import UnknownModel
from app.searches import BrokenLog, Live, TooManySearches, Wanted
from app.token_limits import most_tokens
from core.answers.code import tests_of
from core.scoring.prm import AGGREGATIONS, Aggregation, ScorerError
from core.search import strategies
from core.search.ledger import Budget
from core.search.scheduler import Limits
from core.search.scorer_choice import SETTINGS, ScorerChoice

router = APIRouter(tags=["searches"], dependencies=[needs("researcher")])

T = TypeVar("T")
PARQUET = "application/vnd.apache.parquet"
SEARCH_ID = "01kaexr0v7m3p9d2k4c6h8n5qs"
# A request of a kind that nobody makes by mistake: more would only fill the disk.
MOST_BUDGET_TOKENS, MOST_BUDGET_SECONDS = 10**9, 7 * 24 * 3600.0


class Parameter(BaseModel):
    """A parameter of a strategy or a scorer."""

    name: str = Field(examples=["width"])
    kind: str = Field(description="int, float, bool, text or choice", examples=["int"])
    default: Any = Field(examples=[4])
    help: str = Field(examples=["Beams that are kept after each step."])
    least: float | None = Field(None, description="The least value of a number.")
    most: float | None = Field(None, description="The greatest value of a number.")
    one_of: list[Any] | None = Field(None, description="All values, for a choice.")
    needed: bool = Field(False, description="Whether it must be given.")


class StrategyOut(BaseModel):
    """A way of spending compute at inference time."""

    name: str = Field(description='What to send as "strategy".', examples=["beam"])
    title: str = Field(examples=["Beam search"])
    help: str = Field(examples=["Grow several beams step by step, keep the best-scored, drop the rest."])
    needs_scorer: bool = Field(description="Whether it is refused without a scorer.")
    parameters: list[Parameter]


class ScorerOut(BaseModel):
    """What can judge a search."""

    name: str = Field(description='What to send as "scorer".', examples=["countdown-oracle"])
    title: str = Field(examples=["Countdown oracle"])
    help: str = Field(examples=["The exact rule of the numbers game."])
    ready: bool = Field(description="Whether it can be chosen now.")
    judges: str = Field(description="steps, answers (finished ones alone), or empty.", examples=["steps"])
    parameters: list[Parameter] = Field(description="What it is told when it is chosen.")


class Strategies(BaseModel):
    """All that a search can be put together from."""

    strategies: list[StrategyOut]
    scorers: list[ScorerOut]
    aggregations: list[str] = Field(description="How the scores of steps become one.", examples=[list(AGGREGATIONS)])


class SearchIn(In):
    """What to search, by which strategy, with which models, and what it may cost."""

    prompt: str = Field(description="The question; at most 64 KB.", examples=[EXAMPLE])
    strategy: str = Field(description="A name from GET /api/strategies.", examples=["beam"])
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="The strategy's parameters; those left out keep their defaults.",
        examples=[{"width": 2, "branch": 4}],
    )
    model: str = Field("pocket", description="An id from GET /api/models.", examples=["pocket"])
    executor: str = Field("", description="Another model, for strategies in which one plans and one writes.")
    scorer: str = Field(
        "none", description="A name from GET /api/strategies: what judges every step.", examples=["countdown-oracle"]
    )
    scorer_params: dict[str, Any] = Field(
        default_factory=dict,
        description="The scorer's parameters: a judge's model, a served reward model's endpoint.",
        examples=[{}],
    )
    tests: list[Any] | str = Field(
        default_factory=list,
        description="Public tests of a question whose answer is a program: a list as in docs/answers.md, or text with an assertion a line.",
    )
    aggregation: Aggregation = Field("last", description="How the scores of steps become one: prod, min, last, mean.")
    seed: int | None = Field(
        None, ge=0, le=2**63 - 1, description="The same seed gives the same search. Absent: random."
    )
    temperature: float = Field(1.0, ge=0, le=5, description="0 always takes the likeliest token.")
    top_p: float = Field(1.0, gt=0, le=1, description="Share of probability to draw from.")
    max_tokens: int | None = Field(
        None,
        ge=1,
        le=MOST_TOKENS,
        description="For one response. Absent: what suits the model (`max_tokens` in GET /api/models), less the question.",
    )
    step_tokens: int = Field(512, ge=1, le=MOST_TOKENS, description="For one step.")
    max_steps: int = Field(60, ge=1, le=MOST_STEPS, description="A response is made to finish after this many steps.")
    budget_tokens: int | None = Field(
        None,
        ge=1,
        le=MOST_BUDGET_TOKENS,
        description="Tokens written, and read by the scorer, in all. Absent: no limit.",
    )
    budget_flops: float | None = Field(None, gt=0, description="FLOPs of solver and scorer in all. Absent: no limit.")
    budget_seconds: float | None = Field(
        None, gt=0, le=MOST_BUDGET_SECONDS, description="Seconds until it must decide. Absent: no limit."
    )


class SearchStarted(BaseModel):
    """A search has begun."""

    search_id: str = Field(examples=[SEARCH_ID])


class Ledger(BaseModel):
    """What was spent. FLOPs are null where a model's size is unknown."""

    prompt: int = Field(description="Tokens given to be read.")
    cached: int = Field(description="Of these, known to the engine already.")
    generated: int = Field(description="Tokens the solver wrote.")
    scorer: int = Field(description="Tokens the scorer read or wrote.")
    solver_flops: float | None
    scorer_flops: float | None
    seconds: float = Field(description="Of waiting for models, summed over requests that ran side by side.")
    elapsed: float | None = Field(
        None, description="Seconds by the clock until the newest of it; null for a search whose log is gone."
    )
    calls: int
    uncounted: int = Field(
        0, description="Requests that failed or were cut off, of which nobody can say what they cost."
    )
    tokens: int = Field(description="What a budget of tokens counts: generated + scorer.")
    flops: float | None


class SearchOut(SearchStarted):
    """A search, under way or done."""

    prompt: str = Field(examples=[EXAMPLE])
    strategy: str = Field(examples=["beam"])
    params: dict[str, Any]
    model: str = Field(examples=["pocket"])
    executor: str | None = ""
    scorer: str | None = Field("", description="Empty: none. A reward model is named by its job.")
    aggregation: str | None = None
    seed: int
    limits: dict[str, Any] | None = None
    budget: dict[str, Any] | None = None
    user: str = Field(description="Who started it.")
    evaluation: str | None = Field(None, description="The evaluation that it belongs to.")
    state: str = Field(description="running or done", examples=["done"])
    reason: str | None = Field(None, description="finished, budget, cancelled or error; null while it runs")
    nodes: int = Field(description="Of its tree, the question included.", examples=[33])
    answer: str = Field(description="In canonical form; empty while there is none.")
    right: bool | None = Field(
        None, description="Whether the chosen response solves the problem; null where nobody knows."
    )
    trace_id: str | None = Field(None, description="The chosen response as a trace.")
    ledger: Ledger
    error: str = ""
    created_at: str = Field(examples=["2026-11-20T12:00:00.000Z"])


class NodeOut(BaseModel):
    """A node in full."""

    node: dict[str, Any] = Field(description="As in the events: text, end, score, value, visits, count, ledger, …")
    trace: dict[str, Any] = Field(description="The response up to the end of the node, cut into steps.")
    owners: list[int] = Field(description="For each step the node that it belongs to.")
    trace_id: str | None = Field(None, description="Set when this answer is kept as a trace.")


class Kept(BaseModel):
    """An answer is in the store."""

    trace_id: str = Field(examples=[SEARCH_ID])


class SearchState(BaseModel):
    """Whether a search goes on."""

    state: str = Field(description="running or done", examples=["done"])


@router.get("/strategies", summary="List strategies and scorers", response_model=Strategies)
async def list_strategies(bench: Bench) -> Strategies:
    """Every strategy with its parameters and their limits, and what can judge a search now."""
    scorers = [
        ScorerOut(
            name=entry.name, title=entry.title, help=entry.help, ready=entry.ready, judges=entry.judges,
            parameters=_parameters(SETTINGS.get(entry.name), entry.choices),
        )
        for entry in bench.searches.scorers.all()
    ]  # fmt: skip
    found = [_strategy(name) for name in strategies.STRATEGIES]
    return Strategies(strategies=found, scorers=scorers, aggregations=list(AGGREGATIONS))


def _strategy(name: str) -> StrategyOut:
    cls = strategies.known(name)
    return StrategyOut(
        name=name, title=cls.TITLE, help=cls.HELP, needs_scorer=cls.NEEDS_SCORER, parameters=_parameters(cls)
    )


def _parameters(cls: Any, choices: Mapping[str, tuple[str, ...]] = {}) -> list[Parameter]:
    """The fields of a dataclass of parameters, [] for none; choices: values that are known only now."""
    found = []
    for field in fields(cls) if cls else ():
        about = field.metadata
        one_of = choices.get(field.name) or about["one_of"]
        kinds = {bool: "bool", int: "int", float: "float", str: "text"}
        found.append(
            Parameter(
                name=field.name, kind="choice" if one_of else kinds[type(field.default)], default=field.default, help=about["help"],
                least=about["least"], most=about["most"], one_of=list(one_of) if one_of else None, needed=about["needed"],
            )
        )  # fmt: skip
    return found


@router.post(
    "/searches",
    status_code=201,
    summary="Start a search",
    response_model=SearchStarted,
    responses=refusals(400, 403, 413, 422, 429, 503),
)
async def start(bench: Bench, me: Me, asked: SearchIn) -> SearchStarted:
    """Start a search and answer at once; follow it with `GET /api/searches/{search_id}/events`.

    It belongs to the server: it goes on whether or not anybody watches, and after a restart where it was. Searches of several
    people take turns.
    """
    try:
        size = len(asked.prompt.encode())
    except UnicodeEncodeError:
        raise Refused(422, '"prompt" holds half of a character (a lone surrogate), which is not text.') from None
    if not asked.prompt.strip():
        raise Refused(422, f"The question is empty. Ask, for example: {EXAMPLE}")
    if size > QUESTION_LIMIT:
        raise Refused(413, "The question is too large; at most 64 KB are accepted.")
    budget = Budget(asked.budget_tokens, asked.budget_flops, asked.budget_seconds)
    try:
        scorer = str(
            ScorerChoice.of(
                {"name": asked.scorer, "params": asked.scorer_params} if asked.scorer_params else asked.scorer
            )
        )
        if not (me.alone or me.may("admin")):
            bench.searches.scorers.check_mine(scorer)
        tests = tests_of(asked.tests) if isinstance(asked.tests, str) else asked.tests
        engine = bench.models.get(asked.model).engine
        most = asked.max_tokens or await most_tokens(engine, [{"role": "user", "content": asked.prompt}])
        limits = Limits(asked.temperature, asked.top_p, most, asked.step_tokens, asked.max_steps)
        live = await bench.searches.start(
            Wanted(
                asked.prompt, asked.strategy, asked.params, asked.model, asked.executor, scorer, asked.aggregation,
                asked.seed, limits, budget, me.rater_id, tuple(tests),
            )
        )  # fmt: skip
    except TooManySearches as error:
        raise Refused(429, str(error)) from None
    except (UnknownModel, ValueError) as error:
        raise Refused(422, _sentence(error)) from None
    except ScorerError as error:
        raise Refused(503, str(error)) from None
    return SearchStarted(search_id=live.search_id)


@router.get("/searches", summary="List searches", response_model=list[SearchOut])
async def list_all(bench: Bench, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> list[dict[str, Any]]:
    """Newest first; searches of earlier servers included, those of evaluations not."""
    return await bench.searches.summaries(limit)


@router.get("/searches/{search_id}", summary="One search", response_model=SearchOut, responses=refusals(404, 409))
async def one_search(bench: Bench, search_id: str) -> dict[str, Any]:
    """What was asked, how far it is, what it has spent, how it ended. Searches of evaluations are found too."""
    return (await _find(bench, search_id)).summary()


_EVENTS = """id: 0
data: {"seq":0,"type":"start","search_id":"01k…","problem":{…},"strategy":"beam","params":{…},"model":"pocket", …}

id: 1
data: {"seq":1,"type":"node","id":1,"parent":0,"path":"0","text":"…","end":"step","score":0.93,"count":1, …}

id: 9
data: {"seq":9,"type":"update","id":1,"pruned":true, …}

id: 10
data: {"seq":10,"type":"ledger","prompt":340,"cached":21,"generated":512,"scorer":0,"solver_flops":2.1e9, …}

id: 99
data: {"seq":99,"type":"done","reason":"finished","node":31,"answer":"…","votes":{…},"right":true,"trace_id":"01k…", …}
"""


@router.get(
    "/searches/{search_id}/events",
    summary="Follow a search",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events as they happen, from the first on, until `done`.",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EVENTS}},
        },
        204: {"description": "Everything has been seen: `after` is the last event of a search that is done."},
        **refusals(404, 409, 422),
    },
)
async def events(
    bench: Bench,
    search_id: str,
    after: After = -1,
    last_event_id: LastEventId = None,
) -> Response:
    """Server-sent events (`text/event-stream`). Each has an `id` (its number) and JSON data with a `type`:

    `start`, `node` (a new piece of text and where it hangs), `update` (what became of a node: score, value, visits, pruned, chosen,
    count), `ledger` (totals), `error`, `done`. A search that a restart interrupted goes on with the next number. Searches of
    evaluations can be followed as well.
    """
    return follow((await _find(bench, search_id)).events, after, last_event_id)


@router.post(
    "/searches/{search_id}/stop", summary="Stop a search", response_model=SearchState, responses=refusals(403, 404, 409)
)
async def stop(bench: Bench, search_id: str) -> SearchState:
    """End a search now: it decides with the answers it has, reason `cancelled`. Stopping twice is harmless."""
    live = await _find(bench, search_id)
    if live.about.get("evaluation"):
        raise Refused(409, f"This search belongs to the evaluation {live.about['evaluation']}; stop that.")
    await bench.searches.stop(live)
    return SearchState(state="running" if live.running else "done")


@router.get(
    "/searches/{search_id}/nodes/{node}",
    summary="One node of a search",
    response_model=NodeOut,
    responses=refusals(404, 409),
)
async def one_node(bench: Bench, search_id: str, node: int) -> dict[str, Any]:
    """The text of a node, and the whole response up to its end cut into steps."""
    live = await _find(bench, search_id)
    return await _known(bench.searches.node(live, node))


@router.get(
    "/searches/{search_id}/nodes.parquet",
    summary="All nodes of a search with their ledger",
    response_class=Response,
    responses={200: {"content": {PARQUET: {}}, "description": "A row a node."}, **refusals(404, 409)},
)
async def all_nodes(bench: Bench, search_id: str) -> Response:
    """The tree as a table, the question first: each node's text, path, end, score, value, visits, answer, and what it cost
    (`spent_prompt`, `spent_cached`, `spent_generated`, `spent_scorer`, FLOPs of solver and scorer, seconds, calls). The rows together are
    what the search has spent until now."""
    live = await _find(bench, search_id)
    # One that goes on is looked at between two results: in another thread its tree would grow meanwhile.
    rows = search_nodes.rows(live.search) if live.running else await asyncio.to_thread(search_nodes.rows, live.search)
    named = {"Content-Disposition": f'attachment; filename="search-{live.search_id}.parquet"'}
    return Response(await asyncio.to_thread(search_nodes.parquet, rows), media_type=PARQUET, headers=named)


@router.post(
    "/searches/{search_id}/nodes/{node}/keep",
    summary="Keep an answer as a trace",
    response_model=Kept,
    responses=refusals(403, 404, 409, 422),
)
async def keep(bench: Bench, search_id: str, node: int) -> Kept:
    """Store another finished answer of the tree as a trace, so that it can be read, rated and exported. Twice is harmless."""
    live = await _find(bench, search_id)
    try:
        return Kept(trace_id=await _known(bench.searches.keep(live, node)))
    except ValueError as error:
        raise Refused(422, str(error)) from None


async def _find(bench: Bench, search_id: str) -> Live:
    try:
        live = await bench.searches.find(search_id)
    except BrokenLog as error:
        raise Refused(409, str(error)) from None
    if live is None:
        raise Refused(404, f'There is no search "{search_id[:100]}" whose log is here.')
    return live


async def _known(work: Awaitable[T]) -> T:
    try:
        return await work
    except LookupError as error:
        raise Refused(404, str(error)) from None


def _sentence(error: Exception) -> str:
    """Errors of the floors below begin like the rest of a line; here they stand alone."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "?", "!")) else ".")
