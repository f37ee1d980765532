"""The shipped model: small, in Steiner's format, and as good as its card says (measured anew on a few questions)."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from core.engines.base import Bounds, GenerateRequest, Sampling, Thinking
from core.engines.local import LocalEngine
from core.formats import steiner_tokens as t
from core.pocket import model_dir


@pytest.fixture(scope="module")
def folder() -> Path:
    return model_dir()


def test_it_is_small_enough_to_ship(folder: Path) -> None:
    from safetensors import safe_open

    weights = folder / "model.safetensors"
    assert weights.stat().st_size <= 16e6
    with safe_open(weights, "numpy") as tensors:
        shapes = [tensors.get_slice(k).get_shape() for k in tensors.keys()]  # noqa: SIM118 - not a dict
    parameters = sum(a * (b[0] if b else 1) for a, *b in shapes)
    assert parameters <= 8_000_000
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]


def test_each_of_steiners_tokens_is_one_token_that_decoding_keeps(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    for token in t.TOKENS:
        ids = tokenizer(token, add_special_tokens=False).input_ids
        assert len(ids) == 1
        assert tokenizer.decode(ids, skip_special_tokens=True) == token


def test_text_survives_the_tokenizer_and_numbers_glued_to_commas_are_read(folder: Path) -> None:
    from transformers import AutoTokenizer

    from training.synthesis.countdown import walks

    tokenizer = AutoTokenizer.from_pretrained(folder)
    stream = walks(8)
    for _ in range(20):
        walk = next(stream)
        ids = tokenizer(walk.response).input_ids
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == walk.response
        assert "".join(tokenizer.decode([i]) for i in ids) == walk.response, "streaming must be concatenation"
    assert tokenizer.tokenize("4,7")[:3] == [" 4", ",", " 7"]


def card_figure(folder: Path, row: str) -> float:
    found = re.search(rf"\| {row} \| ([\d.]+) %", (folder / "README.md").read_text())
    assert found, f"the card has no row {row!r}"
    return float(found[1]) / 100


@pytest.mark.parametrize(
    ("row", "least"),
    [
        ("steps well-formed, true, from a visited state", 0.98),
        ("solved, 3 numbers", 0.90),
        ("solved, 4 numbers", 0.50),
        ("traces with a backtrack", 1 / 3),
        ("backtracks to a state that was visited", 0.98),
    ],
)
def test_the_card_promises_what_the_model_is_for(folder: Path, row: str, least: float) -> None:
    assert card_figure(folder, row) >= least


@pytest.mark.slow
def test_the_card_is_true_on_a_fresh_sample(folder: Path) -> None:
    """30 held-out questions of another seed; three standard errors of slack, so that only a wrong card fails."""
    from training.pocket_eval import evaluate

    figures = evaluate(folder, problems=30, seed=7)
    for measured, row, n in (
        (figures.solved_3, "solved, 3 numbers", 15),
        (figures.solved_4, "solved, 4 numbers", 15),
        (figures.traces_with_backtracks, "traces with a backtrack", 30),
        # Steps of one trace stand or fall together: as many independent looks as there are traces.
        (figures.steps_ok, "steps well-formed, true, from a visited state", 30),
        (figures.backtracks_to_visited, "backtracks to a state that was visited", 30),
    ):
        p = card_figure(folder, row)
        assert abs(measured - p) <= 3 * (max(p * (1 - p), 0.02) / n) ** 0.5, (row, measured, p)
    assert figures.curve[5] <= figures.curve[10] <= figures.curve[20] <= figures.curve[60]
    assert figures.curve[5] < figures.curve[60], "more steps must solve more"


def test_the_maximum_of_steps_wins_over_wait(folder: Path) -> None:
    async def respond(waits: int, max_steps: int) -> str:
        sampling, bounds = Sampling(temperature=0, max_tokens=400), Bounds(0, max_steps)
        request = GenerateRequest("Reach 24 from 4, 7, 8 and 8.", sampling, bounds, thinking=Thinking(waits=waits))
        return "".join([chunk.text async for chunk in engine.stream(request)])

    async def work() -> tuple[str, str]:
        try:
            return await respond(0, 3), await respond(2, 3)
        finally:
            await engine.close()

    engine = LocalEngine(folder, "pocket")
    plain, waited = asyncio.run(work())
    assert plain.count(t.STEP_END) == 3
    assert waited == plain
