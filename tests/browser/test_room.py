"""The rating room with everybody in it: two raters at once, an adjudicator who settles what they differ on, a researcher whose
export has the decision in it. Each with an account of their own; raters have nothing but a keyboard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from app.people import hashed
from core.trace import Trace
from storage import people
from storage.pairing import by_hand
from storage.pairs import add_pairs, set_up_pairs
from storage.queues.settings import DEFAULT_QUEUE, need_queue, save_queues
from storage.store import Store
from tests.browser.conftest import Bench, workbench
from tests.browser.test_people import PASSWORD, log_in, ready
from tests.browser.test_rating import settled
from tests.storage.helpers import make_trace

PEOPLE = {"root": "admin", "anna": "rater", "ben": "rater", "ada": "adjudicator", "rosa": "researcher"}
# In every text that somebody can write: as it stands in a page it is read, and nothing of it runs.
CORPUS = "<img src=x onerror=window.__xss=1> ${window.__xss=1} <script>window.__xss=1</script> [x](javascript:window.__xss=1)"


def furnish(store: Store, roles: Mapping[str, str], alone: Trace, question: str) -> None:
    """Accounts, one trace to rate, and a pair of two that begin alike."""
    password = hashed(PASSWORD)
    for name, role in roles.items():
        store.write(people.add_accounts, people.NewAccount(name, name, role, password)).result()
    sides = [make_trace((None, 0), prompt=question, names=["same", last], model=last) for last in ("one", "two")]
    for trace in (alone, *sides):
        store.add_trace(trace).result()
    store.write(set_up_pairs, None).result()
    couple = (sides[0].trace_id, sides[1].trace_id)
    store.write(add_pairs, store.read(lambda con: by_hand(con, "pairs", [couple]))).result()


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[Bench]:
    """A workbench with five accounts, one trace to rate, and a pair of two others."""
    folder = tmp_path_factory.mktemp("room")
    with Store.open(folder / "data") as store:
        alone = make_trace(
            prompt=f"Is it right? {CORPUS}", names=["first", CORPUS, "third"], created_at="2026-01-01T00:00:00Z"
        )
        furnish(store, PEOPLE, alone, f"Which? {CORPUS}")
        every = replace(
            store.read(lambda con: need_queue(con, DEFAULT_QUEUE)), sampling="oldest"
        )  # both begin with the same
        store.write(save_queues, every).result()
    with workbench(folder) as running:
        yield running


@pytest.mark.slow
def test_two_raters_an_adjudicator_and_a_researcher(browser: Any, room: Bench) -> None:
    contexts = {
        name: browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True) for name in PEOPLE
    }
    pages = {name: context.new_page() for name, context in contexts.items() if name != "root"}

    def tab_to(page: Any, where: str) -> None:
        """By Tab alone, as far as it takes."""
        for _ in range(120):
            if page.evaluate("(where) => document.activeElement.matches(where)", where):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {where}")

    def begin(name: str) -> Any:
        """A rater logs in and opens Rate, without a mouse."""
        page = pages[name]
        page.goto(f"{room.url}/ui/rate", timeout=60_000)
        page.wait_for_selector('form[data-door="login"] button:enabled')
        for field, text in (("name", name), ("password", PASSWORD)):
            tab_to(page, f"[name={field}]")
            page.keyboard.type(text)
        page.keyboard.press("Enter")
        ready(page)
        return page

    def go(name: str, path: str) -> Any:
        page = pages[name]
        page.goto(room.url + path, timeout=60_000)
        if page.url.startswith(f"{room.url}/login"):
            log_in(page, name)
        ready(page)
        return page

    # Both have the same trace before either has said a word, and differ on its second step.
    for name in ("anna", "ben"):
        begin(name).wait_for_selector("#wl-rate-list .wl-row >> nth=3")
    prompts = {pages[name].inner_text("[data-id=prompt]") for name in ("anna", "ben")}
    assert len(prompts) == 1 and CORPUS in prompts.pop()
    for at, keys in enumerate(zip("313", "333", strict=True)):
        for name, key in zip(("anna", "ben"), keys, strict=True):
            tab_to(pages[name], "#wl-rate-list")
            pages[name].keyboard.press(key)
            if at == 1 and key == "1" and pages[name].locator("[data-id=panel] textarea:visible").count():
                pages[name].keyboard.press("Escape")
    for name in ("anna", "ben"):
        settled(pages[name])
        was = pages[name].url
        pages[name].keyboard.press("Control+Enter")
        pages[name].wait_for_function("(was) => location.href !== was", arg=was)

    # The pair too, each preferring what stands on their left: the sides are swapped, so that they differ.
    for name in ("anna", "ben"):
        page = pages[name]
        tab_to(page, "nav a[href*=compare]")
        page.keyboard.press("Enter")
        page.wait_for_url("**/ui/compare**")
        ready(page)
        page.wait_for_selector("#wl-compare-b .wl-row.difference")
        tab_to(page, "#wl-compare-a")
        page.keyboard.press("1")
        page.keyboard.press("c")
        page.keyboard.type(CORPUS)
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("[data-notice=left]")

    # The adjudicator sees letters, both sides of the pair and where they part; decides, with a reason.
    ada = go("ada", "/ui/quality")
    ada.locator("[role=option][aria-selected=true]", has_text="Is it right?").wait_for()
    ada.locator(".opinion").nth(1).wait_for()
    assert "anna" not in ada.inner_text("[data-id=dispute]")
    ada.locator("[data-id=list]").focus()
    ada.keyboard.press("1")
    ada.keyboard.type(f"It does not follow. {CORPUS}")
    ada.keyboard.press("Control+Enter")
    ada.locator("text=Nothing is left to decide").wait_for()
    ada.select_option("[data-id=queue]", label="Pairs")
    sides = ada.locator(".dispute-sides section")
    sides.nth(1).locator(".context.current").wait_for()
    shown = [side.locator(".context.current b").inner_text() for side in sides.all()]  # the older one is on the left
    assert sorted(shown) == ["2. one", "2. two"]
    assert sorted(ada.locator("mark.differs").all_inner_texts()) == ["one", "two"]
    assert CORPUS in ada.inner_text(".opinions")
    ada.locator("[data-id=list]").focus()
    ada.keyboard.press("17"[shown.index("2. two")])  # much better, on whichever side it is
    ada.keyboard.type("Two is true.")
    ada.keyboard.press("Control+Enter")
    ada.locator("text=Nothing is left to decide").wait_for()

    # The researcher freezes and writes: the decision stands in the place of the votes.
    rosa = go("rosa", "/ui/data")
    rosa.wait_for_function("document.querySelector('[data-id=freeze-go]').disabled === false")
    rosa.fill("[data-id=freeze-name]", "the room")
    rosa.click("[data-id=freeze-go]")
    rosa.wait_for_selector("[data-notice=freeze].good")
    request = contexts["rosa"].request
    snapshot = request.get(f"{room.url}/api/snapshots").json()[0]["snapshot_id"]

    def written(form: str) -> list[dict[str, Any]]:
        made = request.post(f"{room.url}/api/snapshots/{snapshot}/exports", data={"format": form})
        assert made.ok, made.text()
        file = request.get(f"{room.url}/api/snapshots/{snapshot}/exports/{form}/data.jsonl")
        return [json.loads(line) for line in file.text().splitlines()]

    stepwise = written("stepwise")
    assert stepwise and all(row["labels"][:2] == [True, False] for row in stepwise), "ben's vote was another"
    (pair,) = written("preference")
    assert "two" in pair["chosen"] and "two" not in pair["rejected"]
    assert (pair["margin"], pair["n_votes"], pair["raters"]) == (3.0, 2, "anna+ben")

    for name, page in pages.items():
        assert page.evaluate("window.__xss") is None, name
        assert page.locator("img[src=x]").count() == 0, name
    for context in contexts.values():
        context.close()
