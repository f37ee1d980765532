"""Tokens/s through Worldline beside tokens/s straight from the server that it asks: 1, 8 and 64 streams.

Straight is an OpenAI client that reads the server's stream. Through is a client that starts runs (POST /api/runs) and follows
each one's events until `done`, which comes after the trace is in the store. Both ask the same questions with the same seeds,
limits and lengths, in turn. Against a server that writes at a fixed pace (`paced.py`) and needs next to nothing, and against a
real vLLM with the pocket model. That one has half of the cores to itself in both arms, and client and Worldline the other
half: where it stands on a GPU or on another machine they do not take its processor either.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.paced import MODEL, paced
from benchmarks.table import Row
from benchmarks.workbench import cpu_seconds, started

STREAMS = (1, 8, 64)
ROUNDS = 3
# Of each stream, as short as thoughts of reasoning models are; a run's start and the storing of its trace are part of the time.
TOKENS = 1000
PACED_TOKENS, PER_S = 1000, 25.0  # of the paced server: 40 s, 1,600 tokens/s at 64 streams
QUESTION = "Reach {target} from 1, 5, 7 and 11."
# The pocket model goes on until the tokens are used up: the same length for all.
MIN_STEPS, MAX_STEPS = 200, 200
VLLM_START_S = 400


@dataclass(frozen=True)
class Flow:
    """What a group of streams carried: tokens of all together, seconds from the first request to the last end."""

    tokens: int
    seconds: float

    @property
    def per_s(self) -> float:
        return self.tokens / self.seconds


def _asked(stream: int) -> dict[str, Any]:
    return {"question": QUESTION.format(target=20 + stream), "seed": 1000 + stream}


async def straight(endpoint: str, model: str, streams: int, length: int, extra: dict[str, Any]) -> Flow:
    """An OpenAI client that reads `streams` streams to their ends."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=endpoint, api_key="none", max_retries=0, timeout=600) as client:

        async def one(stream: int) -> int:
            ask = _asked(stream)
            tokens = 0
            response = await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": ask["question"]}], seed=ask["seed"], temperature=1.0,
                top_p=1.0, max_tokens=length, stream=True, stream_options={"include_usage": True}, extra_body=extra,
            )  # fmt: skip
            async for piece in response:
                tokens = piece.usage.completion_tokens if piece.usage else tokens
            return tokens

        began = time.perf_counter()
        counts = await asyncio.gather(*(one(n) for n in range(streams)))
        return Flow(sum(counts), time.perf_counter() - began)


async def through(url: str, model: str, streams: int, length: int) -> Flow:
    """The same by Worldline's API. Raises RuntimeError for a run that failed."""
    import httpx

    # The server lets go of a silent connection after 5 s; on a busy machine a client must not count on it for so long.
    limits = httpx.Limits(max_connections=streams + 8, keepalive_expiry=1.0)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:

        async def one(stream: int) -> int:
            ask = _asked(stream)
            body = {
                "prompt": ask["question"], "model": model, "seed": ask["seed"], "max_tokens": length,
                "min_steps": MIN_STEPS, "max_steps": MAX_STEPS,
            }  # fmt: skip
            run = (await client.post("/api/runs", json=body)).raise_for_status().json()
            last = ""
            async with client.stream("GET", f"/api/runs/{run['run_id']}/events") as response:
                async for line in response.aiter_lines():
                    last = line if line.startswith("data:") else last
            done = json.loads(last.removeprefix("data:"))
            if done["type"] != "done" or done["error"]:
                raise RuntimeError(f"a run failed: {done}")
            return int(done["stats"]["generated_tokens"])

        began = time.perf_counter()
        counts = await asyncio.gather(*(one(n) for n in range(streams)))
        return Flow(sum(counts), time.perf_counter() - began)


@contextmanager
def vllm() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """A real vLLM with the pocket model: its address, the model's name, what a request adds. Raises CannotServe."""
    from app import serving
    from core.control import xargs

    own = Path(__file__).parent.parent / ".venv-vllm/bin/python"
    python, cpu = serving.find_python(os.environ.get(serving.PYTHON_VARIABLE) or (str(own) if own.exists() else None))
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    extra = ["--enforce-eager", "--distributed-executor-backend", "uni"] if cpu else []
    with serving.laid_out() as control, tempfile.TemporaryFile() as log, half_of_the_cores():
        launch = serving.plan("pocket", python=python, cpu=cpu, control=control, port=serving.free_port(), extra=extra)
        with serving.running(launch, log) as process:
            other_half()
            serving.wait_until_ready(launch, process, VLLM_START_S)
            body = {
                "skip_special_tokens": False, "spaces_between_special_tokens": False,
                "vllm_xargs": {xargs.MIN: MIN_STEPS, xargs.MAX: MAX_STEPS},
            }  # fmt: skip
            yield launch.endpoint, launch.name, body


_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@contextmanager
def on(cores: list[int]) -> Iterator[None]:
    """What this thread starts now runs on these cores; afterwards the thread has all of them again."""
    if _CORES:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        if _CORES:
            os.sched_setaffinity(0, _CORES)


def half_of_the_cores() -> AbstractContextManager[None]:
    """What is started now runs on the first half of the cores."""
    return on(_CORES[: max(1, len(_CORES) // 2)])


def other_half() -> None:
    if len(_CORES) > 1:
        os.sched_setaffinity(0, _CORES[len(_CORES) // 2 :])


def _compare(name: str, endpoint: str, model: str, length: int, extra: dict[str, Any]) -> list[Row]:
    """One row a number of streams: the medians of both, and what each round gave (rounds differ by a tenth)."""
    rows = []
    with started("--endpoint", endpoint) as (url, pid):
        served = model if model != "pocket" else "pocket (served)"
        asyncio.run(straight(endpoint, model, 2, 100, extra))
        asyncio.run(through(url, served, 2, 100))
        for streams in STREAMS:
            rounds: list[tuple[float, float]] = []
            tokens, used = 0, 0.0
            for _ in range(ROUNDS):
                plain = asyncio.run(straight(endpoint, model, streams, length, extra))
                before = cpu_seconds(pid)
                ours = asyncio.run(through(url, served, streams, length))
                after = cpu_seconds(pid)
                rounds.append((ours.per_s, plain.per_s))
                tokens += ours.tokens
                used += after - before if before is not None and after is not None else 0.0
            ratios = ", ".join(f"{a / b:.2f}" for a, b in rounds)
            rows.append(
                Row(
                    f"{name}, {streams} stream{'s' if streams > 1 else ''}",
                    median(a for a, _ in rounds), "tokens/s", median(b for _, b in rounds), "straight",
                    f"rounds {ratios}; Worldline {used / tokens * 1000:.2f} CPU s a 1,000 tokens",
                )
            )  # fmt: skip
    return rows


def measure() -> list[Row]:
    """Ratios against the paced server, and against vLLM where there is one."""
    from app.serving import CannotServe

    with paced(PER_S) as endpoint:
        rows = _compare(f"paced, {PER_S:.0f} tokens/s each", endpoint, MODEL, PACED_TOKENS, {})
    try:
        with vllm() as (endpoint, model, extra):
            rows += _compare("vLLM", endpoint, model, TOKENS, extra)
    except CannotServe as error:
        print(f"proxy: vLLM skipped: {error}", file=sys.stderr)
    return rows
