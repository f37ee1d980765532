"""Re-cutting steps on the Rate page: by keyboard, by mouse, undone, kept over a reload, all the way into an export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import visit
from tests.browser.test_rating import LIST, left, open_trace, settled, values

PARTS = (
    "Step 1: Let me list the primes 😀 below 20: **2, 3, 5, 7, 11, 13, 17, 19**. I count them: $4 + 4 = 8$ primes.",
    "\n\nStep 2: I should check 15 as well. It is 3 times 5. So it is no prime. The list stands.",
    "\n\nStep 3: And 19 is a prime, because nothing up to 4 divides it.",
    "\n\nStep 4: So the answer is 8.",
)
RESPONSE = "<think>" + "".join(PARTS) + "</think>There are **8** of them."


def row(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "response": RESPONSE}


def said(bench: Any, assignment: str, dimension: str) -> dict[int, Any]:
    ratings = bench.get(f"/api/assignments/{assignment}")["ratings"]
    return {r["step_idx"]: r["value_text"] or r["value"] for r in ratings if r["dimension"] == dimension}


def select(page: Any, step: int) -> None:
    page.click(f"{LIST} .wl-row[data-row='{step}'] .name")


@pytest.mark.slow
def test_cut_by_keyboard_undo_redo_and_a_reload(open_tab: Any, bench: Any) -> None:
    tab, _, assignment = open_trace(bench, open_tab, row("How many primes are below 20?"))
    page = tab.page
    page.keyboard.press("s")
    page.wait_for_selector(f"{LIST} .cut-box")
    assert page.evaluate("document.activeElement.className") == "cut-box"
    # The caret stands where the second sentence begins; a sentence on, a word on, and a character back.
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    settled(page)
    cuts = said(bench, assignment, "cuts")[0]
    first = int(cuts)
    assert RESPONSE[first:].startswith("I count them")
    page.keyboard.press("Control+ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    settled(page)
    assert said(bench, assignment, "cuts") == {0: f"{first} {first + 2}"}, "offsets are code points: an emoji is one"
    assert page.locator(f"{LIST} .cut-line").count() == 2
    # Rating keys rest in the text that is being cut; undo and redo do not.
    page.keyboard.press("3")
    page.keyboard.press("z")
    settled(page)
    assert said(bench, assignment, "cuts") == {0: str(first)}
    page.keyboard.press("Shift+Z")
    settled(page)
    assert said(bench, assignment, "cuts") == {0: f"{first} {first + 2}"}
    page.keyboard.press("Enter")  # at a cut: take it back
    settled(page)
    assert said(bench, assignment, "cuts") == {0: str(first)}
    assert values(bench, assignment) == {}
    page.keyboard.press("Escape")
    page.wait_for_selector(f"{LIST} .cut-box", state="detached")
    assert page.evaluate("document.activeElement.id") == "wl-rate-list"
    visit(page, page.url)
    page.wait_for_selector(f"{LIST} .wl-row[data-row='1'] .cut-line")
    assert "part 2 of 2" in page.inner_text(f"{LIST} .cut-line")
    assert page.locator(f"{LIST} .wl-row .num").all_inner_texts() == ["Q", "1", "2", "3", "4"], (
        "steps keep their numbers"
    )
    page.click(f"{LIST} button[data-mend=none]")
    settled(page)
    assert said(bench, assignment, "cuts") == {}
    page.keyboard.press("z")
    settled(page)
    assert said(bench, assignment, "cuts") == {0: str(first)}


def click_before(page: Any, word: str) -> None:
    """Click on the first letter of a word in the text that is being cut."""
    where = page.evaluate(
        """(word) => {
          for (const piece of document.querySelectorAll('.cut-text')) {
            const at = piece.textContent.indexOf(word);
            if (at < 0) continue;
            const range = document.createRange();
            range.setStart(piece.firstChild, at);
            range.setEnd(piece.firstChild, at + 1);
            const box = range.getBoundingClientRect();
            return [box.left + box.width * 0.8, box.top + box.height / 2];
          }
        }""",
        word,
    )
    page.mouse.click(*where)


def test_cut_by_mouse_join_by_key_and_export(open_tab: Any, bench: Any, screenshots: Path) -> None:
    tab, trace_id, assignment = open_trace(bench, open_tab, row("How many primes are there below 20?"))
    page = tab.page
    select(page, 2)
    page.click(f"{LIST} [data-recut=cut]")
    click_before(page, "So it")
    page.wait_for_selector(f"{LIST} .cut-line")
    click_before(page, "The list")
    settled(page)
    second = RESPONSE.index("So it"), RESPONSE.index("The list")
    assert said(bench, assignment, "cuts") == {1: f"{second[0]} {second[1]}"}
    page.screenshot(path=screenshots / "rate-cutting.png")
    page.click(f"{LIST} .cut-line >> nth=1 >> button")
    settled(page)
    assert said(bench, assignment, "cuts") == {1: str(second[0])}
    page.keyboard.press("Escape")
    for key in ("j", "J", "k"):
        page.keyboard.press(key)
    settled(page)
    assert said(bench, assignment, "joined") == {2: 1.0}
    assert "joined with step 2" in page.inner_text(f"{LIST} .wl-row[data-row='3'] .join-mark")
    page.screenshot(path=screenshots / "rate-recut.png")
    for key in "g33":
        page.keyboard.press(key)
    for _ in range(2):
        page.keyboard.press("Control+Enter")
    left(page, assignment)
    snapshot = bench.post("/api/snapshots", {"spec": {"trace_ids": [trace_id]}})
    where = f"/api/snapshots/{snapshot['snapshot_id']}/exports"
    shown = bench.post(f"{where}/preview", {"format": "stepwise"})
    assert any("2 steps in 1 rated traces were re-cut" in w for w in shown["warnings"])
    report = bench.post(where, {"format": "tree"})
    (tree,) = [json.loads(line) for line in (Path(report["folder"]) / "data.jsonl").read_text().splitlines()]
    steps = bench.get(f"/api/traces/{trace_id}")["steps"]
    assert tree["steps"] == [RESPONSE[s["start"] : s["end"]] for s in steps]
    assert len(tree["mended_steps"]) == len(steps)
    assert tree["mended_steps"][2].startswith("So it is no prime")
    assert tree["mended_steps"][2].rstrip().endswith("divides it."), "a cut and the step after: one piece"
    assert "".join(tree["mended_steps"]) == "".join(tree["steps"])


def test_the_first_step_cannot_be_joined_and_a_cut_outside_is_refused(open_tab: Any, bench: Any) -> None:
    tab, _, assignment = open_trace(bench, open_tab, row("How many primes are below twenty?"))
    page = tab.page
    page.keyboard.press("J")
    page.wait_for_function("document.getElementById('wl-live')?.textContent.includes('no step before')")
    page.keyboard.press("s")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.wait_for_function("document.getElementById('wl-live')?.textContent.includes('inside the step')")
    assert page.locator(f"{LIST} .cut-line").count() == 0
    assert said(bench, assignment, "cuts") == {}


def test_texts_are_rendered_and_raw_as_the_reader_wants(open_tab: Any, bench: Any, screenshots: Path) -> None:
    hostile = '<img src=x onerror="window.__xss=1"> [x](javascript:alert(1)) $\\href{javascript:alert(1)}{x}$'
    response = RESPONSE.replace("The list stands.", f"The list stands. {hostile}")
    trace = {"prompt": "How many primes $p < 20$ are there?", "response": response}
    tab, _, assignment = open_trace(bench, open_tab, trace)
    page = tab.page
    page.wait_for_selector(f"{LIST} .wl-row[data-row='1'] .katex")
    assert page.locator(f"{LIST} .wl-row[data-row='1'] strong").inner_text() == "2, 3, 5, 7, 11, 13, 17, 19"
    page.wait_for_selector("[data-id=prompt] .katex")
    assert page.locator("[data-id=answer] strong").inner_text() == "8"
    page.keyboard.press("3")  # a row that is built anew keeps what was rendered
    assert page.locator(f"{LIST} .wl-row[data-row='1'] .katex").count() == 1
    assert page.locator(f"{LIST} a, {LIST} img").count() == 0
    assert 'onerror="window.__xss=1"' in page.inner_text(f"{LIST} .wl-row[data-row='2'] .wl-fields")
    assert page.evaluate("window.__xss") is None
    page.screenshot(path=screenshots / "rate-rendered.png")
    page.keyboard.press("m")
    page.wait_for_selector(f"{LIST} .katex", state="detached")
    assert "$4 + 4 = 8$" in page.inner_text(f"{LIST} .wl-row[data-row='1'] .wl-fields")
    assert "$p < 20$" in page.inner_text("[data-id=prompt]")
    page.click("[data-id=raw] >> text=Rendered")
    page.wait_for_selector(f"{LIST} .wl-row[data-row='1'] .katex")
    settled(page)
    assert values(bench, assignment) == {0: 1.0}
