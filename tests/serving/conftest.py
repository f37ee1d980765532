"""A real vLLM with the pocket model, started once as `worldline serve pocket` starts it; without one these tests skip."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from app import serving

ROOT = Path(__file__).parents[2]
START_S = 400.0  # 20 to 60 s on an idle machine
ENABLE = f"`.ci/vllm-env` makes one in .venv-vllm; or name its Python in {serving.PYTHON_VARIABLE}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.serving)
            item.add_marker(pytest.mark.slow)


@dataclass
class Vllm:
    """A server that runs."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def running(self) -> int:
        """Requests that the server is decoding now, by its own count."""
        import httpx

        lines = httpx.get(self.url.removesuffix("/v1") + "/metrics", timeout=30).text.splitlines()
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith("vllm:num_requests_running{"))


@pytest.fixture(scope="session")
def vllm_python() -> str:
    named = os.environ.get(serving.PYTHON_VARIABLE)
    default = ROOT / ".venv-vllm" / "bin" / "python"
    if not named and not default.exists():
        pytest.skip(f"no environment with vLLM: {ENABLE}")
    try:
        return serving.find_python(named or str(default))[0]
    except serving.CannotServe as error:
        pytest.skip(f"{error} {ENABLE}")


@contextmanager
def started(
    python: str, model: str, log: Path, *extra: str, lora_rank: int = 0, reload_weights: bool = False
) -> Iterator[Vllm]:
    """vLLM for a model as `worldline serve` starts it, with one process fewer and without compiling."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB: 34 of the pocket model's longest responses

    def tail() -> str:
        return "The end of its log:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-30:])

    with serving.laid_out() as control, log.open("wb") as output:
        launch = serving.plan(
            model, python=python, cpu=True, control=control, port=serving.free_port(), lora_rank=lora_rank,
            reload_weights=reload_weights,
            extra=["--enforce-eager", "--distributed-executor-backend", "uni", *extra],
        )  # fmt: skip
        with serving.running(launch, output) as process:
            serving.wait_until_ready(launch, process, START_S, tail)
            _give_way(process.pid)
            yield Vllm(launch.endpoint, process, log)


@contextmanager
def answering(code: str, model: str, log: Path, start_s: float) -> Iterator[str]:
    """A server that a piece of Python starts, which is given the model and a port: its address, once its /health answers."""
    import httpx

    port = serving.free_port()
    with log.open("wb") as output:
        command = [sys.executable, "-c", code, model, str(port)]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + start_s
        while True:
            assert process.poll() is None and time.monotonic() < until, log.read_text(errors="replace")[-2000:]
            with suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                    break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait(20)


def _give_way(server: int) -> None:
    """The engine's processes poll without a pause. On two cores they can keep the one that answers from running at all: a
    response then arrives in one piece when it is whole, and so does every other answer. So one core is kept free of them.
    """
    import psutil

    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    for child in psutil.Process(server).children(recursive=True):
        with suppress(psutil.Error, OSError):
            for thread in child.threads():
                os.setpriority(os.PRIO_PROCESS, thread.id, 10)
                if len(cores) > 1:
                    os.sched_setaffinity(thread.id, cores[1:])


@pytest.fixture(scope="session")
def vllm(vllm_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    with started(vllm_python, "pocket", tmp_path_factory.mktemp("vllm") / "vllm.log") as server:
        yield server
