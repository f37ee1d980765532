"""docs/search.md is under test: its tables are the code's, and its template of a strategy is run as it stands there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from core.search import strategies
from core.search.ledger import Budget, Spent
from core.search.scheduler import Limits
from core.search.scorer_choice import SETTINGS
from core.search.verifiers import SCORERS

PAGE = (Path(__file__).parents[3] / "docs/search.md").read_text()

PROGRAM = "searches.py"


def said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{value}`" if isinstance(value, str) else f"{value:,}"


def table(name: str) -> str:
    """A strategy's parameters as the page has them."""
    lines = ["| parameter | default | takes | |", "|---|---|---|---|"]
    for f in fields(strategies.known(name)):  # type: ignore[arg-type]
        about = f.metadata
        if about["one_of"]:
            takes = ", ".join(f"`{v}`" for v in about["one_of"])
        elif isinstance(f.default, bool):
            takes = "yes, no"
        elif isinstance(f.default, str):
            takes = "text"
        else:
            takes = f"{about['least']:,} to {about['most']:,}"
        lines.append(f"| `{f.name}` | {said(f.default)} | {takes} | {about['help']} |")
    return "\n".join(lines)


@pytest.mark.parametrize("name", strategies.STRATEGIES)
def test_every_strategy_is_there_with_its_parameters(name: str) -> None:
    assert f"\n### `{name}`" in PAGE, f"docs/search.md has no section on {name}; its table is:\n{table(name)}"
    section = PAGE.split(f"\n### `{name}`")[1].split("\n### ")[0].split("\n## ")[0]
    assert table(name) in section, f"the table of {name} in docs/search.md should be:\n{table(name)}"
    needs = "Needs a scorer." in section
    assert needs == strategies.known(name).NEEDS_SCORER, f"{name}: whether it needs a scorer is not said as it is"


def test_every_scorer_is_there_with_what_it_is_told() -> None:
    for name in SCORERS:
        assert f"\n| `{name}` | " in PAGE, f"docs/search.md does not say what {name} judges and costs"
    for name, settings in SETTINGS.items():
        for f in fields(settings):
            default = "needed" if f.metadata["needed"] else said(f.default) if f.default else "none"
            takes = "text" if isinstance(f.default, str) else f"{f.metadata['least']:,} to {f.metadata['most']:,}"
            row = f"| `{name}` | `{f.name}` | {default} | {takes} | {f.metadata['help']} |"
            assert row in PAGE, f"docs/search.md should have: {row}"


def test_what_is_charged_and_limited_is_there() -> None:
    for kind in (Spent, Budget, Limits):
        for f in fields(kind):
            assert f"`{f.name}`" in PAGE, f"{kind.__name__}.{f.name} is not in docs/search.md"


def blocks() -> dict[str, str]:
    """The template's code by the file it says it is."""
    found = re.findall(r"\n    # (\S+\.py)\n(.*?)\n(?=\S)", PAGE, re.S)
    return {name: re.sub(r"^    ", "", body, flags=re.M) for name, body in found}


def test_the_program_of_ones_own_runs_as_it_stands_there(tmp_path: Path) -> None:
    (tmp_path / PROGRAM).write_text(blocks()[PROGRAM])
    ran = subprocess.run([sys.executable, str(tmp_path / PROGRAM)], capture_output=True, text=True, check=True)
    lines = ran.stdout.splitlines()
    assert len(lines) == 2
    assert all(line.endswith("tokens") and 0 < int(line.split()[-2]) <= 5000 for line in lines)


def test_the_template_of_a_strategy_works_as_it_stands_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = blocks()
    strategy, test = "core/search/strategies/until_good.py", "tests/core/search/test_until_good.py"
    line = "core/search/strategies/__init__.py"
    assert set(code) == {strategy, line, test, PROGRAM}
    (tmp_path / "until_good.py").write_text(code[strategy])
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(tmp_path)])
    monkeypatch.setattr(strategies, "STRATEGIES", strategies.STRATEGIES | ast.literal_eval(f"{{{code[line]}}}"))
    module = ModuleType("test_until_good")
    try:
        exec(compile(code[test], test, "exec"), module.__dict__)
        ran = [check() for name, check in list(vars(module).items()) if name.startswith("test_")]
    finally:
        sys.modules.pop("core.search.strategies.until_good", None)
    assert len(ran) == 2
