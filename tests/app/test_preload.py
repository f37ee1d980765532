"""What travels with a page: its modules, all of them and only ours, and the stored trace that its address names."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest

from app.pages.shell import HEAD
from app.preload import PAGES, STATIC, links, modules

TRACE = "01m86z6t9bj5caf9yft5kq7ghq"


@pytest.mark.parametrize("page", sorted(set(PAGES.values())))
def test_every_module_that_a_page_imports_is_named(page: str) -> None:
    named = modules(page)
    assert {"boot.js", f"{page}.js"} <= set(named)
    for name in named:
        text = (STATIC / name).read_text()
        # Found another way than the module does it: every mention of a module of ours after `from`.
        assert set(re.findall(r'from "\./([^"]+)"', text)) <= set(named), name


def test_a_page_names_its_trace_and_only_a_real_id_gets_into_the_header() -> None:
    assert f"</api/traces/{TRACE}?lean=true>; rel=preload; as=fetch" in links("/ui/", f"trace={TRACE}&step=4")
    for query in (
        "",
        "trace=",
        f"run={TRACE}&trace={TRACE}",
        f"trace={quote(TRACE + '>; rel=stylesheet')}",
        "trace=../health",
    ):
        assert "/api/" not in links("/ui/", query), query
    assert "/api/" not in links("/ui/rate", f"trace={TRACE}")  # asks for an assignment, not for the trace
    assert links("/api/traces", f"trace={TRACE}") == links("/ui/unknown", "") == ""


def test_every_sheet_of_the_head_is_named_and_there() -> None:
    wanted = re.findall(r'rel="stylesheet" href="(/static/[^"]+)"', HEAD)
    assert re.findall(r"<([^>]+)>; rel=preload; as=style", links("/ui/", "")) == wanted
    for address in wanted:
        sheet = (STATIC / Path(address).name).read_text()
        assert "@import" not in sheet, "an imported sheet comes late: name it in SHEETS"


def test_the_request_is_the_one_that_the_page_makes() -> None:
    assert "get(`/api/traces/${encodeURIComponent(traceId)}?lean=true`)" in Path(STATIC / "solve.js").read_text()
