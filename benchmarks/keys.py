"""A rating session by keyboard: 200 steps, each rated by a real key press in Chromium, until the row says "saved".

Two times a press. To paint: from the press (the event's own time) to the frame that shows the judgement. To saved: to the frame
in which the row says "saved", which it does only after the server's COMMIT; the way is key → outbox in localStorage → HTTP →
writer thread → COMMIT → answer → row. Presses come at an even pace, faster than anybody reads. Beside both an empty frame.
"""

from __future__ import annotations

import shutil
import sys

from benchmarks.paint import ARGUMENTS, EMPTY_FRAME
from benchmarks.table import Row, percentile
from benchmarks.workbench import running

STEPS = 200
PACE_MS = 150
KEYS = "33231343"  # bad, neutral, good, unsure in some order
LIST = "#wl-rate-list"
# A message after the frame's callback comes when the frame has been painted.
WATCH = """() => {
  globalThis.painted = [];
  globalThis.saved = [];
  const pressed = new Map(); // row -> when its key was pressed
  const list = document.querySelector("#wl-rate-list");
  const afterFrame = (then) => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = then;
    channel.port2.postMessage(0);
  });
  document.addEventListener("keydown", (event) => {
    if (!/^[1-4]$/.test(event.key)) return;
    pressed.set(list.querySelector(".wl-row.selected").dataset.row, event.timeStamp);
    afterFrame(() => painted.push(performance.now() - event.timeStamp));
  }, true);
  new MutationObserver(() => {
    for (const [row, at] of pressed) {
      if (!list.querySelector(`.wl-row[data-row="${row}"] .save-mark.saved`)) continue;
      pressed.delete(row);
      afterFrame(() => saved.push(performance.now() - at));
    }
  }).observe(list, { childList: true, subtree: true });
}"""


def measure() -> list[Row]:
    """Medians in ms; skipped with a line where there is no Chromium."""
    chromium = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if chromium is None:
        print("keys: skipped, there is no Chromium on this machine", file=sys.stderr)
        return []
    import httpx
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, running() as url:
        trace_id = (
            httpx.post(f"{url}/api/traces", json=[_trace()], timeout=60).raise_for_status().json()["trace_ids"][0]
        )
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{url}/ui/rate?trace={trace_id}")
        page.wait_for_selector(f"{LIST} .wl-row[data-row='{STEPS}']", state="attached")
        page.wait_for_url("**assignment=*")
        floor = page.evaluate(EMPTY_FRAME)
        page.evaluate(WATCH)
        page.focus(LIST)
        page.keyboard.press("g")
        for i in range(STEPS):
            page.keyboard.press(KEYS[i % len(KEYS)])
            page.wait_for_timeout(PACE_MS)
        page.wait_for_function(f"saved.length === {STEPS}", timeout=60_000)
        painted, saved = page.evaluate("painted"), page.evaluate("saved")
        work = page.url.split("assignment=")[1].split("&")[0]
        ratings = httpx.get(f"{url}/api/assignments/{work}", timeout=60).raise_for_status().json()["ratings"]
        kept = [r for r in ratings if r["dimension"] == "correctness"]
        assert len(kept) == len(painted) == STEPS, (len(kept), len(painted))
        browser.close()
    return [_row("key to paint", painted, floor), _row("key to saved", saved, floor)]


def _row(name: str, times: list[float], floor: list[float]) -> Row:
    note = f"p95 {percentile(times, 0.95):.0f} ms, worst {max(times):.0f}; {len(times)} steps, a key every {PACE_MS} ms"
    return Row(f"{name}, median", percentile(times, 0.5), "ms", percentile(floor, 0.5), "an empty frame", note)


def _trace() -> dict[str, str]:
    """One search of exactly STEPS steps."""
    from training.synthesis.countdown import step_text, walks

    texts: list[str] = []
    for walk in walks(9):
        texts += [step_text(step) for step in walk.steps]
        if len(texts) >= STEPS:
            break
    body = "<|reasoning_proceed|>".join(texts[:STEPS])
    return {"prompt": "Reach 99 from 1, 1 and 2.", "response": f"<|reasoning_start|>{body}<|reasoning_end|>No."}
