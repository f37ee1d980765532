"""From an event's arrival in the browser to the frame that shows it, while the pocket model streams."""

from __future__ import annotations

import shutil
import sys

from benchmarks.table import Row, percentile
from benchmarks.workbench import running

QUESTION = "Reach 97 from 1, 5, 7 and 11."
EVENTS = 300
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
# The floor on this machine: one change of one text node, to the frame that shows it.
EMPTY_FRAME = """async () => {
  const box = document.body.appendChild(document.createElement("p"));
  const times = [];
  for (let i = 0; i < 120; i++) {
    await new Promise((next) => setTimeout(next, 7));
    const began = performance.now();
    box.textContent = String(i);
    await new Promise((next) => requestAnimationFrame(next));
    times.push(performance.now() - began);
  }
  box.remove();
  return times;
}"""


def measure() -> list[Row]:
    """Medians in ms; skipped with a line where there is no Chromium."""
    chromium = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if chromium is None:
        print("paint: skipped, there is no Chromium on this machine", file=sys.stderr)
        return []
    import httpx
    from playwright.sync_api import sync_playwright

    with running() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(url, wait_until="networkidle")
        floor = page.evaluate(EMPTY_FRAME)
        run = httpx.post(f"{url}/api/runs", json={"prompt": QUESTION, "min_steps": 40, "seed": 1}, timeout=60).json()
        page.goto(f"{url}/ui/?run={run['run_id']}")
        page.wait_for_function(f"(globalThis.worldlineTimings ?? []).length >= {EVENTS}", timeout=120_000)
        times = page.evaluate("globalThis.worldlineTimings")
        browser.close()
    p95 = percentile(times, 0.95)
    return [
        Row(
            "event to paint, median",
            percentile(times, 0.5),
            "ms",
            percentile(floor, 0.5),
            "an empty frame",
            f"p95 {p95:.0f} ms, {len(times)} events",
        )
    ]
