"""How vLLM is started and which models of which servers are on offer; starting it for real is in tests/serving."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app import models, serving
from app.cli import app
from app.models import Models
from app.served import served_engines
from core.control.thinking import STEINER, THINK
from core.engines.base import Engine, EngineError, GenerateRequest
from core.engines.local import LocalEngine
from core.engines.openai_api import OpenAIEngine, list_models
from core.engines.pool import EnginePool
from core.engines.server_info import Server
from core.engines.weights import unlike
from core.pocket import model_dir
from core.scoring.encoding import SEPARATOR
from tests.core.served import Script
from tests.core.served import serving as fake_server


def plan(model: str, **how) -> list[str]:
    how = {"cpu": False, **how}
    return list(serving.plan(model, python="python", control=Path("/control"), **how).command)


def test_the_flags_that_worldline_needs_are_there_and_the_callers_own_come_last() -> None:
    command = plan("pocket", tensor_parallel=2, data_parallel=4, extra=["--max-model-len", "99"])
    assert command[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert command[command.index("--served-model-name") + 1] == "pocket"
    assert command[command.index("--logits-processors") + 1] == "core.control.vllm_steps:WorldlineSteps"
    assert "--enable-prefix-caching" in command
    assert "--enable-prompt-tokens-details" in command
    assert "--reasoning-parser" not in command  # it would take the tokens out of the text
    assert command[command.index("--tensor-parallel-size") + 1] == "2"
    assert command[command.index("--data-parallel-size") + 1] == "4"
    assert command[-2:] == ["--max-model-len", "99"]
    assert "--dtype" not in command


def test_a_server_takes_adapters_where_it_is_told_to() -> None:
    launch = serving.plan("pocket", python="python", cpu=False, control=Path("/control"), lora_rank=9)
    assert launch.command[launch.command.index("--max-lora-rank") + 1] == "16"
    assert launch.env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    plain = serving.plan("pocket", python="python", cpu=False, control=Path("/control"))
    assert "--enable-lora" not in plain.command
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in plain.env
    with pytest.raises(serving.CannotServe, match="up to rank 512"):
        plan("pocket", lora_rank=1000)


def test_a_server_takes_weights_where_it_is_told_to_and_on_this_machine_alone() -> None:
    launch = serving.plan("pocket", python="python", cpu=False, control=Path("/control"), reload_weights=True)
    assert launch.env["VLLM_SERVER_DEV_MODE"] == "1"
    assert "VLLM_SERVER_DEV_MODE" not in serving.plan("pocket", python="python", cpu=False, control=Path("/c")).env
    for host in ("0.0.0.0", "::", "192.168.1.5", "127.evil.example"):
        with pytest.raises(serving.CannotServe, match=f"listens on 127.0.0.1 only, not on {host}"):
            plan("pocket", reload_weights=True, host=host)


def whole_job(data: Path) -> None:
    """A job of which all weights were trained, as far as anybody looks at it here."""
    folder = data / "jobs" / "sft-a"
    shutil.copytree(model_dir(), folder / "model")
    (folder / "recipe.toml").write_text('kind = "sft"\nbase = "pocket"\n')


async def used(folder: Path, url: str) -> tuple[Engine, str]:
    """The job "sft-a" put to use beside a server that may take its weights: what answers now, and what is said of it."""
    models = Models(folder, {"served": OpenAIEngine(url, str(model_dir()), "NO_KEY")})
    try:
        entry, note = await models.use_tuned("sft-a")
        return entry.engine, note
    finally:
        await models.close()


@pytest.mark.parametrize("version", [None, "default", "sft-a", "dpo-b"])
def test_a_server_gets_the_weights_once_or_says_how_to_start_one_that_takes_them(
    tmp_path: Path, version: str | None
) -> None:
    """version: whose weights the server says it has; None: it has no such route."""
    whole_job(tmp_path)
    at = {"version": version}

    def versioned(body: dict[str, str]) -> dict[str, str]:
        at["version"] = body["new_version"]
        return {"done": "yes"}

    script = Script(models=(str(model_dir()),), replies={})
    if version is not None:
        script.replies = {
            "/weight_info": lambda _: {"weight_version": at["version"]}, "/update_weight_version": versioned,
            "/pause?mode=wait": {"ok": 1}, "/collective_rpc": {"ok": 1}, "/reset_prefix_cache": {"ok": 1}, "/resume": {"ok": 1},
        }  # fmt: skip

    with fake_server(script) as url:
        engine, note = asyncio.run(used(tmp_path, url))
    asked = [route for route, _ in script.others]
    if version is None:
        assert isinstance(engine, LocalEngine) and asked == []
        assert "worldline serve MODEL --reload-weights" in note and "It runs in this process." in note
        return
    assert isinstance(engine, OpenAIEngine) and engine.model == "sft-a" and at["version"] == "sft-a"
    assert "has its weights now, in the place of its own" in note
    assert asked == ([] if version == "sft-a" else [
        "/update_weight_version", "/pause?mode=wait", "/collective_rpc", "/reset_prefix_cache", "/update_weight_version", "/resume",
    ])  # fmt: skip
    if asked:
        assert script.others[2][1]["kwargs"] == {"weights_path": str((tmp_path / "jobs/sft-a/model").resolve())}


def test_a_job_whose_server_took_another_goes_on_in_this_process(tmp_path: Path) -> None:
    whole_job(tmp_path)
    shutil.copytree(tmp_path / "jobs" / "sft-a", tmp_path / "jobs" / "sft-b")
    at = {"version": "default"}

    def versioned(body: dict[str, str]) -> dict[str, str]:
        at["version"] = body["new_version"]
        return {"done": "yes"}

    script = Script(models=(str(model_dir()),), replies={
        "/weight_info": lambda _: {"weight_version": at["version"]}, "/update_weight_version": versioned,
        "/pause?mode=wait": {"ok": 1}, "/collective_rpc": {"ok": 1}, "/reset_prefix_cache": {"ok": 1}, "/resume": {"ok": 1},
    })  # fmt: skip

    async def work(url: str) -> None:
        models = Models(tmp_path, {"served": OpenAIEngine(url, str(model_dir()), "NO_KEY")})
        try:
            for newcomer, other in (("sft-a", ""), ("sft-b", "sft-a"), ("sft-a", "sft-b")):
                entry, note = await models.use_tuned(newcomer)
                assert at["version"] == newcomer and isinstance(entry.engine, OpenAIEngine)
                assert [m.id for m in models.all()].count(newcomer) == 1
                if other:
                    assert isinstance(models.get(other).engine, LocalEngine) and models.get(other).ready
                    assert f"{other}, which was there, runs in this process now." in note
                else:
                    assert "which was there" not in note
        finally:
            await models.close()

    with fake_server(script) as url:
        asyncio.run(work(url))


def test_weights_that_failed_half_way_are_nobodys_and_the_server_goes_on(tmp_path: Path) -> None:
    whole_job(tmp_path)
    versions: list[str] = []

    def versioned(body: dict[str, str]) -> dict[str, str]:
        versions.append(body["new_version"])
        return {"done": "yes"}

    script = Script(models=(str(model_dir()),), replies={
        "/weight_info": {"weight_version": "default"}, "/update_weight_version": versioned, "/pause?mode=wait": {"ok": 1}, "/resume": {"ok": 1},
    })  # fmt: skip

    with fake_server(script) as url:
        engine, note = asyncio.run(used(tmp_path, url))
    assert isinstance(engine, LocalEngine) and "did not do /collective_rpc" in note
    assert versions == ["half of sft-a"]
    assert script.others[-1][0] == "/resume"


def test_what_makes_other_weights_of_the_same_numbers_is_named(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    shutil.copytree(model_dir(), tmp_path / "same")
    assert unlike(model_dir(), tmp_path / "same") == ""
    config = json.loads((tmp_path / "same" / "config.json").read_text())
    (tmp_path / "same" / "config.json").write_text(
        json.dumps({**config, "num_attention_heads": config["num_attention_heads"] * 2})
    )
    assert unlike(model_dir(), tmp_path / "same").startswith("its num_attention_heads is ")
    tokenizer = AutoTokenizer.from_pretrained(model_dir())
    for added, said in ((SEPARATOR, ""), ("<|new|>", "its tokenizer has <|new|> elsewhere")):
        tokenizer.add_tokens([added])
        shutil.copytree(model_dir(), tmp_path / added.strip("<|>"))
        tokenizer.save_pretrained(tmp_path / added.strip("<|>"))
        assert unlike(model_dir(), tmp_path / added.strip("<|>")).startswith(said)
    tokenizer = AutoTokenizer.from_pretrained(model_dir())
    tokenizer.chat_template = "another"
    shutil.copytree(model_dir(), tmp_path / "template")
    tokenizer.save_pretrained(tmp_path / "template")
    assert unlike(model_dir(), tmp_path / "template") == "its chat template is not the served model's"


@pytest.mark.parametrize(("base", "said"), [("pocket", "--lora-rank"), ("another", "")])
def test_a_server_that_takes_no_adapter_says_how_to_start_one_that_does(tmp_path: Path, base: str, said: str) -> None:
    """And one that serves something else is not asked. The model runs in this process then."""
    served = str(model_dir()) if base == "pocket" else base
    for part in ("adapter", "model"):
        (tmp_path / "jobs" / "sft-a" / part).mkdir(parents=True)
    (tmp_path / "jobs/sft-a/model/config.json").write_text("{}")
    (tmp_path / "jobs/sft-a/adapter/adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(model_dir())})
    )

    async def use(url: str) -> tuple[Engine, str]:
        registry = Models(tmp_path, {"served": OpenAIEngine(url, served, "NO_KEY")})
        try:
            entry, note = await registry.use_tuned("sft-a")
            return entry.engine, note
        finally:
            await registry.close()

    script = Script(models=(served,))
    with fake_server(script) as url:
        engine, note = asyncio.run(use(url))
    assert isinstance(engine, LocalEngine)
    assert "It runs in this process." in note
    assert said in note
    assert [route for route, _ in script.others] == (["/v1/load_lora_adapter"] if said else [])


def test_a_cpu_build_gets_its_own_flags() -> None:
    command = plan("pocket", cpu=True)
    assert command[command.index("--dtype") + 1] == "float32"
    assert command[command.index("--block-size") + 1] == "32"
    assert "--no-enable-chunked-prefill" in command
    assert "--no-enable-chunked-prefill" not in plan("pocket")


@pytest.mark.parametrize("model", ["pocket", "peakji/steiner-32b-preview", "Qwen/Qwen3-8B"])
def test_the_reasoning_configuration_is_the_models(model: str) -> None:
    command = plan(model)
    found = json.loads(command[command.index("--reasoning-config") + 1])
    wanted = THINK if "Qwen" in model else STEINER  # every family: test_thinking_markers.py
    assert found == {"reasoning_start_str": wanted.start, "reasoning_end_str": wanted.end}


def test_a_missing_folder_and_a_python_without_vllm_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(serving.CannotServe, match="not a folder"):
        plan("./nothing")
    monkeypatch.setenv(serving.PYTHON_VARIABLE, sys.executable)
    monkeypatch.setattr(serving.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(serving.CannotServe, match=r"has no vLLM|not a program"):
        serving.find_python()
    monkeypatch.delenv(serving.PYTHON_VARIABLE)
    answer = CliRunner().invoke(app, ["serve", "pocket"])
    assert answer.exit_code == 1
    assert "vLLM is not installed here" in answer.output
    assert "pip install" in answer.output


def test_a_server_that_ends_while_it_starts_is_a_sentence() -> None:
    launch = serving.Launch((sys.executable, "-c", "raise SystemExit(3)"), {}, "m", "http://127.0.0.1:9/v1", THINK)
    with serving.running(launch) as process:
        with pytest.raises(serving.CannotServe, match=r"ended with code 3 before it served m\. See the log"):
            serving.wait_until_ready(launch, process, 60, lambda: "See the log.")


def test_stopping_ends_what_does_not_want_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "STOP_S", 0.5)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    launch = serving.Launch((sys.executable, "-c", code), {}, "m", "http://127.0.0.1:9/v1", THINK)
    with serving.running(launch) as process:
        assert process.poll() is None
    assert process.returncode is not None
    serving.stop(process)


def test_models_of_all_servers_are_on_offer_and_shared_ones_are_pooled() -> None:
    with fake_server(Script(models=("a", "b"))) as one, fake_server(Script(models=("b", "pocket"))) as two:
        told: list[str] = []
        engines = served_engines([one, two, "http://127.0.0.1:9/v1"], None, "NO_KEY", told.append)
        assert list(engines) == ["a", "b", "pocket (served)", "pocket"]
        assert isinstance(engines["b"], EnginePool)
        assert list(engines["b"].members) == [one, two]
        assert len(told) == 1 and "did not list its models" in told[0]
        assert engines.away == ["http://127.0.0.1:9/v1"]
        assert list(served_engines([one, two], "a", "NO_KEY", told.append)) == ["a", "pocket"]
        kept = served_engines([one, "http://127.0.0.1:9/v1"], "b", "NO_KEY", told.append)["b"]
        assert isinstance(kept, EnginePool) and len(kept.members) == 2
        assert {member.alone for member in kept.members.values()} == {False}
        with pytest.raises(ValueError, match="zebra is not offered there"):
            served_engines([one], "zebra", "NO_KEY", told.append)
    with fake_server(Script(lists=False)) as silent:
        assert list(served_engines([silent], "given", "NO_KEY", told.append)) == ["given", "pocket"]
        with pytest.raises(EngineError, match="did not list its models"):
            served_engines([silent], None, "NO_KEY", told.append)
    told.clear()
    with pytest.raises(EngineError):
        served_engines(["http://127.0.0.1:9/v1", "http://127.0.0.1:7/v1"], None, "NO_KEY", told.append)
    assert len(told) == 1 and "http://127.0.0.1:9/v1" in told[0]  # the other one is the error


def test_a_server_that_was_away_at_the_start_joins_when_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "LOOK_AGAIN_S", 0.05)
    port = serving.free_port()
    late = f"http://127.0.0.1:{port}/v1"
    told: list[str] = []

    async def work(one: str) -> tuple[list[str], list[str], str]:
        registry = Models(tmp_path, served_engines([one, late], None, "NO_KEY", told.append))
        monkeypatch.setattr(registry, "connect", lambda: asyncio.sleep(0))
        registry.warm()
        try:
            before = [entry.id for entry in registry.all()]
            assert isinstance(registry.get("a").engine, OpenAIEngine)
            with fake_server(Script(models=("a", "c"), deltas=[{"content": "ok"}]), port):
                until = time.monotonic() + 20
                while "c" not in [entry.id for entry in registry.all()] and time.monotonic() < until:
                    await asyncio.sleep(0.02)
                pool = registry.get("a").engine
                assert isinstance(pool, EnginePool)
                assert list(pool.members) == [one, late]
                assert late in registry.get("a").note
                question = next(f"Q {i}" for i in range(99) if pool.order(f"Q {i}")[0] == late)
                text = "".join([chunk.text async for chunk in pool.stream(GenerateRequest(question))])
                return before, [entry.id for entry in registry.all()], text
        finally:
            await registry.close()

    with fake_server(Script(models=("a", "b"))) as one:
        before, after, text = asyncio.run(work(one))
    assert (before, after, text) == (["a", "b", "pocket"], ["a", "b", "c", "pocket"], "ok")


# Stands in for a Python with vLLM: it lists that it has it, and plays the server that it is told to start.
FAKE_PYTHON = """#!{python}
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
if sys.argv[1] == "-c":
    print("pip vllm")
    raise SystemExit
model = sys.argv[sys.argv.index("--served-model-name") + 1]

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({{"data": [{{"id": model, "owned_by": "vllm"}}]}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_): pass

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture
def fake_python(tmp_path: Path) -> str:
    file = tmp_path / "fake-python"
    file.write_text(FAKE_PYTHON.format(python=sys.executable), encoding="utf-8")
    file.chmod(0o755)
    return str(file)


def test_a_model_is_started_beside_the_workbench_and_stopped_with_it(
    tmp_path: Path, fake_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(serving.PYTHON_VARIABLE, fake_python)
    said: list[str] = []
    with serving.started("Qwen/Qwen2.5-7B-Instruct", tmp_path / "data" / "vllm.log", said.append) as engines:
        assert list(engines) == ["Qwen/Qwen2.5-7B-Instruct", "pocket"]
        (endpoint,) = [line.split()[-1] for line in said if "is served at" in line]
        assert endpoint == engines["Qwen/Qwen2.5-7B-Instruct"].base_url
        assert list_models(endpoint) == ["Qwen/Qwen2.5-7B-Instruct"]
        assert "no thinking budget" in said[1]
    with pytest.raises(EngineError, match="did not list its models"):
        list_models(endpoint)
    assert (tmp_path / "data" / "vllm.log").exists()


def test_serve_prints_the_endpoint_to_stdout_once_it_answers(fake_python: str) -> None:
    port = serving.free_port()
    env = {**os.environ, "PYTHONPATH": str(Path(serving.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve", "pocket", "--python", fake_python, "--port", str(port)],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        assert f"pocket is served at http://127.0.0.1:{port}/v1" in line
        assert list_models(f"http://127.0.0.1:{port}/v1") == ["pocket"]
        # A second one on the same port must not take the first one's answers for its own.
        again = CliRunner().invoke(app, ["serve", "pocket", "--python", fake_python, "--port", str(port)])
        assert (again.exit_code, "is served at" in again.output) == (1, False)
        assert f"port {port}: Address already in use. Name another with --port." in again.output
        process.terminate()
        process.wait(30)
        assert "Starting vLLM for pocket; thinking is marked by <|reasoning_start|>" in process.stderr.read()
    finally:
        process.kill()
        process.wait(10)
    with pytest.raises(EngineError):  # the server went with it
        list_models(f"http://127.0.0.1:{port}/v1")


def test_whose_weights_a_server_has_is_asked_once_a_second_and_not_once_a_request() -> None:
    asked: list[str] = []

    def version(_: Any) -> dict[str, str]:
        asked.append(f"sft-{len(asked)}")
        return {"weight_version": asked[-1]}

    async def twice(url: str) -> list[str]:
        server = Server(url, "pocket", "NO_KEY")
        first = [await server.weights() for _ in range(3)]
        server._held_until = 0.0  # a second later
        return [*first, await server.weights()]

    with fake_server(Script(models=("pocket",), replies={"/weight_info": version})) as url:
        assert asyncio.run(twice(url)) == ["sft-0"] * 3 + ["sft-1"]
