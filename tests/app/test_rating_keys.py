"""The keys of the Rate page: each is in the docs for raters, and no two actions share one."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r'^  \["([\w-]+)", \[("[^\]]*)\], "', re.MULTILINE)


def table() -> list[tuple[str, list[str]]]:
    """(action, keys) of rate-keys.js and of the moves that every list of steps has."""
    own = (ROOT / "app/static/rate-keys.js").read_text(encoding="utf-8")
    moves = (ROOT / "app/static/keys.js").read_text(encoding="utf-8").split("export const MOVES")[1].split("];")[0]
    # A bracket as a key ends the list early for the pattern.
    rows = [(a, re.findall(r'"([^"]+)"', keys)) for a, keys in ROW.findall(own + moves)]
    rows += [("sibling-next", ["]"])]
    return rows


def test_every_key_is_in_the_docs_and_means_one_thing() -> None:
    rows = table()
    assert len(rows) >= 35
    keys = [key for _, of in rows for key in of] + ["1", "2", "3", "4"]
    assert sorted(keys) == sorted(set(keys)), "two actions share a key"
    section = (ROOT / "docs/rating.md").read_text(encoding="utf-8").split("## Keys")[1].split("## What is stored")[0]
    missing = [action for action, of in rows if f"`{of[0]}`" not in section and not of[0].startswith("Ctrl")]
    assert not missing, f"docs/rating.md does not say which key does {missing}"
