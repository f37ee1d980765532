"""A question after a trace, and limits as sliders: by keyboard, on a wide and on a narrow screen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import visit
from tests.browser.traces import synthetic

LIST = "#wl-solve-list"
ENDED = "document.querySelector('[data-id=verdict]').textContent && !document.querySelector('[data-id=run]').hidden"
NEXT = "Reach 20 from 4, 5 and 1."


@pytest.fixture(scope="module")
def trace(bench: Any) -> dict[str, Any]:
    """A written search whose whole text fits twice into the pocket model."""
    row = min(synthetic(30, seed=8), key=lambda r: len(r["response"]))
    (trace_id,) = bench.post("/api/traces", row)["trace_ids"]
    return bench.get(f"/api/traces/{trace_id}")


@pytest.mark.slow
def test_asking_on_by_keyboard_shows_what_came_before_and_what_it_saved(
    open_tab: Any, bench: Any, trace: dict[str, Any], screenshots: Path
) -> None:
    page = open_tab(f"/ui/?trace={trace['trace_id']}").page
    page.wait_for_selector("[data-id=ask-on-button]")
    page.focus("[data-id=ask-on-button]")
    page.keyboard.press("Enter")
    page.keyboard.type(NEXT)
    page.keyboard.press("Escape")
    assert page.is_hidden("[data-id=ask-on]")
    assert page.evaluate("document.activeElement.dataset.id") == "ask-on-button"
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # the field has the focus and kept its text
    page.wait_for_function("document.querySelector('[data-id=earlier] .now')?.textContent.includes('2.')")
    page.wait_for_function("document.querySelector('[data-id=n-prompt]').textContent.includes('saved')", timeout=60_000)
    made = re.search(r"run=(\w+)", page.url)
    assert made
    bench.post(f"/api/runs/{made[1]}/stop")  # what this model makes of a second question is not worth waiting for
    page.wait_for_function(ENDED, timeout=30_000)
    stored = bench.get(f"/api/traces/{made[1]}")
    assert stored["earlier"] == {"trace_ids": [trace["trace_id"]], "given_as": "summaries"}
    assert stored["stats"]["saved_prompt_tokens"] > 0
    figures = f"{stored['stats']['prompt_tokens']:,}, {stored['stats']['saved_prompt_tokens']:,} saved"
    for reload in (False, True):
        if reload:
            visit(page, page.url)
            page.wait_for_function(ENDED)
        assert page.inner_text("[data-id=n-prompt]") == figures
        page.wait_for_selector("[data-id=earlier] li summary")
        assert trace["prompt"] in page.inner_text("[data-id=earlier] li summary")
        assert NEXT in page.inner_text("[data-id=earlier] .now")
        # The list holds the steps of this turn alone.
        names = page.locator(f"{LIST} .wl-row .name").all_inner_texts()
        assert len(names) == min(len(stored["steps"]), len(names)) and page.inner_text("[data-id=n-steps]") == str(
            len(stored["steps"])
        )
    page.click("[data-id=earlier] li summary")
    assert trace["answer"] in page.inner_text("[data-id=earlier] li .said")
    page.screenshot(path=screenshots / "solve-turns.png")
    page.click("[data-id=earlier] li a")
    page.wait_for_function(f"new URLSearchParams(location.search).get('trace') === '{trace['trace_id']}'")
    page.wait_for_function("document.querySelector('[data-id=earlier]').hidden")
    assert page.inner_text("[data-id=n-steps]") == str(len(trace["steps"]))


@pytest.mark.slow
def test_a_conversation_that_does_not_fit_is_said(open_tab: Any, bench: Any) -> None:
    row = max(synthetic(30, seed=8), key=lambda r: len(r["response"]))
    (first,) = bench.post("/api/traces", row)["trace_ids"]
    ids = [first]
    for i in range(12):  # as long a conversation as one could have, made by hand
        again = {**row, "trace_id": f"{first}{i:02}", "earlier": {"trace_ids": list(ids), "given_as": "full"}}
        ids += bench.post("/api/traces", {**bench.get(f"/api/traces/{first}"), **again})["trace_ids"]
    page = open_tab(f"/ui/?trace={ids[-1]}").page
    page.click("[data-id=ask-on-button]")
    page.fill("[data-id=ask-on] textarea", NEXT)
    page.select_option("[data-id=ask-on] select", "full")
    page.click("[data-id=ask-on] button[type=submit]")
    page.wait_for_selector("[data-notice=run]", timeout=180_000)
    said = page.inner_text("[data-notice=run]")
    assert "The question and the 13 before it have" in said and "Give the earlier turns as summaries only" in said


@pytest.mark.slow
@pytest.mark.parametrize("width", [1440, 420])
def test_limits_are_sliders_with_a_number_beside_each(open_tab: Any, width: int, screenshots: Path) -> None:
    page = open_tab("/ui/", width=width).page
    page.click("[data-id=controls] summary")

    def hand(name: str) -> Any:
        return page.get_by_label(f"{name}, slider")

    value = lambda name: page.input_value(f"[data-id={name}]")  # noqa: E731
    assert hand("Most steps").get_attribute("aria-valuetext") == "60 steps"
    hand("Most steps").focus()
    page.keyboard.press("ArrowLeft")
    assert (value("max_steps"), hand("Most steps").get_attribute("aria-valuetext")) == ("50", "50 steps")
    # The field takes any number; the slider goes to the nearest of its stops.
    page.fill("[data-id=max_steps]", "33")
    assert hand("Most steps").get_attribute("aria-valuetext") == "33 steps"
    page.keyboard.press("Tab")
    assert value("max_steps") == "33"
    # Least and most take each other along.
    hand("Least steps").focus()
    page.keyboard.press("End")
    assert (value("min_steps"), value("max_steps")) == ("200", "200")
    page.fill("[data-id=max_steps]", "5")
    page.keyboard.press("Tab")
    assert (value("min_steps"), value("max_steps")) == ("5", "5")
    # The budget ends in no limit: an empty field.
    assert (value("thinking_budget"), hand("Thinking budget, tokens").get_attribute("aria-valuetext")) == (
        "",
        "no limit",
    )
    hand("Thinking budget, tokens").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert value("thinking_budget") == "100"
    page.screenshot(path=screenshots / f"solve-sliders-{width}.png")
    visit(page, page.url)
    page.wait_for_function("document.querySelector('[data-id=max_steps]').value === '5'")
    assert hand("Thinking budget, tokens").get_attribute("aria-valuetext") == "100 tokens"
    page.click("[data-id=controls] summary")
    hand("Thinking budget, tokens").focus()
    page.keyboard.press("End")
    assert value("thinking_budget") == ""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
