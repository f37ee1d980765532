"""The pocket model's training loop: it learns, it resumes, it trains on nothing that it should not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.pocket import IGNORE, PocketRecipe, batches, encode, learning_rate_factor, train
from training.synthesis.countdown import walk, walks
from training.synthesis.pocket_tokenizer import build

TINY = PocketRecipe(layers=1, width=32, heads=2, mlp=48, steps=30, batch_tokens=1024, warmup=5, checkpoint_every=10)


def test_the_question_is_not_trained_on_and_everything_the_model_writes_is() -> None:
    tokenizer = build()
    one = next(w for w in walks(1) if w.path)
    ids, labels = encode(tokenizer, one)
    start = ids.index(tokenizer.convert_tokens_to_ids("<|answer|>")) + 1
    assert labels[:start] == [IGNORE] * start
    assert labels[start:] == ids[start:]


def test_an_end_that_was_forced_is_not_learned_but_the_answer_after_it_is() -> None:
    import random

    tokenizer = build()
    problem = next(w for w in walks(2) if len(w.problem.numbers) == 4 and len(w.steps) > 6).problem
    cut = walk(problem, random.Random(3), step_limit=2, insight=0.0)
    assert cut.path is None
    ids, labels = encode(tokenizer, cut)
    at = ids.index(tokenizer.convert_tokens_to_ids("<|reasoning_end|>"))
    assert labels[at] == IGNORE
    assert labels[at + 1 :] == ids[at + 1 :]


def test_batches_hold_whole_traces_within_the_budget() -> None:
    stream = batches(build(), 1, 1024, pool=40)
    for _ in range(10):
        ids, labels = next(stream)
        assert len(ids) == 1 or len(ids) * max(map(len, ids)) <= 1024
        assert [len(x) for x in ids] == [len(y) for y in labels]


def test_the_learning_rate_rises_stays_and_falls_to_zero() -> None:
    factors = [learning_rate_factor(i, PocketRecipe(steps=100, warmup=10, decay=0.5)) for i in range(101)]
    assert factors[0] < factors[9] == 1.0 == factors[50]
    assert factors[75] == pytest.approx(0.5)
    assert factors[100] == 0.0


def test_training_learns_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    import torch

    torch.set_num_threads(1)
    train(TINY, tmp_path, say=lambda _: None)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < rows[0]["loss"]
    folder = train(PocketRecipe(**{**TINY.__dict__, "steps": 40}), tmp_path, resume=True, say=lambda _: None)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [10, 20, 30, 40]
    again = train(PocketRecipe(**{**TINY.__dict__, "steps": 10}), tmp_path / "more", start=folder, say=lambda _: None)
    first = json.loads((again.parent / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] < rows[0]["loss"], "it must begin with what was learned"
