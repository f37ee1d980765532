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
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("[data-notice=left]")
        # The next pair has one of the two again: the names wait until the rater looks back (`p`, below).
        assert "is of the same question" in page.inner_text("[data-notice=left]")
        assert "claude-3" not in page.inner_text("[data-wl-page]")
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


@pytest.mark.slow
def test_undo_goes_past_a_reload_and_past_a_submission_and_what_was_done_is_counted(open_tab: Any, bench: Any) -> None:
    question = "Reach 11 from 2, 3 and 4, three times."
    rows = [{**_row(f"m{n}", "Look", f"Try {n}"), "prompt": question} for n in range(3)]
    ids = bench.post("/api/traces", rows)["trace_ids"]
    queue = bench.post("/api/queues", {"title": "To and fro", "unit": "pair"})["queue_id"]
    bench.post("/api/pairs", {"policy": "by_hand", "queue_id": queue, "pairs": [ids[:2]]})
    page = open_tab(f"/ui/compare?queue={queue}").page
    page.wait_for_selector("#wl-compare-b .wl-row.difference")
    first = page.url.split("assignment=")[1].split("&")[0]

    def now() -> dict[str, Any]:
        page.wait_for_function("document.querySelector('[data-id=save-state]').textContent === '✓ All saved'")
        found = bench.get(f"/api/pairs/assignments/{first}")
        return {r["dimension"]: abs(r["value"]) for r in found["ratings"]}

    def status() -> str:
        return str(bench.get(f"/api/pairs/assignments/{first}")["assignment"]["status"])

    page.keyboard.press("1")
    page.keyboard.press("3")
    assert now() == {"preference": 1}
    visit(page, page.url)
    page.wait_for_selector("#wl-compare-b .wl-row.difference")
    page.keyboard.press("z")
    page.wait_for_selector("[data-id=whole] [data-choice='-3'][aria-checked=true]")
    assert now() == {"preference": 3}
    page.keyboard.press("z")
    page.wait_for_selector("[data-id=whole] [aria-checked=true]", state="detached")
    assert now() == {}
    page.keyboard.press("Z")
    page.keyboard.press("Z")
    page.wait_for_selector("[data-id=whole] [data-choice='-1'][aria-checked=true]")
    assert now() == {"preference": 1}

    # The only pair: nothing is on screen after it. Taken back there, submitted again by redo.
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("[data-notice=left]")
    assert status() == "submitted"
    page.click("[data-id=empty] >> text=Take the last one back")
    page.wait_for_selector("[data-notice=left] >> text=taken back")
    assert status() == "leased"
    page.focus("#wl-compare-a")
    page.keyboard.press("Z")
    page.wait_for_selector("[data-notice=left] >> text=Submitted and saved")
    assert status() == "submitted"

    # Another came: from there the last one is taken back by a key, as long as nothing was judged in it.
    bench.post("/api/pairs", {"policy": "by_hand", "queue_id": queue, "pairs": [ids[1:]]})
    page.click("[data-id=empty] >> text=Look again")
    page.wait_for_selector("#wl-compare-b .wl-row.difference")
    page.wait_for_selector("[data-id=pace] >> text=1 of 2 submitted · 1 today · about")
    page.keyboard.press("z")
    page.wait_for_url(f"**assignment={first}*")
    page.wait_for_selector("[data-notice=left] >> text=taken back")
    assert status() == "leased"
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("[data-notice=left] >> text=Submitted and saved")

    # What was compared last leads back to it, and there a key takes the submission back.
    page.keyboard.press("h")
    page.click(f"[data-id=panel] a[href*='{first}']")
    page.wait_for_selector("[data-notice=readonly] >> text=You have submitted")
    page.focus("#wl-compare-a")
    page.keyboard.press("z")
    page.wait_for_selector("[data-notice=left] >> text=taken back")
    assert status() == "leased"


@pytest.mark.slow
def test_a_pair_is_left_with_a_reason_and_a_remark(open_tab: Any, bench: Any) -> None:
    question = "Reach 12 from 2, 3 and 4: whatever that is."
    ids = bench.post("/api/traces", [{**_row(f"m{n}", "Look", f"Try {n}"), "prompt": question} for n in range(2)])[
        "trace_ids"
    ]
    queue = bench.post("/api/queues", {"title": "Left", "unit": "pair"})["queue_id"]
    bench.post("/api/pairs", {"policy": "by_hand", "queue_id": queue, "pairs": [ids]})
    page = open_tab(f"/ui/compare?queue={queue}").page
    page.wait_for_selector("#wl-compare-b .wl-row.difference")
    assignment = page.url.split("assignment=")[1].split("&")[0]
    page.keyboard.press("x")
    page.wait_for_selector("dialog.exit-sheet")
    for _ in range(3):  # to "bad problem"
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.type(f"Twelve of what? {HOSTILE}")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-notice=left] >> text=Left: bad problem")
    found = bench.get(f"/api/pairs/assignments/{assignment}")
    assert (found["assignment"]["status"], found["assignment"]["status_reason"]) == ("skipped", "bad_problem")
    assert {r["dimension"]: r["value_text"] for r in found["ratings"]}["note"] == f"Twelve of what? {HOSTILE}"


@pytest.mark.slow
def test_a_pair_that_is_opened_by_its_address_has_the_choice_of_queues(open_tab: Any, bench: Any) -> None:
    question = "Reach 12 from 2, 3 and 4, by its address."
    rows = [{**_row(f"m{n}", "Look", f"Try {n}"), "prompt": question} for n in range(2)]
    ids = bench.post("/api/traces", rows)["trace_ids"]
    for title in ("Pairs beside it", "Pairs by address"):
        queue = bench.post("/api/queues", {"title": title, "unit": "pair"})["queue_id"]
        bench.post("/api/pairs", {"policy": "by_hand", "pairs": [ids], "queue_id": queue})
    taken = bench.post("/api/pairs/next", {"rater": "walker", "queue_id": queue})["assignment"]["assignment_id"]
    tab = open_tab()
    tab.context.add_init_script("localStorage.setItem('worldline.rater', 'walker')")
    visit(tab.page, f"{bench.url}/ui/compare?assignment={taken}")
    tab.page.wait_for_selector("#wl-compare-b .wl-row.difference")
    assert tab.page.locator("[data-id=queue] option:checked").inner_text().startswith("Pairs by address")
    assert tab.page.is_visible("[data-id=queue-pick]")
