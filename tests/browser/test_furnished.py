"""Every page with something on it: what axe finds, what reaches beyond 320 px, and that no text is more than text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.pages import PAGES, accounts, address
from tests.browser.conftest import Bench, Tab, visit, workbench
from tests.browser.furnished import UNBROKEN, Furnished, furnish
from tests.browser.test_access import AXE, BEYOND, NARROW, RULES, axe  # noqa: F401

RUN = "window.__xss=1"
CORPUS = (
    f"<img src=x onerror={RUN}>", f"<svg onload={RUN}></svg>", f'"><script>{RUN}</script>', f"</script><script>{RUN}</script>",
    f"</textarea><script>{RUN}</script>", f"[x](javascript:{RUN})", f'![x](x"onerror={RUN})', f"<a href=javascript:{RUN}>x</a>",
    f"$\\href{{javascript:{RUN}}}{{y}}$", f"<iframe srcdoc='<script>parent.{RUN.removeprefix('window.')}</script>'></iframe>",
    f"<math><mtext></mtext><img src=x onerror={RUN}></math>", f"${{{RUN}}}", f"{{{{constructor.constructor('{RUN}')()}}}}",
    f"&lt;img src=x onerror={RUN}&gt;", f"`<img src=x onerror={RUN}>`", f"<details open ontoggle={RUN}>x</details>", "\u202e",
)  # fmt: skip
# What a text that was taken for markup leaves behind.
LEFT = """() => [
  ...document.querySelectorAll("img[src=x], iframe[srcdoc], [onerror], [onload], [ontoggle], a[href^='javascript:' i]"),
  ...[...document.scripts].filter((s) => s.textContent.startsWith("window.__xss")),
].map((e) => e.outerHTML.slice(0, 100)).concat(globalThis.__xss ? ["it ran"] : [])"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[Bench]:
    with workbench(tmp_path_factory.mktemp("furnished")) as running:
        yield running


@pytest.fixture(scope="module")
def here(bench: Bench) -> Furnished:
    """With as much of the corpus in each text as it may hold."""

    def more(name: str, most: int) -> str:
        found = ""
        for one in (*CORPUS[hash_of(name) :], *CORPUS[: hash_of(name)]):
            if len(found) + len(one) + 1 <= most and (one.isprintable() or most > 500):  # names are on one line
                found += f" {one}"
        return found

    return furnish(bench, more)


def hash_of(name: str) -> int:
    """Another beginning for each name, so that short texts hold different parts of the corpus."""
    return sum(map(ord, name)) % len(CORPUS)


def _rate(page: Any) -> Iterator[str]:
    page.wait_for_selector("#wl-rate-list .wl-row >> nth=3")
    yield "shown"
    page.click("[data-id=guidelines-button]")
    yield "guidelines"
    page.click("[data-id=guidelines-button]")
    page.focus("#wl-rate-list")
    for name, key in (("history", "l"), ("comment", "c"), ("error", "e"), ("better", "i"), ("exits", "q")):
        page.keyboard.press("g")
        page.keyboard.press("j")
        page.keyboard.press(key)
        page.wait_for_timeout(400)
        yield name
        page.keyboard.press("Escape")
        page.focus("#wl-rate-list")


def _compare(page: Any) -> Iterator[str]:
    page.wait_for_selector("#wl-compare-b .wl-row.difference")
    yield "shown"
    for name, key in (("note", "c"), ("guidelines", "i"), ("history", "h"), ("exits", "x")):
        page.focus("#wl-compare-a")
        page.keyboard.press(key)
        page.wait_for_timeout(400)
        yield name
        page.keyboard.press("Escape")


def _quality(page: Any) -> Iterator[str]:
    page.wait_for_selector(".opinion")
    page.wait_for_selector("[data-id=kappa] .kappa")
    page.click("[data-id=states] >> text=All")
    page.wait_for_timeout(800)
    page.wait_for_selector(".opinion")
    for _ in range(3):
        page.focus("[data-id=list]")
        page.keyboard.press("h")
        page.wait_for_selector(".history td")
        yield "history"
        page.focus("[data-id=list]")
        page.keyboard.press("j")
        page.wait_for_timeout(400)


def _queues(page: Any) -> Iterator[str]:
    page.wait_for_timeout(800)
    yield "shown"
    page.click("[data-id=new]")
    page.wait_for_timeout(300)
    yield "new"


def _data(page: Any) -> Iterator[str]:
    page.wait_for_selector(".snapshot")
    page.wait_for_timeout(600)
    yield "shown"
    page.click(".snapshot >> text=Export …")
    page.wait_for_timeout(1200)
    yield "export"


def _solve(page: Any) -> Iterator[str]:
    page.wait_for_selector("#wl-solve-list .wl-row >> nth=3")
    page.click("#wl-solve-list .wl-row >> nth=2")
    page.click("[data-id=detail] >> text=History")
    page.wait_for_selector("[data-id=detail] td")
    yield "history"


def _as_it_is(page: Any) -> Iterator[str]:
    page.wait_for_timeout(600)
    yield "shown"


# Address -> what is opened on it; {names} are those of Furnished.
WHERE: dict[str, Callable[[Any], Iterator[str]]] = {
    "/ui/?trace={trace}": _solve,
    "/ui/rate?assignment={open}": _rate,
    "/ui/rate?assignment={submitted}": _as_it_is,
    "/ui/compare?queue={pairs}": _compare,
    "/ui/quality?queue={queue}": _quality,
    "/ui/quality?queue={pairs}": _quality,
    "/ui/queues?queue={queue}": _queues,
    "/ui/queues?queue={pairs}": _as_it_is,
    "/ui/data": _data,
    "/ui/train": _as_it_is,
    "/ui/evaluate": _as_it_is,
    "/api/traces/{trace}/graph": _as_it_is,
}


def test_no_page_is_left_out() -> None:
    assert {address(page) for page in PAGES if page is not accounts} <= {where.split("?")[0] for where in WHERE}


def opened(open_tab: Callable[..., Tab], bench: Bench, here: Furnished, where: str) -> Any:
    page = open_tab().page
    there = bench.url + where.format(**vars(here))
    if where.startswith("/ui/"):
        page.add_init_script(f"localStorage.setItem('worldline.rater', {json.dumps(here.rater)})")
        visit(page, there)
    else:
        page.goto(there, wait_until="networkidle")
    return page


@pytest.mark.slow
@pytest.mark.parametrize("where", WHERE)
def test_axe_finds_nothing_where_there_is_something_and_nothing_reaches_beyond_320_px(
    open_tab: Callable[..., Tab],
    bench: Bench,
    here: Furnished,
    axe: str,  # noqa: F811
    where: str,
) -> None:
    page = opened(open_tab, bench, here, where)
    if where.startswith("/ui/compare"):
        page.wait_for_selector(f".criterion >> text={UNBROKEN}")
    found = []
    for name in WHERE[where](page):
        page.evaluate(axe)
        for width, height in ((1440, 900), (NARROW, 640)):
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(300)
            for dark in (False, True):
                if dark and name not in ("shown", "history"):
                    continue  # the same colours on the same page
                page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", dark)
                rules = ["color-contrast"] if dark else RULES
                found += [f"{name}, {width}, {'dark' if dark else 'light'}: {one}" for one in page.evaluate(AXE, rules)]
            page.evaluate("document.body.classList.remove('dark')")
        found += [f"{name}: beyond: {one}" for one in page.evaluate(BEYOND)]
        page.set_viewport_size({"width": 1440, "height": 900})
    assert found == []


@pytest.mark.slow
def test_every_text_is_shown_as_text_on_every_page(open_tab: Callable[..., Tab], bench: Bench, here: Furnished) -> None:
    seen, left = "", []
    for where in WHERE:
        page = opened(open_tab, bench, here, where)
        for name in WHERE[where](page):
            for frame in page.frames:
                seen += frame.evaluate(
                    "document.body.innerText + [...document.querySelectorAll('input, textarea')].map((e) => ` ${e.value}`).join('')"
                )
                left += [f"{where}, {name}: {one}" for one in frame.evaluate(LEFT)]
        page.context.close()
    assert left == []
    assert [name for name, word in here.words.items() if word not in seen] == [], "these texts were on no page"
