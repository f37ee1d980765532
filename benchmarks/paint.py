"""How late a text is on screen: from an event's arrival in the browser, and from the model server's sending.

The first with the pocket model in the workbench's own process. The second with 20 streams of a server that writes at a fixed
pace and puts the time into every token (`paced.py`): one run is open in a page, nineteen are followed by HTTP clients, and a
token counts when the frame that holds it has been painted. It went server → Worldline → journal → viewer → page. Both stand
beside an empty frame on the same machine.
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.paced import MODEL, paced
from benchmarks.table import Row, percentile
from benchmarks.workbench import running

QUESTION = "Reach 97 from 1, 5, 7 and 11."
EVENTS = 300
STREAMS = 20
PER_S = 25.0  # tokens of each stream; 500 tokens/s together
WATCHED_S = 15
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
# Every token of a thought is the time it was sent. A message after the frame's callback comes when the frame is painted.
AGES = r"""
globalThis.ages = [];
const Source = globalThis.EventSource;
globalThis.EventSource = class extends Source {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", ({ data }) => {
      const { type, field, text } = JSON.parse(data);
      const sent = type === "step_delta" && field === "thought" ? text.match(/\d{13}/g) ?? [] : [];
      if (sent.length) requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = () => {
          const now = performance.timeOrigin + performance.now();
          ages.push(...sent.map((ms) => now - ms));
        };
        channel.port2.postMessage(0);
      });
    });
  }
};
"""


def measure() -> list[Row]:
    """Medians in ms; skipped with a line where there is no Chromium."""
    chromium = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if chromium is None:
        print("paint: skipped, there is no Chromium on this machine", file=sys.stderr)
        return []
    import httpx
    from playwright.sync_api import sync_playwright

    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        with running() as url:
            page.goto(url, wait_until="networkidle")
            floor = page.evaluate(EMPTY_FRAME)
            run = httpx.post(
                f"{url}/api/runs", json={"prompt": QUESTION, "min_steps": 40, "seed": 1}, timeout=60
            ).json()
            page.goto(f"{url}/ui/?run={run['run_id']}")
            page.wait_for_function(f"(globalThis.worldlineTimings ?? []).length >= {EVENTS}", timeout=120_000)
            rows.append(_row("event to paint", page.evaluate("globalThis.worldlineTimings"), floor))
        with paced(PER_S) as endpoint, running("--endpoint", endpoint) as url:
            page.add_init_script(AGES)
            page.goto(url, wait_until="networkidle")
            floor = page.evaluate(EMPTY_FRAME)
            body = {"prompt": QUESTION, "model": MODEL, "max_tokens": int(PER_S * WATCHED_S * 4)}
            runs = [httpx.post(f"{url}/api/runs", json=body, timeout=60).json()["run_id"] for _ in range(STREAMS)]
            with _followed(url, runs[1:]):
                page.goto(f"{url}/ui/?run={runs[0]}")
                page.wait_for_function("globalThis.ages?.length > 0", timeout=60_000)
                page.wait_for_timeout(3000)  # the page is up, and what was sent before has been shown
                page.evaluate("ages.length = 0")
                page.wait_for_timeout(WATCHED_S * 1000)
                ages = page.evaluate("ages")
                for run_id in runs:
                    httpx.post(f"{url}/api/runs/{run_id}/stop", timeout=60)
            rows.append(_row(f"server to paint, {STREAMS} streams", ages, floor))
        browser.close()
    return rows


def _row(name: str, times: list[float], floor: list[float]) -> Row:
    p95 = f"p95 {percentile(times, 0.95):.0f} ms (an empty frame {percentile(floor, 0.95):.0f})"
    return Row(
        f"{name}, median", percentile(times, 0.5), "ms", percentile(floor, 0.5), "an empty frame",
        f"{p95}, {len(times)} texts",
    )  # fmt: skip


@contextmanager
def _followed(url: str, runs: list[str]) -> Iterator[None]:
    """Read the events of runs as other viewers do, in the background, until the runs end."""
    import httpx

    def follow(run_id: str) -> None:
        with httpx.stream("GET", f"{url}/api/runs/{run_id}/events", timeout=60) as response:
            for _ in response.iter_raw():
                pass

    threads = [threading.Thread(target=follow, args=(run_id,), daemon=True) for run_id in runs]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(30)
