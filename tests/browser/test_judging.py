"""What is said beside a rating: what is wrong, a better step, the same for the next steps, tags, equal words; undo of all of it,
past a reload and a submission; scores after the first own pass.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import ARGUMENTS, visit
from tests.browser.test_rating import LIST, judgement, left, open_trace, settled, values
from tests.browser.traces import long_one

PARTS = (
    "Step 1: Let me list the primes 😀 below 20: 2, 3, 5, 7, 11, 13, 17, 19. I count them and get 9 primes.",
    "\n\nStep 2: I should check 15 as well. It is 3 times 5, so it is no prime. The list stands.",
    "\n\nStep 3: Let me count again: 4 and 4 primes are 8 primes, so 9 was wrong.",
    "\n\nStep 4: So the answer is 8.",
)
RESPONSE = "<think>" + "".join(PARTS) + "</think>There are 8 of them."


def row(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "response": RESPONSE}


def said(bench: Any, assignment: str, step: int | None = 0) -> dict[str, Any]:
    """Dimension → text or value of what counts now for a step (None: the trace)."""
    ratings = bench.get(f"/api/assignments/{assignment}")["ratings"]
    return {r["dimension"]: r["value_text"] or r["value"] for r in ratings if r["step_idx"] == step}


def keyboard(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def selected_row(page: Any) -> int:
    return int(page.get_attribute(f"{LIST} .selected", "data-row"))


def test_what_is_wrong_by_keyboard_with_offsets_in_code_points(open_tab: Any, bench: Any, screenshots: Path) -> None:
    tab, _, assignment = open_trace(bench, open_tab, row("How many primes are below 20? (details)"))
    page = tab.page
    keyboard(page, "1", "e")  # the cursor stands on step 2 already: step 1 is meant
    page.wait_for_selector(".panel-body.details")
    assert "step 1" in page.inner_text(".step-panel h2")
    keyboard(page, "1")  # calculation
    page.keyboard.press("3")  # … no: misread the problem
    keyboard(page, "1")
    page.click(".step-panel [data-severity='2']")
    page.focus(".span-text")
    keyboard(page, "Control+Home")
    shown = page.input_value(".span-text")
    for _ in range(len(shown[: shown.index("get 9 primes")].replace("😀", "x"))):
        page.keyboard.press("ArrowRight")
    keyboard(page, *["Shift+ArrowRight"] * len("get 9 primes"), "Enter")
    page.keyboard.type("typed into it")  # nothing changes in the text
    assert page.input_value(".span-text") == shown
    page.fill(".step-panel label textarea", "There are 8: 2 and 3 and 6 more. 1, 2, 3 and x are no keys here.")
    page.fill(".step-panel input[type=number]", "3")
    page.screenshot(path=screenshots / "rate-details.png")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "wl-rate-list"
    settled(page)
    start = RESPONSE.index("get 9 primes")
    assert said(bench, assignment) == {
        "correctness": -1.0, "error_type": "calculation", "severity": 2.0, "span": f"{start} {start + len('get 9 primes')}",
        "rationale": "There are 8: 2 and 3 and 6 more. 1, 2, 3 and x are no keys here.", "recovered": 2.0,
    }  # fmt: skip
    assert "“get 9 primes”" in page.inner_text(f"{LIST} .wl-row[data-row='2'] >> xpath=preceding-sibling::*[1]")
    # Not bad after all: what was said of the error goes, and one undo brings everything back.
    keyboard(page, "k", "3")
    settled(page)
    assert said(bench, assignment) == {"correctness": 1.0}
    page.keyboard.press("z")
    settled(page)
    assert len(said(bench, assignment)) == 6


def test_a_place_selected_with_the_mouse_is_taken_over(open_tab: Any, bench: Any) -> None:
    tab, _, assignment = open_trace(bench, open_tab, row("How many primes are below 20? (mouse)"))
    page = tab.page
    keyboard(page, "3", "x")
    settled(page)
    page.wait_for_selector(f"{LIST} .wl-row[data-row='2'] .wl-chip.bad")
    # The second of two equal words in the step: where it stands counts.
    page.evaluate(
        """() => {
          const text = document.querySelector("#wl-rate-list .wl-row[data-row='2'] .wl-fields p").firstChild;
          const at = text.data.lastIndexOf("It is");
          getSelection().setBaseAndExtent(text, at, text, at + 5);
        }"""
    )
    page.keyboard.press("e")
    page.wait_for_selector(".span-hint .hint.marked")
    settled(page)
    start = RESPONSE.index("It is 3 times")
    assert said(bench, assignment, 1)["span"] == f"{start} {start + 5}"


def test_a_better_step_is_the_whole_text_of_a_step(open_tab: Any, bench: Any) -> None:
    tab, trace_id, assignment = open_trace(bench, open_tab, long_one(4))
    page = tab.page
    step = bench.get(f"/api/traces/{trace_id}")["steps"][0]
    raw = bench.get(f"/api/traces/{trace_id}")["response"][step["start"] : step["end"]]
    keyboard(page, "1", "i")
    page.wait_for_selector(".panel-body.better")
    thought = page.locator(".step-panel [data-part='1']")
    assert thought.input_value() == step["thought"]
    thought.fill("<|reasoning_end|>")
    page.keyboard.press("Escape")  # cannot be kept, is not lost either: the panel stays and says why
    assert "would cut the step in two" in page.inner_text(".step-panel .bad-input:not(:empty)")
    thought.fill("2 − 1 = 1 & <b>so</b> on")
    page.keyboard.press("Escape")
    settled(page)
    assert said(bench, assignment)["better"] == raw.replace(step["thought"], "2 − 1 = 1 & <b>so</b> on")
    assert "<b>so</b>" in page.inner_text(f"{LIST} .better-line")
    # What of it was there before stands as it was, the rest is marked: with and without the marks it is either text.
    texts = page.evaluate(f"""() => ["ins", "del"].map((tag) => {{
      const copy = document.querySelector("{LIST} .better-line .text").cloneNode(true);
      copy.querySelectorAll(tag).forEach((e) => e.remove());
      return copy.textContent;
    }})""")
    assert step["thought"] in texts[0] and "2 − 1 = 1 & <b>so</b> on" in texts[1], texts
    page.keyboard.press("z")
    settled(page)
    assert "better" not in said(bench, assignment)


def test_a_word_diff_loses_no_letter(open_tab: Any) -> None:
    """What stayed and what went is the old text, what stayed and what came the new one; a changed sign is one word."""
    page = open_tab("/ui/rate").page
    found = page.evaluate("""async () => {
      const { wordDiff } = await import("/static/word-diff.js");
      const words = ["So", " ", "56", "−", "4", "=", "\\n", "<b>", "é😀", "x"];
      const text = () => Array.from({ length: Math.floor(Math.random() * 40) }, () => words[Math.floor(Math.random() * words.length)]).join("");
      for (let i = 0; i < 300; i += 1) {
        const old = text();
        const now = i % 3 ? old.slice(0, 20) + text() + old.slice(30) : text();
        const parts = wordDiff(old, now);
        const side = (kind) => parts.filter((p) => p.kind === "same" || p.kind === kind).map((p) => p.text).join("");
        if (parts && (side("gone") !== old || side("new") !== now)) return [old, now, parts];
      }
      return [wordDiff("It is 56 − 4 = 52.", "It is 56 + 4 = 60."), wordDiff("Try 3", "Something else altogether")];
    }""")
    assert found[1] is None
    assert [(p["kind"], p["text"]) for p in found[0]] == [
        ("same", "It is 56 "), ("gone", "−"), ("new", "+"), ("same", " 4 = "), ("gone", "52"), ("new", "60"), ("same", "."),
    ]  # fmt: skip


@pytest.mark.slow
def test_redo_survives_a_reload(open_tab: Any, bench: Any) -> None:
    tab, _, assignment = open_trace(bench, open_tab, long_one(6))
    page = tab.page
    keyboard(page, "3", "1", "2", "z", "z")
    settled(page)
    assert values(bench, assignment) == {0: 1.0}
    page.reload()
    page.wait_for_selector(f"{LIST} .wl-row.selected")
    page.focus(LIST)
    keyboard(page, "Z", "Z", "Z")  # faster than the log is read; the third has nothing to do
    page.wait_for_function(f"document.querySelectorAll('{LIST} .save-mark.saved').length >= 3")
    settled(page)
    assert values(bench, assignment) == {0: 1.0, 1: -1.0, 2: 0.0}
    keyboard(page, "z", "4")  # something else is judged: nothing is left to redo
    settled(page)
    page.reload()
    page.wait_for_selector(f"{LIST} .wl-row.selected")
    page.focus(LIST)
    page.keyboard.press("Z")
    page.wait_for_timeout(300)
    settled(page)
    assert values(bench, assignment) == {0: 1.0, 1: -1.0, 2: None}  # unsure, as judged last


def test_the_same_for_the_next_steps_is_one_undo(open_tab: Any, bench: Any) -> None:
    tab, _, assignment = open_trace(bench, open_tab, long_one(30))
    page = tab.page
    keyboard(page, "j", "j", "j", "1", "g", "3", "a")  # step 4 is bad, step 1 good; the cursor stands on step 2
    page.wait_for_selector(".panel-body.apply")
    page.keyboard.type("6")
    page.keyboard.press("Enter")
    settled(page)
    assert values(bench, assignment) == {3: -1.0} | dict.fromkeys((0, 1, 2, 4, 5, 6), 1.0)
    assert selected_row(page) == 8
    page.keyboard.press("z")
    settled(page)
    assert values(bench, assignment) == {0: 1.0, 3: -1.0}
    page.keyboard.press("Shift+Z")
    settled(page)
    assert len(values(bench, assignment)) == 7


@pytest.mark.slow
def test_undo_goes_back_past_a_reload_and_past_a_submission(open_tab: Any, bench: Any) -> None:
    tab, _, assignment = open_trace(bench, open_tab, row("How many primes are below 20? (undo)"))
    page = tab.page
    keyboard(page, "3", "3", "1", "z", "2", "c")
    page.keyboard.type("a remark")
    page.keyboard.press("Enter")
    keyboard(page, "k", "x")  # bad and the first error are one press
    page.keyboard.press("c")
    page.keyboard.type("half a rem")  # not finished when the page goes
    settled(page)
    visit(page, page.url)
    page.wait_for_selector(f"{LIST} .selected")
    page.wait_for_function("document.activeElement.id === 'wl-rate-list'")
    page.wait_for_selector(f"{LIST} .comment-text >> text=half a rem")
    keyboard(page, "z", "z", "z")  # the half remark, the first error with its rating, then the remark
    page.wait_for_function("document.querySelectorAll('#wl-rate-list .comment-text').length === 0")
    settled(page)
    assert judgement(bench, assignment, "first_error") == {}
    assert values(bench, assignment) == {0: 1.0, 1: 1.0, 2: 0.0}
    assert page.locator(f"{LIST} .comment-text").count() == 0
    page.keyboard.press("z")  # the neutral of step 3; the bad before it was undone already
    settled(page)
    assert values(bench, assignment) == {0: 1.0, 1: 1.0}
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Control+Enter")
    left(page, assignment)
    status = lambda: bench.get(f"/api/assignments/{assignment}")["assignment"]["status"]  # noqa: E731
    assert status() == "submitted"
    page.wait_for_selector('[data-notice="submitted"]')
    if page.locator("[data-id=work]").is_visible():
        page.focus(LIST)
        page.keyboard.press("z")
    else:
        page.click("[data-id=empty] >> text=Take the last one back")
    page.wait_for_url(f"**assignment={assignment}*")
    page.wait_for_selector('[data-notice="submitted"] >> text=taken back')
    assert status() == "leased"
    page.keyboard.press("z")
    page.wait_for_function("document.querySelectorAll('#wl-rate-list .wl-row.rated').length === 1")
    settled(page)
    assert values(bench, assignment) == {0: 1.0}


def test_tags_and_equal_words(open_tab: Any, bench: Any, screenshots: Path) -> None:
    tab, _, assignment = open_trace(bench, open_tab, row("How many primes are below 20? (words)"))
    page = tab.page
    page.click("[data-id=tags] >> text=lucky guess")
    page.fill("[data-id=tags] input", "counts twice")
    page.keyboard.press("Enter")
    page.keyboard.press("3")  # typed, no rating
    settled(page)
    assert said(bench, assignment, None) == {"tags": "lucky guess\ncounts twice"}
    assert values(bench, assignment) == {}
    marked = "[...CSS.highlights.get('wl-same')].filter((r) => !r.startContainer.parentElement.matches('.name')).map((r) => r.startContainer.data.slice(r.startOffset, r.endOffset))"
    place = page.evaluate(
        """() => {
          const text = document.querySelector("#wl-rate-list .wl-row[data-row='4'] .wl-fields p").firstChild;
          const range = document.createRange();
          range.setStart(text, text.data.indexOf("8"));
          range.setEnd(text, text.data.indexOf("8") + 1);
          const box = range.getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2];
        }"""
    )
    page.mouse.click(*place)
    page.wait_for_function("CSS.highlights.get('wl-same')?.size > 0")
    # In steps 3 and 4 and in the answer; not in 18 or the like.
    assert page.evaluate(marked) == ["8", "8", "8"]
    assert "3 times, in 2 steps" in page.inner_text(".same-words")
    page.screenshot(path=screenshots / "rate-words.png")
    page.focus(LIST)
    page.keyboard.press("<")
    assert selected_row(page) == 3
    page.keyboard.press("Escape")
    assert page.locator(".same-words").is_hidden()


def test_scores_come_with_the_end_of_the_first_own_pass(open_tab: Any, bench: Any) -> None:
    answers: list[dict[str, Any]] = []

    def with_scores(route: Any) -> None:
        """The server decides as it does; there is no reward model here, so the scores it would send are put in."""
        answer = route.fetch().json()
        answers.append(dict(answer))
        if answer["visible"]:
            scored = {"scorer": "prm-1", "scorer_version": "v", "aggregation": "prod", "aggregate": 0.1, "active": True}
            answer["scores"] = [{**scored, "values": [0.1, 0.9, 0.9, 0.9], "created_at": ""}]
        route.fulfill(json=answer)

    tab, _, assignment = open_trace(bench, open_tab, row("How many primes are below 20? (scores)"))
    page = tab.page
    page.route("**/prelabels", with_scores)
    keyboard(page, "3", "3", "3")
    settled(page)
    assert answers == []
    assert page.locator(f"{LIST} .score").count() == 0
    page.keyboard.press("3")
    page.wait_for_selector(f"{LIST} .wl-row[data-row='1'] .score.odds")
    assert answers == [{"visible": True, "missing": 0, "scores": []}]
    keyboard(page, "g", "1")  # a change of mind
    settled(page)
    log = bench.get(f"/api/ratings/{assignment}/events")
    assert [(e["step_idx"], e["value"], e["prelabel_visible"]) for e in log] == [
        (0, 1.0, False), (1, 1.0, False), (2, 1.0, False), (3, 1.0, False), (0, -1.0, True)
    ]  # fmt: skip


def test_a_run_is_rated_while_it_is_written_and_stopped_at_the_first_error(open_tab: Any, bench: Any) -> None:
    asked = {"prompt": "Reach 24 from 4, 7, 8 and 8.", "min_steps": 300, "max_steps": 400, "max_tokens": 16384}
    run = bench.post("/api/runs", asked)["run_id"]
    tab = open_tab(f"/ui/rate?run={run}")
    page = tab.page
    page.wait_for_selector(f"{LIST} .wl-row[data-row='4']")
    page.focus(LIST)
    keyboard(page, "3", "2", "k")
    page.wait_for_function("document.querySelector('[data-id=save-state]').textContent === '2 kept here'")
    visit(page, page.url)  # what was judged is still there, though the server knows nothing of it yet
    page.wait_for_selector(f"{LIST} .wl-row[data-row='4']")
    page.wait_for_function("document.querySelectorAll('#wl-rate-list .wl-row.rated').length === 2")
    page.focus(LIST)
    assert selected_row(page) == 1
    keyboard(page, "j", "j", "x")
    page.wait_for_selector('[data-notice="stop"]')
    assert bench.get(f"/api/runs/{run}")["state"] == "running"
    page.keyboard.press("p")
    page.wait_for_url("**assignment=*")
    settled(page)
    assert bench.get(f"/api/traces/{run}")["finish_reason"] == "cancelled"
    assignment = page.url.split("assignment=")[1].split("&")[0]
    assert values(bench, assignment) == {0: 1.0, 1: 0.0, 2: -1.0}
    assert judgement(bench, assignment, "first_error") == {2: 1.0}
    assert selected_row(page) == 3
    assert page.evaluate("Object.keys(localStorage).filter((name) => name.startsWith('worldline.live.'))") == []


@pytest.mark.slow
def test_what_was_judged_of_a_run_outlives_the_browser_and_is_never_called_saved_before(
    browser: Any, chromium: str, bench: Any, tmp_path: Path
) -> None:
    asked = {"prompt": "Reach 24 from 4, 7, 8 and 8.", "min_steps": 300, "max_steps": 400, "max_tokens": 16384}
    run = bench.post("/api/runs", asked)["run_id"]

    def profile() -> Any:
        return browser.browser_type.launch_persistent_context(tmp_path, executable_path=chromium, args=ARGUMENTS)

    context = profile()
    page = context.new_page()
    visit(page, f"{bench.url}/ui/rate?run={run}")
    page.wait_for_selector(f"{LIST} .wl-row[data-row='4']")
    page.focus(LIST)
    keyboard(page, "3", "1")
    page.wait_for_function("document.querySelector('[data-id=save-state]').textContent === '2 kept here'")
    assert page.locator(f"{LIST} .save-mark.saved").count() == 0
    context.close()  # the whole browser, before the model has ended
    bench.post(f"/api/runs/{run}/stop")
    context = profile()
    page = context.new_page()
    visit(page, f"{bench.url}/ui/rate")
    page.wait_for_function("Object.keys(localStorage).every((name) => !name.startsWith('worldline.live.'))")
    page.wait_for_function("document.querySelector('[data-id=save-state]').textContent === '✓ All saved'")
    context.close()
    assignment = bench.post("/api/assignments", {"trace_id": run})["assignment"]["assignment_id"]
    assert values(bench, assignment) == {0: 1.0, 1: -1.0}
