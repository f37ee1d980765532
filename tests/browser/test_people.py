"""Logging in on screen: what a rater is shown, what happens to their work when the login ends, and an invitation on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from app.api.traces import _read
from app.people import hashed, sha256
from storage import people
from storage.store import Store
from tests.browser.conftest import Bench, workbench
from tests.browser.test_access import AXE, BEYOND, NARROW, RULES, axe  # noqa: F401 (a fixture)
from tests.browser.traces import HOSTILE, hostile

PASSWORD = "four unrelated words"
RATER = "<img src=x onerror=window.__xss=1>"
WAITING = "Object.keys(localStorage).filter((k) => k.startsWith('worldline.out.')).length"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[Bench]:
    """A workbench with accounts and one trace."""
    folder = tmp_path_factory.mktemp("guarded")

    with Store.open(folder / "data") as store:
        store.add_trace(_read(hostile(), None), source="import").result()
        for name, role in (("root", "admin"), (RATER, "rater"), ("ben", "rater")):
            store.write(people.add_accounts, people.NewAccount(name, name, role, hashed(PASSWORD))).result()
        store.write(people.add_invites, (sha256("a-secret"), "rater", "root", timedelta(days=1))).result()
    with workbench(folder) as running:
        yield running


def log_in(page: Any, name: str, password: str = PASSWORD) -> None:
    page.wait_for_selector('form[data-door="login"] button:enabled')
    page.fill("[name=name]", name)
    page.fill("[name=password]", password)
    page.keyboard.press("Enter")


def ready(page: Any) -> None:
    page.wait_for_selector("[data-wl-ready=yes]", timeout=60_000)


@pytest.mark.slow
def test_a_raters_day_with_a_login_that_ends_in_the_middle(browser: Any, guarded: Bench) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(f"{guarded.url}/ui/data?x=1")
    log_in(page, RATER, "not the right one")
    page.wait_for_selector("[data-error]:not([hidden])")
    assert page.inner_text("[data-error]") == "The name or the password is not right."
    log_in(page, RATER)
    ready(page)
    assert page.url.startswith(f"{guarded.url}/ui/rate")  # the Data page is not theirs
    page.wait_for_selector(".wl-account")
    shown = [a.inner_text() for a in page.locator(".nav-holder nav a").all() if a.is_visible()]
    assert shown == ["Rate", "Compare"]
    assert page.inner_text(".wl-account .name") == RATER
    assert HOSTILE in page.inner_text('[data-id="prompt"]')

    context.clear_cookies()
    page.focus("#wl-rate-list")
    page.keyboard.press("3")
    page.wait_for_selector(".wl-logged-out")
    page.wait_for_function(f"{WAITING} === 1")
    with context.expect_page() as opening:
        page.click(".wl-logged-out a")
    other = opening.value
    log_in(other, "ben")  # somebody else in this browser: not his to send, and not lost
    ready(other)
    other.wait_for_selector("text=another rater's work")  # the address names the work that the tab before was at
    other.click("text=Try again")
    other.wait_for_selector('[data-id="work"]:not([hidden])')
    other.wait_for_function(f"{WAITING} === 1")
    context.clear_cookies()
    other.goto(f"{guarded.url}/login?next=//evil.example/ui/")
    log_in(other, RATER)
    ready(other)
    assert other.url.startswith(f"{guarded.url}/ui/")
    other.wait_for_function(f"{WAITING} === 0")
    other.focus("#wl-rate-list")
    for _ in range(2):  # some steps are unrated: it asks once
        other.keyboard.press("Control+Enter")
    other.wait_for_selector("[data-id=empty] >> text=Look again")  # it was the only one; the Solve page is not theirs
    assert "Make a trace" not in other.inner_text("main") and "Solve" not in other.inner_text("[data-id=empty]")

    other.click(".wl-account")
    other.wait_for_selector("dialog.account-sheet[open]")
    assert RATER in other.inner_text("dialog.account-sheet h2")
    for tab in (page, other):
        assert tab.evaluate("window.__xss") is None and tab.locator("img[src=x]").count() == 0
    other.click("text=Log out")
    other.wait_for_selector('form[data-door="login"] button:enabled')
    other.goto(f"{guarded.url}/ui/rate")
    other.wait_for_selector('form[data-door="login"] button:enabled')
    context.close()


@pytest.mark.slow
def test_enter_before_the_script_is_there_puts_no_password_into_an_address(browser: Any, guarded: Bench) -> None:
    context = browser.new_context()
    page = context.new_page()
    held: list[Any] = []
    page.route("**/static/door.js", lambda route: held.append(route))
    page.goto(f"{guarded.url}/login", wait_until="commit")
    page.get_by_label("Name").fill("root")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    assert page.url == f"{guarded.url}/login"
    while not held:
        page.wait_for_timeout(50)
    held[0].continue_()
    page.wait_for_selector("form button:enabled")
    page.get_by_label("Password", exact=True).press("Enter")
    ready(page)
    context.close()


def test_an_invitation_taken_on_a_phone(browser: Any, guarded: Bench) -> None:
    context = browser.new_context(viewport={"width": 320, "height": 640}, has_touch=True)
    page = context.new_page()
    page.goto(f"{guarded.url}/join#a-secret")
    page.fill("[name=name]", "cleo")
    page.fill("[name=password]", PASSWORD)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.tap("text=Make the account")
    ready(page)
    assert page.url.startswith(f"{guarded.url}/ui/rate")
    page.wait_for_selector(".wl-account")
    assert page.inner_text(".wl-account .name") == "cleo"
    context.close()


@pytest.mark.slow
def test_an_admin_keeps_the_accounts_by_keyboard(browser: Any, guarded: Bench, axe: str) -> None:  # noqa: F811
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=guarded.url)
    page = context.new_page()
    page.goto(f"{guarded.url}/ui/accounts")
    log_in(page, "root")
    ready(page)
    assert page.url.startswith(f"{guarded.url}/ui/accounts")
    people = page.locator("[data-id=people] > li")
    assert people.locator("b").all_inner_texts()[:3] == ["root", RATER, "ben"]

    def secret() -> str:
        """What the dialog tells, once it was copied and put away."""
        page.wait_for_selector("dialog.told[open]")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=✓ Copied")
        told = page.inner_text("[data-secret]")
        assert page.evaluate("navigator.clipboard.readText()") == told
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog.told", state="detached")
        return str(told)

    page.focus("[data-id=add] [name=name]")
    page.keyboard.type("dora")
    page.keyboard.press("Enter")
    password = secret()
    line = people.filter(has_text="dora")
    other = browser.new_context().new_page()
    other.goto(f"{guarded.url}/ui/rate")
    log_in(other, "dora", password)
    ready(other)
    page.reload()
    ready(page)
    assert "1 open login" in line.inner_text()

    page.get_by_label("Role of dora").select_option("adjudicator")
    page.get_by_label("Log out: dora").focus()
    page.keyboard.press("Enter")
    line.filter(has_text="not logged in").wait_for()
    assert page.evaluate("document.activeElement.dataset.act") == "end dora"
    other.goto(f"{guarded.url}/ui/quality")
    log_in(other, "dora", password)
    ready(other)
    assert other.url.startswith(f"{guarded.url}/ui/quality")  # an adjudicator's page
    page.get_by_label("New password: dora").press("Enter")
    assert secret() != password
    other.reload()
    log_in(other, "dora", password)
    other.wait_for_selector("[data-error]:not([hidden])")
    page.get_by_label("Switch off: dora").press("Enter")
    line.filter(has_text="switched off").wait_for()

    page.locator("[data-id=invite] [name=days]").press("Enter")
    link = secret()
    other.goto(link)
    other.fill("[name=name]", "eve")
    other.fill("[name=password]", PASSWORD)
    other.keyboard.press("Enter")
    ready(other)
    assert other.goto(f"{guarded.url}/ui/accounts").url.startswith(
        f"{guarded.url}/ui/rate"
    )  # a rater's no more than that
    page.reload()
    ready(page)
    page.locator("[data-id=invites]", has_text="taken by eve").wait_for()

    page.evaluate(axe)
    assert page.evaluate(AXE, RULES) == []
    page.evaluate("document.body.classList.toggle('dark')")
    assert page.evaluate(AXE, ["color-contrast"]) == []
    page.set_viewport_size({"width": NARROW, "height": 640})
    assert page.evaluate(AXE, RULES) == [] and page.evaluate(BEYOND) == []
    assert page.evaluate("window.__xss") is None
    other.context.close()
    context.close()
