"""What a page owes to people who do not see it, use no mouse, have a small screen or a thumb: WCAG 2.2 AA where a machine can tell.

axe-core runs on every page of the navigation, so a new page is checked without a line here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.pages import PAGES, address, rate
from tests.browser.conftest import visit
from tests.browser.test_rating import LIST, judgement, left, settled, values
from tests.browser.traces import long_one, synthetic

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
NARROW = 320  # CSS px: 1280 px at 400 % (1.4.10)
FINGER_PX = 24  # the least target (2.5.8)
AXE = """async (rules) => (await axe.run(document, { runOnly: rules, resultTypes: ["violations"] })).violations
  .flatMap((v) => v.nodes.map((n) => `${v.id}: ${v.help}: ${n.target} ${n.html.slice(0, 120)}`))"""
# What reaches beyond the right edge of the window, and is not in a box of its own that scrolls sideways. The shell clips what
# overflows, so the document's width alone would tell nothing.
BEYOND = """() => [...document.querySelectorAll("body *")].filter((e) => {
  const box = e.getBoundingClientRect();
  if (box.width < 2 || box.right <= innerWidth + 1 || !e.checkVisibility({ visibilityProperty: true }) || e.closest("[class*=visually-hidden], .sr-only")) return false;
  for (let up = e.parentElement; up && up !== document.body; up = up.parentElement) if (/auto|scroll|hidden/.test(getComputedStyle(up).overflowX)) return false;
  return true;
}).map((e) => e.outerHTML.slice(0, 120)).slice(0, 5)"""
# Whether the focused element can be seen: in the window, and its middle under nothing else (2.4.11). A scrolled list counts as seen.
FOCUS = """() => {
  const e = document.activeElement, r = e.getBoundingClientRect();
  const [left, top, right, bottom] = [Math.max(0, r.left), Math.max(0, r.top), Math.min(innerWidth, r.right), Math.min(innerHeight, r.bottom)];
  const over = right > left && bottom > top ? document.elementFromPoint((left + right) / 2, (top + bottom) / 2) : null;
  const seen = over !== null && (e.contains(over) || over.contains(e));
  return { id: e.id, name: e.getAttribute("aria-label") || e.textContent.trim().slice(0, 40) || e.dataset.id || e.tagName, seen };
}"""


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe-core."""
    package = pytest.importorskip("axe_playwright_python", reason="axe is not installed: pip install '.[test]'")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def trace_id(bench: Any) -> str:
    """A search that turns back."""
    rows = synthetic(40, seed=23)
    row = next(r for r in rows if r["response"].count("<|reasoning_backtrack|>") in range(3, 9))
    return str(bench.post("/api/traces", [row])["trace_ids"][0])


@pytest.mark.slow
@pytest.mark.parametrize("where", [*(address(p) + ("?trace=" if p is rate else "") for p in PAGES), "/ui/?trace="])
def test_axe_finds_nothing_light_dark_or_narrow_and_nothing_reaches_beyond_320_px(
    open_tab: Any, trace_id: str, axe: str, where: str
) -> None:
    page = open_tab(where + trace_id if where.endswith("=") else where).page
    if "trace=" in where:
        page.wait_for_selector(".wl-row >> nth=2")
    page.evaluate(axe)
    assert page.evaluate(AXE, RULES) == []
    page.evaluate("document.body.classList.toggle('dark')")
    assert page.evaluate(AXE, ["color-contrast"]) == []
    page.set_viewport_size({"width": NARROW, "height": 640})
    assert page.evaluate(AXE, RULES) == []
    assert page.evaluate(BEYOND) == []


@pytest.mark.slow
@pytest.mark.parametrize("where", ["/login", "/join", "/api/docs"])
def test_axe_finds_nothing_on_pages_outside_the_shell(open_tab: Any, bench: Any, axe: str, where: str) -> None:
    page = open_tab().page
    page.goto(bench.url + where, wait_until="networkidle")
    page.set_default_timeout(300_000)  # of the 130 routes some 13,000 elements
    page.evaluate(axe)
    assert page.evaluate(AXE, RULES) == []
    page.set_viewport_size({"width": NARROW, "height": 640})
    assert page.evaluate(BEYOND) == []


def open_long(bench: Any, open_tab: Any, **how: Any) -> tuple[Any, str]:
    """The Rate page with a straight trace of six steps, and the assignment's id."""
    trace_id = bench.post("/api/traces", [long_one(6)])["trace_ids"][0]
    page = open_tab(f"/ui/rate?trace={trace_id}", **how).page
    page.wait_for_selector(f"{LIST} .wl-row >> nth=6")
    page.wait_for_url("**assignment=*")
    return page, page.url.split("assignment=")[1].split("&")[0]


@pytest.mark.slow
def test_a_whole_rating_by_keyboard_alone_with_the_focus_always_in_sight(open_tab: Any, bench: Any) -> None:
    page, assignment = open_long(bench, open_tab)
    page.focus("nav a")
    seen = []
    for _ in range(40):  # from the top of the page to the list
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUS))
        if seen[-1]["id"] == "wl-rate-list":
            break
    assert seen[-1]["id"] == "wl-rate-list"
    for key in ("g", "3", "3", "2", "1", "4", "3"):
        page.keyboard.press(key)
    page.keyboard.press("v")
    page.keyboard.press("1")
    for _ in range(60):  # from the list to the last button
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUS))
        if seen[-1]["name"] == "note":
            page.keyboard.type("2 and 3 are words here")
        elif seen[-1]["name"].startswith("Submit"):
            break
    assert seen[-1]["name"].startswith("Submit")
    assert [f["name"] for f in seen if not f["seen"]] == []
    assert "note" in {f["name"] for f in seen}
    settled(page)
    assert values(bench, assignment) == {0: 1.0, 1: 1.0, 2: 0.0, 3: -1.0, 4: None, 5: 1.0}
    assert judgement(bench, assignment, "verdict") == {None: -1.0}
    page.keyboard.press("Control+Enter")
    left(page, assignment)
    assert bench.get(f"/api/assignments/{assignment}")["assignment"]["status"] == "submitted"


def test_a_screen_reader_hears_each_step_once_and_no_chatter(open_tab: Any, bench: Any) -> None:
    page, _ = open_long(bench, open_tab)
    page.evaluate(
        """() => {
          globalThis.said = [];
          new MutationObserver((all) => { for (const { target } of all) if (target.id === "wl-live") said.push(target.textContent); })
            .observe(document.body, { childList: true, subtree: true });
        }"""
    )
    page.focus(LIST)
    for key in ("g", "3", "3", "1"):
        page.keyboard.press(key)
    page.wait_for_function("said.at(-1) === 'Step 3 of 6 rated bad'")
    settled(page)
    said = page.evaluate("said")
    assert len(said) == len(set(said)) <= 3  # polite and throttled: at most one a step, the last one for certain
    assert (
        page.evaluate(
            "[...document.querySelectorAll('#wl-live, [role=status]')].map((e) => e.textContent).join('')"
        ).count("3 of 6")
        == 1
    )
    rows = page.locator(f"{LIST} [role=treeitem]").evaluate_all(
        "(all) => all.map((e) => [e.ariaPosInSet, e.ariaSetSize, Number(e.ariaLevel) > 0, e.querySelectorAll('[role=radiogroup]').length])"
    )
    assert rows == [[str(i + 1), "7", True, min(i, 1)] for i in range(7)]
    third = page.locator(f"{LIST} [role=treeitem] >> nth=3")
    assert third.get_attribute("aria-label").startswith("Step 3: ")
    assert third.get_attribute("aria-label").endswith("rated bad")
    assert third.locator("[role=radiogroup]").get_attribute("aria-label") == "Rate step 3"
    here = page.locator(f"#{page.get_attribute(LIST, 'aria-activedescendant')}")
    assert here.get_attribute("aria-selected") == "true"
    assert len(here.get_attribute("aria-description")) > 20


@pytest.mark.slow
def test_keys_are_changed_conflicts_said_and_single_keys_switched_off(open_tab: Any, bench: Any, axe: str) -> None:
    page, assignment = open_long(bench, open_tab)
    page.focus(LIST)
    page.keyboard.press("?")
    page.wait_for_selector("dialog.wl-sheet")
    page.evaluate(axe)
    assert page.evaluate(AXE, RULES) == []
    page.set_viewport_size({"width": NARROW, "height": 640})
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= innerWidth")
    change = page.locator("[data-change=good]")
    change.press("Enter")
    for key, answer in (
        ("x", "first error"),
        ("Control+r", "browser"),
        ("Enter", "presses buttons"),
        (".", ". is now: ✓ good"),
    ):
        page.keyboard.press(key)
        assert answer in page.inner_text(".wl-sheet .said"), key
    assert page.evaluate("document.activeElement.dataset.change") == "good"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "wl-rate-list"
    page.keyboard.press("3")  # is nobody's key now
    page.keyboard.press(".")
    settled(page)
    assert values(bench, assignment) == {0: 1.0}
    good = page.locator("[data-id=dock-rates] button.good")
    assert good.get_attribute("aria-keyshortcuts") == "."
    visit(page, page.url)  # kept in this browser
    assert good.get_attribute("aria-keyshortcuts") == "."
    page.focus(LIST)
    page.keyboard.press("?")
    page.uncheck("dialog.wl-sheet input[type=checkbox]")
    page.keyboard.press("Escape")
    assert good.get_attribute("aria-keyshortcuts") is None
    page.keyboard.press("1")
    page.keyboard.press("Control+z")
    for _ in range(100):  # what an earlier page did is read first, and taken back then
        if values(bench, assignment) == {}:
            break
        page.wait_for_timeout(100)
    assert values(bench, assignment) == {}  # the 1 was nothing; what goes with Ctrl works still
    page.click("[data-id=dock] >> text=keys")
    page.click("dialog >> text=Standard keys")
    page.check("dialog.wl-sheet input[type=checkbox]")
    assert page.evaluate("JSON.parse(localStorage['worldline.keys'])") == {"on": True, "map": {}}


def test_a_thumb_reaches_everything(browser: Any, bench: Any) -> None:
    trace_id = bench.post("/api/traces", [long_one(6)])["trace_ids"][0]
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    try:
        page = context.new_page()
        visit(page, f"{bench.url}/ui/rate?trace={trace_id}")
        page.wait_for_url("**assignment=*")
        assignment = page.url.split("assignment=")[1].split("&")[0]
        page.tap(f"{LIST} .wl-row[data-row='1'] [data-choice=good]")
        page.tap("[data-id=dock-rates] button.neutral")
        settled(page)
        assert values(bench, assignment) == {0: 1.0, 1: 0.0}
        small = page.locator("[data-id=dock] button, .wl-row .verdicts button").evaluate_all(
            f"(all) => all.filter((e) => e.checkVisibility()).map((e) => [e.getBoundingClientRect(), e.textContent]).filter(([r]) => r.width < {FINGER_PX} || r.height < {FINGER_PX} || r.right > innerWidth).map((x) => x[1])"
        )
        assert small == []
        dock = page.locator("[data-id=dock]").bounding_box()
        assert dock["y"] + dock["height"] <= 740 + 1  # in the lower part of the window, where the thumb is
        assert dock["y"] > 740 / 2
    finally:
        context.close()


@pytest.mark.slow
def test_every_choice_at_a_turn_back_is_whole_on_a_narrow_touch_screen(browser: Any, bench: Any, trace_id: str) -> None:
    context = browser.new_context(viewport={"width": NARROW, "height": 640}, has_touch=True, is_mobile=True)
    try:
        page = context.new_page()
        visit(page, f"{bench.url}/ui/rate?trace={trace_id}")
        page.wait_for_selector(f"{LIST} .questions .verdicts")
        choices = page.locator(f"{LIST} .questions .verdicts")
        cut = "(all) => all.filter((e) => e.scrollWidth > e.clientWidth || e.getBoundingClientRect().right > innerWidth).length"
        assert choices.count() >= 3
        assert choices.evaluate_all(cut) == 0
    finally:
        context.close()
