"""Scores of texts that grow: what is known is not read again, and the scores are those of reading all."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from core.scoring.growing import GrowingScorer
from core.scoring.prm import PrmScorer
from tests.core import scoring_models as tiny
from tests.core.scoring_models import PROMPT


def close(a: list[float], b: list[float]) -> bool:
    return len(a) == len(b) and all(abs(x - y) < 2e-5 for x, y in zip(a, b, strict=True))


def tree(seed: int, texts: int = 24) -> list[tuple[str, tuple[str, ...]]]:
    """Questions with steps, as a search grows them: each but the first of a question goes on from one before."""
    chance, found = random.Random(seed), list[tuple[str, tuple[str, ...]]]()
    for i in range(texts):
        question, steps = chance.choice([*found, (f"{PROMPT} ({chance.randrange(3)})", ())])
        more = tuple(
            f"Step {i}.{j}: {chance.randrange(10 ** chance.randrange(1, 12))}" for j in range(chance.choice((1, 1, 2)))
        )
        found.append((question, (*steps, *more)))
    return found


@pytest.mark.parametrize("family", ["worldline", "trl", "qwen", "skywork"])
def test_scores_of_a_tree_are_those_of_reading_each_text_alone(tmp_path: Path, family: str) -> None:
    {"qwen": tiny.qwen_prm, "skywork": tiny.skywork}.get(family, tiny.token_classifier)(tmp_path)
    scorer = PrmScorer(tmp_path, family=family)
    growing, texts, at = GrowingScorer(scorer), tree(1), 0
    while at < len(texts):
        size = random.Random(at).randrange(1, 6)
        values, _ = growing.score_counted(texts[at : at + size])
        for got, (question, steps) in zip(values, texts[at : at + size], strict=True):
            assert close(got, scorer.score(question, steps))
        at += size


def test_a_step_more_costs_the_reading_of_that_step(tmp_path: Path) -> None:
    tiny.token_classifier(tmp_path)
    growing, steps = GrowingScorer(PrmScorer(tmp_path, family="worldline")), [f"A step, the {i}th." for i in range(9)]
    _, ((first, known),) = growing.score_counted([(PROMPT, steps[:8])])
    assert known == 0
    (values,), ((more, before),) = growing.score_counted([(PROMPT, steps)])
    assert (more, before) == (len(steps[8]) + 1, first)  # a token a byte, and the separator
    (again,), ((nothing, all_of_it),) = growing.score_counted([(PROMPT, steps)])
    assert (again, nothing, all_of_it) == (values, 0, first + more)
    _, ((branch, trunk),) = growing.score_counted([(PROMPT, [*steps[:4], "Another way."])])
    assert branch == len("Another way.") + 1
    assert trunk == first - 4 * (len(steps[0]) + 1)


def test_memory_is_bounded_and_what_was_forgotten_is_read_again(tmp_path: Path) -> None:
    tiny.token_classifier(tmp_path)
    scorer = PrmScorer(tmp_path, family="worldline")
    growing = GrowingScorer(scorer, most_bytes=120_000)
    read = 0
    for question, steps in tree(2, 60):
        (got,), ((tokens, _),) = growing.score_counted([(question, steps)])
        read += tokens
        assert close(got, scorer.score(question, steps))
        assert growing._bytes <= 120_000
        assert growing._bytes == sum(step.bytes for step in growing._steps.values())
    free = GrowingScorer(scorer)
    assert read > sum(tokens for tokens, _ in (free.score_counted([one])[1][0] for one in tree(2, 60)))


def test_what_does_not_fit_into_the_model_at_once_is_read_in_windows(tmp_path: Path) -> None:
    tiny.token_classifier(tmp_path)
    scorer = PrmScorer(tmp_path, family="worldline")
    scorer.max_tokens = 300
    long = [f"A step that is the {i}th of many." for i in range(30)]
    (got,), ((read, known),) = GrowingScorer(scorer).score_counted([(PROMPT, long)])
    assert close(got, scorer.score(PROMPT, long))
    assert read > 300 and known == 0
