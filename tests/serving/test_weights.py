"""A model of which all weights were tuned is put to use on a vLLM that serves its base: it reads them while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.models import Models
from app.served import served_engines
from core.engines.base import Engine, EngineError
from core.engines.local import LocalEngine
from core.engines.openai_api import OpenAIEngine
from core.engines.sampling import SampleRequest, Sampling, sampler_of
from core.engines.server_info import OWN_WEIGHTS, root_of
from core.engines.weights import held
from tests.serving.conftest import Vllm, started
from tests.serving.test_adapters import QUESTION, write

JOB, LATER, OTHER = "sft-whole", "dpo-later", "sft-wider"


def tuned(data: Path, job_id: str, base: str, seed: int, wider: bool = False) -> None:
    """What a job leaves behind, as if it had learned something."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from core.pocket import model_dir

    torch.set_num_threads(1)
    folder = data / "jobs" / job_id
    chance = torch.Generator().manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_pretrained(model_dir(), dtype=torch.float32)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.02 * torch.randn(p.shape, generator=chance)
    if wider:
        model.resize_token_embeddings(model.config.vocab_size + 64, mean_resizing=False)
    model.save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(model_dir()).save_pretrained(folder / "model")
    (folder / "recipe.toml").write_text(f'kind = "sft"\nbase = "{base}"\n')


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data")
    tuned(data, JOB, "pocket", 7)
    tuned(data, LATER, str(data / "jobs" / JOB / "model"), 8)
    tuned(data, OTHER, "pocket", 9, wider=True)
    return data


@pytest.fixture(scope="module")
def server(vllm_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    log = tmp_path_factory.mktemp("vllm") / "vllm.log"
    with started(vllm_python, "pocket", log, reload_weights=True) as running:
        yield running


def models_of(data: Path, server: Vllm) -> Models:
    return Models(data, served_engines([server.url], None, "NO_KEY", lambda line: None))


def test_a_click_puts_the_weights_there_and_the_server_answers_as_the_tuned_model(data: Path, server: Vllm) -> None:
    async def use() -> dict[str, Any]:
        models = models_of(data, server)
        here = [LocalEngine(data / "jobs" / job / "model", name=job) for job in (JOB, LATER)]
        base = models.get("pocket (served)").engine
        found: dict[str, Any] = {"untuned": await write(base)}
        try:
            entry, found["note"] = await models.use_tuned(JOB)
            assert isinstance(entry.engine, OpenAIEngine) and entry.engine.model == JOB
            found["served"], found["here"] = await write(entry.engine), await write(here[0])
            sampled = await sampler_of(entry.engine).sample(
                SampleRequest(QUESTION, sampling=Sampling(temperature=0, max_tokens=8))
            )
            found["sampled"] = sampled.samples[0].text
            with pytest.raises(EngineError, match=f"has the weights of {JOB} now, not those of pocket: start it anew"):
                await write(base)
            # Another job, whose base is the first one's model.
            later = (await models.use_tuned(LATER))[0].engine
            found["later"], found["later here"] = await write(later), await write(here[1])
            with pytest.raises(
                EngineError, match=f"weights of {LATER} now, not those of {JOB}: put {JOB} to use again"
            ):
                await write(entry.engine)
            again = (await models.use_tuned(JOB))[0].engine
            found["again"] = await write(again)
        finally:
            for engine in here:
                await engine.close()
            await models.close()
        return found

    found = asyncio.run(use())
    assert server.url in found["note"] and "in the place of its own" in found["note"]
    assert found["served"] == found["here"] == found["again"]
    assert found["later"] == found["later here"]
    assert len({found["untuned"], found["served"], found["later"]}) == 3
    assert found["sampled"] and found["served"].startswith(found["sampled"])


def test_a_restart_of_the_workbench_finds_them_and_one_of_the_server_is_noticed(data: Path, server: Vllm) -> None:
    async def again() -> None:
        models = models_of(data, server)
        try:
            await models.use_tuned(LATER)
            await models.use_tuned(JOB)
            restarted = models_of(data, server)
            await restarted.connect()
            assert isinstance(restarted.get(JOB).engine, OpenAIEngine), "the server has its weights"
            assert isinstance(restarted.get(LATER).engine, LocalEngine), "and not this one's"
            await restarted.close()
            await as_after_a_restart(server)
            with pytest.raises(
                EngineError, match=f"has its own weights again, not those of {JOB}: put {JOB} to use again"
            ):
                await write(models.get(JOB).engine)
            assert await write(models.get("pocket (served)").engine)
        finally:
            await models.close()

    asyncio.run(again())


async def as_after_a_restart(server: Vllm) -> None:
    """The model's own weights, under the version that vLLM begins with."""
    from core.pocket import model_dir

    async with httpx.AsyncClient(timeout=60) as http:
        body = {"method": "reload_weights", "kwargs": {"weights_path": str(model_dir())}}
        for path, json in (
            ("collective_rpc", body),
            ("reset_prefix_cache", None),
            ("update_weight_version", {"new_version": OWN_WEIGHTS}),
        ):
            (await http.post(f"{root_of(server.url)}/{path}", json=json)).raise_for_status()


def test_what_does_not_fit_is_refused_by_name_and_changes_nothing(data: Path, server: Vllm) -> None:
    async def use() -> tuple[Engine, str]:
        models = models_of(data, server)
        try:
            entry, note = await models.use_tuned(OTHER)
            return entry.engine, note
        finally:
            await models.close()

    asyncio.run(as_after_a_restart(server))
    engine, note = asyncio.run(use())
    assert isinstance(engine, LocalEngine)
    assert f"cannot take the weights of {OTHER}: its vocab_size is" in note and "It runs in this process." in note
    assert asyncio.run(held(server.url, "NO_KEY")) == OWN_WEIGHTS
