"""From made searches to a model by the commands that docs/synthesis.md gives: nothing that turns back is lost on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.engines.base import EngineError
from core.formats import steiner_tokens as t
from tests.training.evaluation.test_commands import run
from tests.training.rigged import RiggedEngine, trace_of
from tests.training.synthesis.test_dag import Strong

SMALL = ("epochs=1", "min_steps=1", "threads=1", "batch=4")


def settings(*words: str) -> list[str]:
    return [part for word in words for part in ("--set", word)]


def learned_whole(said: str, paths: int) -> bool:
    """What the job's log says of its rows: every path, none left out."""
    log = (Path(said.splitlines()[-1]).parent / "log.txt").read_text()
    return f"({paths:,} traces, 0 traces not chosen, 0 traces over max tokens)" in log


def test_made_searches_are_learned_whole(tmp_path: Path, tiny_base: Path) -> None:
    made = json.loads(
        run("synthesize", "countdown", tmp_path / "p.jsonl", "--dags", 12, "--paths", 3, "--workers", 1)[0]
    )
    texts = [json.loads(line)["response"] for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert made["backtracks"] == sum(text.count(t.BACKTRACK) for text in texts) > 20
    base = f"base={tiny_base}"
    said, _ = run(
        "train", "sft", "--data", tmp_path,
        *settings(base, f"traces={tmp_path / 'p.jsonl'}", "choose=all", "max_tokens=4000", *SMALL),
    )  # fmt: skip
    assert learned_whole(said, made["paths"])


def test_searches_labelled_by_the_oracle_are_learned_whole(tmp_path: Path, tiny_base: Path) -> None:
    made = json.loads(
        run("synthesize", "countdown", tmp_path / "p.jsonl", "--dags", 12, "--paths", 3, "--workers", 1)[0]
    )
    snapshot, _ = run("label", "oracle", tmp_path / "p.jsonl", "--data", tmp_path)
    said, _ = run(
        "train", "sft", "--snapshot", snapshot.strip(), "--data", tmp_path,
        *settings(f"base={tiny_base}", "choose=solved", "max_tokens=4000", *SMALL),
    )  # fmt: skip
    assert learned_whole(said, made["paths"])


def test_turns_back_are_written_as_they_come_within_the_limits(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import app.commands.synth as command

    class Failing(Strong):
        async def stream(self, request):  # type: ignore[no-untyped-def]
            if "unlucky" in request.prefix:
                raise EngineError("The server is gone.")
            async for chunk in super().stream(request):
                yield chunk

    monkeypatch.setattr(command, "an_engine", lambda *_: Failing())
    long = "way " * 5000
    right = [trace_of(x, "two", "three", answer="right", trace_id=x[:4]) for x in ("one", "unlucky", long, "four")]
    given, out = tmp_path / "right.jsonl", tmp_path / "back.jsonl"
    given.write_text("".join(json.dumps({**x.to_json(), "reference": "right"}) + "\n" for x in right))
    printed, said = run("synthesize", "turn-back", out, "--from", given, "--endpoint", "http://127.0.0.1:9/v1")
    made = json.loads(printed)
    assert made["left_out"] == {"the model could not be asked": 1, "too long": 1}
    assert (made["made"], made["counted_by"], made["lengths"]["dropped"]["reasoning"]) == (2, "characters / 4", 1)
    assert "The server is gone." in said
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["trace_id"] for row in written} == {"one-back", "four-back"}
    printed, _ = run(
        "train", "sft", "--data", tmp_path, *settings(f"base={tiny_base}", f"traces={out}", "choose=all", *SMALL)
    )
    assert learned_whole(printed, 2)
    given.write_text(json.dumps({**right[1].to_json(), "reference": "right"}) + "\n")
    assert "The server is gone." in run("synthesize", "turn-back", out, "--from", given, fails=True)[1]


def test_an_option_of_another_way_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    said = run("synthesize", "dag", out, "--from", out, "--endpoint", "http://127.0.0.1:9/v1", fails=True)[1]
    assert "--endpoint is for turn-back: dag asks no server" in said
    said = run("synthesize", "countdown", out, "--tokenizer", tmp_path, fails=True)[1]
    assert "countdown counts by the pocket model's tokenizer" in said


def test_rollouts_that_fail_lose_nothing_and_what_cannot_be_checked_is_said_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import app.commands.label as command

    class Failing(RiggedEngine):
        async def stream(self, request):  # type: ignore[no-untyped-def]
            if "unlucky" in request.prefix:
                raise EngineError("The server is gone.")
            async for chunk in super().stream(request):
                yield chunk

    engines: list[Failing] = []

    def engine(*_: object) -> Failing:
        engines.append(Failing(lambda k: 1.0))
        return engines[-1]

    monkeypatch.setattr(command, "an_engine", engine)
    given = tmp_path / "given.jsonl"
    rows = [
        {**trace_of(x, "two", answer="right", trace_id=x).to_json(), "reference": "right"}
        for x in ("one", "unlucky", "three")
    ]

    def label(fails: bool = False) -> tuple[str, str]:
        given.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return run("label", "rollouts", given, "--data", tmp_path, "--rollouts", 2, fails=fails)

    snapshot, said = label()
    assert "1 trace could not be labelled; the last because: The server is gone." in said
    manifest = json.loads((tmp_path / "snapshots" / snapshot.strip() / "manifest.json").read_text())
    assert (manifest["settings"]["could_not_be_asked"], manifest["counts"]["traces"]) == (1, 2)
    rows[2]["reference"] = 42  # a number is as good as its text
    assert "2 traces labelled" in label()[1]
    del rows[2]["reference"]
    before = len(engines)
    assert 'trace three has no "reference"' in label(fails=True)[1]
    assert not [e for e in engines[before:] if e.asked], "nothing was paid for"
