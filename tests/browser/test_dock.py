"""The Rate page's dock: in one row on a desk, over no step on a telephone, and made for thumbs on a touch screen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import visit
from tests.browser.traces import long_one

BOXES = """() => {
  const box = (e) => e.getBoundingClientRect();
  document.querySelector("[data-id=submit]").textContent = "Submit (5,000 unrated)";
  document.querySelector("[data-id=save-state]").textContent = "123 waiting";
  const dock = box(document.querySelector(".wl-dock"));
  const parts = [...document.querySelectorAll(".wl-dock button, .wl-dock .save")].filter((e) => e.offsetParent).map(box);
  const middles = new Set(parts.map((r) => Math.round((r.top + r.bottom) / 2 / 4)));
  return {
    rows: middles.size, overflow: Math.max(...parts.map((r) => r.right)) - dock.right, sideways: document.documentElement.scrollWidth - innerWidth,
    free: dock.top - box(document.querySelector(".list-card")).bottom, list: box(document.querySelector(".list-card")).height,
    submit: dock.bottom <= innerHeight + 1,
  };
}"""


@pytest.fixture(scope="module")
def trace(bench: Any) -> str:
    return str(bench.post("/api/traces", [long_one(40)])["trace_ids"][0])


@pytest.mark.slow
def test_the_dock_is_one_row_on_a_desk_and_covers_no_step_on_a_telephone(open_tab: Any, trace: str) -> None:
    page = open_tab(f"/ui/rate?trace={trace}").page
    page.wait_for_selector("#wl-rate-list .wl-row.selected")
    for width, height in [(1440, 900), (1366, 768), (1280, 720), (1100, 800), (800, 900), (390, 800), (320, 700)]:
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(100)
        seen = page.evaluate(BOXES)
        assert seen["overflow"] <= 0 and seen["sideways"] <= 0, (width, seen)
        assert seen["free"] >= 0 and seen["list"] >= 240 and seen["submit"], (width, seen)
        if width >= 1280:
            assert seen["rows"] == 1, (width, seen)


def test_three_steps_are_rated_by_tapping(browser: Any, bench: Any, trace: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    try:
        page = context.new_page()
        visit(page, f"{bench.url}/ui/rate?trace={trace}")
        page.wait_for_selector("#wl-rate-list .wl-row.selected")
        small = page.evaluate("""() => [...document.querySelectorAll(".wl-page button, .wl-page [role=radio], .wl-page input, .wl-page select")]
          .filter((e) => e.offsetParent).map((e) => [e.className || e.dataset.id || e.type, e.closest("label") ?? e])
          .map(([name, e]) => [name, e.getBoundingClientRect().width, e.getBoundingClientRect().height]).filter(([, w, h]) => w < 24 || h < 24)""")
        assert small == []
        main = page.evaluate("""() => [...document.querySelectorAll(".wl-dock .rates button, [data-id=submit], .wl-line .verdicts button")]
          .filter((e) => e.offsetParent).map((e) => Math.min(e.getBoundingClientRect().height, e.getBoundingClientRect().width)).filter((px) => px < 44)""")
        assert main == []
        page.tap('.wl-dock .rates button:has-text("good")')
        page.tap('.wl-dock .rates button:has-text("neutral")')
        page.tap('#wl-rate-list .wl-row.selected .wl-line .verdicts [data-choice="bad"]')
        page.wait_for_function("document.querySelectorAll('#wl-rate-list .save-mark.saved').length === 3")
        work = page.url.split("assignment=")[1].split("&")[0]
        kept = {r["step_idx"]: r["value"] for r in bench.get(f"/api/assignments/{work}")["ratings"]}
        assert kept == {0: 1.0, 1: 0.0, 2: -1.0}
        seen = page.evaluate("""() => {
          const row = document.querySelector("#wl-rate-list .wl-row.selected").getBoundingClientRect();
          return row.top < document.querySelector(".wl-dock").getBoundingClientRect().top && row.bottom > 0;
        }""")
        assert seen, "the next step is not in view"
    finally:
        context.close()
