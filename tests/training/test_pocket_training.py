"""The pocket model's training loop: it learns, it resumes, it trains on nothing that it should not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.tasks.countdown import moves
from training.pocket import IGNORE, PocketRecipe, batches, encode, learning_rate_factor, tensors, train
from training.synthesis.countdown import walk, walks
from training.synthesis.pocket_tokenizer import build

TINY = PocketRecipe(layers=1, width=32, heads=2, mlp=48, steps=30, batch_tokens=1024, warmup=5, checkpoint_every=10)


def test_the_question_is_not_trained_on_and_everything_the_model_writes_is() -> None:
    tokenizer = build()
    one = next(w for w in walks(1) if w.path)
    row = encode(tokenizer, one)
    ids, labels = row.ids, row.labels
    start = ids.index(tokenizer.convert_tokens_to_ids("<|answer|>")) + 1
    assert labels[:start] == [IGNORE] * start
    assert labels[start:] == ids[start:]


def test_an_end_that_was_forced_is_not_learned_but_the_answer_after_it_is() -> None:
    import random

    tokenizer = build()
    problem = next(w for w in walks(2) if len(w.problem.numbers) == 4 and len(w.steps) > 6).problem
    cut = walk(problem, random.Random(3), step_limit=2, insight=0.0)
    assert cut.path is None
    row = encode(tokenizer, cut)
    ids, labels = row.ids, row.labels
    at = ids.index(tokenizer.convert_tokens_to_ids("<|reasoning_end|>"))
    assert labels[at] == IGNORE
    assert labels[at + 1 :] == ids[at + 1 :]


def test_batches_hold_whole_traces_within_the_budget() -> None:
    stream = batches(build(), 1, 1024, pool=40)
    for _ in range(10):
        rows = next(stream)
        assert len(rows) == 1 or len(rows) * max(len(r.ids) for r in rows) <= 1024
        assert all(len(r.ids) == len(r.labels) for r in rows)


def test_the_soft_labels_are_the_open_moves_and_the_one_taken_is_among_them() -> None:
    tokenizer = build()
    stream = walks(5)
    for _ in range(50):
        one = next(stream)
        row = encode(tokenizer, one)
        for at, chances in row.soft.items():
            assert sum(chances.values()) == pytest.approx(1)
            assert chances[row.ids[at]] > 0
        first = row.ids.index(tokenizer.convert_tokens_to_ids("<|reasoning_step_name_start|>")) + 2
        larger = {m.a for m in moves(one.problem.numbers)}
        assert {tokenizer.decode([i]).strip() for i in row.soft[first]} <= {str(n) for n in larger}


def test_the_targets_are_distributions_at_the_places_that_are_predicted() -> None:
    tokenizer = build()
    rows = next(batches(tokenizer, 3, 1024, pool=20))
    x, wanted, targets = tensors(rows, tokenizer.pad_token_id, 208)
    assert x.shape == (len(rows), max(len(r.ids) for r in rows))
    assert targets.shape == (int(wanted.sum()), 208)
    assert targets.sum(-1).allclose(targets.new_ones(len(targets)))
    assert int(wanted.sum()) == sum(label != IGNORE for r in rows for label in r.labels[1:])


def test_the_learning_rate_rises_stays_and_falls_to_zero() -> None:
    factors = [learning_rate_factor(i, PocketRecipe(steps=100, warmup=10, decay=0.5)) for i in range(101)]
    assert factors[0] < factors[9] == 1.0 == factors[50]
    assert factors[75] == pytest.approx(0.5)
    assert factors[100] == 0.0


@pytest.mark.slow
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


def test_a_saved_model_is_sharpened_once_however_often_it_is_started_from(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    still = PocketRecipe(**{**TINY.__dict__, "steps": 1, "learning_rate": 0.0})
    one = load_file(train(still, tmp_path / "one", say=lambda _: None) / "model.safetensors")
    two = load_file(
        train(still, tmp_path / "two", start=tmp_path / "one" / "model", say=lambda _: None) / "model.safetensors"
    )
    plain = load_file(
        train(PocketRecipe(**{**still.__dict__, "sharpen": 1.0}), tmp_path / "plain", say=lambda _: None)
        / "model.safetensors"
    )
    torch.testing.assert_close(one["lm_head.weight"], two["lm_head.weight"])
    torch.testing.assert_close(one["lm_head.weight"], plain["lm_head.weight"] * still.sharpen)
    torch.testing.assert_close(one["model.embed_tokens.weight"], plain["model.embed_tokens.weight"])
