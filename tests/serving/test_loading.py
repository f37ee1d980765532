"""Both of vLLM's loaders take our class. (The V2 runner needs a GPU: there it is loaded, not run.)"""

from __future__ import annotations

import os
import subprocess

from app import serving

CODE = """
from vllm.v1.sample.logits_processor import _load_logitsprocs_by_fqcns as v1
from vllm.v1.worker.gpu.sample.logits_processor.loader import _load_v2_logitsprocs_by_fqcns as v2
name = ["core.control.vllm_steps:WorldlineSteps"]
print("loaded", v1(name)[0].__name__, v2(name)[0].__name__)
"""


def test_both_loaders_accept_step_control(vllm_python: str) -> None:
    with serving.laid_out() as folder:
        env = {**os.environ, "PYTHONPATH": str(folder), "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
        asked = subprocess.run([vllm_python, "-c", CODE], env=env, capture_output=True, text=True, timeout=400)
    assert "loaded WorldlineSteps WorldlineSteps" in asked.stdout, asked.stderr[-2000:]
