"""Score the steps of a trace with a process reward model: P(step is good), one number a step.

How a model is asked and where its score is read is its family's business (`families/`); here are batching, windows and
aggregation. Knows nothing of ratings, stores or jobs. On the first GPU where there is one, else on the CPU; always in float32, so
that scores are the same everywhere. Simplified: without a cache between calls.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from core.pretrained import WeightsError, library
from core.scoring.encoding import EncodedSteps, EncodingError

Aggregation = Literal["prod", "min", "last", "mean"]
AGGREGATIONS: tuple[Aggregation, ...] = ("prod", "min", "last", "mean")
# Padded tokens in one forward pass: 8,192 tokens of the pocket model take about 0.3 GB without gradients.
BATCH_TOKENS = 8192


class ScorerError(Exception):
    """A sentence for the user: this folder cannot score."""


class ScoringStopped(Exception):
    """Whoever asked for scores wants them no longer."""


def aggregate(scores: Sequence[float], how: Aggregation) -> float:
    """One number for a trace from its steps' scores.

    Labels by people: prod or min (Lightman et al. 2023); by rollouts: last (Zhang et al. 2025, arXiv 2501.07301).
    Raises ValueError for no scores and for an unknown `how`.
    """
    if not scores:
        raise ValueError("There is nothing to aggregate: the trace has no scored step.")
    if how == "prod":
        return math.prod(scores)
    if how == "min":
        return min(scores)
    if how == "last":
        return scores[-1]
    if how == "mean":
        return sum(scores) / len(scores)
    raise ValueError(f'"{how}" is not an aggregation. Use one of: {", ".join(AGGREGATIONS)}.')


def best_device() -> str:
    """Where a reward model computes unless it is said: on the first GPU, where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class PrmScorer:
    """A process reward model in memory. Safe to call from several threads (the weights are only read)."""

    name = "prm"

    def __init__(
        self, model_dir: Path, *, family: str | None = None, batch_tokens: int = BATCH_TOKENS, device: str | None = None
    ) -> None:
        """Load from a folder; the family is that of its configuration unless it is named. device: as torch names it, `None`: a GPU if
        there is one. Raises ScorerError."""
        from core.scoring import families

        self.model_dir = Path(model_dir)
        try:
            self.family = families.named(family) if family else families.family_of(self.model_dir)
            families.read_config(self.model_dir)
            self.tokenizer = library().AutoTokenizer.from_pretrained(self.model_dir)
            self.model, self.z_of = self.family.load(self.model_dir)
            self.device = device or best_device()
            self.model.to(self.device)
            self.family.encode(self.tokenizer, "", ["."])  # a tokenizer that does not fit is noticed now
        except (families.FamilyError, EncodingError, WeightsError) as error:
            raise ScorerError(str(error)) from error
        # RoPE reads further than it was trained; the limit of the configuration is what the base model was made for.
        self.max_tokens = int(getattr(self.model.config, "max_position_embeddings", 4096))
        self.batch_tokens = batch_tokens

    @cached_property
    def version(self) -> str:
        """The first 12 digits of the SHA-256 of the weights: stored with every score."""
        digest = hashlib.sha256()
        for path in sorted(self.model_dir.glob("*.safetensors")):
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()[:12]

    def close(self) -> None:
        """Nothing is open; what is served has a connection."""

    def score(self, prompt: str, step_texts: Sequence[str]) -> list[float]:
        """P(good) for each step, in order. `step_texts` are the raw pieces `response[start:end]`."""
        return self.score_many([(prompt, step_texts)])[0]

    def score_many(
        self, traces: Sequence[tuple[str, Sequence[str]]], *, stopped: Callable[[], bool] = lambda: False
    ) -> list[list[float]]:
        """The same for many traces; those of similar length share a forward pass. `stopped` is asked before each pass: a long
        trace takes minutes. Raises ScoringStopped when it says so.
        """
        return self.score_counted(traces, stopped=stopped)[0]

    def score_counted(
        self, traces: Sequence[tuple[str, Sequence[str]]], *, stopped: Callable[[], bool] = lambda: False
    ) -> tuple[list[list[float]], list[int]]:
        """The same, and how many tokens were read for each trace."""
        read = [0] * len(traces)
        jobs: list[tuple[int, EncodedSteps]] = []
        for i, (prompt, texts) in enumerate(traces):
            windows = self.windows(prompt, texts)
            jobs += [(i, window) for window in windows]
            read[i] = sum(len(window.ids) for window in windows)
        jobs.sort(key=lambda job: len(job[1].ids))
        out = [[math.nan] * len(texts) for _, texts in traces]
        batch: list[tuple[int, EncodedSteps]] = []
        for job in jobs:
            if batch and (len(batch) + 1) * len(job[1].ids) > self.batch_tokens:
                if stopped():
                    raise ScoringStopped
                self._score_batch(batch, out)
                batch = []
            batch.append(job)
        if batch:
            self._score_batch(batch, out)
        return out, read

    def windows(self, prompt: str, texts: Sequence[str]) -> list[EncodedSteps]:
        """What is read at once, every step scored in one of them. Raises ScorerError."""
        try:
            return self.family.windows(self.tokenizer, prompt, texts, self.max_tokens) if texts else []
        except EncodingError as error:
            raise ScorerError(str(error)) from error

    def _score_batch(self, batch: Sequence[tuple[int, EncodedSteps]], out: list[list[float]]) -> None:
        import torch

        longest = max(len(window.ids) for _, window in batch)
        pad = self.tokenizer.pad_token_id or 0
        ids_BT = torch.full((len(batch), longest), pad)
        for row, (_, window) in enumerate(batch):
            ids_BT[row, : len(window.ids)] = torch.tensor(window.ids)
        # Padding stands on the right of a causal model: nothing that is read here can see it, so no mask is needed.
        with torch.inference_mode():
            good_BT = torch.sigmoid(self.z_of(ids_BT.to(self.device))).cpu()
        for row, (trace, window) in enumerate(batch):
            for offset, at in enumerate(window.separators):
                out[trace][window.first + offset] = float(good_BT[row, at])
