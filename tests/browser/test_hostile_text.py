"""Text of a model is text: on every page and in the saved file, whatever it looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import visit
from tests.browser.traces import HOSTILE, hostile


@pytest.fixture(scope="module")
def trace_id(bench: Any) -> str:
    return str(bench.post("/api/traces", [hostile()])["trace_ids"][0])


def clean(page: Any) -> None:
    """Nothing of it ran, nothing of it became an element."""
    page.wait_for_timeout(300)
    assert page.evaluate("window.__xss") is None
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("main script, #wl-step script").count() == 0


def test_solve_page_shows_it_as_text(open_tab: Any, bench: Any, trace_id: str) -> None:
    page = open_tab(f"/ui/?trace={trace_id}").page
    page.wait_for_selector("#wl-solve-list .wl-row >> nth=3")
    assert HOSTILE in page.inner_text("#wl-solve-list .wl-row.question")
    page.click("#wl-solve-list .wl-row >> nth=2")
    detail = page.inner_text('[data-id="detail"]')
    assert HOSTILE in detail and "\\frac{a}{b}" in detail and "${window.__xss=2}" in detail
    page.wait_for_selector(".wl-recent a")
    assert HOSTILE in page.inner_text(".wl-recent")
    clean(page)


def test_rate_page_shows_it_as_text(open_tab: Any, bench: Any, trace_id: str) -> None:
    page = open_tab(f"/ui/rate?trace={trace_id}").page
    page.wait_for_selector("#wl-rate-list .wl-row >> nth=3")
    assert HOSTILE in page.inner_text('[data-id="prompt"]')
    assert HOSTILE in page.inner_text("#wl-rate-list .wl-row >> nth=1")
    clean(page)


def test_data_page_shows_it_as_text(open_tab: Any, bench: Any, trace_id: str) -> None:
    page = open_tab("/ui/data").page
    page.wait_for_selector('[data-id="traces"] td')
    page.wait_for_selector('[data-id="by-model"] > *')  # asked for apart from the list of traces
    assert HOSTILE in page.inner_text('[data-id="by-model"]')
    clean(page)


def test_graph_in_its_frame(open_tab: Any, bench: Any, trace_id: str) -> None:
    page = open_tab(f"/ui/?trace={trace_id}&step=3").page
    page.click('[data-id="tab-graph"]')
    element = page.wait_for_selector('[data-id="graph"] iframe')
    assert element.get_attribute("sandbox") == "allow-scripts"
    frame = element.content_frame()
    frame.wait_for_selector("canvas")
    frame.wait_for_selector("#wl-top")
    assert HOSTILE in frame.inner_text("#wl-top")
    page.click("#wl-solve-list .wl-row >> nth=4")
    frame.evaluate("show => 0", None)
    # A step chosen in the frame is chosen in the list.
    frame.evaluate("window.parent.postMessage({type: 'select', index: 1}, '*')")
    page.wait_for_selector("#wl-solve-list .wl-row[data-row='2'].selected")
    assert frame.evaluate("window.__xss") is None
    clean(page)


def test_saved_file_opens_offline(open_tab: Any, bench: Any, trace_id: str, tmp_path: Path) -> None:
    tab = open_tab(f"/ui/?trace={trace_id}")
    with tab.page.expect_download() as waiting:
        tab.page.click('[data-id="save"]')
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    assert path.suffix == ".html"
    tab.context.set_offline(True)
    tab.page.goto(path.as_uri())
    tab.page.wait_for_selector("#mynetwork canvas")
    assert HOSTILE in tab.page.inner_text("#wl-top")
    # Click where the first step was drawn: its whole text appears, as text.
    where = tab.page.evaluate("(() => { const p = network.getPositions([0])[0]; return network.canvasToDOM(p); })()")
    tab.page.mouse.click(where["x"], where["y"])
    tab.page.wait_for_selector("#wl-step:not([hidden])")
    assert HOSTILE in tab.page.inner_text("#wl-step")
    assert tab.page.evaluate("window.__xss") is None
    clean(tab.page)
    tab.context.set_offline(False)


def test_a_hostile_question_is_refused_in_words(open_tab: Any, bench: Any) -> None:
    page = open_tab("/ui/").page
    page.fill('[data-id="question"]', HOSTILE)
    page.click('[data-id="run"]')
    page.wait_for_selector(".wl-notice.error")
    assert "pocket model" in page.inner_text(".wl-notice.error")
    clean(page)
    visit(page, f"{bench.url}/ui/?run=%3Cimg%20src%3Dx%20onerror%3D%22window.__xss%3D1%22%3E")
    page.wait_for_selector(".wl-notice.warn")
    clean(page)
