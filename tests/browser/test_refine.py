"""Refining a tree on the Solve page: start, progress, stop, the switch, the marks; and nothing of it where traces are rated."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Bench, visit, workbench
from tests.core.served import Script, serving

LIST = "#wl-solve-list"
TEXT = (
    "<think>We need x with x^2 - 5x + 6 = 0.\n\n"
    + "\n\n".join(f"Let me try x = {i}. Then x^2 is {i * i} and 5x is {5 * i}, so the left side is {i * i - 5 * i + 6}." for i in range(20))
    + "\n\nSo the roots are 2 and 3.</think>The roots are 2 and 3."
)  # fmt: skip


def answer(body: dict[str, Any]) -> str:
    """A model that follows the schema: a chain of derivations, but that step 5 turns back to step 2."""
    steps = body["response_format"]["json_schema"]["schema"]["properties"]["steps"]["items"]["anyOf"]
    numbers = steps[0]["properties"]["step"]
    rows: list[dict[str, Any]] = []
    for number in range(numbers["minimum"], numbers["maximum"] + 1):
        row: dict[str, Any] = {"step": number, "kind": "derive", "parent": number - 1, "backtrack": None}
        if number == 5:
            row |= {"kind": "backtrack", "parent": 2, "backtrack": {"resumes": 2, "replaces": 3}}
        rows.append(row)
    return json.dumps({"steps": rows})


class Slowly:
    """Answers a window whenever it is let."""

    def __init__(self) -> None:
        self.turns = threading.Semaphore(0)

    def __call__(self, body: dict[str, Any]) -> str:
        self.turns.acquire(timeout=60)
        return answer(body)


@pytest.fixture(scope="module")
def labeller() -> Iterator[tuple[str, Script]]:
    script = Script(answer=answer, models=("<b>Qwen</b>",))
    with serving(script) as url:
        yield url, script


@pytest.fixture(scope="module")
def bench(labeller: tuple[str, Script], chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A workbench beside a server, in place of the one that the other tests share."""
    with workbench(tmp_path_factory.mktemp("connected"), "--endpoint", labeller[0]) as running:
        yield running


@pytest.mark.slow
def test_a_tree_is_refined_switched_and_marked_and_a_reload_shows_the_same(
    open_tab: Callable[..., Any], bench: Bench, labeller: tuple[str, Script], screenshots: Path
) -> None:
    script, slowly = labeller[1], Slowly()
    script.answer = slowly
    (trace_id,) = bench.post("/api/traces", {"prompt": "Find the roots.", "response": TEXT})["trace_ids"]
    inferred = bench.get(f"/api/traces/{trace_id}")
    tab = open_tab(f"/ui/?trace={trace_id}&step=5")
    page = tab.page
    jumps = page.locator("[data-id=overview] .jump")
    page.wait_for_selector("[data-id=overview] .box")
    before = jumps.count()

    page.click(".refine button:has-text('Refine the tree with <b>Qwen</b>')")
    page.wait_for_selector(".refine progress")
    assert f"0 of {len(inferred['steps'])}" in page.inner_text(".refine")
    slowly.turns.release()
    page.wait_for_selector(".refine progress[value='16']")
    visit(page, page.url)  # the work belongs to the server
    page.wait_for_selector(".refine progress[value='16']")
    slowly.turns.release()
    page.wait_for_selector(".refine .tree select")
    assert (
        page.locator(".wl-chip.refined").count() == 0
    )  # begun on a page that is gone: nothing changes under the reader

    (refined,) = bench.get(f"/api/traces/{trace_id}/refinements")
    page.select_option(".refine .tree select", refined["refinement_id"])
    row = page.locator(f"{LIST} .wl-row[data-row='5']")
    row.locator(".wl-chip.refined").wait_for()
    assert row.locator(".wl-chip.refined").inner_text() == "≠ now a turn"
    assert row.locator(".wl-chip.back").inner_text() == "↩ 2"
    page.wait_for_function(f"document.querySelectorAll('[data-id=overview] .jump').length > {before}")
    detail = page.inner_text("[data-id=detail]")
    assert "kind: verify → backtrack" in detail or "kind: plan → backtrack" in detail, detail
    assert "follows step 4 → turns back to step 2" in detail
    assert "by <b>Qwen</b>" in detail
    changed = [c["index"] for c in refined["changes"] if c["fields"]]
    assert page.locator(f"{LIST} .wl-chip.refined").count() == len(changed)
    page.screenshot(path=str(screenshots / "refined.png"))
    page.keyboard.press("Escape")
    page.click("button:has-text('Fold runs')")
    folded = page.locator(f"{LIST} .wl-row.folded")
    folded.first.wait_for()
    first, last = int(folded.last.get_attribute("data-row")) - 1, int(folded.last.get_attribute("data-last"))
    inside = len([index for index in changed if first <= index <= last])
    assert inside and folded.last.locator(".wl-chip.refined").inner_text() == f"≠ {inside}"
    page.click("button:has-text('Fold runs')")

    visit(page, page.url)
    row.locator(".wl-chip.refined").wait_for()
    page.select_option(".refine .tree select", "")
    page.wait_for_function("!document.querySelector('.wl-chip.refined')")
    page.wait_for_function(f"document.querySelectorAll('[data-id=overview] .jump').length === {before}")
    assert "tree=" not in page.url
    assert bench.get(f"/api/traces/{trace_id}") == inferred

    visit(page, f"{bench.url}/ui/rate?trace={trace_id}")
    page.wait_for_selector(".wl-row[data-row='5']")
    assert page.locator(".wl-chip.refined, .refine").count() == 0
    assert page.locator(".wl-row[data-row='5'] .wl-chip.back").count() == 0


def test_stopping_and_failing_are_told(
    open_tab: Callable[..., Any], bench: Bench, labeller: tuple[str, Script]
) -> None:
    script, slowly = labeller[1], Slowly()
    script.answer = slowly
    (trace_id,) = bench.post("/api/traces", {"prompt": "Find the roots again.", "response": TEXT})["trace_ids"]
    page = open_tab(f"/ui/?trace={trace_id}").page
    page.click(".refine .offer button")
    slowly.turns.release()
    page.wait_for_selector(".refine progress[value='16']")
    page.click(".refine .work button:has-text('Stop')")
    page.wait_for_function("document.querySelector('.refine .tree select')?.textContent.includes('stopped early')")
    slowly.turns.release()

    script.answer = lambda body: "<img src=x onerror=alert(1)> I would rather not."
    page.click(".refine .offer button")
    page.wait_for_selector(".refine .problem")
    assert "its last answer begins: <img src=x onerror=alert(1)>" in page.inner_text(".refine .problem")


def test_without_a_model_that_can_it_is_said_how_to_get_one(
    open_tab: Callable[..., Any], bench: Bench, labeller: tuple[str, Script]
) -> None:
    (trace_id,) = bench.post("/api/traces", {"prompt": "Find them.", "response": TEXT})["trace_ids"]
    page = open_tab().page
    models = [{**m, "refines": False} for m in bench.get("/api/models")]
    page.route("**/api/models", lambda route: route.fulfill(json=models))
    visit(page, f"{bench.url}/ui/?trace={trace_id}")
    page.click(".refine summary")
    assert "The pocket model cannot" in page.inner_text(".refine")
    assert page.locator(".refine button").count() == 0
