"""its_hub 1.2.0 (Apache-2.0), all problems at once with asyncio.gather, as its documentation shows for many.

What is done for it, beyond what its users get: special tokens are kept in the text (else a model of Steiner's format has no step to stop at),
steps keep their mark, the end of thinking is its stop token (else a finished answer goes on), its off-by-one limit of steps is
evened out, its orchestrator has no limit of concurrency, and its tokens are counted where it does not count them itself.
"""

from __future__ import annotations

import asyncio
from typing import Any

from its_hub.api import AbstractOutcomeRewardModel, AbstractProcessRewardModel, GenerationUsage
from its_hub.core.algorithms.beam_search import BeamSearch
from its_hub.core.algorithms.bon import BestOfN
from its_hub.core.algorithms.particle_gibbs import ParticleFiltering
from its_hub.core.lms.openai_lm import OpenAICompatibleLanguageModel
from its_hub.core.lms.step_generation import StepGeneration
from its_hub.core.orchestrator import LMOrchestrator

from benchmarks.adapters import Outcome, Server, Task
from benchmarks.adapters.oracle import goodness


class _Model(OpenAICompatibleLanguageModel):
    usage: GenerationUsage

    def _prepare_request_data(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        body = super()._prepare_request_data(*args, **kwargs)
        return {**body, "skip_special_tokens": False, "spaces_between_special_tokens": False}

    async def agenerate(self, *args: Any, **kwargs: Any) -> Any:
        return await super().agenerate(*args, **{**kwargs, "usage_accumulator": self.usage})


class _Steps(AbstractProcessRewardModel):
    async def ascore(self, prompt: str, response: Any) -> Any:
        return goodness(prompt, response) if isinstance(response, str) else [goodness(prompt, r) for r in response]

    def score(self, prompt: str, response: Any) -> Any:
        raise NotImplementedError


class _Whole(AbstractOutcomeRewardModel):
    async def ascore(self, conversations: Any, **_: Any) -> Any:
        return [goodness(c[0].content, c[-1].content) for c in conversations]

    def score(self, conversations: Any, **_: Any) -> Any:
        raise NotImplementedError


class ItsHub:
    NAME = "its_hub"

    def setup(self, server: Server) -> None:
        self.server = server

    def _model(self, most: int) -> _Model:
        model = _Model(self.server.endpoint, "none", self.server.model, max_completion_tokens=most, temperature=1.0)
        model.usage = GenerationUsage()
        return model

    async def best_of_n(self, task: Task) -> Outcome:
        algorithm = BestOfN(_Whole(), LMOrchestrator(max_concurrency=-1))
        model = self._model(task.response_tokens)
        found = await asyncio.gather(
            *(algorithm.ainfer(model, p, task.budget, return_response_only=False) for p in task.prompts)
        )
        await model.close()
        return Outcome(tuple(f.the_one["content"] for f in found), sum(f.usage.completion_tokens for f in found))

    async def beam(self, task: Task) -> Outcome:
        return await self._stepwise(task, lambda steps: BeamSearch(steps, _Steps(), beam_width=task.width))

    async def particles(self, task: Task) -> Outcome:
        return await self._stepwise(task, lambda steps: ParticleFiltering(steps, _Steps()))

    async def _stepwise(self, task: Task, algorithm: Any) -> Outcome:
        steps = StepGeneration(
            max_steps=task.max_steps - 1, step_token=task.step_end, stop_token=task.thinking_end, temperature=1.0,
            include_stop_str_in_output=True,
        )  # fmt: skip
        model = self._model(task.step_tokens)
        found = await asyncio.gather(*(algorithm(steps).ainfer(model, p, task.budget) for p in task.prompts))
        return Outcome(tuple(f["content"] for f in found), model.usage.completion_tokens)

    async def close(self) -> None: ...
