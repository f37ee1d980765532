"""Score the steps of a trace with a trained process reward model: P(step is good), read at each step's separator.

The model is a Hugging Face `*ForTokenClassification` with two labels (0 bad, 1 good), as `training/prm.py` writes it.
Knows nothing of ratings, stores or jobs. Simplified: on the CPU, in float32, without a cache between calls.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from core.scoring.encoding import EncodedSteps, encode_windows, separator_id

Aggregation = Literal["prod", "min", "last", "mean"]
AGGREGATIONS: tuple[Aggregation, ...] = ("prod", "min", "last", "mean")
# Padded tokens in one forward pass: 8,192 tokens of the pocket model take about 0.3 GB without gradients.
BATCH_TOKENS = 8192


class ScorerError(Exception):
    """A sentence for the user: this folder cannot score."""


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


class PrmScorer:
    """A process reward model in memory. Safe to call from several threads (the weights are only read)."""

    name = "prm"

    def __init__(self, model_dir: Path, *, batch_tokens: int = BATCH_TOKENS) -> None:
        """Load from a folder. Raises ScorerError when there is no such model or when it has not two labels."""
        from transformers import AutoModelForTokenClassification, AutoTokenizer
        from transformers.utils import logging as hf_logging

        self.model_dir = Path(model_dir)
        if not (self.model_dir / "config.json").is_file():
            raise ScorerError(
                f"{self.model_dir} holds no model (config.json is missing). Train one: worldline train prm."
            )
        import torch

        hf_logging.disable_progress_bar()
        self.tokenizer = AutoTokenizer.from_pretrained(self.model_dir)
        self.model = AutoModelForTokenClassification.from_pretrained(self.model_dir, dtype=torch.float32).eval()
        if self.model.config.num_labels != 2:
            raise ScorerError(
                f"{self.model_dir} has {self.model.config.num_labels} labels; a step scorer has 2 (bad, good)."
            )
        separator_id(self.tokenizer)
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

    def score(self, prompt: str, step_texts: Sequence[str]) -> list[float]:
        """P(good) for each step, in order. `step_texts` are the raw pieces `response[start:end]`."""
        return self.score_many([(prompt, step_texts)])[0]

    def score_many(self, traces: Sequence[tuple[str, Sequence[str]]]) -> list[list[float]]:
        """The same for many traces; those of similar length share a forward pass."""
        jobs: list[tuple[int, EncodedSteps]] = []
        for i, (prompt, texts) in enumerate(traces):
            jobs += [(i, window) for window in encode_windows(self.tokenizer, prompt, texts, self.max_tokens)]
        jobs.sort(key=lambda job: len(job[1].ids))
        out = [[math.nan] * len(texts) for _, texts in traces]
        batch: list[tuple[int, EncodedSteps]] = []
        for job in jobs:
            if batch and (len(batch) + 1) * len(job[1].ids) > self.batch_tokens:
                self._score_batch(batch, out)
                batch = []
            batch.append(job)
        if batch:
            self._score_batch(batch, out)
        return out

    def _score_batch(self, batch: Sequence[tuple[int, EncodedSteps]], out: list[list[float]]) -> None:
        import torch

        longest = max(len(window.ids) for _, window in batch)
        pad = self.tokenizer.pad_token_id or 0
        ids_BT = torch.full((len(batch), longest), pad)
        for row, (_, window) in enumerate(batch):
            ids_BT[row, : len(window.ids)] = torch.tensor(window.ids)
        # Padding stands on the right of a causal model: nothing that is read here can see it, so no mask is needed.
        with torch.inference_mode():
            logits_BT2 = self.model(input_ids=ids_BT, use_cache=False).logits
        good_BT = torch.sigmoid(logits_BT2[..., 1] - logits_BT2[..., 0])
        for row, (trace, window) in enumerate(batch):
            for offset, at in enumerate(window.separators):
                out[trace][window.first + offset] = float(good_BT[row, at])
