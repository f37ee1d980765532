"""The floors of the house and its documents: who may import whom, what must stay light, what must be written down."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "core": set(),
    "storage": {"core"},
    "training": {"core", "storage"},
    "app": {"core", "storage", "training"},
}
HEAVY = {"torch", "transformers", "gradio", "polars", "pandas", "datasets", "accelerate", "openai", "pyvis"}
OURS = [p for floor in MAY_IMPORT for p in sorted((ROOT / floor).rglob("*.py"))]


def imported(path: Path, *, top_level_only: bool) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", OURS, ids=lambda p: str(p.relative_to(ROOT)))
def test_floors_are_kept_and_heavy_libraries_wait(path: Path) -> None:
    floor = path.relative_to(ROOT).parts[0]
    forbidden = set(MAY_IMPORT) - MAY_IMPORT[floor] - {floor}
    assert not imported(path, top_level_only=False) & forbidden
    if floor != "app":
        assert "gradio" not in imported(path, top_level_only=False)
    if "pages" not in path.parts:
        assert not imported(path, top_level_only=True) & HEAVY, "import it inside the function that needs it"


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['worldline', '--help']\ntry:\n import app.cli; app.cli.main()\nexcept SystemExit: pass\nprint(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "Example: worldline ask" in " ".join(done.stdout.split())
    loaded = {name.strip("'").split(".")[0] for name in done.stderr.strip("[]\n").split(", ")}
    assert not loaded & (HEAVY | {"duckdb", "fastapi", "numpy", "networkx"})


def commands() -> list[tuple[str, object]]:
    from app.cli import app

    def walk(name: str, command) -> list[tuple[str, object]]:
        below = getattr(command, "commands", {})
        return [(name, command), *(x for sub, c in below.items() for x in walk(f"{name} {sub}", c))]

    return walk("worldline", typer.main.get_command(app))


@pytest.mark.parametrize(("name", "command"), commands(), ids=[n for n, _ in commands()])
def test_every_command_is_documented_with_every_option_and_has_an_example(name: str, command) -> None:
    text = (ROOT / "docs/terminal.md").read_text()
    section = name if name.count(" ") < 2 else name.rsplit(" ", 1)[0]
    assert f"## `{section}`" in text
    body = text.split(f"## `{section}`")[1].split("\n## ")[0]
    for parameter in command.params:
        for option in parameter.opts:
            if option.startswith("--") and option not in ("--help", "--browser", "--data"):
                assert f"`{option}`" in body or f"`{option} " in body, f"{name} {option} is not in docs/terminal.md"
    if not getattr(command, "commands", None):
        assert "Example: worldline" in (command.help or ""), f"{name} --help has no example"


def test_every_recipe_field_is_documented() -> None:
    from training.kinds import KINDS
    from training.recipe import resolve_recipe

    text = (ROOT / "docs/training.md").read_text()
    for kind in KINDS:
        for field in resolve_recipe(kind, []).model_dump():
            assert f"`{field}`" in text, f"{kind}.{field} is not in docs/training.md"


def test_every_kind_of_job_has_a_page_with_a_picture_of_what_it_does() -> None:
    from training.kinds import KINDS

    for kind in KINDS:
        text = (ROOT / f"docs/{kind}.md").read_text()
        assert f"](images/{kind}.svg)" in text and f"worldline train {kind} " in text, kind


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_dependencies_have_ranges_that_admit_what_is_installed() -> None:
    from importlib import metadata

    from packaging.requirements import Requirement

    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        requirement = Requirement(line)
        assert requirement.specifier, f"{line} has no range"
        assert requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
