"""`worldline search`: a tree in the terminal, a JSON line for scripts, and sentences for what cannot be."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.cli import app
from core.trace import Trace
from storage.store import Store

GAME = "Reach 24 from 4, 7, 8 and 8."


def search(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["search", *arguments])


def test_a_search_as_a_json_line_and_its_trace_kept(tmp_path: Path) -> None:
    result = search(
        GAME, "--strategy", "best-of-n", "--set", "n=3", "--set", "vote=majority", "--max-steps", "3", "--seed", "7",
        "--json", "--keep", "--data", str(tmp_path),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)
    assert row["params"] == {"n": 3, "vote": "majority", "early_stop": False, "wave": 4, "enough": 1.0}
    assert (row["seed"], row["reason"], row["model"]) == (7, "finished", "pocket")
    assert row["ledger"]["generated"] > 0 and row["ledger"]["solver_flops"] > 0
    trace = Trace.from_json(row["trace"])
    assert trace.stats["ledger"] == row["ledger"]
    with Store.open(tmp_path) as store:
        assert store.trace(trace.trace_id) == trace


def test_a_beam_is_a_tree_of_lines_and_ends_with_its_ledger(tmp_path: Path) -> None:
    result = search(
        GAME, "--set", "width=1", "--set", "branch=2", "--set", "max_depth=2", "--max-steps", "3", "--seed", "7",
        "--scorer", "countdown-oracle", "--data", str(tmp_path),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("   1 ") and "Try" in lines[0] and "<|" not in result.stdout
    assert any(line[10:12] == "  " for line in lines)  # a step below another
    assert "by the scorer; charged" in lines[-2]
    assert lines[-1].startswith("FLOPs: solver ")
    assert list(tmp_path.iterdir()) == []  # nothing was asked to be kept


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--strategy", "magic"), 'there is no strategy "magic"'),
        (("--set", "width"), "--set width is not name=value"),
        (("--set", "width=0"), '"width" is 0; it must lie between'),
        (("--set", "widht=2"), 'beam has no parameter "widht"'),
        ((), "name what judges with --scorer"),
        (("--scorer", "nobody"), 'there is no scorer "nobody"'),
        (("--scorer", "judge"), 'scorer judge: "model" is missing'),
        (("--scorer", "judge model=pocket"), "plays the numbers game only; name a model that can write critiques"),
        (("--scorer", "served-prm endpoint=http://127.0.0.1:9/v1 model=prm"), "prm is neither the id of a finished job nor"),
        (("--scorer", "tests"), "this problem has none"),
        (("--scorer", "reward-model"), "No reward model is in use"),
        (("--scorer", "countdown-oracle", "--aggregation", "sum"), "--aggregation is sum"),
        (("--scorer", "countdown-oracle", "--budget-tokens", "0"), "the budget of tokens is 0"),
        (("--scorer", "countdown-oracle", "--model", "nowhere"), "nowhere is not a model folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_a_sentence(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    result = search(GAME, *arguments, "--data", str(tmp_path))
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here: tests/serving runs it")
def test_a_model_for_vllm_without_vllm_is_a_sentence(tmp_path: Path) -> None:
    result = search(GAME, "--scorer", "countdown-oracle", "--model", "vllm:pocket", "--data", str(tmp_path))
    assert result.exit_code == 1
    assert "vLLM is not installed in this environment" in result.stderr
    assert "Traceback" not in result.output
