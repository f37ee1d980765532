"""A real `transformers serve` with the pocket model, on the CPU: it needs no package beside the workbench's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.engines.base import Bounds, Engine, Sampling
from core.engines.local import LocalEngine
from core.engines.openai_api import OpenAIEngine
from core.pocket import model_dir
from core.run import run_trace
from core.trace import Problem, Trace
from tests.serving.conftest import answering

START_S = 180.0
# The `transformers` command wants `requests` for other commands of it; this is what its `serve` calls.
SERVE = """
import sys
from transformers.cli.serve import Serve
Serve(sys.argv[1], host="127.0.0.1", port=int(sys.argv[2]), device="cpu", dtype="float32")
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from transformers.utils.import_utils import is_serve_available

    if not is_serve_available():
        pytest.skip("transformers cannot serve here: pip install 'transformers[serving]'")
    log: Path = tmp_path_factory.mktemp("transformers") / "log"
    with answering(SERVE, str(model_dir()), log, START_S) as address:
        yield address


async def run(engine: Engine, tokens: int, **how: Any) -> Trace:
    sampling = Sampling(temperature=0, max_tokens=tokens)
    return await run_trace(
        engine, Problem.ask("Reach 24 from 4, 7, 8 and 8."), sampling, Bounds(), lambda _: None, trace_id="t",
        stop=asyncio.Event(), **how,
    )  # fmt: skip


def test_it_writes_what_the_model_writes_here_and_goes_on_from_a_cut(url: str) -> None:
    async def work() -> tuple[Trace, Trace, Trace]:
        served, local = OpenAIEngine(url, str(model_dir())), LocalEngine()
        try:
            whole = await run(served, 120)
            first = await run(served, 40)
            return whole, await run(local, 120), await run(served, 80, prefix=first.response)
        finally:
            await served.close()
            await local.close()

    whole, here, continued = asyncio.run(work())
    assert (whole.error, whole.finish_reason, whole.format) == ("", "length", "steiner")
    assert whole.response == here.response
    assert (whole.stats["prompt_tokens"], whole.stats["generated_tokens"]) == (here.stats["prompt_tokens"], 120)
    assert (continued.error, continued.response) == ("", whole.response)
    server = whole.sampling["server"]
    assert (server["server"], server["version"]) == ("transformers", None)
    assert len(server["chat_template"]) == 64
    assert "system_fingerprint" not in server
