"""A fine-tuned model is put to use on a vLLM that serves its base: its low-rank pairs are loaded while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.models import Models
from app.served import served_engines
from core.engines.base import Engine, GenerateRequest, Sampling
from core.engines.local import LocalEngine
from core.engines.openai_api import OpenAIEngine
from core.engines.sampling import SampleRequest, sampler_of
from core.engines.server_info import list_models
from tests.serving.conftest import Vllm, started

QUESTION = "Reach 24 from 4, 7, 8 and 8."
JOB = "sft-tuned"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with what a job with `lora_rank = 4` leaves behind: a merged model, and its pairs beside it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from core.pocket import model_dir
    from training.lora import A, B, add_lora, merge, pairs, save_adapter

    torch.set_num_threads(1)
    chance = torch.Generator().manual_seed(7)
    folder = tmp_path_factory.mktemp("data") / "jobs" / JOB
    model: Any = AutoModelForCausalLM.from_pretrained(model_dir())
    handles = add_lora(model, 4, seed=7)
    with torch.no_grad():
        for _, layer in pairs(model):  # as if it had learned something: what a fresh pair adds is nothing
            getattr(layer, B).copy_(0.3 * torch.randn(getattr(layer, B).shape, generator=chance))
            assert getattr(layer, A).shape[0] == 4
    save_adapter(model, str(model_dir()), folder / "adapter")
    merge(model, handles)
    model.save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(model_dir()).save_pretrained(folder / "model")
    (folder / "recipe.toml").write_text('kind = "sft"\nbase = "pocket"\n')
    return folder.parent.parent


@pytest.fixture(scope="module")
def server(vllm_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    with started(vllm_python, "pocket", tmp_path_factory.mktemp("vllm") / "vllm.log", lora_rank=4) as running:
        yield running


async def write(engine: Engine) -> str:
    """Its greedy answer."""
    request = GenerateRequest(QUESTION, Sampling(temperature=0, max_tokens=120))
    return "".join([chunk.text async for chunk in engine.stream(request)])


def test_a_click_loads_the_pairs_and_the_server_answers_as_the_merged_model(data: Path, server: Vllm) -> None:
    async def use() -> tuple[str, str, str, str]:
        models = Models(data, served_engines([server.url], None, "NO_KEY", lambda line: None))
        merged = LocalEngine(data / "jobs" / JOB / "model", name=JOB)
        try:
            entry, note = await models.use_tuned(JOB)
            assert isinstance(entry.engine, OpenAIEngine)
            base = models.get("pocket (served)").engine
            return note, await write(entry.engine), await write(merged), await write(base)
        finally:
            await merged.close()
            await models.close()

    note, served, here, untuned = asyncio.run(use())
    assert server.url in note
    assert served == here
    assert served != untuned


def test_it_is_there_after_a_restart_of_the_workbench_and_of_the_server(data: Path, server: Vllm) -> None:
    async def again(engines: dict[str, Engine] | None) -> Engine:
        models = Models(data, engines)
        try:
            return (await models.use_tuned(JOB))[0].engine
        finally:
            await models.close()

    kept = asyncio.run(again(served_engines([server.url], None, "NO_KEY", lambda line: None)))
    assert isinstance(kept, OpenAIEngine), "the server still offers it"
    assert isinstance(asyncio.run(again(None)), LocalEngine), "without the server it runs in this process"


def test_a_server_that_has_forgotten_the_pairs_gets_them_again(data: Path, server: Vllm) -> None:
    async def forget_and_ask() -> tuple[list[str], bool, str, list[str]]:
        models = Models(data, served_engines([server.url], "pocket", "NO_KEY", lambda line: None))
        try:
            engine = (await models.use_tuned(JOB))[0].engine
            answers = [await write(engine)]
            await forget(server)  # as after its restart
            answers += await asyncio.gather(*(write(engine) for _ in range(3)))
            await forget(server)
            request = SampleRequest(QUESTION, sampling=Sampling(temperature=0, max_tokens=8))
            found = await sampler_of(engine).sample(request)
        finally:
            await models.close()
        await forget(server)
        later = Models(data, served_engines([server.url], "pocket", "NO_KEY", lambda line: None))
        try:
            before = isinstance(later.get(JOB).engine, LocalEngine)
            await later.connect()
            answers.append(await write(later.get(JOB).engine))
            assert isinstance(later.get(JOB).engine, OpenAIEngine)
        finally:
            await later.close()
        return answers, before, found.samples[0].text, list_models(server.url)

    answers, before, sampled, offered = asyncio.run(forget_and_ask())
    assert answers == [answers[0]] * 5
    assert answers[0].startswith(sampled) and sampled
    assert before and JOB in offered


async def forget(server: Vllm) -> None:
    async with httpx.AsyncClient(timeout=60) as http:
        (await http.post(f"{server.url}/unload_lora_adapter", json={"lora_name": JOB})).raise_for_status()
