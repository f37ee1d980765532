"""ThinkBooster 0.1.1 (MIT), all problems in one call of its batched strategies, through its client of an OpenAI-compatible server.

What is done for it, beyond what its users get: vLLM is asked to go on with an unfinished answer (its own mark for that is another server's, so a
beam would begin anew at each step), special tokens are kept in the text, the server too stops at the end of a step (it only closes the stream when
it has read one, while the server writes on), it is given a detector of Steiner's steps, and its tokens are counted by the model's own tokenizer
(else tiktoken's, which it fetches from the network). It has neither DVTS nor particles.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from thinkbooster.generators.api import StepCandidateGeneratorThroughAPI
from thinkbooster.models import BlackboxModelWithStreaming
from thinkbooster.scorers.step_scorer_base import StepScorerBase
from thinkbooster.step_boundary_detectors import StepBoundaryDetectorBase
from thinkbooster.strategies import StrategyBeamSearch, StrategyOfflineBestOfN
from tokenizers import Tokenizer

from benchmarks.adapters import Outcome, Server, Task
from benchmarks.adapters.oracle import goodness


class _Steps(StepBoundaryDetectorBase):
    """A step ends with its mark. What ends the response is the end of the stream."""

    min_step_tokens = 1

    def __init__(self, task: Task) -> None:
        self.mark, self.max_step_tokens = task.step_end, task.step_tokens

    def get_vllm_stop_tokens(self) -> list[str]:
        return [self.mark]

    def detect_steps(self, text: str, **_: Any) -> list[str]:
        *steps, rest = text.split(self.mark)
        return [step + self.mark for step in steps] + [rest] * bool(rest)

    def is_step_complete(self, text: str, token_count: int | None = None) -> bool:
        return self.mark in text

    def extract_step_text(self, text: str) -> str:
        return self.detect_steps(text)[0] if text else ""

    def is_trajectory_complete(self, text: str, reached_eos: bool = False) -> bool:
        return reached_eos


class _Generator(StepCandidateGeneratorThroughAPI):
    def __init__(self, folder: str, model: Any, task: Task) -> None:
        self.own = Tokenizer.from_file(str(Path(folder, "tokenizer.json")))
        super().__init__(
            model, detector=_Steps(task), max_new_tokens=task.response_tokens, temperature=1.0, max_context_budget=4096,
            supports_logprobs=False,
        )  # fmt: skip

    def _init_tokenizer(self, model_name: str | None) -> None:
        self._count_tokens = lambda text: len(self.own.encode(text, add_special_tokens=False).ids)


class _Scorer(StepScorerBase):
    prm_model = True  # without one, its strategies ask no scorer but take the model's own certainty

    def score_trajectory(self, chat: Any, trajectory: Any, **_: Any) -> list[float]:
        """One score, of where the last step leads: best-of-N gives texts, a beam its candidates."""
        text = "".join(step if isinstance(step, str) else step.text for step in trajectory)
        return [goodness(chat[0]["content"], text)]

    def score_candidates_detailed(self, chat: Any, candidates: Any, **_: Any) -> Any:
        raise NotImplementedError


def _for_vllm(create: Callable[..., Any], step_end: str) -> Callable[..., Any]:
    """Its way of asking, with what vLLM must be told besides."""

    def asked(**body: Any) -> Any:
        goes_on = body["messages"][-1]["role"] == "assistant"
        body["stop"] = body["stop"] or [step_end]  # best-of-N brings its own
        more = {"continue_final_message": goes_on, "add_generation_prompt": not goes_on, "skip_special_tokens": False}
        more |= {"spaces_between_special_tokens": False, "include_stop_str_in_output": True}
        # To its end: it leaves a stream at the end of a step, and the garbage collector, which closes that wherever it happens to
        # run, waits for ever for the lock of the connection pool where the same thread holds it.
        return iter(list(create(**body, extra_body=more)))

    return asked


class ThinkBooster:
    NAME = "thinkbooster"

    def setup(self, server: Server) -> None:
        self.server = server

    async def best_of_n(self, task: Task) -> Outcome:
        return self._all(
            task,
            lambda generator: StrategyOfflineBestOfN(
                _Scorer(), task.budget, task.max_steps, generator, score_aggregation="last"
            ),
        )

    async def beam(self, task: Task) -> Outcome:
        return self._all(
            task,
            lambda generator: StrategyBeamSearch(
                generator, _Scorer(), task.width, task.budget // task.width, task.max_steps, aggregation="last"
            ),
        )

    def _all(self, task: Task, strategy: Callable[[Any], Any]) -> Outcome:
        model = BlackboxModelWithStreaming("none", self.server.model, base_url=self.server.endpoint)
        completions: Any = model.client.chat.completions
        completions.create = _for_vllm(completions.create, task.step_end)
        chats = [[{"role": "user", "content": prompt}] for prompt in task.prompts]
        found = strategy(_Generator(self.server.folder, model, task)).generate_trajectories_batch(chats)
        model.cleanup()
        return Outcome(tuple(f["trajectory"] for f in found), sum(f["token_stats"]["output_tokens"] for f in found))

    async def close(self) -> None: ...
