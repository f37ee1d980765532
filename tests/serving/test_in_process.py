"""vLLM without a server, for searches: token for token what the model gives in this process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from typing import Any

from core.engines.local import LocalEngine
from tests.serving.conftest import ROOT
from tests.serving.in_process import equal


def test_vllm_without_a_server_answers_like_the_model_in_this_process(vllm_python: str) -> None:
    async def local() -> dict[str, Any]:
        engine = LocalEngine()
        try:
            return await equal(engine)
        finally:
            await engine.close()

    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", **os.environ, "PYTHONPATH": str(ROOT)}
    made = subprocess.run(
        [vllm_python, "-m", "tests.serving.in_process"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-3000:]
    found = json.loads(made.stdout.strip().splitlines()[-1])
    assert "/no/such/model" in found["refused"]
    assert found["equal"] == json.loads(json.dumps(asyncio.run(local())))
    drawn = found["drawn"]
    assert drawn["texts"] > 1
    assert drawn["repeats"]
    assert drawn["greedy"] == [60, 0], "the same text twice is written, and charged, once"
    cached, prompt = drawn["cached"]
    assert 0 < cached < prompt
    assert (drawn["over"], drawn["left"]) == (False, 0)
    assert [(reason, flops) for reason, _, flops in drawn["searches"]] == [("finished", True)] * 3
