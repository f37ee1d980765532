"""A generative judge: a language model that reads the solution, says of each step whether it is right, and is sampled K times.

The wording of the verdicts is ThinkPRM's (Khalifa et al. 2025, arXiv 2504.16828): a line "Step k: … \\boxed{correct}" or
`\\boxed{incorrect}` a step, nothing after the first incorrect one. P(good) of a step is the share of samples that
find it, and all before it, correct. Through any engine; slow, and as good as the model that is asked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from core.control.thinking import after_thinking
from core.engines.base import Engine, GenerateRequest, Sampling
from core.engines.sampling import together
from core.scoring.prm import ScorerError

T = TypeVar("T")
PROMPT = """You are given a math problem and a proposed step-by-step solution.

[Problem]
{problem}

[Solution]
{steps}

Review each step in turn. For each write "Step k:", your critique, and then \\boxed{{correct}} or \\boxed{{incorrect}}. Stop after \
the first incorrect step."""
_VERDICT = re.compile(r"\\boxed\{\s*(correct|incorrect)\s*\}")
_STEP = re.compile(r"(?im)^\W*step\s+(\d+)\W")


def verdicts(text: str, steps: int) -> list[bool] | None:
    """What a critique says of each step; after the first incorrect one all are False. None when it says too little.

    The last `\\boxed` below a heading "Step k:" counts for k; without headings the boxes count in their order.
    """
    answer = after_thinking(text)
    text = answer if _VERDICT.search(answer) else text
    marks = list(_STEP.finditer(text))
    found: dict[int, bool] = {}
    if marks:
        for mark, after in zip(marks, [*marks[1:], None], strict=True):
            boxes = _VERDICT.findall(text[mark.end() : after.start() if after else len(text)])
            if boxes:
                found[int(mark[1]) - 1] = boxes[-1] == "correct"
    else:
        found = {i: word == "correct" for i, word in enumerate(_VERDICT.findall(text)[:steps])}
    said: list[bool] = []
    for i in range(steps):
        if i not in found:
            return None
        said.append(found[i])
        if not found[i]:
            return said + [False] * (steps - i - 1)
    return said


class GenerativeJudge:
    """Scores by asking `engine`, `samples` times a solution."""

    def __init__(self, engine: Engine, *, samples: int = 4, temperature: float = 0.7, max_tokens: int = 8192) -> None:
        self.engine, self.samples, self.temperature, self.max_tokens = engine, samples, temperature, max_tokens
        self._runner: asyncio.Runner | None = None

    @property
    def version(self) -> str:
        return f"{self.engine.model} judging, mean of {self.samples}"

    def question(self, prompt: str, step_texts: Sequence[str]) -> str:
        """What the engine is asked."""
        steps = "\n\n".join(f"Step {i}: {text.strip()}" for i, text in enumerate(step_texts, 1))
        return PROMPT.format(problem=prompt, steps=steps)

    async def score(self, prompt: str, step_texts: Sequence[str], seed: int = 0) -> list[float]:
        """P(good) a step. Raises ScorerError when no sample can be read, EngineError when the engine fails."""
        values, _ = await self.score_counted(prompt, step_texts, seed)
        if values is None:
            raise ScorerError(
                f"{self.engine.model} gave no verdict on the {len(step_texts)} steps in {self.samples} samples; a judge must be a "
                "model that can write critiques."
            )
        return values

    async def score_counted(
        self, prompt: str, step_texts: Sequence[str], seed: int = 0, heard: list[int] | None = None
    ) -> tuple[list[float] | None, list[int]]:
        """The same, None where no sample can be read, and how many tokens were read and written for each; `heard` is kept at what these
        are so far, for a call that is cancelled."""
        question = self.question(prompt, step_texts)
        tokens = [] if heard is None else heard
        tokens[:] = [0] * self.samples
        texts = await together(self._one(question, seed + i, tokens, i) for i in range(self.samples))
        said = [v for v in (verdicts(text, len(step_texts)) for text in texts) if v is not None]
        values = [sum(v[i] for v in said) / len(said) for i in range(len(step_texts))] if said else None
        return values, tokens

    def score_many(self, traces: Sequence[tuple[str, Sequence[str]]]) -> list[list[float]]:
        """The same for many solutions, all in flight; for a thread without an event loop."""

        async def every() -> list[list[float]]:
            return await together(self.score(prompt, texts) for prompt, texts in traces)

        return self._in_one_loop(every())

    def close(self) -> None:
        """Stop the engine; for the thread of `score_many`."""
        self._in_one_loop(self.engine.close())
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _in_one_loop(self, work: Coroutine[Any, Any, T]) -> T:
        """An engine's connections belong to the loop in which they were opened, so all calls share one."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(work)

    async def _one(self, question: str, seed: int, tokens: list[int], at: int) -> str:
        sampling = Sampling(temperature=self.temperature, seed=seed, max_tokens=self.max_tokens)
        text, written, read = "", 0, 0
        async for chunk in self.engine.stream(GenerateRequest(question, sampling)):
            text += chunk.text
            written += chunk.tokens
            read = chunk.prompt_tokens or read
            tokens[at] = written + read
        return text
