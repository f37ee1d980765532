"""The cards of the Data page that ask a frozen snapshot: the SQL console, and lineage in both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import visit
from tests.browser.test_rating import LIST, open_trace, settled
from tests.browser.traces import HOSTILE, long_one

RESULT = "[data-id=sql-result]"


@pytest.fixture
def rated(bench: Any, open_tab: Any) -> tuple[Any, str, str, str]:
    """A tab, and a trace that was rated in it, its assignment and the snapshot it was frozen into."""
    tab, trace_id, assignment = open_trace(bench, open_tab, {**long_one(4), "model": f"model {HOSTILE}"})
    page = tab.page
    for key in "3321":
        page.keyboard.press(key)
    settled(page)
    page.focus(LIST)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("[data-notice=submitted]")
    snapshot = bench.post("/api/snapshots", {"name": "asked in a test"})["snapshot_id"]
    return tab, trace_id, assignment, snapshot


@pytest.mark.slow
def test_a_query_by_keyboard_its_rows_its_refusals_and_its_file(
    rated: tuple[Any, str, str, str], bench: Any, tmp_path: Path
) -> None:
    tab, trace_id, _, snapshot = rated
    page = tab.page
    visit(page, f"{bench.url}/ui/data")
    page.click("[data-id=sql-card] summary")
    page.select_option("[data-id=sql-snapshot]", snapshot)
    page.fill("[data-id=sql-text]", f"select step, rating from steps where trace_id = '{trace_id}' order by 1")
    page.press("[data-id=sql-text]", "Control+Enter")
    page.wait_for_selector(f"{RESULT} tbody tr", timeout=60_000)
    rows = page.locator(f"{RESULT} tbody tr").all_inner_texts()
    assert [row.split()[1] for row in rows] == ["1", "1", "0", "-1"]
    assert "4 rows" in page.inner_text(f"{RESULT} p")
    # What a model wrote is text, in the table and in a spreadsheet.
    page.fill(
        "[data-id=sql-text]",
        f"select any_value(model) as who, '=1+1' as sum from ratings where trace_id = '{trace_id}'",
    )
    page.click("[data-id=sql-go]")
    page.wait_for_function(f"document.querySelector('{RESULT}').textContent.includes('onerror')", timeout=60_000)
    assert page.evaluate("window.__xss") is None
    with page.expect_download() as download:
        page.click(f"{RESULT} a[download]")
    download.value.save_as(tmp_path / "answer.csv")
    assert '"\'=1+1"' in (tmp_path / "answer.csv").read_text()
    # A file and a slip of the pen: each a sentence.
    for query, words in [("select * from read_text('/etc/passwd')", "file"), ("selec 1", "selec")]:
        page.fill("[data-id=sql-text]", query)
        page.press("[data-id=sql-text]", "Control+Enter")
        page.wait_for_function(
            f"document.querySelector('{RESULT} [role=alert]')?.textContent.toLowerCase().includes('{words}')",
            timeout=60_000,
        )
        said = page.inner_text(f"{RESULT} [role=alert]")
        assert "Traceback" not in said and "root:" not in said, said


@pytest.mark.slow
def test_lineage_is_walked_from_snapshot_to_rating_and_back(rated: tuple[Any, str, str, str], bench: Any) -> None:
    tab, _, assignment, snapshot = rated
    page = tab.page
    visit(page, f"{bench.url}/ui/data")
    page.click("[data-id=lineage-card] summary")
    page.fill("[data-id=lineage-id]", snapshot)
    page.press("[data-id=lineage-id]", "Enter")
    shown = "[data-id=lineage-result]"
    page.wait_for_selector(f"{shown} .thing")

    def follow(node_id: str) -> None:
        page.click(f"{shown} .node:has(small:text-matches('^{node_id}')) button")
        page.wait_for_function(f"document.querySelector('{shown} .thing small').textContent.startsWith('{node_id}')")

    follow(assignment)
    ratings = bench.get(f"/api/ratings/{assignment}/events")
    first = next(e["event_id"] for e in ratings if e["dimension"] == "correctness")
    follow(first)  # down to a single rating
    follow(assignment)  # and back up
    follow(snapshot)
    assert f"lineage={snapshot}" in page.url
    page.reload()  # the address keeps what is looked at
    page.wait_for_selector(f"{shown} .thing")
    page.fill("[data-id=lineage-id]", "no-such-thing")
    page.press("[data-id=lineage-id]", "Enter")
    page.wait_for_selector(f"{shown} [role=alert]")
    assert "no-such-thing" in page.inner_text(f"{shown} [role=alert]")
