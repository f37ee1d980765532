"""Comparing in the browser: two raters see swapped sides, blind, and a vote counts for the trace it was given to."""

from __future__ import annotations

from typing import Any

import pytest

from core.formats import steiner_tokens as t
from tests.browser.conftest import visit
from tests.browser.traces import HOSTILE
from tests.storage.helpers import step_text

QUESTION = "Reach 10 from 2, 3 and 4, as two models tried it."


def _row(model: str, *steps: str) -> dict[str, Any]:
    body = t.PROCEED.join(step_text(name, f"{name} it is") for name in steps)
    return {"prompt": QUESTION, "response": f"{t.REASONING_START}{body}{t.REASONING_END}The end.", "model": model}


def _letters(page: Any) -> list[str]:
    """Which trace stands on which side, by the word that only one of them has."""
    return ["sum" if "the sum" in page.inner_text(f"[data-id=side-{i}]") else "product" for i in (0, 1)]


def _verdict(bench: Any, trace_id: str) -> dict[str, Any]:
    """Of the only pair that this trace is in."""
    lines = bench.get("/api/pairs")["pairs"]
    return next(p["verdict"] for p in lines if trace_id in (p["left_trace_id"], p["right_trace_id"]))


@pytest.mark.slow
def test_two_raters_with_swapped_sides(open_tab: Any, bench: Any) -> None:
    rows = [
        _row("deepseek/r1", "Look at the numbers", f"Try the sum {HOSTILE}", "I am DeepSeek-R1"),
        _row("claude-3", "Look at the numbers", f"Try the product {HOSTILE}"),
        _row("third", "Something else"),
    ]
    ids = bench.post("/api/traces", rows)["trace_ids"]
    for couple in (ids[:2], ids[1:]):  # one after the other: that is the order in which they come
        bench.post("/api/pairs", {"policy": "by_hand", "pairs": [couple]})
    tabs = {}
    for rater in ("anna", "ben"):
        tab = open_tab()
        tab.context.add_init_script(f"localStorage.setItem('worldline.rater', '{rater}')")
        visit(tab.page, f"{bench.url}/ui/compare")
        tab.page.wait_for_selector("#wl-compare-b .wl-row.difference")
        tabs[rater] = tab.page
    # Nobody is told whose they are; what they share is folded, and where they part is marked, on both sides.
    for page in tabs.values():
        shown = page.inner_text("[data-wl-page]").lower()
        assert "deepseek" not in shown
        assert "claude" not in shown
        assert "[model]" in shown
        assert page.locator(".wl-row[data-row='1']:visible").count() == 0
        assert page.locator(".wl-row.difference[data-row='2']").count() == 2
        marked = page.locator("mark.differs").all_inner_texts()
        assert sorted(marked) == ["product", "sum"]
    anna, ben = tabs["anna"], tabs["ben"]
    assert _letters(anna) == _letters(ben)[::-1]

    # By keys alone: changed, undone, refined, a criterion; both prefer what stands on their left.
    for page, key in ((anna, "a"), (ben, "1")):
        page.keyboard.press("7")
        page.keyboard.press("z")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("[data-notice=submit]")  # nothing is chosen: it says so, and stays
        page.keyboard.press(key)
        page.keyboard.press("v")
        page.keyboard.press("4")
        sides = _letters(page)
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("[data-notice=left]")
        named = {"sum": "deepseek/r1", "product": "claude-3"}
        assert f"A was {named[sides[0]]}, B was {named[sides[1]]}. 1 name had been hidden" in page.inner_text(
            "[data-notice=left]"
        )
    verdict = _verdict(bench, ids[0])
    assert (verdict["n_left"], verdict["n_right"], verdict["outcome"]) == (1, 1, "split")
    assert verdict["mean"] in (0.5, -0.5)  # −2 for one of them, 3 for the other
    assert verdict["criteria"] == {"correct": 0}
    assert bench.get("/api/pairs/position-bias")["p_left"] == 1

    # The next pair was fetched ahead and is there at once; the one before can be opened again and changed.
    page = anna
    assert "Something else" in page.inner_text("[data-id=columns]")
    page.keyboard.press("p")
    page.wait_for_selector("[data-notice=readonly]")
    assert "deepseek/r1" in page.inner_text("[data-id=columns]")
    page.click("text=Reopen to change")
    page.wait_for_selector("[data-notice=readonly]", state="detached")
    page.keyboard.press("0")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("[data-notice=left]")
    verdict = _verdict(bench, ids[0])
    assert (verdict["n_both_bad"], verdict["n_votes"], verdict["names_seen"]) == (1, 2, True)

    # Narrow: one column with a switch, and nothing beside the screen.
    ben.set_viewport_size({"width": 400, "height": 800})
    assert ben.locator("[data-id=side-1]").is_hidden()
    ben.click("[data-id=show-1]")
    assert ben.locator("[data-id=side-0]").is_hidden()
    assert ben.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert ben.evaluate("window.__xss === undefined")
