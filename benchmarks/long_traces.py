"""Reading a long trace in the browser: 5,000 marked steps and 1 MB of free reasoning, opened, scrolled and searched.

Opening is counted from the end of the server's answer to the frame that shows the first steps, so that the machine's own
speed at reading JSON and drawing counts and the storage does not. Everything stands beside the same figure of a short
trace on the same page (opening) or of an empty list (scrolling), because absolute times here are those of a busy machine.
"""

from __future__ import annotations

import random
import sys
from typing import Any

from benchmarks.paint import ARGUMENTS
from benchmarks.table import Row, percentile
from benchmarks.workbench import running

STEPS = 5000
MEGABYTE = 1_000_000
FRAMES = 240
LONG_FRAME_MS = 34  # two frames at 60/s: one was missed
WATCH = """
globalThis.longTasks = [];
new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((e) => [e.startTime, e.duration]))).observe({entryTypes: ["longtask"]});
new MutationObserver((_, observer) => {
  if (!document.querySelector('#wl-solve-list .wl-row[data-row="1"]')) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => (globalThis.firstRows = performance.now())));
}).observe(document, {childList: true, subtree: true});
"""
OPENED = """(id) => {
  const answer = performance.getEntriesByType("resource").find((e) => e.name.endsWith(`/api/traces/${id}`)).responseEnd;
  const tasks = longTasks.filter(([start]) => start >= answer - 50);
  return {first: firstRows - answer, busy: tasks.reduce((sum, [, ms]) => sum + ms, 0), longest: Math.max(0, ...tasks.map(([, ms]) => ms)),
    elements: document.querySelectorAll("main *").length};
}"""
# 60 px a frame are 3,600 px a second, seven lists full: faster than anybody reads, as fast as a wheel is spun.
SCROLL = """async ([selector, frames]) => {
  const box = document.querySelector(selector);
  const span = box.scrollHeight - box.clientHeight;
  const times = [];
  let last = await new Promise(requestAnimationFrame);
  for (let i = 1; i <= frames; i++) {
    box.scrollTop = Math.min(span, i * 60);
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  box.scrollTop = span;
  await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return times;
}"""
PLAIN_LIST = """() => {
  const box = document.createElement("div");
  box.id = "plain";
  box.style.cssText = "position:fixed;inset:0;overflow:auto;z-index:99;background:#fff";
  const inner = document.createElement("div");
  inner.style.height = "160000px";
  box.append(inner);
  document.body.append(box);
}"""
TYPED = """async (words) => {
  const box = document.querySelector('[data-id="find"]');
  const times = [];
  for (const word of words) for (let n = 1; n <= word.length; n++) {
    const began = performance.now();
    box.value = word.slice(0, n);
    box.dispatchEvent(new Event("input", {bubbles: true}));
    await new Promise(requestAnimationFrame);
    times.push(performance.now() - began);
  }
  return times;
}"""
SENTENCES = (
    "So the sum of the first $n$ terms is $\\\\frac{n(n+1)}{2}$, which for n = 24 gives 300.",
    "Let me try another approach and look at the remainders modulo 7 instead.",
    "Wait, that is not right, because 17 is odd and the product has to be even.",
    "Let me check: 12 times 25 is 300, minus 44 is 256, and that is $2^8$.",
    "Therefore the remaining factor must divide 96, which leaves 2, 3, 4, 6 and 8.",
    "Alternatively, go back to the equation and substitute x = 3 directly.",
    "Substituting gives \\\\(x^2 - 5x + 6 = 0\\\\), so x is 2 or 3.",
)


def marked(steps: int = STEPS, seed: int = 9) -> dict[str, Any]:
    """A row to import: one search with exactly `steps` steps in Steiner's format, its turns back included."""
    from core.formats import steiner_tokens as t
    from training.synthesis.countdown import step_text, walks

    parts: list[str] = []
    count = 0
    for walk in walks(seed):
        for step in walk.steps:
            back = step.decision == "backtrack"
            parts += [step_text(step), t.BACKTRACK if back else t.PROCEED]
            count += 1
            if count == steps:
                body = "".join(parts[:-1])
                response = f"{t.REASONING_START}{body}{t.REASONING_END}No."
                return {"prompt": f"A search of {steps} steps.", "response": response, "model": "synthetic"}
    raise AssertionError("the walks never end")


def free(size: int = MEGABYTE, seed: int = 4) -> dict[str, Any]:
    """A row to import: `size` characters of reasoning in paragraphs, with formulas, checks and turns back."""
    chance = random.Random(seed)
    paragraphs: list[str] = []
    length = 0
    while length < size:
        text = " ".join(chance.choice(SENTENCES).replace("\\\\", "\\") for _ in range(chance.randint(2, 6)))
        paragraphs.append(text)
        length += len(text) + 2
    body = "\n\n".join(paragraphs)
    return {
        "prompt": "One megabyte of reasoning.",
        "response": f"<think>\n{body}\n</think>\n\nThe answer is 24.",
        "model": "synthetic",
    }


def measure() -> list[Row]:
    """Medians and worst cases in ms; skipped with a line where there is no Chromium."""
    import shutil

    chromium = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if chromium is None:
        print("reading: skipped, there is no Chromium on this machine", file=sys.stderr)
        return []
    with running() as url:
        return _measure(url, chromium)


def _measure(url: str, chromium: str) -> list[Row]:
    import httpx
    from playwright.sync_api import sync_playwright

    def add(row: dict[str, Any]) -> str:
        answer = httpx.post(f"{url}/api/traces", json=[row], timeout=120)
        answer.raise_for_status()
        return str(answer.json()["trace_ids"][0])

    short, many, big = add(marked(50)), add(marked()), add(free())
    rows: list[Row] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)

        def opened(trace_id: str) -> tuple[Any, dict[str, float]]:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.add_init_script(WATCH)
            page.goto(f"{url}/ui/?trace={trace_id}")
            page.wait_for_function("globalThis.firstRows !== undefined", timeout=120_000)
            page.wait_for_timeout(2500)
            return page, page.evaluate(OPENED, trace_id)

        page, floor = opened(short)
        page.evaluate(PLAIN_LIST)
        empty = page.evaluate(SCROLL, ["#plain", FRAMES])
        page.close()
        for name, trace_id in ((f"{STEPS:,} steps", many), ("1 MB of text", big)):
            page, seen = opened(trace_id)
            rows.append(
                Row(
                    f"open {name}, first rows",
                    seen["first"],
                    "ms",
                    floor["first"],
                    "50 steps",
                    f"longest task {seen['longest']:.0f} ms, all long tasks {seen['busy']:.0f} ms, {seen['elements']:.0f} elements",
                )
            )
            times = page.evaluate(SCROLL, ["#wl-solve-list", FRAMES])
            late = sum(t > LONG_FRAME_MS for t in times)
            late_empty = sum(t > LONG_FRAME_MS for t in empty)
            rows.append(
                Row(
                    f"scroll {name}, frame p95",
                    percentile(times, 0.95),
                    "ms",
                    percentile(empty, 0.95),
                    "an empty list",
                    f"median {percentile(times, 0.5):.1f}; {late} of {FRAMES} frames late, empty {late_empty}",
                )
            )
            if page.locator('[data-id="find"]').count():
                typed = page.evaluate(TYPED, ["remaind", "substit", "zzz"])
                rows.append(
                    Row(
                        f"search {name}, a keystroke, p95",
                        percentile(typed, 0.95),
                        "ms",
                        note=f"median {percentile(typed, 0.5):.1f}, to the next frame",
                    )
                )
            page.close()
        browser.close()
    return rows
