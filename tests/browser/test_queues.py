"""Queues on screen: made and given guidelines by a researcher, rated from by a rater who waits for nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import visit
from tests.browser.traces import long_one

LIST = "#wl-rate-list"


@pytest.mark.slow
def test_a_queue_is_made_read_and_rated_from_without_waiting(open_tab: Any, bench: Any) -> None:
    rows = [{**long_one(4), "prompt": f"Question of the queue, number {i}: reach 24."} for i in range(3)]
    bench.post("/api/traces", rows)
    desk = open_tab("/ui/queues").page
    desk.click("[data-id=new]")
    desk.fill("[data-id=settings] [name=title]", "<b>First</b> pass")
    desk.fill("[data-id=settings] [name='config.text']", "Question of the queue")
    desk.fill("[data-id=settings] [name=lease_minutes]", "0")
    desk.click("[data-id=settings] [type=submit]")
    desk.wait_for_selector("[data-id=settings] .said.bad >> text=lease_minutes")
    desk.fill("[data-id=settings] [name=lease_minutes]", "30")
    desk.click("[data-id=settings] [type=submit]")
    desk.wait_for_selector("[data-id=settings] .said >> text=The queue is made")
    desk.wait_for_selector("[data-id=progress] >> text=3 traces")
    desk.fill("[data-id=guidelines] [name=guidelines]", "Read **everything** <img src=x onerror=alert(1)>")
    desk.wait_for_selector(".guide-preview strong >> text=everything")
    desk.click("[data-id=guidelines] [type=submit]")
    desk.wait_for_selector("[data-id=guidelines] >> text=Version 2 is in force")
    assert desk.locator(".guide-preview img").count() == 0

    tab = open_tab()
    page = tab.page
    with page.expect_response(lambda r: "prefetch" in (r.request.post_data or "")) as ahead:
        visit(page, bench.url + desk.get_attribute("[data-id=rate]", "href"))
    ahead.value.finished()
    page.wait_for_selector(f"{LIST} .wl-row >> nth=1")
    assert page.locator("[data-id=queue] option:checked").inner_text() == "<b>First</b> pass"
    page.click("[data-id=guidelines-button]")
    page.wait_for_selector("[data-id=guidelines] strong >> text=everything")
    page.click("[data-id=guidelines-button]")
    # The next one was fetched ahead: with the server's hand-out cut off, it is there all the same.
    page.route("**/api/assignments/next", lambda route: route.abort())
    before = page.inner_text("[data-id=prompt]")
    page.focus(LIST)
    for key in ("3", "3", "3", "3", "Control+Enter"):
        page.keyboard.press(key)
    page.wait_for_function("(before) => document.querySelector('[data-id=prompt]').innerText !== before", arg=before)
    page.wait_for_selector(".wl-notice >> text=Submitted and saved")
    page.wait_for_selector("[data-id=pace] >> text=1 of 3 submitted")
    page.unroute("**/api/assignments/next")
    # The way back: the last one, reopened.
    page.click("[data-id=recent] a")
    page.wait_for_selector("[data-notice=readonly]")
    assert page.inner_text("[data-id=prompt]") == before
    page.click("[data-notice=readonly] >> text=Reopen to change")
    page.wait_for_selector("[data-notice=readonly]", state="detached")


@pytest.mark.slow
def test_what_is_shown_is_not_fetched_ahead_once_more(open_tab: Any, bench: Any) -> None:
    rows = [{**long_one(2), "prompt": f"Question that comes once, number {i}: reach 24."} for i in range(4)]
    bench.post("/api/traces", rows)
    queue = bench.post("/api/queues", {"title": "Once", "config": {"text": "Question that comes once"}})["queue_id"]
    page = open_tab().page
    page.route("**/begin", lambda route: (page.wait_for_timeout(400), route.continue_()))  # a slow way to the server

    def ahead() -> Any:
        return page.expect_response(lambda r: "prefetch" in (r.request.post_data or ""))

    with ahead() as fetched:
        visit(page, f"{bench.url}/ui/rate?queue={queue}")
    seen = []
    for left in (3, 2, 1):
        fetched.value.finished()
        page.wait_for_function("document.activeElement.id === 'wl-rate-list'")
        seen.append(page.inner_text("[data-id=prompt]"))
        for key in ("3", "3"):
            page.keyboard.press(key)
        if left > 1:
            with ahead() as fetched:
                page.keyboard.press("Control+Enter")
        else:
            page.keyboard.press("Control+Enter")
        page.wait_for_function(
            "(before) => document.querySelector('[data-id=prompt]').innerText !== before", arg=seen[-1]
        )
    seen.append(page.inner_text("[data-id=prompt]"))
    assert sorted(seen) == sorted(row["prompt"] for row in rows)
    page.unroute_all(behavior="wait")


@pytest.mark.slow
def test_an_empty_queue_leads_to_the_others_that_have_something_left(open_tab: Any, bench: Any) -> None:
    bench.post("/api/traces", [{**long_one(2), "prompt": "Question of the other queue: reach 24."}])
    other = bench.post("/api/queues", {"title": "<i>Other</i> one", "config": {"text": "Question of the other queue"}})
    none = bench.post("/api/queues", {"title": "Empty one", "config": {"text": "no trace has these words"}})["queue_id"]
    page = open_tab().page
    visit(page, f"{bench.url}/ui/rate?queue={none}")
    page.wait_for_selector("[data-id=empty-text] >> text=Nothing is left for you in the queue “Empty one”")
    page.click("[data-id=empty-actions] >> text=<i>Other</i> one (1)")
    page.wait_for_selector(f"{LIST} .wl-row >> nth=1")
    assert page.inner_text("[data-id=prompt]") == "Question of the other queue: reach 24."
    assert page.locator("[data-id=queue]").input_value() == other["queue_id"]


@pytest.mark.slow
def test_who_works_by_keys_stays_where_he_is_when_the_page_is_drawn_anew(open_tab: Any, bench: Any) -> None:
    bench.post("/api/traces", [{**long_one(2), "prompt": "Question of a queue that is walked by keys."}])
    config = {"text": "Question of a queue that is walked by keys"}
    ids = [bench.post("/api/queues", {"title": f"By keys {n}", "config": config})["queue_id"] for n in (1, 2)]
    bench.post("/api/assignments/next", {"rater": "key walker", "queue": ids[1]})
    page = open_tab().page
    page.clock.install()
    visit(page, f"{bench.url}/ui/queues?queue={ids[0]}")
    page.focus("[data-id=list] button >> text=By keys 2")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-id=progress] td >> text=key walker")
    assert page.evaluate("document.activeElement.innerText").startswith("By keys 2")
    page.focus("[data-id=progress] .table")
    with page.expect_response(lambda r: r.url.endswith("/progress")):
        page.clock.run_for(11_000)
    page.wait_for_function("document.querySelector('[data-id=progress] .table') === document.activeElement")
