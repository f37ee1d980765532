"""Questions to try: examples and a dice."""

from __future__ import annotations

import random
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.api.common import needs
from core.tasks import countdown, countdown_text

router = APIRouter(prefix="/problems", tags=["problems"], dependencies=[needs("researcher")])

# All solvable, all held out: none of them is in the pocket model's training data.
EXAMPLES = (((4, 7, 8, 8), 24), ((5, 8, 11), 48), ((2, 10, 6, 3), 37), ((5, 9, 13), 74), ((8, 7, 6, 12), 16))


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
