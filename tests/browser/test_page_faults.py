"""What a page does by itself leaves its reader alone: lists that are asked for all the time, answers that come late, text that
is being written; and what is marked or recorded is what was meant.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from core.formats import steiner_tokens as t
from tests.browser.conftest import Bench, visit
from tests.browser.test_judging import keyboard, said
from tests.browser.test_quality import rated
from tests.browser.test_rating import LIST, judgement, open_trace, settled
from tests.storage.helpers import make_trace, step_text

# Pages ask again every 4 s (Solve) or 5 s (Quality); a test does not wait for that.
HASTE = "const later = setTimeout; window.setTimeout = (f, ms, ...rest) => later(f, ms === 4000 || ms === 5000 ? 150 : ms, ...rest);"
SOLVE = "#wl-solve-list"
FOCUSED = "document.activeElement.closest('button, a')?.innerText"


def contested(bench: Bench, title: str, steps: int = 3) -> str:
    """A queue of one trace, of which two raters say otherwise at every step."""
    queue = str(bench.post("/api/queues", {"title": title, "config": {"text": title}})["queue_id"])
    trace = make_trace((None, *range(steps - 1)), prompt=f"{title}: who is right?")
    bench.post("/api/traces", trace.to_json())
    for rater, value in (("ada", 1), ("bob", -1)):
        rated(bench, trace.trace_id, rater, (value,) * steps, queue=queue)
    return queue


def polled(page: Any, path: str) -> None:
    """Wait until the page has asked twice and drawn what came: the third time is after that."""
    for _ in range(3):
        with page.expect_response(lambda r: path in r.url):
            pass


# ---------------------------------------------------------------- lists that are asked for again and again


def test_the_quality_page_leaves_its_reader_where_they_are(open_tab: Any, bench: Bench) -> None:
    queue = contested(bench, "Left alone", steps=120)
    page = open_tab(height=700).page
    page.add_init_script(HASTE)
    visit(page, f"{bench.url}/ui/quality?queue={queue}")
    page.wait_for_selector(".opinion")
    page.click("[data-id=more] button")
    page.wait_for_selector("#dispute-99")
    polled(page, "/api/quality/disagreements")
    assert page.evaluate(FOCUSED) == "More"
    page.click("[data-id=states] >> text=All")
    page.wait_for_selector("[data-id=states] [aria-pressed=true] >> text=All")
    page.evaluate("document.querySelector('[data-id=list]').scrollTop = 900")
    polled(page, "/api/quality/disagreements")
    assert page.evaluate(FOCUSED) == "All"
    assert page.evaluate("document.querySelector('[data-id=list]').scrollTop") == 900
    # The reports below: neither the window nor a table moves, nor does the focus.
    page.wait_for_selector("[data-id=agreement] .table")
    where = """() => {
      const table = document.activeElement;
      return [table.closest("[data-id]")?.dataset.id, table.scrollTop, document.querySelector(".disputes").getBoundingClientRect().top];
    }"""
    page.evaluate("""() => {
      const table = document.querySelector("[data-id=agreement] .table");
      table.style.maxHeight = "30px";
      table.scrollIntoView();
      table.focus({ preventScroll: true });
      table.scrollTop = 20;
      table.dataset.read = "yes";
    }""")
    before = page.evaluate(where)
    assert before[:2] == ["agreement", 20]
    assert (
        page.evaluate("document.querySelector('[data-id=list] [aria-selected=true]').getBoundingClientRect().bottom")
        < 0
    )
    polled(page, "/api/quality/disagreements")
    assert page.evaluate(where) == before
    # Another figure is drawn, and the focus stays.
    trace = bench.get(f"/api/quality/disagreements?queue={queue}")["rows"][0]["item_id"]
    rated(bench, trace, "cyd", (1,) * 120, queue=queue)
    page.wait_for_selector("[data-id=agreement] .table:not([data-read])")
    assert page.evaluate(where)[0] == "agreement"


def test_the_focus_stays_in_the_list_of_recent_runs(open_tab: Any, bench: Bench) -> None:
    first, second = (make_trace(prompt=f"Recent one, number {i}") for i in range(2))
    bench.post("/api/traces", first.to_json())
    page = open_tab().page
    page.add_init_script(HASTE)
    visit(page, f"{bench.url}/ui/")
    link = page.locator(".wl-recent a", has_text="Recent one, number 0")
    link.focus()
    polled(page, "/api/searches?limit")
    assert "Recent one, number 0" in (page.evaluate(FOCUSED) or "")
    bench.post("/api/traces", second.to_json())
    page.locator(".wl-recent a", has_text="Recent one, number 1").wait_for()
    assert "Recent one, number 0" in (page.evaluate(FOCUSED) or "")


def test_a_closed_queue_can_be_chosen_on_the_quality_page(open_tab: Any, bench: Bench) -> None:
    queue = contested(bench, "Over and done")
    bench.ask("PATCH", f"/api/queues/{queue}", {"archived": True})
    page = open_tab("/ui/quality").page
    page.select_option("[data-id=queue]", label="Over and done (closed)")
    page.locator("[role=option]", has_text="Over and done: who is right?").first.wait_for()
    assert f"queue={queue}" in page.url
    assert page.locator("[role=option]").count() == 3


# ---------------------------------------------------------------- guidelines that are being written


def test_guidelines_that_are_written_stay_or_are_asked_about(open_tab: Any, bench: Bench) -> None:
    other = bench.post("/api/queues", {"title": "The other queue"})["queue_id"]
    queue = bench.post("/api/queues", {"title": "Written for"})["queue_id"]
    page = open_tab(f"/ui/queues?queue={queue}").page
    box = page.locator("[data-id=guidelines] [name=guidelines]")
    box.fill("Half a sentence")
    page.fill("[data-id=settings] [name=title]", "Written for still")
    page.click("[data-id=settings] [type=submit]")
    page.wait_for_selector("[data-id=settings] .said >> text=Saved.")
    box.wait_for()
    assert box.input_value() == "Half a sentence"
    # Another queue, a new one, a version: each would throw it away.
    dialog = page.locator("dialog.confirm-sheet")
    for away in ("[data-id=list] >> text=The other queue", "[data-id=new]"):
        page.click(away)
        dialog.get_by_text("Keep it").click()
        dialog.wait_for(state="detached")
        assert box.input_value() == "Half a sentence"
    with page.expect_response(lambda r: "archived=true" in r.url):  # a longer list throws nothing away
        page.click("[data-id=archived]")
    page.wait_for_timeout(100)
    assert box.input_value() == "Half a sentence"
    # What was written is saved as ever, also after the settings.
    page.click("[data-id=guidelines] [type=submit]")
    page.wait_for_selector("[data-id=guidelines] >> text=Version 2 is in force now")
    box.fill("Another half")
    page.select_option("[data-id=guidelines] [name=version]", "1")
    dialog.get_by_text("Keep it").click()
    dialog.wait_for(state="detached")
    assert (box.input_value(), page.input_value("[data-id=guidelines] [name=version]")) == ("Another half", "2")
    # Closed, it leaves the list that does not show closed ones.
    bench.ask("PATCH", f"/api/queues/{queue}", {"archived": True})
    page.click("[data-id=archived]")
    dialog.get_by_text("Keep it").click()
    dialog.wait_for(state="detached")
    assert page.is_checked("[data-id=archived]")
    assert box.input_value() == "Another half"
    page.click("[data-id=list] >> text=The other queue")
    dialog.get_by_text("Throw away", exact=True).click()
    page.wait_for_url(f"**queue={other}")
    page.wait_for_function("document.querySelector('[data-id=guidelines] [name=guidelines]').value !== 'Another half'")


# ---------------------------------------------------------------- what is meant is what is kept


SELECT = """(inside) => {
  const formula = document.querySelector("#wl-rate-list .wl-row[data-row='2'] .formula");
  if (inside) return getSelection().selectAllChildren(formula.querySelector(".katex-html .mrel"));
  const text = formula.nextSibling;
  const at = text.data.indexOf("8 it is");
  getSelection().setBaseAndExtent(text, at, text, at + 1);
}"""


@pytest.mark.parametrize("inside", [False, True])
def test_a_place_after_or_in_a_formula_is_marked_where_it_stands(open_tab: Any, bench: Bench, inside: bool) -> None:
    """After it: one of many, in the name, in the formula, in the text. A part of a formula is all of it."""
    steps = [
        step_text("Look", "There are two fours."),
        step_text("The 8", "$4 + 4 = 8$ makes 8, and 8 it is, surely 8, 8, 8."),
    ]
    response = f"{t.REASONING_START}{t.PROCEED.join(steps)}{t.REASONING_END}8"
    tab, _, assignment = open_trace(bench, open_tab, {"prompt": f"What is 4 + 4? ({inside})", "response": response})
    page = tab.page
    keyboard(page, "3", "x")
    settled(page)
    page.wait_for_selector(f"{LIST} .wl-row[data-row='2'] .katex")
    page.evaluate(SELECT, inside)
    page.keyboard.press("e")
    page.wait_for_selector(".span-hint .hint.marked")
    settled(page)
    start, length = (response.index("$4"), len("$4 + 4 = 8$")) if inside else (response.index("8 it is"), 1)
    assert said(bench, assignment, 1)["span"] == f"{start} {start + length}"


def test_an_emptied_parent_is_as_inferred(open_tab: Any, bench: Bench) -> None:
    trace = make_trace((None, 0, 1), prompt="What does the third step follow?")
    tab, _, assignment = open_trace(bench, open_tab, trace.to_json())
    page = tab.page
    page.click(f"{LIST} .wl-row[data-row='3'] .name")
    follows = page.locator(f"{LIST} input[data-mend=parent]")
    shows = "(wanted) => document.querySelector('#wl-rate-list input[data-mend=parent]').value === wanted"
    assert follows.input_value() == "2"
    follows.fill("")
    follows.press("Tab")
    page.wait_for_function(shows, arg="2")
    follows.fill("")
    follows.press_sequentially("e")  # which a field for numbers takes, and gives nothing back for
    follows.press("Tab")
    page.wait_for_function("document.getElementById('wl-live')?.textContent.includes('can follow the question (0)')")
    page.wait_for_function(shows, arg="2")
    settled(page)
    assert judgement(bench, assignment, "parent") == {}
    follows.fill("0")
    follows.press("Tab")
    settled(page)
    assert judgement(bench, assignment, "parent") == {2: -1.0}
    follows.fill("")
    follows.press("Tab")
    page.wait_for_function(shows, arg="2")
    settled(page)
    assert judgement(bench, assignment, "parent") == {}


# ---------------------------------------------------------------- answers that come late on the Solve page


@pytest.mark.parametrize("answer", ["there", "gone"])
def test_a_trace_that_comes_late_does_not_replace_what_was_opened_after_it(
    open_tab: Any, bench: Bench, answer: str
) -> None:
    slow, quick = (
        make_trace(prompt=f"A {kind} one, {answer}", names=[f"{kind} {i}" for i in range(3)])
        for kind in ("slow", "quick")
    )
    for trace in (slow, quick):
        bench.post("/api/traces", trace.to_json())
    held: list[Any] = []
    page = open_tab().page
    page.route(lambda url: url.endswith(f"{slow.trace_id}?lean=true"), lambda route: held.append(route))
    visit(page, f"{bench.url}/ui/?trace={slow.trace_id}")
    page.click(f".wl-recent a[href*='{quick.trace_id}']")
    page.wait_for_selector(f"{SOLVE} .wl-row[data-row='1'] >> text=quick 0")
    assert held
    with page.expect_response(lambda r: slow.trace_id in r.url) as came:
        for late in held:
            late.continue_() if answer == "there" else late.fulfill(
                status=404, json={"error": "There is no such trace."}
            )
    came.value.finished()
    page.wait_for_timeout(300)
    assert page.locator("[data-id=status]").is_visible()
    assert page.locator(f"{SOLVE} .wl-row[data-row='1'] .name").inner_text() == "quick 0"
    assert page.locator("[data-notice=gone]").count() == 0


def test_a_family_that_comes_late_does_not_replace_that_of_the_trace_on_screen(open_tab: Any, bench: Bench) -> None:
    slow, quick, fork = (
        make_trace(prompt="Whose family is it?", names=[f"{kind} {i}" for i in range(3)])
        for kind in ("slow", "quick", "fork")
    )
    origin = {
        "root": quick.trace_id,
        "trace_id": quick.trace_id,
        "step": 0,
        "kept": quick.steps[0].end,
        "action": "continue",
    }
    for row in (slow.to_json(), quick.to_json(), {**fork.to_json(), "origin": origin}):
        bench.post("/api/traces", row)
    held: list[Any] = []
    page = open_tab().page
    page.route(f"**/api/traces/{slow.trace_id}/family", lambda route: held.append(route))
    visit(page, f"{bench.url}/ui/?trace={slow.trace_id}")
    page.wait_for_selector(f"{SOLVE} .wl-row[data-row='1'] >> text=slow 0")
    page.click(f".wl-recent a[href*='{quick.trace_id}']")
    chip = page.locator(f"{SOLVE} .wl-row[data-row='1'] .wl-chip.fork")
    chip.wait_for()
    with page.expect_response(lambda r: "/family" in r.url) as came:
        held[0].continue_()
    came.value.finished()
    page.wait_for_timeout(300)
    for row in ("3", "1"):  # rows are drawn anew
        page.click(f"{SOLVE} .wl-row[data-row='{row}'] .name")
    page.wait_for_timeout(100)
    assert chip.count() == 1
    assert page.locator("[data-id=wheel] .lines li").count() == 1


def test_the_question_box_can_be_emptied_while_a_run_goes_on(open_tab: Any, bench: Bench) -> None:
    run_id = bench.post("/api/runs", {"prompt": "Reach 24 from 4, 7, 8 and 8.", "max_steps": 4, "seed": 3})["run_id"]
    deadline = time.monotonic() + 60
    while bench.get(f"/api/runs/{run_id}")["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    held: list[Any] = []

    def halves(route: Any) -> None:
        if "after=" in route.request.url:
            held.append(route)
            return
        events = route.fetch().body().decode().split("\n\n")
        route.fulfill(body="\n\n".join(events[: len(events) // 2]) + "\n\n", content_type="text/event-stream")

    page = open_tab().page
    page.route("**/events*", halves)
    visit(page, f"{bench.url}/ui/?run={run_id}")
    page.wait_for_selector("[data-notice=connection]")
    question = page.locator("[data-id=question]")
    assert question.input_value() == "Reach 24 from 4, 7, 8 and 8."  # of a run that was opened by its link
    question.fill("")
    while not held:
        page.wait_for_timeout(50)
    held[0].continue_()
    page.wait_for_function("document.querySelector('[data-id=verdict]').textContent !== ''")
    assert question.input_value() == ""
