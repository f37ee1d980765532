"""A model labels a trace's steps on a real vLLM, held to the schema by the server's grammar.

The model has random weights and one token a byte: that its answers have the form, whatever it is, is the server's doing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import refine
from core.engines.base import GenerateRequest, Sampling
from core.engines.openai_api import OpenAIEngine
from core.trace import KINDS, Trace
from tests.app.client import Bench
from tests.core.test_refine import trace
from tests.serving.conftest import Vllm, started

NAME = "tiny"
# A question and its answer fit into this many bytes, but not with room to think: the server refuses that, and is asked for less.
CONTEXT = 6144


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|b|>", eos_token="<|e|>", pad_token="<|p|>")
    fast.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=CONTEXT, bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id, initializer_range=0.3,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("models") / NAME
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(vllm_python: str, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    log = tmp_path_factory.mktemp("vllm-tiny") / "vllm.log"
    # A random model would rather write blanks for ever, which the grammar of JSON allows.
    tight = ["--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}']
    with started(vllm_python, str(tiny), log, *tight) as running:
        yield running


def long_trace() -> Trace:
    return trace("<think>" + "\n\n".join(f"Let me try {i}. That gives {i * i}." for i in range(12)) + "</think>None.")


def test_the_answer_of_a_random_model_has_the_form(server: Vllm) -> None:
    tried = long_trace()
    window = range(2, 10)
    request = GenerateRequest(
        refine.question(tried, tried.nodes, window), Sampling(temperature=0, max_tokens=refine.tokens_for(window)),
        schema=refine.schema(window),
    )  # fmt: skip

    async def ask() -> tuple[str, list[dict[str, Any]]]:
        engine = OpenAIEngine(server.url, NAME)
        try:
            chunks = [chunk async for chunk in engine.stream(request)]
        finally:
            await engine.close()
        assert chunks[-1].finish_reason == "stop"
        return "".join(c.text for c in chunks), [dict(c.about) for c in chunks if c.about]

    text, about = asyncio.run(ask())
    rows = json.loads(text)["steps"]
    assert len(rows) == len(window)
    for row in rows:
        assert list(row) == ["step", "kind", "parent", "backtrack"]
        assert row["step"] - 1 in window
        assert row["kind"] in KINDS
        assert 0 <= row["parent"] <= window[-1]
        assert (row["kind"] == "backtrack") == (row["backtrack"] is not None)
    assert not any("notes" in one for one in about)  # the server took the schema


def test_what_it_says_is_checked_and_stored_by_the_workbench(server: Vllm, tmp_path: Path) -> None:
    async def work() -> tuple[dict[str, Any], dict[str, Any]]:
        from app.server import create_app

        engine = OpenAIEngine(server.url, NAME)
        app = create_app(tmp_path / "data", engines={NAME: engine}, ui=False)
        async with app.router.lifespan_context(app), Bench(app, engine) as bench:
            made = (await bench.post("/api/traces", json=long_trace().to_json())).json()
            path = f"/api/traces/{made['trace_ids'][0]}"
            assert (await bench.post(f"{path}/refinements", json={"model": NAME})).status_code == 201
            while (found := (await bench.get(f"{path}/refinements")).json()[0])["state"] == "running":
                await asyncio.sleep(0.2)
            return found, (await bench.get(path)).json()

    found, stored = asyncio.run(asyncio.wait_for(work(), 300))
    stats = found["stats"]
    assert (found["state"], found["error"]) == ("done", "")
    assert stats["asked"] == stats["steps"] == len(stored["steps"])
    assert 1 <= stats["labelled"] <= stats["steps"] - stats["refused"] - stats["missing"]
    assert stats["calls"] == 1 + -(-stats["steps"] // refine.WINDOW)  # one was refused
    assert stats["server"]["server"] == "vllm"
    assert stats["prompt_tokens"] > 1000
    assert found["created_at"]
    for change in found["changes"]:
        new = change["new"]
        assert new["parent"] is None or new["parent"] < change["index"]
        assert change["old"] == {key: stored["steps"][change["index"]][key] for key in new}
