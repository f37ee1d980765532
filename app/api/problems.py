"""Questions to try: examples and a dice."""

from __future__ import annotations

import asyncio
import random
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.api.common import Bench, In, needs, refusals
from app.api.errors import Refused
from app.outcomes import judge_anew
from core.tasks import countdown, countdown_text
from storage.references import set_references

router = APIRouter(prefix="/problems", tags=["problems"], dependencies=[needs("researcher")])

# All solvable, all held out: none of them is in the pocket model's training data.
EXAMPLES = (((4, 7, 8, 8), 24), ((5, 8, 11), 48), ((2, 10, 6, 3), 37), ((5, 9, 13), 74), ((8, 7, 6, 12), 16))


class ReferenceIn(In):
    """The right answer to a problem, or a worked solution."""

    answer: str = Field(description="Empty takes it away.", examples=["(8 - 7) * 4 * 8 - 8"])


class ReferenceKept(BaseModel):
    """What is kept now."""

    problem_id: str
    answer: str


class RandomProblem(BaseModel):
    """A question of the numbers game that has a solution."""

    prompt: str = Field(examples=["Reach 24 from 4, 7, 8 and 8."])
    numbers: list[int] = Field(examples=[[4, 7, 8, 8]])
    target: int = Field(examples=[24])


@router.get("/random", summary="A random question", response_model=RandomProblem)
async def random_problem(
    count: Annotated[
        Literal["3", "4"] | None, Query(description="How many numbers; 3 or 4 at random when absent.")
    ] = None,
) -> RandomProblem:
    """A solvable question of the numbers game that the pocket model was never trained on."""
    rng = random.Random()
    problem = countdown.sample(rng, int(count) if count else rng.choice(countdown.COUNTS), held_out=True)
    prompt = countdown_text.ask(problem, rng.randrange(len(countdown_text.PHRASINGS)))
    return RandomProblem(prompt=prompt, numbers=list(problem.numbers), target=problem.target)


@router.get("/examples", summary="Example questions", response_model=list[str])
async def examples() -> list[str]:
    """A few questions to begin with."""
    return [
        countdown_text.ask(countdown.Countdown(numbers, target), i % len(countdown_text.PHRASINGS))
        for i, (numbers, target) in enumerate(EXAMPLES)
    ]


@router.put(
    "/{problem_id}/reference", summary="Set a reference answer", response_model=ReferenceKept,
    responses=refusals(400, 403, 404, 422, 503),
)  # fmt: skip
async def set_reference(bench: Bench, problem_id: str, sent: ReferenceIn) -> ReferenceKept:
    """What raters are shown as the right answer, where their queue's policy lets them see it."""
    if not await asyncio.wrap_future(bench.store.write(set_references, (problem_id, sent.answer))):
        raise Refused(404, f'There is no problem "{problem_id[:100]}"; a problem begins with its first trace.')
    await asyncio.to_thread(judge_anew, bench.store, [problem_id])
    return ReferenceKept(problem_id=problem_id, answer=sent.answer)
