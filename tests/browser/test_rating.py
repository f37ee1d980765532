"""Rating by keyboard: nothing lost, nothing out of order, "saved" only after the commit, a reload comes back to the step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import visit
from tests.browser.traces import long_one, synthetic

STEPS = 120
LIST = "#wl-rate-list"


def open_trace(bench: Any, open_tab: Any, row: dict[str, Any], route: Any = None) -> tuple[Any, str, str]:
    """A tab on the Rate page with this trace, the trace's id, the assignment's id.

    route: what becomes of requests to /api/ratings. It must be set before the page is there: in a page that is open already
    a browser may send the next request as if nothing had been said.
    """
    trace_id = bench.post("/api/traces", [row])["trace_ids"][0]
    tab = open_tab()
    if route is not None:
        tab.page.route("**/api/ratings", route)
    visit(tab.page, f"{bench.url}/ui/rate?trace={trace_id}")
    tab.page.wait_for_selector(f"{LIST} .wl-row >> nth=1")
    tab.page.wait_for_url("**assignment=*")
    tab.page.wait_for_function("document.activeElement.id === 'wl-rate-list'")
    assignment = tab.page.url.split("assignment=")[1].split("&")[0]
    return tab, trace_id, assignment


def settled(page: Any) -> None:
    page.wait_for_function(
        "document.querySelector('[data-id=save-state]').textContent === '✓ All saved'", timeout=20_000
    )


def left(page: Any, assignment: str) -> None:
    """The next trace is there at once, and what ended this one is on disk a moment later."""
    page.wait_for_function(f"!location.search.includes('{assignment}')")
    settled(page)


def values(bench: Any, assignment: str) -> dict[int, float | None]:
    """Step → value, as the server has it."""
    ratings = bench.get(f"/api/assignments/{assignment}")["ratings"]
    return {r["step_idx"]: r["value"] for r in ratings if r["dimension"] == "correctness"}


def judgement(bench: Any, assignment: str, dimension: str) -> dict[int | None, float | None]:
    ratings = bench.get(f"/api/assignments/{assignment}")["ratings"]
    return {r["step_idx"]: r["value"] for r in ratings if r["dimension"] == dimension}


def press_all(page: Any, keys: str) -> None:
    """Key presses as fast as the browser takes them: all in one task, no pause between them."""
    page.evaluate(
        """(keys) => {
          const list = document.querySelector('#wl-rate-list');
          for (const key of keys) list.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
        }""",
        list(keys),
    )


def test_a_burst_of_keys_is_kept_whole_and_in_order(open_tab: Any, bench: Any) -> None:
    tab, _, assignment = open_trace(bench, open_tab, long_one(STEPS))
    page = tab.page
    keys = [str(1 + (i * i + i // 3) % 3) for i in range(STEPS)]
    wanted = {i: float(int(k) - 2) for i, k in enumerate(keys)}
    press_all(page, "".join(keys))
    settled(page)
    assert values(bench, assignment) == wanted
    # The same steps again, some changed twice and taken back: the last press counts.
    press_all(page, "g" + "".join("3" if i % 2 else "1" for i in range(STEPS)) + "zz")
    settled(page)
    expected = {i: 1.0 if i % 2 else -1.0 for i in range(STEPS)}
    expected |= {i: wanted[i] for i in (STEPS - 1, STEPS - 2)}
    assert values(bench, assignment) == expected
    shown = page.locator(f"{LIST} .wl-row .verdicts[data-act=rate] [aria-checked=true]").evaluate_all(
        "(all) => all.map((e) => e.dataset.choice)"
    )
    assert shown == [{1.0: "good", 0.0: "neutral", -1.0: "bad"}[expected[i]] for i in range(STEPS)]


@pytest.mark.slow
def test_real_key_presses_without_a_pause(open_tab: Any, bench: Any) -> None:
    tab, _, assignment = open_trace(bench, open_tab, long_one(STEPS))
    for i in range(110):
        tab.page.keyboard.press(str(1 + i % 3))
    settled(tab.page)
    assert values(bench, assignment) == {i: float(i % 3 - 1) for i in range(110)}


@pytest.mark.slow
def test_saved_is_said_only_after_the_commit_and_nothing_is_lost_without_a_server(open_tab: Any, bench: Any) -> None:
    # Nobody there, a proxy that answers in the server's place, an empty answer: none of them is about what was rated.
    answers, tries = ({}, {"status": 404}, {"status": 408}, {"status": 200, "body": ""}), []

    def nowhere(route: Any) -> None:
        answer = answers[len(tries) % len(answers)]
        tries.append(answer)
        route.fulfill(**answer) if answer else route.abort()

    tab, _, assignment = open_trace(bench, open_tab, long_one(12), nowhere)
    page = tab.page
    for key in "3312":
        page.keyboard.press(key)
    page.wait_for_function("document.querySelector('[data-id=save-state]').textContent.includes('4 waiting')")
    assert page.locator(f"{LIST} .save-mark.waiting").count() == 4
    assert page.locator(f"{LIST} .save-mark.saved").count() == 0
    while len(tries) <= len(answers):
        page.wait_for_timeout(100)
    assert page.locator(f"{LIST} .save-mark.waiting").count() == 4
    assert values(bench, assignment) == {}
    # A reload, still without an answer: the judgements are on screen and still wait.
    visit(page, page.url)
    page.wait_for_selector(f"{LIST} .wl-row >> nth=4")
    assert page.locator(f"{LIST} [data-act=rate] [aria-checked=true]").count() == 4
    page.unroute("**/api/ratings")
    settled(page)
    assert values(bench, assignment) == {0: 1.0, 1: 1.0, 2: -1.0, 3: 0.0}
    page.wait_for_function("document.querySelectorAll('#wl-rate-list .save-mark.saved').length === 4")  # a frame later


def test_a_refused_rating_is_said(open_tab: Any, bench: Any) -> None:
    def refuse(route: Any) -> None:
        events = route.request.post_data_json["events"]
        rejected = [{"event_id": e["event_id"], "error": "no room"} for e in events]
        route.fulfill(json={"committed": [], "rejected": rejected})

    tab, _, _ = open_trace(bench, open_tab, long_one(4), refuse)
    page = tab.page
    page.keyboard.press("3")
    page.wait_for_selector(".wl-notice.error")
    assert "no room" in page.inner_text(".wl-notice.error")
    assert page.locator(f"{LIST} .save-mark.saved").count() == 0


def test_first_error_leaves_later_steps_unrated(open_tab: Any, bench: Any) -> None:
    tab, _, assignment = open_trace(bench, open_tab, long_one(10))
    page = tab.page
    for key in ("3", "3", "x"):
        page.keyboard.press(key)
    settled(page)
    assert values(bench, assignment) == {0: 1.0, 1: 1.0, 2: -1.0}
    assert judgement(bench, assignment, "first_error") == {2: 1.0}
    # Only one step can be the first error; undo brings the other back.
    page.keyboard.press("k")
    page.keyboard.press("x")
    settled(page)
    assert judgement(bench, assignment, "first_error") == {1: 1.0}
    page.keyboard.press("z")
    settled(page)
    assert judgement(bench, assignment, "first_error") == {2: 1.0}
    assert values(bench, assignment) == {0: 1.0, 1: 1.0, 2: -1.0}


@pytest.fixture(scope="module")
def branching(bench: Any) -> dict[str, Any]:
    return next(
        row for row in synthetic(40, seed=17) if row["response"].count("<|reasoning_backtrack|>") in range(3, 12)
    )


def test_the_questions_at_a_backtrack_by_keyboard(open_tab: Any, bench: Any, branching: dict[str, Any]) -> None:
    tab, trace_id, assignment = open_trace(bench, open_tab, branching)
    page = tab.page
    steps = bench.get(f"/api/traces/{trace_id}")["steps"]
    entered = next(s for s in steps if s["is_backtrack"])
    for _ in range(entered["index"]):
        page.keyboard.press("j")
    page.keyboard.press("w")  # worth exploring: yes
    page.keyboard.press("T")  # left in time: no
    page.keyboard.press("r")  # right place: yes
    settled(page)
    assert judgement(bench, assignment, "worth_exploring") == {entered["index"]: 1.0}
    assert judgement(bench, assignment, "left_in_time") == {entered["index"]: 0.0}
    assert judgement(bench, assignment, "right_return") == {entered["index"]: 1.0}
    page.keyboard.press("r")  # the same answer again takes it away
    settled(page)
    assert judgement(bench, assignment, "right_return") == {}
    # b goes to where the backtrack went on from, and back.
    at = "document.querySelector('#wl-rate-list .selected').dataset.row - 1"
    page.keyboard.press("b")
    assert page.evaluate(at) == (-1 if entered["parent"] is None else entered["parent"])
    page.keyboard.press("b")
    assert page.evaluate(at) == entered["index"]
    # [ goes to the branch that was opened before this one from the same place.
    page.keyboard.press("[")
    assert steps[page.evaluate(at)]["parent"] == entered["parent"]


def test_mouse_verdict_note_and_comment(open_tab: Any, bench: Any, branching: dict[str, Any]) -> None:
    tab, _, assignment = open_trace(bench, open_tab, branching)
    page = tab.page
    page.click(f"{LIST} .wl-row[data-row='2'] [data-choice=neutral]")
    page.click("[data-id=verdict] [data-choice=good]")
    page.fill("[data-id=note]", "A note with 1, 2, 3 and x in it")  # typing is not rating
    page.press("[data-id=note]", "Tab")
    settled(page)
    assert values(bench, assignment) == {1: 0.0}
    ratings = bench.get(f"/api/assignments/{assignment}")["ratings"]
    assert {r["dimension"]: (r["value"], r["value_text"]) for r in ratings if r["target"] == "trace"} == {
        "verdict": (1.0, None),
        "note": (None, "A note with 1, 2, 3 and x in it"),
    }
    page.focus(LIST)
    page.keyboard.press("c")
    page.wait_for_selector("[data-comment]")
    page.keyboard.type("33 seems right")
    page.keyboard.press("Enter")
    settled(page)
    assert page.locator(".comment-text").count() == 1
    assert values(bench, assignment) == {1: 0.0}
    # v goes to the verdict, and a key there is a verdict.
    page.keyboard.press("v")
    page.keyboard.press("1")
    settled(page)
    assert judgement(bench, assignment, "verdict") == {None: -1.0}


@pytest.mark.slow
def test_a_reload_comes_back_to_the_step(open_tab: Any, bench: Any) -> None:
    tab, _, assignment = open_trace(bench, open_tab, long_one(30))
    page = tab.page
    for key in "333jjjk":
        page.keyboard.press(key)
    row = page.get_attribute(f"{LIST} .selected", "data-row")
    assert row == "6"
    visit(page, page.url)
    page.wait_for_selector(f"{LIST} .selected")
    assert page.get_attribute(f"{LIST} .selected", "data-row") == row
    # The address alone is enough for another browser.
    page.wait_for_url("**step=6*")
    other = open_tab()
    visit(other.page, page.url)
    other.page.wait_for_selector(f"{LIST} .selected")
    assert other.page.get_attribute(f"{LIST} .selected", "data-row") == row
    assert values(bench, assignment) == {0: 1.0, 1: 1.0, 2: 1.0}


def test_keys_rest_while_the_list_has_no_focus_and_can_be_switched_off(open_tab: Any, bench: Any) -> None:
    tab, _, assignment = open_trace(bench, open_tab, long_one(5))
    page = tab.page
    page.focus("[data-id=note]")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("3")
    page.focus(LIST)
    page.keyboard.press("?")
    page.wait_for_selector("dialog.wl-sheet")
    page.uncheck("dialog.wl-sheet input[type=checkbox]")
    page.keyboard.press("Escape")
    page.focus(LIST)
    page.keyboard.press("3")
    page.wait_for_timeout(200)
    assert values(bench, assignment) == {}
    page.click("[data-id=dock-rates] .good")  # the mouse still works
    settled(page)
    assert values(bench, assignment) == {0: 1.0}


def test_skip_keeps_its_reason_and_hands_out_the_next(open_tab: Any, bench: Any) -> None:
    tab, _, assignment = open_trace(bench, open_tab, long_one(3))
    page = tab.page
    page.click("[data-id=exits] >> text=Bad problem")
    page.wait_for_selector("dialog[open]")
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"
    page.keyboard.type("1 and 2 make 3, so what is asked?")
    page.keyboard.press("Enter")
    left(page, assignment)
    found = bench.get(f"/api/assignments/{assignment}")
    assert (found["assignment"]["status"], found["assignment"]["status_reason"]) == ("skipped", "bad_problem")
    assert [r["value_text"] for r in found["ratings"] if r["dimension"] == "note"] == [
        "1 and 2 make 3, so what is asked?"
    ]


def test_a_wrong_parent_is_mended_drawn_anew_undone_and_kept_over_a_reload(
    open_tab: Any, bench: Any, screenshots: Path
) -> None:
    row = {
        "prompt": "How many primes are below 20?",
        "response": "<think>Step 1: Let me list the primes one after the other: 2, 3, 5, 7, 11, 13, 17, 19.\n\n"
        "Step 2: I count them, each one once, and that makes eight primes below 20.\n\n"
        "Step 3: Let me check 15 as well: it is 3 times 5, so it is no prime and stays out.\n\n"
        "Step 4: So the answer is 8.</think>8",
    }
    tab, _, assignment = open_trace(bench, open_tab, row)
    page = tab.page
    page.click(f"{LIST} .wl-row[data-row='3'] .name")
    follows = page.locator(f"{LIST} input[data-mend=parent]")
    before = follows.input_value()
    follows.fill("0")
    follows.press("Tab")
    turn = page.locator(f"{LIST} .wl-row[data-row='3'] >> text=Gave up the branch before")
    turn.wait_for()
    page.select_option(f"{LIST} select[data-mend=kind]", "aside")
    turn.wait_for(state="detached")  # the kind that a person gives says that it is none
    assert page.inner_text(f"{LIST} .wl-row[data-row='3'] .wl-chip.kind") == "aside"
    settled(page)
    assert before != "0"
    assert judgement(bench, assignment, "parent") == {2: -1.0}
    kinds = [
        r["value_text"] for r in bench.get(f"/api/assignments/{assignment}")["ratings"] if r["dimension"] == "kind"
    ]
    assert kinds == ["aside"]
    visit(page, page.url)
    page.click(f"{LIST} .wl-row[data-row='3'] .name")
    assert page.locator(f"{LIST} input[data-mend=parent]").input_value() == "0"
    page.screenshot(path=screenshots / "rate-mended.png")
    page.click(f"{LIST} button[data-mend=none]")
    settled(page)
    assert judgement(bench, assignment, "parent") == {}
    assert page.locator(f"{LIST} input[data-mend=parent]").input_value() == before
    page.locator(LIST).press("z")
    settled(page)
    assert judgement(bench, assignment, "parent") == {2: -1.0}
