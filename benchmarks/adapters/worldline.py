"""Worldline: all problems through one scheduler, as a server or `worldline eval` runs them."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.adapters import Outcome, Server, Task


class Worldline:
    NAME = "worldline"
    # Ends a search that nothing can improve, and draws no rivals to a step that has none; only a verifier that can say 1 allows it.
    early_stop = True

    engine: Any

    def setup(self, server: Server) -> None:
        from core.engines.openai_api import OpenAIEngine

        self.engine = OpenAIEngine(server.endpoint, server.model)

    async def best_of_n(self, task: Task) -> Outcome:
        return await self._all(task, "best-of-n", n=task.budget, vote="best", early_stop=self.early_stop, wave=4)

    async def beam(self, task: Task) -> Outcome:
        return await self._stepwise(task, "beam", width=task.width, branch=task.budget // task.width)

    async def dvts(self, task: Task) -> Outcome:
        return await self._stepwise(task, "dvts", subtrees=task.width, branch=task.budget // task.width)

    async def particles(self, task: Task) -> Outcome:
        return await self._stepwise(task, "particles", n=task.budget)

    async def _stepwise(self, task: Task, name: str, **params: Any) -> Outcome:
        sparing = {"early_stop": True, "wave": 2, "tries": 4} if self.early_stop else {}
        return await self._all(task, name, max_depth=task.max_steps, vote="best", **sparing, **params)

    async def _all(self, task: Task, name: str, **params: Any) -> Outcome:
        from core.search.scheduler import Limits, Scheduler, Team
        from core.search.scorers import CountdownOracle
        from core.search.search import Search
        from core.search.strategies import make
        from core.trace import Problem

        team, scheduler = Team(self.engine, CountdownOracle()), Scheduler()
        limits = Limits(max_tokens=task.response_tokens, step_tokens=task.step_tokens, max_steps=task.max_steps)
        marks = await self.engine.marks()
        searches = [
            Search(Problem.ask(prompt), make(name, params), seed=task.seed + i, marks=marks, aggregation="last")
            for i, prompt in enumerate(task.prompts)
        ]
        await asyncio.gather(*(scheduler.run(search, team, limits=limits) for search in searches))
        failed = next((s for s in searches if s.reason != "finished"), None)
        if failed is not None:
            raise RuntimeError(f"a search ended as {failed.reason}")
        nodes = [s.choice.node if s.choice else None for s in searches]
        texts = tuple("" if n is None else s.state.tree.text(n) for s, n in zip(searches, nodes, strict=True))
        return Outcome(texts, sum(s.spent.generated for s in searches))

    async def close(self) -> None:
        await self.engine.close()


class ToTheEnd(Worldline):
    """The same without the early stop, as the other libraries go: what the way of asking alone is worth."""

    NAME = "worldline, to the end"
    early_stop = False


class InProcess(Worldline):
    """The same with vLLM in the process of who asks: no HTTP."""

    NAME = "worldline, in process"

    def setup(self, server: Server) -> None:
        from core.engines.vllm_process import VllmInProcess

        self.engine = VllmInProcess(
            server.folder, server.model, enforce_eager=True, distributed_executor_backend="uni", max_model_len=4096
        )

    async def fresh(self) -> None:
        await self.engine.forget()
