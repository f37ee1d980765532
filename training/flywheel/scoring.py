"""Scores of many texts by a reward model, a core for each part. Knows no store and no stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from core.scoring.prm import PrmScorer
from core.workers import processes

Text = tuple[str, Sequence[str]]  # a prompt and the texts of its steps

PER_CALL = 32  # texts scored between two looks at the clock


def scores(model: Path, texts: Sequence[Text], workers: int, at: Callable[[float], None]) -> list[list[float]]:
    """P(good) of every step of every text, in their order; `at` hears which share is done. Raises ScorerError."""
    parts = [texts[i : i + PER_CALL] for i in range(0, len(texts), PER_CALL)]
    found: list[list[float]] = []
    for part in _each(model, parts, min(workers, len(parts))):
        found += part
        at(len(found) / len(texts))
    return found


def _each(model: Path, parts: Sequence[Sequence[Text]], workers: int) -> Iterator[list[list[float]]]:
    if workers <= 1:
        scorer = PrmScorer(model)
        yield from map(scorer.score_many, parts)
        return
    with processes(workers) as pool:
        yield from pool.map(_score, [model] * len(parts), parts)


def _score(model: Path, part: Sequence[Text]) -> list[list[float]]:
    """What a worker does: on one core, since the others have theirs."""
    import torch

    torch.set_num_threads(1)
    return _scorer(model).score_many(part)


@lru_cache(maxsize=1)
def _scorer(model: Path) -> PrmScorer:
    return PrmScorer(model)
