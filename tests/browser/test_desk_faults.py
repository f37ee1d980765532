"""What is typed or judged on Rate and Compare outlives whatever happens beside it: a run that ends, another trace or pair, a page
that goes, a broken connection, somebody else's work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from storage.store import Store
from tests.browser.conftest import Bench, visit, workbench
from tests.browser.test_compare import _row
from tests.browser.test_judging import keyboard, row, said, selected_row
from tests.browser.test_people import WAITING, log_in, ready
from tests.browser.test_rating import LIST, judgement, left, open_trace, settled, values
from tests.browser.test_room import furnish
from tests.browser.traces import long_one
from tests.storage.helpers import make_trace

COMMENT = ".step-panel [data-comment]"
ON_LIST = "document.activeElement.id === 'wl-rate-list'"


def at(page: Any) -> str:
    """The assignment on screen."""
    return str(page.url.split("assignment=")[1].split("&")[0])


def remarks(bench: Any, assignment: str) -> dict[int, str]:
    """Step → the remark on it, as the server has it."""
    return {c["step_idx"]: c["value_text"] for c in bench.get(f"/api/assignments/{assignment}")["comments"]}


def answer_once(page: Any, response: str) -> None:
    """The next request that sends judgements is answered with this."""
    page.evaluate(
        f"""() => {{
          const real = fetch;
          globalThis.fetch = async (path, how) => {{
            if (path !== "/api/ratings") return real(path, how);
            globalThis.fetch = real;
            return {response};
          }};
        }}"""
    )


@pytest.mark.parametrize("place", ["comment", "note", "details"])
def test_a_run_that_ends_takes_no_text_and_makes_no_ratings_of_it(open_tab: Any, bench: Any, place: str) -> None:
    asked = {"prompt": "Reach 24 from 4, 7, 8 and 8.", "min_steps": 300, "max_steps": 400, "max_tokens": 16384}
    run = bench.post("/api/runs", asked)["run_id"]
    page = open_tab(f"/ui/rate?run={run}").page
    page.wait_for_selector(f"{LIST} .wl-row[data-row='4']")
    page.focus(LIST)
    page.keyboard.press("1")
    if place == "note":
        page.focus("[data-id=note]")
    else:
        page.keyboard.press({"comment": "c", "details": "e"}[place])
        page.wait_for_selector(".step-panel .panel-body")
    if place != "details":
        page.keyboard.type("It is 3")
    bench.post(f"/api/runs/{run}/stop")
    while bench.get(f"/api/runs/{run}")["state"] != "done":
        page.wait_for_timeout(50)
    page.wait_for_timeout(800)  # as long as it would take to show the trace
    page.keyboard.type("1" if place == "details" else "31 x")
    page.keyboard.press("Control+Enter" if place == "note" else "Escape")
    page.wait_for_url("**assignment=*")
    page.wait_for_function(ON_LIST)
    settled(page)
    assignment = at(page)
    assert values(bench, assignment) == {0: -1.0}
    assert judgement(bench, assignment, "first_error") == {}
    assert selected_row(page) == 2
    assert remarks(bench, assignment) == ({1: "It is 331 x"} if place == "comment" else {})
    assert said(bench, assignment, None) == ({"note": "It is 331 x"} if place == "note" else {})
    assert said(bench, assignment).get("error_type") == ("calculation" if place == "details" else None)


def test_the_first_error_is_none_where_the_step_is_bad_no_more(open_tab: Any, bench: Any) -> None:
    tab, _, assignment = open_trace(bench, open_tab, long_one(6))
    page = tab.page
    keyboard(page, "3", "x")
    for key, now in (("3", {0: 1.0, 1: 1.0}), ("4", {0: 1.0, 1: None}), ("0", {0: 1.0})):
        page.keyboard.press(key)
        settled(page)
        assert (values(bench, assignment), judgement(bench, assignment, "first_error")) == (now, {}), key
        page.keyboard.press("z")  # one press, one undo
        settled(page)
        assert values(bench, assignment) == {0: 1.0, 1: -1.0}
        assert judgement(bench, assignment, "first_error") == {1: 1.0}, key


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[Bench]:
    """A workbench with a rater, an adjudicator, a trace to rate and a pair."""
    folder = tmp_path_factory.mktemp("guarded")
    with Store.open(folder / "data") as store:
        roles = {"root": "admin", "anna": "rater", "ada": "adjudicator"}
        furnish(store, roles, make_trace(prompt="Is it right?", names=["first", "second", "third"]), "Which?")
    with workbench(folder) as running:
        yield running


@pytest.mark.slow
def test_an_adjudicator_looks_at_anothers_work_and_goes_on_with_their_own(browser: Any, guarded: Bench) -> None:
    contexts = {name: browser.new_context(viewport={"width": 1280, "height": 900}) for name in ("anna", "ada")}
    pages = {}
    for name, context in contexts.items():
        page = pages[name] = context.new_page()
        page.goto(f"{guarded.url}/ui/rate")
        log_in(page, name)
        ready(page)
        page.wait_for_url("**assignment=*")
    anna, ada = pages["anna"], pages["ada"]
    of_anna = at(anna)
    pair = contexts["anna"].request.post(f"{guarded.url}/api/pairs/next", data={}).json()["assignment"]["assignment_id"]

    # Work in hand, then submitted: looked at, not touched.
    for submitted in (False, True):
        if submitted:
            anna.focus(LIST)
            keyboard(anna, "3", "Control+Enter", "Control+Enter")
            left(anna, of_anna)
        visit(ada, f"{guarded.url}/ui/rate?assignment={of_anna}")
        ada.wait_for_selector("[data-notice=readonly] >> text=This is the work of anna.")
        assert ada.locator("text=Reopen to change").count() == 0
        ada.focus(LIST)
        keyboard(ada, "1", "x", "z", "Z")
        assert ada.evaluate(WAITING) == 0
    visit(ada, f"{guarded.url}/ui/compare?assignment={pair}")
    ada.wait_for_selector("[data-notice=readonly] >> text=This is the work of anna.")
    ada.focus("#wl-compare-a")
    keyboard(ada, "a", "z")
    assert ada.evaluate(WAITING) == 0

    # What is judged in one's own work arrives, whatever else was in the way.
    visit(ada, f"{guarded.url}/ui/rate")
    ada.wait_for_url("**assignment=*")
    own = at(ada)
    assert own != of_anna
    ada.focus(LIST)
    # Somebody else has logged in in this browser meanwhile: nothing is wrong with what was judged.
    answer_once(ada, """new Response('{"error": "You are logged in as ben."}', { status: 403 })""")
    ada.keyboard.press("3")
    ada.wait_for_selector('[data-notice="offline"] >> text=You are logged in as ben.')
    settled(ada)
    told = ada.evaluate(
        """async ([own, other]) => {
          const { Outbox } = await import("/static/outbox.js");
          const event = (rater_id, assignment_id, step_idx) => ({ event_id: crypto.randomUUID(), assignment_id, rater_id, seq: Date.now() + step_idx, action: "set", target: "step", step_idx, dimension: "correctness",
            value: 1, value_text: null, ts_client: new Date().toISOString(), input_method: "key", dwell_ms: 1, prelabel_visible: false, ui_build: "test" });
          const told = [];
          const outbox = new Outbox({ committed: (e) => told.push(`kept ${e.rater_id}`), rejected: (e, why) => told.push(`refused ${e.rater_id}: ${why}`), changed() {} });
          await new Promise((go) => setTimeout(go));
          outbox.put([event("anna", other, 0), event("ada", own, 1)]);
          for (let i = 0; outbox.waiting && i < 100; i += 1) await new Promise((go) => setTimeout(go, 50));
          return told;
        }""",
        [own, of_anna],
    )
    assert len(told) == 2
    assert told[0].startswith('refused anna: You are logged in as "ada" and cannot work as "anna"')
    assert told[1] == "kept ada"
    ratings = contexts["ada"].request.get(f"{guarded.url}/api/assignments/{own}").json()["ratings"]
    assert {r["step_idx"]: r["value"] for r in ratings} == {0: 1.0, 1: 1.0}
    for context in contexts.values():
        context.close()


def test_a_note_on_a_pair_outlives_the_page_the_queue_and_the_way_back(open_tab: Any, bench: Any) -> None:
    queues = []
    for title, count in (("Noted", 3), ("Other notes", 2)):
        rows = [{**_row(f"m{n}", "Look", f"Try {n}"), "prompt": f"Reach 13 for {title}."} for n in range(count)]
        ids = bench.post("/api/traces", rows)["trace_ids"]
        queue = bench.post("/api/queues", {"title": title, "unit": "pair"})["queue_id"]
        couples = [ids[i : i + 2] for i in range(count - 1)]
        bench.post("/api/pairs", {"policy": "by_hand", "queue_id": queue, "pairs": couples})
        queues.append(queue)
    page = open_tab(f"/ui/compare?queue={queues[0]}").page
    page.wait_for_selector("#wl-compare-b .wl-row.difference")
    first = at(page)

    def write(text: str) -> None:
        page.focus("#wl-compare-a")
        page.keyboard.press("c")
        page.fill("[data-id=panel] textarea", text)

    def note(assignment: str) -> str | None:
        page.wait_for_function("document.querySelector('[data-id=save-state]').textContent === '✓ All saved'")
        found = bench.get(f"/api/pairs/assignments/{assignment}")["ratings"]
        return next((r["value_text"] for r in found if r["dimension"] == "note"), None)

    def gone(assignment: str) -> None:
        page.wait_for_function("(was) => !location.search.includes(was)", arg=assignment)

    write("before a reload")
    visit(page, page.url)
    page.wait_for_selector("#wl-compare-b .wl-row.difference")
    assert note(first) == "before a reload"
    visit(page, f"{bench.url}/ui/compare?queue={queues[0]}")
    page.wait_for_url(f"**assignment={first}*")
    write("before another queue")
    page.select_option("[data-id=queue]", queues[1])
    gone(first)
    assert note(first) == "before another queue"
    page.select_option("[data-id=queue]", queues[0])
    page.wait_for_url(f"**assignment={first}*")
    page.focus("#wl-compare-a")
    keyboard(page, "1", "Control+Enter")
    gone(first)
    second = at(page)
    write("before the last one is taken back")
    page.focus("#wl-compare-a")
    page.keyboard.press("z")
    page.wait_for_selector("[data-notice=left] >> text=taken back")
    assert at(page) == first
    assert note(second) == "before the last one is taken back"
    page.focus("#wl-compare-a")
    page.keyboard.press("Control+Enter")
    gone(first)
    assert at(page) == second
    write("before the pair before")
    page.focus("#wl-compare-a")
    page.keyboard.press("p")
    gone(second)
    assert note(second) == "before the pair before"


@pytest.fixture
def two_queues(bench: Any, request: pytest.FixtureRequest) -> Callable[[], list[str]]:
    """Two queues with two traces each, of this test alone."""

    def make() -> list[str]:
        words = [f"{request.node.name[-40:]}, {which}" for which in ("here", "there")]
        bench.post("/api/traces", [row(f"How many primes are below 20? ({w}, {i})") for w in words for i in (1, 2)])
        return [bench.post("/api/queues", {"title": w, "config": {"text": w}})["queue_id"] for w in words]

    return make


def test_what_is_written_of_a_step_outlives_the_queue_the_name_and_the_way_back(
    open_tab: Any, bench: Any, two_queues: Any
) -> None:
    here, there = two_queues()
    page = open_tab(f"/ui/rate?queue={here}").page
    page.wait_for_selector(f"{LIST} .wl-row.selected")
    page.wait_for_url("**assignment=*")

    def moved(was: str) -> str:
        page.wait_for_function(
            "(was) => /assignment=/.test(location.search) && !location.search.includes(was)", arg=was
        )
        page.wait_for_function(ON_LIST)
        settled(page)
        return at(page)

    first = at(page)
    page.focus(LIST)
    page.keyboard.press("c")
    page.fill(COMMENT, "before another queue")
    page.select_option("[data-id=queue]", there)
    second = moved(first)
    assert remarks(bench, first) == {0: "before another queue"}

    # What cannot be kept holds the trace; once it can be, it goes along.
    page.keyboard.press("i")
    box = page.locator(".panel-body.better textarea")
    box.fill("x" * 20_001)
    page.select_option("[data-id=queue]", here)
    page.wait_for_selector(".step-panel .bad-input:not(:empty)")
    assert at(page) == second
    box.fill("Step 1: There are eight.")
    page.once("dialog", lambda dialog: dialog.accept("zoe"))
    page.click("[data-id=rater]")
    third = moved(second)
    assert "There are eight." in said(bench, second)["better"]

    # Ratings beside an open panel leave what stands in it; taking the last one back keeps it where it belongs.
    keyboard(page, "v", "3")
    page.wait_for_function(ON_LIST)
    keyboard(page, "Control+Enter", "Control+Enter")
    fourth = moved(third)
    page.keyboard.press("c")
    page.fill(COMMENT, "before the last one is taken back")
    page.focus(LIST)
    keyboard(page, "3", "z")
    assert page.input_value(COMMENT) == "before the last one is taken back"
    page.keyboard.press("z")
    page.wait_for_selector("[data-notice=submitted] >> text=taken back")
    assert moved(fourth) == third
    assert remarks(bench, fourth) == {0: "before the last one is taken back"}


def test_a_tag_that_was_not_entered_stays_with_its_trace(open_tab: Any, bench: Any, two_queues: Any) -> None:
    page = open_tab(f"/ui/rate?queue={two_queues()[0]}").page
    page.wait_for_selector(f"{LIST} .wl-row.selected")
    page.wait_for_url("**assignment=*")
    first = at(page)
    page.focus(LIST)
    page.keyboard.press("3")
    page.fill("[data-id=tags] input", "  counts  twice ")
    keyboard(page, "Control+Enter", "Control+Enter")
    left(page, first)
    assert said(bench, first, None) == {"tags": "counts twice"}
    assert page.input_value("[data-id=tags] input") == ""
    second = at(page)
    page.fill("[data-id=tags] input", "half a tag")
    visit(page, page.url)
    page.wait_for_selector("[data-id=tags] [aria-pressed=true] >> text=half a tag")
    settled(page)
    assert said(bench, second, None) == {"tags": "half a tag"}


def test_an_answer_that_breaks_off_is_asked_for_again(open_tab: Any, bench: Any) -> None:
    tab, _, assignment = open_trace(bench, open_tab, long_one(4))
    broken = 'new Response(new ReadableStream({ start: (body) => body.error(new TypeError("network error")) }))'
    answer_once(tab.page, broken)
    tab.page.keyboard.press("3")
    tab.page.wait_for_selector('[data-notice="offline"] >> text=The server does not answer')
    settled(tab.page)
    assert values(bench, assignment) == {0: 1.0}
