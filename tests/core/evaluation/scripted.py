"""A model that adds up wrongly now and then: steps of text, the answer last, each draw decided by its seed alone."""

from __future__ import annotations

import asyncio
from random import Random

from core.engines.base import EngineError
from core.engines.sampling import Marks, ModelSize, Sample, Sampled, SampleRequest
from core.evaluation.folder import Evaluation, create
from core.evaluation.plan import Plan
from core.evaluation.problems import Asked, numbered
from core.search.scorers import Item, Scored
from core.trace import Problem

STEPS = 3


class Adder:
    """Writes `STEPS` steps and an answer that is right as often as the question is easy ("ease 0.7: 2 + 3?").

    die_after: calls after which every call hangs for ever, as one does when the process is killed. broken: prompts that fail.
    """

    model = "adder"

    def __init__(self, die_after: int | None = None, broken: tuple[str, ...] = ()) -> None:
        self.die_after, self.broken = die_after, broken
        self.calls = self.tokens = 0

    async def sample(self, request: SampleRequest) -> Sampled:
        if any(b in request.prompt for b in self.broken):
            raise EngineError("The server at http://127.0.0.1:1 does not answer.")
        self.calls += 1
        if self.die_after is not None and self.calls > self.die_after:
            await asyncio.Event().wait()
        ease, _, a, _, b = request.prompt.removeprefix("ease ").removesuffix("?").replace(":", " :").split()
        out = []
        for i in range(request.n):
            random = Random(f"{request.sampling.seed} {i} {request.prompt} {request.written}")
            await asyncio.sleep(random.random() / 1000)  # results come in any order
            done = len(request.written)
            left = [f"step {n} {random.randint(0, 2)}\n\n" for n in range(done, STEPS)]
            answer = int(a) + int(b) + (0 if random.random() < float(ease) else random.randint(1, 2))
            if request.stop and left:
                out.append(Sample(left[0], (done,), "step", 1))
            else:
                out.append(Sample("".join(left) + str(answer), tuple(range(done, STEPS + 1)), "eos", len(left) + 1))
        out = [s for s in out if s.tokens <= request.sampling.max_tokens] or [Sample("", (), "length", 1)]
        self.tokens += sum(s.tokens for s in out)
        return Sampled(tuple(out), len(request.written) + 5, len(request.written))

    async def marks(self) -> Marks:
        return Marks()

    async def size(self) -> ModelSize | None:
        return ModelSize(1000, 2, 8)


class Likes:
    """A verifier that likes steps with small numbers and reads a token a step."""

    name, version = "likes", "1"

    async def score(self, items: list[Item]) -> list[Scored]:  # type: ignore[override]
        return [Scored(tuple(0.9 if "0" in s else 0.6 for s in item.steps), len(item.steps)) for item in items]

    async def size(self) -> ModelSize | None:
        return ModelSize(500, 1, 4)


def questions(n: int = 6) -> list[Asked]:
    """Easy ones first; the last is the first once more."""
    asked = [Problem.ask(f"ease {1 - i / n:.2f}: {i} + {i + 3}?", "text", str(2 * i + 3)) for i in range(n - 1)]
    return numbered([*asked, asked[0]])


def evaluation(folder, **plan) -> Evaluation:  # type: ignore[no-untyped-def]
    """A new one of the adder's questions."""
    given = {"problems": "sums", "models": ["adder"], "scorers": ["none"], "limits": {"max_tokens": 50}, **plan}
    return create(folder, Plan.from_json(given), questions())
