"""Once round the loop as a person goes it: ask, watch, reload, rate, freeze, export, train, use, see the scores."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import visit
from tests.browser.traces import synthetic

LIST = "#wl-solve-list"
RATED = 8
STEPS_ON_SCREEN = """() => [...document.querySelectorAll('#wl-solve-list .wl-row')]
  .map((row) => [row.dataset.row, row.querySelector('.name')?.textContent ?? row.querySelector('.prompt').textContent])"""


@pytest.fixture(scope="module")
def run_id(bench: Any) -> str:
    """A run whose tree is known to turn back: seeds are tried until one does (the pocket model backtracks in most traces)."""
    for seed in range(1, 20):
        run = bench.post(
            "/api/runs", {"prompt": "Reach 31 from 3, 7, 8 and 11.", "seed": seed, "max_steps": 25, "min_steps": 8}
        )["run_id"]
        deadline = time.monotonic() + 60
        while bench.get(f"/api/runs/{run}")["state"] == "running" and time.monotonic() < deadline:
            time.sleep(0.1)
        if bench.get(f"/api/runs/{run}")["backtracks"]:
            return str(run)
    raise AssertionError("the pocket model did not turn back in 19 runs")


@pytest.mark.slow
def test_ask_and_watch(open_tab: Any, bench: Any, run_id: str) -> None:
    """Steps and backtracks appear while the run goes on; a reload and a second browser show the same."""
    seed = next(s for s in range(1, 20) if _seeded(bench, s, run_id))
    tab = open_tab("/ui/")
    page = tab.page
    page.click("[data-id=controls] summary")
    page.fill("[data-id=seed]", str(seed))
    page.fill("[data-id=min_steps]", "8")
    page.fill("[data-id=max_steps]", "25")
    page.fill("[data-id=question]", "Reach 31 from 3, 7, 8 and 11.")
    page.press("[data-id=question]", "Enter")
    page.wait_for_selector(f"{LIST} .wl-row[data-row='2']", timeout=30_000)
    running = page.is_visible("[data-id=stop]")
    visit(page, page.url)  # reload in the middle
    second = open_tab()
    visit(second.page, page.url)
    assert running, "the run was over before its second step was seen"
    for one in (page, second.page):
        one.wait_for_function(
            "!document.querySelector('[data-id=run]').hidden && document.querySelector('[data-id=verdict]').textContent",
            timeout=60_000,
        )
    run = re.search(r"run=(\w+)", page.url)
    assert run
    deadline = time.monotonic() + 20  # the verdict is on screen a moment before the trace is stored
    while bench.get(f"/api/runs/{run[1]}")["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    trace = bench.get(f"/api/traces/{run[1]}")
    wanted = [["0", trace["prompt"]]] + [[str(s["index"] + 1), s["name"] or "(no name)"] for s in trace["steps"]]
    for one in (page, second.page):
        assert one.evaluate(STEPS_ON_SCREEN) == wanted  # none missing, none twice
        boxes = one.locator("[data-id=overview] .box .strip").count()
        assert boxes == len(trace["steps"])  # the overview holds every step once
        turns = one.locator(f"{LIST} .wl-chip.back").count()
        assert turns == sum(s["is_backtrack"] for s in trace["steps"]) > 0
        assert one.locator(f"{LIST} .jump").count() >= turns
        assert one.inner_text("[data-id=n-steps]") == str(len(trace["steps"]))
        assert one.inner_text("[data-id=n-backtracks]") == str(turns)
    # Every field of a step is what was stored.
    page.click(f"{LIST} .wl-row[data-row='3']")
    detail = page.inner_text("[data-id=detail]")
    for field in ("name", "thought", "summary", "reflection"):
        assert trace["steps"][2][field] in detail
    visit(page, page.url)
    page.wait_for_selector(f"{LIST} .wl-row[data-row='3'].selected")


def _seeded(bench: Any, seed: int, run_id: str) -> bool:
    return bench.get(f"/api/traces/{run_id}")["sampling"].get("seed") == seed


def test_a_lost_connection_is_said_and_mended(open_tab: Any, bench: Any, run_id: str) -> None:
    """The stream breaks in the middle: a banner, then the same steps as everybody sees."""
    tab = open_tab()
    page = tab.page
    calls: list[str] = []

    def cut(route: Any) -> None:
        calls.append(route.request.url)
        if len(calls) == 1:  # half of the stream, ended in mid-air
            lines = route.fetch().body().decode().split("\n\n")
            body = "\n\n".join(lines[: len(lines) // 2]) + "\n\n"
            route.fulfill(body=body, content_type="text/event-stream")
        elif len(calls) <= 3:
            route.abort()
        else:
            route.continue_()

    page.route("**/events*", cut)
    visit(page, f"{bench.url}/ui/?run={run_id}")
    page.wait_for_selector("[data-notice=connection]")
    page.wait_for_selector("[data-notice=connection]", state="detached", timeout=20_000)
    page.wait_for_function("document.querySelector('[data-id=verdict]').textContent !== ''", timeout=20_000)
    trace = bench.get(f"/api/traces/{run_id}")
    assert page.evaluate(STEPS_ON_SCREEN)[1:] == [
        [str(s["index"] + 1), s["name"] or "(no name)"] for s in trace["steps"]
    ]
    assert "after=" in calls[1] or len(calls) > 3


def test_stop_ends_a_run(open_tab: Any, bench: Any) -> None:
    page = open_tab("/ui/").page
    page.click("[data-id=controls] summary")
    page.fill("[data-id=min_steps]", "60")
    page.click("[data-id=dice4]")
    page.wait_for_function("document.querySelector('[data-id=question]').value !== ''")
    page.click("[data-id=run]")
    page.wait_for_selector(f"{LIST} .wl-row[data-row='1']", timeout=30_000)
    page.click("[data-id=stop]")
    page.wait_for_selector("[data-id=state].cancelled", timeout=20_000)
    assert page.inner_text("[data-id=state]") == "Stopped"


def test_an_empty_question_is_answered_in_words(open_tab: Any) -> None:
    page = open_tab("/ui/").page
    page.click("[data-id=run]")
    assert "Write a question" in page.inner_text(".wl-notice.warn")


@pytest.mark.slow
def test_rate_freeze_export_train_use(open_tab: Any, bench: Any, screenshots: Path, run_id: str) -> None:
    """The second half of the loop, all in the browser."""
    ids = bench.post("/api/traces", synthetic(RATED, seed=23))["trace_ids"]
    tab = open_tab()
    page = tab.page
    last = ""
    for trace_id in ids:
        visit(page, f"{bench.url}/ui/rate?trace={trace_id}")
        page.wait_for_selector("#wl-rate-list .wl-row >> nth=1")
        assert page.locator("#wl-rate-list .wl-chip.score").count() == 0
        steps = bench.get(f"/api/traces/{trace_id}")["steps"]
        for step in steps:
            page.keyboard.press("1" if step["decision"] == "backtrack" else "3")
        page.keyboard.press("v")
        page.keyboard.press("3")
        page.wait_for_url("**assignment=*")
        last = page.url.split("assignment=")[1].split("&")[0]
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("[data-notice=submitted]", timeout=20_000)
    assert bench.get(f"/api/assignments/{last}")["assignment"]["status"] == "submitted"

    visit(page, f"{bench.url}/ui/data")
    page.wait_for_function("document.querySelector('[data-id=freeze-go]').disabled === false", timeout=20_000)
    page.fill("[data-id=freeze-name]", "from the browser test")
    page.click("[data-id=freeze-go]")
    page.wait_for_selector("[data-notice=freeze].good", timeout=20_000)
    snapshot = bench.get("/api/snapshots")[0]
    assert snapshot["n_rows"] >= RATED
    page.click(".snapshot >> text=Export …")
    for form in ("stepwise", "preference"):
        page.select_option(".export select >> nth=0", label=form.capitalize())
        page.wait_for_selector(f".export:not(:has([aria-busy])) .primary >> text=Write {form.capitalize()} export")
        page.wait_for_selector(".export .warnings")  # warned before anything is written
        assert not list(bench.folder.glob(f"exports/{snapshot['snapshot_id']}/{form}/*"))
        if page.locator(".export .primary").is_disabled():
            continue  # nothing to prefer among these traces: said, and nothing is written
        page.click(".export .primary")
        page.wait_for_selector(".export .files a", timeout=20_000)
        with page.expect_download() as waiting:
            page.click(".export .files a >> text=data.jsonl")
        row = json.loads(Path(waiting.value.path()).read_text().splitlines()[0])
        assert (
            {"prompt", "completions", "labels"} <= row.keys()
            if form == "stepwise"
            else {"prompt", "chosen", "rejected"} <= row.keys()
        )
    page.screenshot(path=screenshots / "data-export.png", full_page=True)

    page.click(".snapshot >> text=Train on it")
    page.wait_for_selector("[data-wl-ready=yes]")
    page.fill("[data-id=overrides]", "epochs=0.5\nno_such_key=1")
    page.click("[data-id=go]")
    page.wait_for_selector("[data-id=start-result] .error")
    page.click("[data-id=look]")  # what would be learned: the rows, with every judged step's separator marked
    page.wait_for_selector("[data-id=start-result] .error")
    page.fill("[data-id=overrides]", "")
    page.click("[data-id=look]")
    page.wait_for_selector("[data-id=rows] .mask")
    marked = page.locator("[data-id=rows] .mask .m").all_inner_texts()
    assert set(marked) >= {"<|step_score|> ✓", "<|step_score|> ✗"}
    assert page.locator("[data-id=rows] .mask").first.text_content().startswith("<|begin|>")
    page.screenshot(path=screenshots / "train-masks.png")
    page.fill("[data-id=overrides]", "epochs=1\nmin_steps=6\nbatch=2")  # few steps: this is about the page
    page.click("[data-id=go]")
    page.wait_for_selector("[data-id=job] .chart", timeout=120_000)
    page.screenshot(path=screenshots / "train-running.png")
    page.wait_for_selector("[data-id=head] >> text=Use in workbench", timeout=180_000)
    page.click("[data-id=head] >> text=Use in workbench")
    page.wait_for_selector("[data-notice=use]")
    page.wait_for_function("document.querySelector('[data-id=log]').textContent.length > 20")

    # Scores are hidden while a trace is being rated, and there once it is submitted.
    deadline = time.monotonic() + 60
    while not bench.get(f"/api/traces/{ids[-1]}/scores") and time.monotonic() < deadline:
        time.sleep(0.3)
    fresh = bench.post("/api/traces", synthetic(RATED + 1, seed=29)[-1:])["trace_ids"][0]
    visit(page, f"{bench.url}/ui/rate?trace={fresh}")
    page.wait_for_selector("#wl-rate-list .wl-row >> nth=1")
    assert page.locator("#wl-rate-list .wl-chip.score").count() == 0
    visit(page, f"{bench.url}/ui/rate?assignment={last}")
    page.wait_for_selector("#wl-rate-list .wl-chip.score")
    assert page.locator("#wl-rate-list .wl-chip.score").count() == len(bench.get(f"/api/traces/{ids[-1]}")["steps"])
    page.screenshot(path=screenshots / "rate-submitted.png")
    visit(page, f"{bench.url}/ui/?trace={run_id}")
    page.wait_for_selector(f"{LIST} .wl-chip.score", timeout=120_000)  # of all traces the newest come first

    # A submitted trace can be reopened.
    visit(page, f"{bench.url}/ui/rate?assignment={last}")
    page.click("text=Reopen to change")
    page.wait_for_selector("[data-notice=readonly]", state="detached")
    assert bench.get(f"/api/assignments/{last}")["assignment"]["status"] == "leased"


@pytest.mark.slow
def test_scores_are_waited_for_as_long_as_anything_is_being_scored(open_tab: Any, bench: Any, run_id: str) -> None:
    steps = len(bench.get(f"/api/traces/{run_id}")["steps"])
    asked: list[str] = []
    waiting = [1]

    def scores(route: Any) -> None:
        asked.append(route.request.url)
        late = [{"scorer": "prm-1", "values": [0.5] * steps}]
        route.fulfill(json=late if len(asked) == 7 else [])

    page = open_tab().page
    page.clock.install()
    page.route(f"**/api/traces/{run_id}/scores", scores)
    page.route("**/api/health", lambda route: route.fulfill(json={"scoring": waiting[0]}))

    def ask_again() -> None:
        with page.expect_response("**/scores"):
            page.clock.run_for(10_000)

    visit(page, f"{bench.url}/ui/?trace={run_id}")
    while len(asked) < 7:
        ask_again()
    page.wait_for_selector(f"{LIST} .wl-chip.score")
    asked.clear()
    waiting[0] = 0
    visit(page, f"{bench.url}/ui/?trace={run_id}")
    while len(asked) < 4:
        ask_again()
    page.clock.run_for(60_000)
    page.wait_for_timeout(200)
    assert len(asked) == 4, "nothing is being scored: asked no more"


@pytest.mark.slow
def test_pictures_of_every_page(open_tab: Any, bench: Any, screenshots: Path) -> None:
    """Light and dark, wide and narrow; and no page is wider than its window."""
    row = next(r for r in synthetic(60, seed=41) if 18 <= r["response"].count("<|reasoning_step_start|>") <= 30)
    trace_id = bench.post("/api/traces", [row])["trace_ids"][0]
    pages = {
        "solve-empty": "/ui/",
        "solve": f"/ui/?trace={trace_id}&step=8",
        "rate": f"/ui/rate?trace={trace_id}",
        "data": "/ui/data",
        "train": "/ui/train",
    }
    for shape, (width, height) in {"wide": (1440, 900), "narrow": (380, 800)}.items():
        tab = open_tab(width=width, height=height)
        for name, path in pages.items():
            for theme in ("light", "dark"):
                visit(tab.page, f"{bench.url}{path}{'&' if '?' in path else '?'}__theme={theme}")
                tab.page.wait_for_timeout(400)
                if name == "rate" and theme == "light" and shape == "wide":
                    for key in "33134wT3":
                        tab.page.keyboard.press(key)
                    tab.page.wait_for_timeout(400)
                tab.page.screenshot(path=screenshots / f"{name}-{theme}-{shape}.png", full_page=shape == "narrow")
                wide = tab.page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{name} is {wide} px wide in a window of {width}"
    graph = open_tab(width=1440, height=900).page
    for theme in ("light", "dark"):
        graph.goto(f"{bench.url}/api/traces/{trace_id}/graph?theme={theme}")
        graph.wait_for_selector("canvas")
        graph.wait_for_timeout(400)
        graph.screenshot(path=screenshots / f"graph-{theme}.png")


@pytest.mark.slow
def test_stop_and_resume_a_job(open_tab: Any, bench: Any) -> None:
    """A fine-tuning job is stopped in the middle and goes on where it was. (Its whole course is tested without a browser.)"""
    snapshots = bench.get("/api/snapshots")
    if not snapshots:
        pytest.skip("needs the snapshot of the loop's test before it")
    page = open_tab(f"/ui/train?snapshot={snapshots[0]['snapshot_id']}").page
    page.check("[name=kind][value=sft]")
    page.fill("[data-id=overrides]", "epochs=50\nbatch=1\naccumulate=1\ncheckpoint_every=2")
    page.click("[data-id=go]")
    page.wait_for_selector("[data-id=head] >> text=Reasoner")
    page.wait_for_selector("[data-id=chart] .chart", timeout=120_000)
    page.click("[data-id=head] >> text=Stop")
    page.wait_for_selector("[data-id=head] .stopped", timeout=60_000)
    job = bench.get("/api/jobs")[0]
    assert job["kind"] == "sft" and 0 < job["step"] < job["total_steps"]
    page.click("[data-id=head] >> text=Resume")
    page.wait_for_function(
        "(step) => Number(/Step ([\\d,]+)/.exec(document.querySelector('[data-id=sub]').textContent)[1].replace(',', '')) > step",
        arg=job["step"], timeout=120_000,
    )  # fmt: skip
    page.click("[data-id=head] >> text=Stop")
    page.wait_for_selector("[data-id=head] .stopped", timeout=60_000)
    assert bench.get(f"/api/jobs/{job['job_id']}")["step"] > job["step"]
