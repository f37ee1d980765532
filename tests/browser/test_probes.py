"""The linear probe on screen: from the form to the verdict, stopped, linked, read by keys alone, deleted; names are text."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import pytest

from core.probe import Point, fit
from tests.browser.conftest import visit, workbench
from tests.browser.test_access import AXE, BEYOND, NARROW, RULES
from tests.browser.test_access import axe as axe

ENDS_MS = 240_000  # the real pocket model on a busy machine
HOSTILE = "<img src=x onerror=window.__xss=1>" + "long-" * 20
LINEAR, PARALLEL, FAILED, CUT = (f"01kaexr0v7m3p9d2k4c6h8n5q{letter}" for letter in "abcd")


@pytest.mark.slow
def test_a_probe_from_the_form_to_its_verdict_and_gone_again(open_tab: Any, bench: Any, axe: str) -> None:
    for left in bench.get("/api/probes"):  # of a first try
        bench.post(f"/api/probes/{left['probe_id']}/stop")
        bench.ask("DELETE", f"/api/probes/{left['probe_id']}")
    page = open_tab("/ui/evaluate").page
    page.click("[data-id=to-probes]")
    assert page.evaluate("document.activeElement.id") == "wl-probes"
    if page.get_attribute("[data-id=probe-new]", "open") is None:
        page.click("[data-id=probe-new] > summary")
    page.fill("[data-id=probe-repeats]", "0")
    page.click("[data-id=probe-go]")
    page.wait_for_selector("[data-id=probe-said].bad >> text=must be at least 1")
    page.fill("[data-id=probe-repeats]", "4")
    page.fill("[data-id=probe-max-tokens]", "40")
    page.click("text=Questions of your own")
    page.fill("[data-id=probe-questions]", "Reach 24 from 4, 7, 8 and 8.\n<b>Who</b> are you?")
    page.click("[data-id=probe-go]")
    page.wait_for_selector("[data-id=probe-said].bad >> text=cannot be asked")
    page.fill("[data-id=probe-questions]", "Reach 24 from 4, 7, 8 and 8.\n\nReach 10 from 2, 3 and 4.\n")
    page.click("[data-id=probe-go]")
    page.wait_for_url("**probe=*")
    made = page.url.split("probe=")[1].split("&")[0]
    page.wait_for_selector(".probe-card .job-head >> text=done", timeout=ENDS_MS)
    assert "8 of 8 answers" in page.inner_text("[data-id=probe-sub]")
    page.wait_for_selector(".probe-said >> text=Cannot tell")  # every answer is cut at 40 tokens
    assert "times the shortest" in page.inner_text(".probe-verdict")
    assert "a search whose width is always the same" in page.inner_text(".probe-verdict")
    assert page.locator(".probe-card .eval-point").count() == 8
    found = bench.get(f"/api/probes/{made}")
    assert (found["max_tokens"], found["total"], found["fit"]["verdict"]) == (40, 8, "cannot tell")

    page.reload()
    page.wait_for_selector(".probe-card .eval-point >> nth=7")
    assert f"probe={made}" in page.url
    assert page.locator(f'[data-id=probe-list] [data-key="{made}"]').get_attribute("aria-current") == "true"
    with page.expect_download() as saved:
        page.click(".probe-card >> text=JSON")
    assert len(json.loads(saved.value.path().read_text())["points"]) == 8

    # Positive control, stopped in the middle.
    page.click("[data-id=probe-new] > summary")
    page.check("[name=probe-behind][value=best-of-n]")
    page.fill("[data-id=probe-repeats]", "20")
    page.click("[data-id=probe-go]")
    page.wait_for_selector(".probe-card h2 >> text=best-of-N behind it")
    page.wait_for_function("document.querySelectorAll('.probe-card .eval-point').length >= 3", timeout=ENDS_MS)
    assert page.is_disabled("[data-id=probe-go]")
    assert "two at once" in page.text_content("[data-id=probe-wait]")  # in a fold that is closed by now
    page.click(".probe-card .job-head >> text=Stop")
    page.wait_for_selector(".probe-card .job-head >> text=stopped", timeout=ENDS_MS)
    assert len(bench.get("/api/probes")) == 2

    # Escape keeps it; the keys alone delete it, and the focus is not lost.
    delete = page.locator(".probe-card .job-head >> text=Delete")
    delete.press("Enter")
    page.wait_for_selector("dialog[open] >> text=best-of-N behind it")
    assert page.evaluate("document.activeElement.textContent") == "Keep it"
    page.evaluate(axe)
    assert page.evaluate(AXE, RULES) == []
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert len(bench.get("/api/probes")) == 2
    for left in (1, 0):
        delete.press("Enter")
        page.wait_for_selector("dialog[open]")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_function("(n) => document.querySelectorAll('[data-id=probe-list] li').length === n", arg=left)
        page.wait_for_function("document.activeElement.closest('.wl-probes') !== null")
    page.wait_for_selector(".wl-probes .wl-empty")
    assert "probe=" not in page.url and bench.get("/api/probes") == []
    page.evaluate(axe)
    assert page.evaluate(AXE, RULES) == []


def points(width: Callable[[int], int], count: int = 36) -> list[Point]:
    """Twelve questions three times, 8 ms a token; a question is charged for `width` answers."""
    draw = Random(3)
    found = [
        Point(tokens * width(i), 0.05 + 0.008 * tokens, f"{i} {HOSTILE}", repeat)
        for repeat in range(3)
        for i in range(12)
        for tokens in [int(50 * 60 ** (i / 11) * draw.uniform(0.8, 1.2))]
    ]
    draw.shuffle(found)
    return found[:count]


def kept(folder: Path, probe_id: str, measured: list[Point], end: dict[str, Any] | None, **asked: Any) -> None:
    """A probe as an earlier server has left it; without `end` that server was killed."""
    about = {
        "model": "pocket", "behind": "", "repeats": 3, "max_tokens": 3500, "total": 36, "created_at": "2026-11-20T12:00:00Z",
        "created_by": "local", **asked,
    }  # fmt: skip
    rows: list[dict[str, Any]] = [{"probe": about}, *({"point": asdict(p)} for p in measured)]
    if end is not None:
        found = fit(measured).to_json() if len(measured) > 2 else None
        rows.append({"end": {"error": "", "seconds": 260.0, "fit": found, **end}})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{probe_id}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.slow
def test_earlier_probes_are_read_with_verdict_line_and_keys_and_hostile_names_are_text(
    browser: Any, tmp_path: Path, axe: str
) -> None:
    folder = tmp_path / "data" / "probes"
    kept(folder, LINEAR, points(lambda i: 1), {"state": "done"})
    kept(folder, PARALLEL, points(lambda i: 2 ** (i * 7 % 5)), {"state": "done"}, behind="best-of-n")
    kept(folder, FAILED, points(lambda i: 1, 1), {"state": "failed", "error": f"No {HOSTILE}"}, model=HOSTILE)
    kept(folder, CUT, points(lambda i: 1, 9), None)
    errors: list[str] = []
    with workbench(tmp_path) as bench:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.on("pageerror", lambda error: errors.append(str(error)))
        visit(page, f"{bench.url}/ui/evaluate?probe={LINEAR}")
        page.wait_for_selector(".probe-said >> text=Linear: one autoregressive stream")
        assert "the exponent lies between" in page.inner_text(".probe-verdict").lower()
        assert "95 %" in page.inner_text(".probe-facts")
        assert "t = 0.05 s + 8.00 ms · tokens" in page.inner_text(".probe-card .chart-legend")
        assert page.locator(".probe-card svg path.fit").count() == 1
        assert page.evaluate("document.querySelector('[data-id=probes]').getBoundingClientRect().top") < 600

        # One tab stop; the arrows go through the answers in the order of their tokens.
        assert page.locator('.probe-card .eval-point[tabindex="0"]').count() == 1
        page.focus('.probe-card .eval-point[tabindex="0"]')
        said = []
        for key in ("Home", "ArrowRight", "ArrowRight", "End"):
            page.keyboard.press(key)
            said.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
            assert page.inner_text(".probe-card .eval-said") == said[-1]
        tokens = [int(words.split(" tokens")[0].replace(",", "")) for words in said]
        every = sorted(p.tokens for p in points(lambda i: 1))
        assert tokens == [every[0], every[1], every[2], every[-1]]
        assert HOSTILE in said[0]
        page.click("text=12 questions, medians")
        assert page.locator(".probe-card tbody tr").count() == 12

        page.click(f'[data-key="{PARALLEL}"]')
        page.wait_for_selector(".probe-said >> text=Sub-linear: parallel search behind the scenes")
        assert f"probe={PARALLEL}" in page.url
        page.go_back()
        page.wait_for_selector(".probe-said >> text=Linear: one autoregressive stream")
        page.click(f'[data-key="{FAILED}"]')
        page.wait_for_selector(".probe-card [role=alert]")
        assert HOSTILE in page.inner_text(".probe-card [role=alert]") and HOSTILE in page.inner_text(".probe-card h2")
        assert "there is one" in page.inner_text(".probe-verdict")
        page.click(f'[data-key="{CUT}"]')
        page.wait_for_selector(".probe-card >> text=ended before it was done")
        page.wait_for_selector(".probe-said >> text=Linear")
        assert page.evaluate("window.__xss") is None and page.locator("img[src=x]").count() == 0

        page.click(f'[data-key="{FAILED}"]')
        page.wait_for_selector(".probe-card [role=alert]")
        page.evaluate(axe)
        assert page.evaluate(AXE, RULES) == []
        page.evaluate("document.body.classList.toggle('dark')")
        assert page.evaluate(AXE, ["color-contrast"]) == []
        page.set_viewport_size({"width": NARROW, "height": 640})
        assert page.evaluate(AXE, RULES) == [] and page.evaluate(BEYOND) == []

        visit(page, f"{bench.url}/ui/evaluate?probe=01kaexr0v7m3p9d2k4c6h8n5zz")
        page.wait_for_selector("[data-notice=probe-gone] >> text=There is no probe 01kaexr0v7m3p9d2k4c6h8n5zz")
        page.close()
    assert errors == []
