"""A hand on the wheel: go on from a step in another way, and see the other world lines in the list and in the overview."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from core.formats import steiner_tokens as t
from core.steer import STEINER_WAIT, TURN_BACK
from core.trace import problem_id_of
from tests.browser.conftest import visit
from tests.browser.traces import synthetic

LIST = "#wl-solve-list"
ENDED = "document.querySelector('[data-id=verdict]').textContent && !document.querySelector('[data-id=run]').hidden"


@pytest.fixture(scope="module")
def trace(bench: Any) -> dict[str, Any]:
    """A written search of at least six steps. Its forks stop after eight, so that they end soon."""
    row = next(r for r in synthetic(30, seed=8) if r["response"].count("<|reasoning_step_end|>") >= 6)
    (trace_id,) = bench.post("/api/traces", {**row, "model": "pocket", "sampling": {"max_steps": 8}})["trace_ids"]
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


def made_by(bench: Any, page: Any) -> dict[str, Any]:
    """The stored trace of the run on screen, when it has ended."""
    page.wait_for_function("location.search.includes('run=')")
    page.wait_for_function(ENDED, timeout=120_000)
    made = re.search(r"run=(\w+)", page.url)
    assert made
    return bench.get(f"/api/traces/{made[1]}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("button", "action", "told", "words"),
    [
        ("Turn back", "backtrack", "made to turn back after step 2", t.BACKTRACK),
        ("Wait", "wait", "told to wait after step 2", STEINER_WAIT),
    ],
)
def test_turn_back_and_wait_write_what_the_format_writes(
    open_tab: Any, bench: Any, trace: dict[str, Any], button: str, action: str, told: str, words: str
) -> None:
    page = open_tab(f"/ui/?trace={trace['trace_id']}&step=2").page
    page.wait_for_selector(f"{LIST} .wl-row[data-row='2'].selected")
    page.select_option("[data-id=wheel] select", "1")
    page.click(f"[data-id=wheel] button:text-is('{button}')")
    stored = made_by(bench, page)
    page.wait_for_selector(f"[data-id=origin] >> text={told}")
    assert stored["origin"]["action"] == action
    assert stored["response"].startswith(trace["response"][: trace["steps"][1]["end"]] + words)
    if action == "wait":
        assert stored["steps"][2]["thought"].startswith("Wait,")


THINKING = "<think>\nFirst I look at the numbers, which are four, and at the target, which is twenty-four in all.\n\nWait, eight over eight is one, so that leaves the four and the seven, which come to eleven.\n"


@pytest.mark.slow
@pytest.mark.parametrize(("button", "words"), [("Turn back", TURN_BACK), ("Wait", "Wait,")])
def test_turn_back_and_wait_in_free_text_are_words(open_tab: Any, bench: Any, button: str, words: str) -> None:
    row = {"prompt": "Reach 24 from 4, 7, 8 and 8.", "response": THINKING, "sampling": {"max_tokens": 12}}
    (trace_id,) = bench.post("/api/traces", row)["trace_ids"]
    page = open_tab(f"/ui/?trace={trace_id}&step=1").page
    page.wait_for_selector(f"{LIST} .wl-row[data-row='1'].selected")
    # The trace names no model that is here: the card says who writes on.
    page.wait_for_selector("[data-id=wheel] .with >> text=With pocket as set above")
    page.select_option("[data-id=wheel] select", "1")
    page.click(f"[data-id=wheel] button:text-is('{button}')")
    stored = made_by(bench, page)
    assert stored["format"] == "think"
    assert stored["response"][stored["origin"]["kept"] :].startswith(words)
    assert stored["steps"][1]["thought"].startswith(words.strip())


@pytest.mark.slow
def test_what_was_cut_off_can_be_continued(open_tab: Any, bench: Any, trace: dict[str, Any], screenshots: Path) -> None:
    page = open_tab(f"/ui/?trace={trace['trace_id']}").page
    page.wait_for_selector(f"{LIST} .wl-row[data-row='1'].selected")
    assert page.locator("[data-id=resume]").is_hidden(), "it ended by itself"
    cut = trace["response"][: trace["steps"][2]["start"] + 150]  # in the middle of a step
    row = {"prompt": trace["prompt"], "response": cut, "finish_reason": "length", "sampling": {"max_steps": 8}}
    (trace_id,) = bench.post("/api/traces", row)["trace_ids"]
    visit(page, page.url.replace(trace["trace_id"], trace_id))
    page.wait_for_selector("[data-id=resume]:visible")
    page.screenshot(path=screenshots / "solve-continue.png")
    page.click("[data-id=resume]")
    stored = made_by(bench, page)
    page.wait_for_selector("[data-id=origin] >> text=continued where the text ended of another world line")
    assert stored["response"].startswith(cut)
    assert len(stored["response"]) > len(cut)
    assert (stored["origin"]["action"], stored["origin"]["kept"]) == ("resume", len(cut))
    assert page.locator(f"{LIST} .wl-row.shared").count() == stored["origin"]["step"] + 1 == 2


@pytest.mark.slow
def test_a_limit_changed_by_hand_counts_for_a_fork_and_is_said(
    open_tab: Any, bench: Any, trace: dict[str, Any], screenshots: Path
) -> None:
    page = open_tab(f"/ui/?trace={trace['trace_id']}&step=2").page
    page.wait_for_selector(f"{LIST} .wl-row[data-row='2'].selected")
    assert page.input_value("[data-id=max_tokens]") == "3500"
    assert "Written as this trace was" in page.inner_text("[data-id=wheel] .with")
    page.click("[data-id=controls] summary")
    for name, value in (("max_tokens", "30"), ("temperature", "0.7"), ("thinking_budget", "")):
        page.fill(f"[data-id={name}]", value)
        page.dispatch_event(f"[data-id={name}]", "change")
    told = page.inner_text("[data-id=wheel] .with")
    assert "temperature 0.7, no thinking budget, at most 30 tokens" in told
    page.select_option("[data-id=wheel] select", "1")
    page.screenshot(path=screenshots / "solve-by-hand.png", full_page=True)
    page.click("[data-id=wheel] button:text-is('Go on anew')")
    sampling = made_by(bench, page)["sampling"]
    assert (sampling["max_tokens"], sampling["temperature"], sampling["max_steps"]) == (30, 0.7, 8)
    page.click("[data-id=wheel] button:text-is('All as it was')")
    assert "Written as this trace was" in page.inner_text("[data-id=wheel] .with")


@pytest.mark.slow
def test_most_tokens_and_a_format_by_name_reach_the_run(open_tab: Any, bench: Any) -> None:
    page = open_tab("/ui/").page
    page.wait_for_function("document.querySelector('[data-id=model]').value")
    page.click("[data-id=controls] summary")
    page.fill("[data-id=max_tokens]", "25")
    page.dispatch_event("[data-id=max_tokens]", "change")
    page.select_option("[data-id=format]", "plain")
    page.fill("[data-id=question]", "Reach 24 from 4, 7, 8 and 8.")
    page.click("[data-id=run]")
    stored = made_by(bench, page)
    assert (stored["sampling"]["max_tokens"], stored["finish_reason"]) == (25, "length")
    assert stored["format"] == stored["sampling"]["format"] == "plain"
    assert page.locator("[data-id=resume]").is_visible()


@pytest.mark.slow
def test_continuations_are_counted_by_their_answers_and_then_judged(
    open_tab: Any, bench: Any, screenshots: Path
) -> None:
    prompt = "What is 17 times 23, by way of the world lines?"
    thinking = "<think>\n17 times 20 is 340, and 17 times 3 is 51, which both are easy to see without any paper.\n"
    rows = [{"trace_id": "lines0", "prompt": prompt, "response": f"{thinking}</think>\n\nIt is \\boxed{{391}}."}]
    for i, answer in enumerate(("\\boxed{391}", "The answer is 391.", "\\boxed{381}", ""), 1):
        origin = {"root": "lines0", "trace_id": "lines0", "step": 0, "kept": len(thinking), "action": "continue"}
        response = f"{thinking}\nI add them with care.\n</think>\n\n{answer}"
        rows.append({"trace_id": f"lines{i}", "prompt": prompt, "response": response, "origin": origin})
    bench.post("/api/traces", rows)
    page = open_tab("/ui/?trace=lines0&step=1").page
    page.wait_for_selector("[data-id=wheel] .lines li:nth-child(4)")
    assert "4 other world lines: 391 ×2, 381 ×1, no answer ×1." in page.inner_text("[data-id=wheel] .sum")
    assert "Not checked" in page.inner_text("[data-id=verdict]")
    page.screenshot(path=screenshots / "solve-answers.png")
    bench.ask("PUT", f"/api/problems/{problem_id_of(prompt)}/reference", {"answer": "391"})
    visit(page, page.url)
    page.wait_for_selector("[data-id=wheel] .lines li:nth-child(4)")
    told = page.inner_text("[data-id=wheel] .sum")
    assert "4 other world lines: 2 solved, 2 not solved." in told
    assert "Value by resampling 0.50 of 4" in told
    assert "✓ Solved" in page.inner_text("[data-id=verdict]")


def test_the_ways_to_go_on_stay_in_sight_below_a_long_thought(open_tab: Any, bench: Any) -> None:
    thought = " ".join(f"We take the value {i} and add it to the sum of the row." for i in range(30))
    row = {"prompt": "A long thought", "response": f"<think>{thought}\n\nSo it is 3.</think>3"}
    (trace_id,) = bench.post("/api/traces", [row])["trace_ids"]
    page = open_tab(f"/ui/?trace={trace_id}&step=1").page
    page.wait_for_selector(".wheel-card .acts")
    bottom = "(e) => e.getBoundingClientRect().bottom"
    column = page.locator(".under")
    assert column.evaluate("(e) => e.scrollHeight > e.clientHeight")
    assert page.locator(".wheel-card .acts").evaluate(bottom) <= column.evaluate(bottom)
    page.click(".wheel-card button:has-text('Edit')")  # a form may be as high as the column: it scrolls
    assert page.locator(".wheel-card").evaluate("(e) => getComputedStyle(e).position") == "static"
