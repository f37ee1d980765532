"""How each family of models marks its thinking, by what is in its folder, by its name, and by what its server says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app import serving
from app.cli import app
from core.control import thinking
from core.control.thinking import GEMMA, HARMONY, KIMI, MAGISTRAL, S1, SKY_T1, STEINER, THINK, Markers
from core.engines.openai_api import OpenAIEngine
from core.engines.server_info import ServerInfo
from core.formats import gemma, harmony, magistral, s1, sky_t1, think
from core.formats.tagged import Envelope
from tests.core.served import Script
from tests.core.served import serving as fake_server

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
QWEN = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
# name of the folder, tokens of the vocabulary, chat template, markers, whether vLLM can count between them
FAMILIES: list[tuple[str, tuple[str, ...], str, Markers | None, bool]] = [
    ("steiner-32b-preview", (*QWEN, *STEINER.tokens), CHATML, STEINER, True),
    ("Magistral-Small-2509", ("[INST]", "[/INST]", "[THINK]", "[/THINK]"), "[INST]{{ messages[0].content }}[/INST]", MAGISTRAL, True),
    ("gemma-4-12b-it", ("<|turn>", "<turn|>", "<|channel>", "<channel|>"), "<|turn>user", GEMMA, True),
    ("gemma-3-12b-it", ("<start_of_turn>", "<end_of_turn>"), "<start_of_turn>user", None, False),
    ("gpt-oss-20b", ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"), "<|start|>user", HARMONY, True),
    ("Qwen3-8B", (*QWEN, "<think>", "</think>"), CHATML, THINK, True),
    ("my-own-tune", (*QWEN, "<think>", "</think>"), CHATML, THINK, True),
    ("Olmo-3-7B-Think", QWEN, CHATML + "<think>", THINK, False),
    ("Kimi-VL-A3B-Thinking", (*QWEN, "◁think▷", "◁/think▷"), CHATML, KIMI, True),
    ("Sky-T1-32B-Preview", QWEN, "<|im_start|>system\nthink between <|begin_of_thought|> and <|end_of_thought|>", SKY_T1, False),
    ("s1.1-32B", QWEN, CHATML, S1, True),
    ("Qwen2.5-7B-Instruct", QWEN, CHATML, None, False),
    ("QwQ-32B-Preview", QWEN, CHATML, None, False),
]  # fmt: skip


def folder(tmp_path: Path, name: str, tokens: tuple[str, ...], template: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    added = [{"id": i, "content": token, "special": True} for i, token in enumerate(tokens)]
    vocabulary = {"a": 90, "think": 91, "channel": 92}
    (made / "tokenizer.json").write_text(
        json.dumps({"added_tokens": added, "model": {"vocab": vocabulary}}), encoding="utf-8"
    )
    (made / "chat_template.jinja").write_text(template, encoding="utf-8")
    (made / "config.json").write_text("{}")
    return made


def configured(launch: serving.Launch) -> dict[str, str] | None:
    command = launch.command
    return json.loads(command[command.index("--reasoning-config") + 1]) if "--reasoning-config" in command else None


def planned(model: str) -> serving.Launch:
    return serving.plan(model, python="python", cpu=False, control=Path("/control"))


@pytest.mark.parametrize(("name", "tokens", "template", "markers", "counted"), FAMILIES, ids=[f[0] for f in FAMILIES])
def test_the_reasoning_configuration_is_what_the_models_files_say(
    tmp_path: Path, name: str, tokens: tuple[str, ...], template: str, markers: Markers | None, counted: bool
) -> None:
    launch = planned(str(folder(tmp_path, name, tokens, template)))
    assert launch.markers == markers
    wanted = {"reasoning_start_str": markers.start, "reasoning_end_str": markers.end} if markers and counted else None
    assert configured(launch) == wanted
    assert bool(launch.notes) == (not counted)
    assert all("no thinking budget can be applied" in note for note in launch.notes)


@pytest.mark.parametrize(
    ("model", "markers"),
    [
        ("mistralai/Magistral-Small-2509", MAGISTRAL), ("google/gemma-4-31b-it", GEMMA), ("openai/gpt-oss-120b", HARMONY),
        ("simplescaling/s1.1-32B", S1), ("NovaSky-AI/Sky-T1-32B-Preview", SKY_T1), ("peakji/steiner-32b-preview", STEINER),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", THINK), ("Qwen/QwQ-32B", THINK), ("Qwen/Qwen3-8B", THINK),
        ("Qwen/Qwen2.5-7B-Instruct", None), ("Qwen/QwQ-32B-Preview", None), ("meta-llama/Llama-3.1-8B-Instruct", None),
        ("google/gemma-3-12b-it", None), ("acme/assistant-7b", None),
    ],
)  # fmt: skip
def test_a_name_on_the_hub_promises_markers_or_none(model: str, markers: Markers | None) -> None:
    launch = planned(model)
    assert launch.markers == markers
    assert (configured(launch) is None) == (markers in (None, SKY_T1))
    assert bool(launch.notes) == (configured(launch) is None)
    if markers is None:
        assert "is not known before its tokenizer is here" in launch.notes[0]


def test_mistrals_own_tokenizer_reads_no_marker_in_a_text(tmp_path: Path) -> None:
    made = folder(tmp_path, "Magistral-Small-2507", ("[THINK]", "[/THINK]"), "[INST]")
    (made / "tekken.json").write_text("{}")
    launch = planned(str(made))
    assert (launch.markers, configured(launch)) == (MAGISTRAL, None)
    assert "Mistral's own tokenizer" in launch.notes[0]


def test_what_cannot_be_applied_is_said_when_a_server_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "find_python", lambda given=None: ("python", False))
    made = folder(tmp_path, "Qwen2.5-7B-Instruct", QWEN, CHATML)
    answer = CliRunner().invoke(app, ["serve", str(made), "--dry-run"])
    assert "does not mark its thinking, so no thinking budget can be applied" in answer.output
    assert "--reasoning-config" not in answer.output


def test_markers_are_those_that_the_formats_read() -> None:
    """core/control must not import core/formats, so they are written down twice."""
    pairs: list[tuple[Markers, Envelope]] = [
        (MAGISTRAL, magistral.ENVELOPE), (GEMMA, gemma.ENVELOPE), (THINK, think.ENVELOPE), (KIMI, think.ENVELOPE),
        (SKY_T1, sky_t1.ENVELOPE), (S1, s1.ENVELOPE),
    ]  # fmt: skip
    for markers, envelope in pairs:
        assert markers.before.startswith(envelope.opens), markers
        assert markers.end in envelope.closes, markers
    assert HARMONY.start == f"{harmony.CHANNEL}analysis{harmony.MESSAGE}"
    assert HARMONY.end == f"{harmony.END}{harmony.START}assistant{harmony.CHANNEL}final{harmony.MESSAGE}"


def look(script: Script, model: str) -> ServerInfo:
    async def work(url: str) -> ServerInfo:
        engine = OpenAIEngine(url, model)
        try:
            return await engine.look()
        finally:
            await engine.close()

    script.models = (model,)
    with fake_server(script) as url:
        return asyncio.run(work(url))


@pytest.mark.parametrize(("name", "tokens", "template", "markers", "counted"), FAMILIES, ids=[f[0] for f in FAMILIES])
def test_a_vllm_server_is_asked_for_its_models_markers(
    name: str, tokens: tuple[str, ...], template: str, markers: Markers | None, counted: bool
) -> None:
    def tokenize(body: dict[str, Any]) -> dict[str, Any]:
        if "messages" in body:
            return {"tokens": [1, 2, 3]}
        return {"tokens": [1], "token_strs": ["pieces", *(t for t in tokens if t in body["prompt"])]}

    def complete(body: dict[str, Any]) -> dict[str, Any]:
        refused = body.get("thinking_token_budget") and not counted
        return {"error": {"message": "reasoning_config is not configured"}} if refused else {"choices": [{"text": "a"}]}

    script = Script(
        owned_by="vllm",
        replies={"/tokenize": tokenize, "/detokenize": {"prompt": template}, "/v1/completions": complete},
    )
    info = look(script, name)
    assert (info.markers, info.budget) == (markers, counted)


def test_a_text_in_think_tags_is_put_into_the_models_own_markers() -> None:
    assert thinking.in_marks("<think>So.</think>Yes.", MAGISTRAL) == "[THINK]So.[/THINK]Yes."
    assert thinking.in_marks("<think>\nSo.", GEMMA) == "<|channel>thought\nSo."
    assert thinking.in_marks("<think>So.</think>Yes.", HARMONY) == f"{HARMONY.start}So.{HARMONY.end}Yes."
    for left in ("<think>So.", "plain", "[THINK]So."):
        assert thinking.in_marks(left, THINK) == thinking.in_marks(left, None) == left
