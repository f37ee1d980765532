"""`worldline --model`: a real vLLM is started beside the workbench, says where it is, answers, and ends with it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app import serving
from core.engines.base import Bounds, EngineError, Sampling
from core.engines.openai_api import list_models
from core.run import run_trace
from core.trace import Problem, Trace


def test_a_real_server_is_started_and_stopped(
    vllm_python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(serving.PYTHON_VARIABLE, vllm_python)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    said: list[str] = []
    with serving.started("pocket", tmp_path / "vllm.log", said.append) as engines:
        (endpoint,) = [line.split()[-1] for line in said if "pocket is served at" in line]
        assert list_models(endpoint) == ["pocket"]
        engine = engines["pocket (served)"]

        async def work() -> Trace:
            try:
                return await run_trace(
                    engine, Problem.ask("Reach 24 from 4, 7, 8 and 8."), Sampling(max_tokens=5), Bounds(),
                    lambda _: None, trace_id="t", stop=asyncio.Event(),
                )  # fmt: skip
            finally:
                await engine.close()

        trace = asyncio.run(work())
        assert (trace.error, trace.finish_reason) == ("", "length")
        assert "notes" not in trace.stats
    with pytest.raises(EngineError):
        list_models(endpoint)
