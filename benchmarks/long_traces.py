"""Reading a long trace in the browser: 5,000 marked steps and 1 MB of free reasoning, opened, scrolled and searched.

Opened means: rows, the selected step and the answer are on screen, in a frame that has been painted. Counted once from the
click on a link of a page that is open, once from the navigation to a page that is not (Gradio's shell included). Everything
stands beside the same figure of a short trace on the same page (opening) or of an empty list (scrolling), because absolute
times here are those of a busy machine.
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
ROUNDS = 3
WATCH = """
globalThis.longTasks = [];
new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((e) => [e.startTime, e.duration]))).observe({entryTypes: ["longtask"]});
globalThis.readable = (prompt) => new Promise((done) => {
  const look = () => {
    const shown = document.querySelector('#wl-solve-list .wl-row.question .prompt')?.textContent === prompt
      && document.querySelector('#wl-solve-list .wl-row[data-row="1"]') && document.querySelector("[data-id=detail] h2")
      && document.querySelector("[data-id=answer]")?.textContent && !document.querySelector("[data-id=split]").hidden;
    if (shown) setTimeout(() => done(performance.now()));
    else requestAnimationFrame(look);
  };
  look();
});
"""
# From the click on a stored trace's link, as the list of recent traces and a step back in history do it.
CLICK = """async ([id, prompt]) => {
  const began = performance.now();
  history.pushState({}, "", `?trace=${id}`);
  dispatchEvent(new PopStateEvent("popstate"));
  const shown = await readable(prompt);
  const tasks = longTasks.filter(([start]) => start >= began);
  return {ms: shown - began, longest: Math.max(0, ...tasks.map(([, ms]) => ms)), elements: document.querySelectorAll("main *").length};
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

    def add(row: dict[str, Any]) -> tuple[str, str]:
        answer = httpx.post(f"{url}/api/traces", json=[row], timeout=120)
        answer.raise_for_status()
        return str(answer.json()["trace_ids"][0]), str(row["prompt"])

    short, many, big = add(marked(50)), add(marked()), add(free())
    rows: list[Row] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.add_init_script(WATCH)

        def loaded(trace_id: str, prompt: str) -> tuple[Any, float]:
            page = context.new_page()
            page.goto(f"{url}/ui/?trace={trace_id}", wait_until="commit")
            shown = float(page.evaluate("readable", prompt))
            page.wait_for_timeout(2500)  # other world lines, scores, recent traces
            return page, shown

        def clicked(page: Any, trace: tuple[str, str]) -> dict[str, float]:
            seen: dict[str, float] = page.evaluate(CLICK, list(trace))
            page.wait_for_timeout(1000)
            return seen

        traces = {"50 steps": short, f"{STEPS:,} steps": many, "1 MB of text": big}
        loaded(*short)[0].close()  # the files of the page are in the browser's cache from here on
        loads: dict[str, list[float]] = {name: [] for name in traces}
        clicks: dict[str, list[dict[str, float]]] = {name: [] for name in traces}
        for _ in range(ROUNDS):
            for name, trace in traces.items():
                page, ms = loaded(*trace)
                loads[name].append(ms)
                clicked(page, traces["1 MB of text" if name == "50 steps" else "50 steps"])  # another one in between
                clicks[name].append(clicked(page, trace))
                page.close()

        def middle(values: list[float]) -> float:
            return percentile(values, 0.5)

        def click_ms(name: str) -> list[float]:
            return [seen["ms"] for seen in clicks[name]]

        for name in list(traces)[1:]:
            seen = clicks[name]
            rows.append(
                Row(
                    f"open {name} from a link", middle(click_ms(name)), "ms", middle(click_ms("50 steps")), "50 steps",
                    f"worst {max(click_ms(name)):.0f}; longest task {max(s['longest'] for s in seen):.0f} ms, {seen[0]['elements']:.0f} elements",
                )
            )  # fmt: skip
            rows.append(
                Row(
                    f"open {name} with the page", middle(loads[name]), "ms", middle(loads["50 steps"]), "50 steps",
                    f"worst {max(loads[name]):.0f}",
                )
            )  # fmt: skip
        page, _ = loaded(*short)
        page.evaluate(PLAIN_LIST)
        empty = page.evaluate(SCROLL, ["#plain", FRAMES])
        page.close()
        for name in list(traces)[1:]:
            page, _ = loaded(*traces[name])
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
