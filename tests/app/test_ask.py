"""`worldline ask --endpoint`: a server is asked directly, with the output and the exit codes of any other model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.cli import app
from core.trace import Trace
from storage.store import Store
from tests.core.served import Script, serving

DELTAS = [{"reasoning": "Let me try 7 * 11 * 13."}, {"content": "No: "}, {"content": "1001 = 7 * 11 * 13."}]


@pytest.fixture
def served() -> Iterator[tuple[str, Script]]:
    script = Script(deltas=DELTAS)
    with serving(script) as url:
        yield url, script


def ask(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["ask", *arguments], env=environment)


def test_a_question_is_streamed_and_what_could_not_be_applied_is_told(served: tuple[str, Script]) -> None:
    url, script = served
    result = ask("Is 1001 prime?", "--endpoint", url, "--seed", "5", "--api-key-env", "MY_KEY", MY_KEY="secret")
    assert result.exit_code == 0, result.output
    assert "Let me try 7 * 11 * 13." in result.stdout
    assert "No: 1001 = 7 * 11 * 13." in result.stdout
    assert "not checked (stop): 1 steps, 0 backtracks, 30 tokens" in result.stdout
    assert "The step limits (0 to 60) were not applied" in result.stderr
    (body,) = script.bodies
    assert (body["model"], body["seed"], body["messages"][0]["content"]) == ("served", 5, "Is 1001 prime?")
    assert script.keys == ["Bearer secret"]


def test_a_file_is_answered_as_traces_in_its_order_and_kept(served: tuple[str, Script], tmp_path: Path) -> None:
    url, script = served
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Question {i}?"}) + "\n" for i in range(40)))
    data = tmp_path / "data"
    result = ask("--file", str(file), "--json", "--endpoint", url, "--seed", "1", "--keep", "--data", str(data))
    assert result.exit_code == 0, result.output
    traces = [Trace.from_json(json.loads(line)) for line in result.stdout.splitlines()]
    assert [t.prompt for t in traces] == [f"Question {i}?" for i in range(40)]
    assert [t.sampling["seed"] for t in traces] == list(range(1, 41))
    assert traces[0].response == "<think>Let me try 7 * 11 * 13.</think>No: 1001 = 7 * 11 * 13."
    assert traces[0].sampling["server"]["endpoint"] == url
    assert len(script.bodies) == 40
    with Store.open(data) as store:
        assert store.trace(traces[7].trace_id) == traces[7]


def test_one_of_several_models_must_be_chosen(served: tuple[str, Script]) -> None:
    url, script = served
    script.models = ("a", "b", "pocket")
    result = ask("Why?", "--endpoint", url)
    assert result.exit_code == 1
    assert f"several models are served at {url}; choose one with --model: a, b, pocket" in result.stderr
    assert not script.bodies
    for name in ("b", "pocket"):  # the served one, not the one that plays the numbers game
        assert ask("Why?", "--endpoint", url, "--model", name).exit_code == 0
        assert script.bodies[-1]["model"] == name
    result = ask("Why?", "--endpoint", url, "--model", "zebra")
    assert result.exit_code == 1
    assert "zebra is not offered there" in result.stderr


def test_what_goes_wrong_is_a_sentence_and_the_exit_code_is_1(served: tuple[str, Script]) -> None:
    url, script = served
    script.status = 503
    result = ask("Why?", "--endpoint", url)
    assert result.exit_code == 1
    assert "answered 503: out of memory" in result.stderr
    result = ask("Why?", "--endpoint", "http://127.0.0.1:9/v1")
    assert result.exit_code == 1
    assert "did not list its models" in result.stderr
    result = ask("Why?", "--model", "served")
    assert result.exit_code == 1
    assert "a model that is served: --endpoint URL --model NAME" in result.stderr
    result = ask("Why?", "--model", "vllm:zebra")
    assert result.exit_code == 1
    assert "vLLM runs zebra in this process for searches alone" in result.stderr


def test_two_servers_of_one_model_share_the_questions(served: tuple[str, Script], tmp_path: Path) -> None:
    url, script = served
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Question {i}?"}) + "\n" for i in range(24)))
    with serving(Script(deltas=DELTAS)) as second:
        result = ask("--file", str(file), "--endpoint", url, "--endpoint", second)
    assert result.exit_code == 0, result.output
    assert 0 < len(script.bodies) < 24


def test_a_question_after_a_stored_trace(served: tuple[str, Script], tmp_path: Path) -> None:
    url, script = served
    keep = ("--keep", "--data", str(tmp_path / "data"), "--endpoint", url)
    chain: list[str] = []
    for question in ("Is 1001 prime?", "And 1003?", "And 1007?"):
        after = ("--after", chain[-1], "--earlier-as", "full") if chain else ()
        result = ask(question, "--json", *keep, *after)
        assert result.exit_code == 0, result.output
        trace = Trace.from_json(json.loads(result.stdout))
        assert (trace.earlier.trace_ids if trace.earlier else ()) == tuple(chain)
        chain.append(trace.trace_id)
    assert [m["content"] for m in script.bodies[-1]["messages"]] == [
        "Is 1001 prime?", "<think>Let me try 7 * 11 * 13.</think>No: 1001 = 7 * 11 * 13.",
        "And 1003?", "<think>Let me try 7 * 11 * 13.</think>No: 1001 = 7 * 11 * 13.", "And 1007?",
    ]  # fmt: skip
    assert ask("And?", *keep, "--after", chain[0]).exit_code == 0
    assert script.bodies[-1]["messages"][1]["content"] == "No: 1001 = 7 * 11 * 13."
    for wrong, says in (
        (("--after", "nothing"), "there is no trace nothing"),
        (("--after", chain[0], "--earlier-as", "none"), "it must be summaries or full"),
        (("--after", chain[0], "--data", str(tmp_path / "empty")), "there is no data folder"),
    ):
        result = ask("And?", *keep, *wrong)
        assert result.exit_code == 1 and says in " ".join(result.stderr.split())
