"""A hand on the wheel: go on from a step in another way, and see the other world lines in the list and in the overview."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import visit
from tests.browser.traces import synthetic

LIST = "#wl-solve-list"
ENDED = "document.querySelector('[data-id=verdict]').textContent && !document.querySelector('[data-id=run]').hidden"


@pytest.fixture(scope="module")
def trace(bench: Any) -> dict[str, Any]:
    """A written search of at least six steps. Its forks stop after eight, so that they end soon."""
    row = next(r for r in synthetic(30, seed=8) if r["response"].count("<|reasoning_step_end|>") >= 6)
    (trace_id,) = bench.post("/api/traces", {**row, "sampling": {"max_steps": 8}})["trace_ids"]
    return bench.get(f"/api/traces/{trace_id}")


@pytest.mark.slow
def test_four_continuations_of_one_step_are_counted_and_drawn(
    open_tab: Any, bench: Any, trace: dict[str, Any], screenshots: Path
) -> None:
    page = open_tab(f"/ui/?trace={trace['trace_id']}&step=2").page
    page.wait_for_selector(f"{LIST} .wl-row[data-row='2'].selected")
    own = page.locator("[data-id=overview] .box .strip").count()
    page.select_option("[data-id=wheel] select", "4")
    page.click("[data-id=wheel] button:has-text('Go on anew')")
    page.wait_for_selector("[data-id=wheel] .lines li:nth-child(4)")
    page.wait_for_function(
        "!document.querySelector('[data-id=wheel] .lines').textContent.includes('running')", timeout=120_000
    )
    family = bench.get(f"/api/traces/{trace['trace_id']}/family")
    solved = sum(line["solved"] is True for line in family[1:])
    told = page.inner_text("[data-id=wheel] .sum")
    assert "4 other world lines" in told
    assert (f"{solved} solved" in told) == (solved > 0)
    assert "4" in page.inner_text(f"{LIST} .wl-row[data-row='2'] .wl-chip.fork")
    page.wait_for_function("document.querySelectorAll('[data-id=overview] .strip.other').length > 0")
    assert page.locator("[data-id=overview] .box .strip:not(.other)").count() == own
    page.screenshot(path=screenshots / "solve-world-lines.png")
    # A box of another line opens that line, at that step.
    page.locator("[data-id=overview] .box.other").first.click()
    page.wait_for_function(
        "document.querySelector('[data-id=origin]').textContent.includes('went on anew after step 2')"
    )
    assert trace["trace_id"] not in page.url
    shared = page.locator(f"{LIST} .wl-row.shared .name").all_inner_texts()
    assert shared == [s["name"] for s in trace["steps"][:2]]


@pytest.mark.slow
def test_an_edited_step_is_gone_on_from(open_tab: Any, bench: Any, trace: dict[str, Any]) -> None:
    page = open_tab(f"/ui/?trace={trace['trace_id']}&step=1").page
    page.wait_for_selector(f"{LIST} .wl-row[data-row='1'].selected")
    page.click("[data-id=wheel] button:has-text('Edit')")
    areas = page.locator("[data-id=wheel] textarea")
    assert areas.nth(1).input_value() == trace["steps"][0]["thought"]
    areas.nth(1).fill("From here: <img src=x onerror=alert(1)> ${7*7}")
    page.click("[data-id=wheel] button:has-text('Go on from this edit')")
    page.wait_for_function("document.querySelector('[data-id=origin]').textContent.includes('step edited')")
    page.wait_for_function(ENDED, timeout=120_000)
    made = re.search(r"run=(\w+)", page.url)
    assert made
    stored = bench.get(f"/api/traces/{made[1]}")
    assert stored["steps"][0]["thought"] == "From here: <img src=x onerror=alert(1)> ${7*7}"
    page.click(f"{LIST} .wl-row[data-row='1']")
    assert "<img src=x onerror=alert(1)> ${7*7}" in page.inner_text("[data-id=detail]")


@pytest.mark.slow
def test_answer_now_ends_the_thinking_and_a_reload_shows_the_same(open_tab: Any, trace: dict[str, Any]) -> None:
    page = open_tab(f"/ui/?trace={trace['trace_id']}&step=2").page
    page.wait_for_selector(f"{LIST} .wl-row[data-row='2'].selected")
    page.select_option("[data-id=wheel] select", "1")
    page.click("[data-id=wheel] button:has-text('Answer now')")
    page.wait_for_function("document.querySelector('[data-id=origin]').textContent.includes('made to answer')")
    page.wait_for_function(ENDED, timeout=120_000)
    assert page.inner_text("[data-id=n-steps]") == "2"
    visit(page, page.url)
    page.wait_for_function(
        "document.querySelector('[data-id=origin]').textContent.includes('made to answer after step 2')"
    )
    assert page.inner_text("[data-id=n-steps]") == "2"
