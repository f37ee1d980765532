"""Reading a long trace: it opens with a bounded number of rows, is moved in by landmarks, searched, linked to, rendered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.long_traces import free, marked
from tests.browser.conftest import visit
from tests.browser.test_rating import open_trace

LIST = "#wl-solve-list"
STEPS = 3000
ROWS_MOST = 70  # some twenty in view and fourteen around them on either side
SELECTED = f"{LIST} .wl-row.selected"

RICH = r"""<think>
First, the question asks for $\sum_{k=1}^{n} k = \frac{n(n+1)}{2}$ with **n = 24**. Paper costs $5 and pens $6.

Let me write it as code:

```python
def total(n):
    return n * (n + 1) // 2  # $not$ a formula
```

Wait, let me check the small cases first:

| n | sum |
|---|-----|
| 1 | 1 |
| 2 | 3 |

So \(a^2+b^2=c^2\) holds, and

\[ \int_0^1 x^2\,dx = \frac{1}{3} \]
</think>

The answer is $\boxed{300}$, *surely*."""
HOSTILE = (
    '<img src=x onerror="window.__xss=1">',
    "[x](javascript:alert(window.__xss=2))",
    "![cat](http://10.0.0.1/a.png)",
    "[docs](http://10.0.0.1/)",
    "${window.__xss=3}",
    r"$\href{javascript:alert(window.__xss=4)}{x}$",
    r"$\includegraphics{http://10.0.0.1/b.png}$",
    r"$\def\a{\a\a}\a$",
    "<style>*{display:none}</style>",
)


@pytest.fixture(scope="module")
def long_id(bench: Any) -> str:
    return str(bench.post("/api/traces", [marked(STEPS)])["trace_ids"][0])


@pytest.fixture(scope="module")
def rich_id(bench: Any) -> str:
    row = {"prompt": r"Sum the first 24 numbers, $\sum k$.", "response": RICH, "model": "written"}
    return str(bench.post("/api/traces", [row])["trace_ids"][0])


def row_of(page: Any) -> int:
    return int(page.get_attribute(SELECTED, "data-row"))


def test_a_long_trace_opens_and_scrolls_to_its_end_with_few_rows(open_tab: Any, long_id: str) -> None:
    page = open_tab(f"/ui/?trace={long_id}").page
    page.wait_for_selector(f"{LIST} .wl-row[data-row='1']")
    assert page.locator(f"{LIST} .wl-row").count() <= ROWS_MOST
    assert page.locator("[data-id=overview] .box").count() < 600
    page.evaluate(f"document.querySelector('{LIST}').scrollTop = 1e9")
    page.wait_for_selector(
        f"{LIST} .wl-row:is([data-row='{STEPS}'], [data-last='{STEPS - 1}'])"
    )  # alone, or its run folded
    assert page.locator(f"{LIST} .wl-row").count() <= ROWS_MOST
    gutter = page.evaluate(f"document.querySelector('{LIST} .wl-gutter').offsetWidth")
    assert gutter <= 180
    # The overview goes along with the selection, and draws what it is scrolled to.
    page.focus(LIST)
    page.keyboard.press("End")
    page.wait_for_selector("[data-id=overview] .box.selected")
    assert page.locator("[data-id=overview] .box").count() < 600


def requests_of_opening(tab: Any, url: str) -> list[str]:
    """The addresses that a page asks for until its list stands; those asked for later join the same list."""
    asked: list[str] = []
    tab.context.on("request", lambda request: asked.append(request.url))
    visit(tab.page, url)
    tab.page.wait_for_selector(f"{LIST} .wl-row[data-row='1']")
    tab.page.wait_for_timeout(300)
    return asked


def test_the_trace_of_the_address_travels_with_the_page_and_once(open_tab: Any, bench: Any, long_id: str) -> None:
    tab = open_tab()
    asked = requests_of_opening(tab, f"{bench.url}/ui/?trace={long_id}")
    (place,) = [i for i, url in enumerate(asked) if f"/api/traces/{long_id}?" in url]
    assert place < next(
        i for i, url in enumerate(asked) if url.endswith("/static/icon.svg")
    )  # what Gradio puts up last
    for url in ("boot.js", "solve.js", "steplist.js", "theme.css"):
        assert sum(u.endswith(f"/static/{url}") for u in asked) == 1


def test_a_link_leads_to_a_step_and_is_copied(open_tab: Any, long_id: str) -> None:
    tab = open_tab(f"/ui/?trace={long_id}&step=2500")
    page = tab.page
    page.wait_for_selector(f"{LIST} .wl-row[data-row='2500'].selected")
    assert "Step 2500" in page.inner_text("[data-id=detail]")
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("[data-id=detail] .copy")
    page.wait_for_selector("[data-id=detail] .copy:has-text('Copied')")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.endswith(f"?trace={long_id}&step=2500")
    page.wait_for_function("document.getElementById('wl-live')?.textContent.includes('step 2500')")
    visit(page, copied)
    page.wait_for_selector(f"{LIST} .wl-row[data-row='2500'].selected")


def test_a_page_waits_for_its_style_sheets(open_tab: Any, bench: Any, long_id: str) -> None:
    page = open_tab().page
    held: list[Any] = []
    page.route("**/static/theme.css", lambda route: held.append(route))
    page.goto(f"{bench.url}/ui/?trace={long_id}&step=2500", wait_until="commit")
    page.wait_for_selector("[data-wl-ready]", state="attached")
    page.wait_for_timeout(1500)  # time enough to start, if it did not wait
    assert held
    for route in held:
        route.continue_()
    page.unroute("**/static/theme.css")
    page.wait_for_selector(f"{LIST} .wl-row[data-row='2500'].selected")


def test_keys_and_buttons_go_from_backtrack_to_backtrack(open_tab: Any, bench: Any, long_id: str) -> None:
    steps = bench.get(f"/api/traces/{long_id}")["steps"]
    backs = [s["index"] + 1 for s in steps if s["is_backtrack"]]
    children: dict[int, int] = {}
    for step in steps:
        parent = -1 if step["parent"] is None else step["parent"]
        children[parent] = children.get(parent, 0) + 1
    branches = sorted(index + 1 for index, count in children.items() if count > 1)
    page = open_tab(f"/ui/?trace={long_id}&step=1").page
    page.wait_for_selector(f"{LIST} .wl-row[data-row='1'].selected")
    page.focus(LIST)
    for expected in [row for row in backs if row > 1][:3]:
        page.keyboard.press("u")
        assert row_of(page) == expected
    page.keyboard.press("Shift+U")
    assert row_of(page) == [row for row in backs if row > 1][1]
    here = row_of(page)
    page.click("[data-move=branch-next]")
    assert row_of(page) == next(row for row in branches if row > here)
    here = row_of(page)
    page.click("[data-move=branch-previous]")
    assert row_of(page) == max(row for row in branches if row < here)
    assert page.is_hidden("[data-move=verify-next]")  # these steps were not told apart by kind
    page.focus(LIST)
    page.keyboard.press("?")
    assert "next backtrack" in page.inner_text(".wl-sheet") and "search in the trace" in page.inner_text(".wl-sheet")


@pytest.mark.slow
def test_search_finds_marks_and_moves(open_tab: Any, bench: Any, screenshots: Path) -> None:
    """Over many paragraphs of free reasoning, whose steps have kinds."""
    (trace_id,) = bench.post("/api/traces", [free(200_000)])["trace_ids"]
    steps = bench.get(f"/api/traces/{trace_id}")["steps"]
    page = open_tab(f"/ui/?trace={trace_id}&step=1").page
    page.wait_for_selector(SELECTED)
    page.focus(LIST)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.dataset.id") == "find"
    page.keyboard.type("REMAINDERS")
    found = [
        s["index"] + 1
        for s in steps
        if "remainders" in f"{s['name']}\n{s['thought']}\n{s['summary']}\n{s['reflection']}".lower()
    ]
    assert f"{len(found):,}" in page.inner_text("[data-id=found]")
    later = [row for row in found if row > 1]
    page.keyboard.press("Enter")
    assert row_of(page) == later[0]
    page.keyboard.press("Enter")
    assert row_of(page) == later[1]
    page.wait_for_selector("[data-id=detail] mark")
    assert page.inner_text("[data-id=detail] mark >> nth=0").lower() == "remainders"
    assert page.get_attribute(f"{LIST} .wl-row[data-row='{later[1]}']", "class").split().count("match") == 1
    page.screenshot(path=screenshots / "reading-search.png")
    page.keyboard.press("Shift+Enter")
    assert row_of(page) == later[0]
    page.keyboard.press("Escape")
    assert page.locator("mark, .wl-row.match").count() == 0
    assert page.input_value("[data-id=find]") == ""
    # Typing in the list moves again, and there are checks to go to.
    page.keyboard.press("y")
    here = later[0]
    assert row_of(page) == next(s["index"] + 1 for s in steps if s["index"] + 1 > here and s["kind"] == "verify")
    page.fill("[data-id=find]", "answer is 24")
    assert "answer" in page.inner_text("[data-id=found]")
    assert page.inner_text("[data-id=answer] mark") == "answer is 24"


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_formulas_code_and_tables_are_rendered_or_raw(
    open_tab: Any, bench: Any, rich_id: str, screenshots: Path, theme: str
) -> None:
    page = open_tab(f"/ui/?trace={rich_id}&step=1&__theme={theme}").page
    page.wait_for_selector("[data-id=detail] .katex")
    page.wait_for_selector("[data-id=answer] .katex")
    text = page.inner_text("[data-id=detail] .rich")
    assert "$5 and pens $6" in text and "**" not in text
    rows = page.locator(f"{LIST} .wl-row").count()
    seen = set()
    for row in range(1, rows):
        page.click(f"{LIST} .wl-row[data-row='{row}']")
        for what in ("pre code", "table", ".formula.display .katex", ".formula .katex"):
            if page.locator(f"[data-id=detail] .rich {what}").count():
                seen.add(what)
        if page.locator("[data-id=detail] pre").count():
            assert "# $not$ a formula" in page.inner_text("[data-id=detail] pre")
        if page.locator("[data-id=detail] table").count():
            page.screenshot(path=screenshots / f"reading-rendered-{theme}.png")
    assert len(seen) == 4
    page.click(f"{LIST} .wl-row[data-row='1']")
    page.click("[data-id=detail] .switch button:has-text('Raw text')")
    assert r"$\sum_{k=1}^{n} k = \frac{n(n+1)}{2}$ with **n = 24**" in page.inner_text("[data-id=detail]")
    assert page.locator("[data-id=detail] .katex, [data-id=answer] .katex").count() == 0
    visit(page, page.url)  # remembered
    page.wait_for_selector("[data-id=detail] .switch")
    assert page.locator("[data-id=detail] .katex").count() == 0
    page.click("[data-id=detail] .switch button:has-text('Rendered')")
    page.wait_for_selector("[data-id=detail] .katex")


def test_the_question_among_the_steps_to_rate_is_rendered_or_raw(open_tab: Any, bench: Any) -> None:
    row = {"prompt": "What is $2^3$, **exactly**?", "response": "<think>Two times two times two.</think>8"}
    page = open_trace(bench, open_tab, row)[0].page
    question = page.locator("#wl-rate-list .wl-row.question")
    question.locator(".katex").wait_for()
    page.keyboard.press("m")
    question.locator(".katex").wait_for(state="detached")
    assert "$2^3$, **exactly**" in question.inner_text()


def test_hostile_markdown_is_shown_and_does_nothing(open_tab: Any, bench: Any) -> None:
    """The tab itself fails the test when a request leaves the machine or a script fails."""
    body = "\n".join(f"* {text}" for text in HOSTILE)
    response = f"<think>\nRead this:\n{body}\n</think>\n\nAnswer {HOSTILE[0]} {HOSTILE[2]} $x$"
    (trace_id,) = bench.post(
        "/api/traces", [{"prompt": f"Hostile {HOSTILE[0]} $x$", "response": response, "model": "m"}]
    )["trace_ids"]
    page = open_tab(f"/ui/?trace={trace_id}&step=1").page
    page.wait_for_selector("[data-id=answer] .katex")
    shown = page.inner_text("[data-id=answer]")
    for row in range(0, page.locator(f"{LIST} .wl-row").count()):
        page.click(f"{LIST} .wl-row[data-row='{row}']")
        shown += page.inner_text("[data-id=detail]")
    page.fill("[data-id=find]", "href")
    page.wait_for_timeout(300)
    for word in (
        HOSTILE[0],
        HOSTILE[1],
        "cat (http://10.0.0.1/a.png)",
        "http://10.0.0.1/)",
        HOSTILE[4],
        HOSTILE[5],
        HOSTILE[6],
        HOSTILE[8],
    ):
        assert word in shown, word
    assert page.evaluate("window.__xss") is None
    for where in ("detail", "answer"):
        assert page.locator(f"[data-id={where}] :is(img, a, script, style, iframe)").count() == 0
    assert page.is_visible("[data-id=detail]")


def test_libraries_are_fetched_only_when_needed_and_long_texts_stay_raw(
    open_tab: Any, bench: Any, long_id: str
) -> None:
    tab = open_tab()
    asked = requests_of_opening(tab, f"{bench.url}/ui/?trace={long_id}")
    assert not [url for url in asked if "/vendor/" in url]
    # One step without a place to cut it: a block of code.
    code = "```\n" + "x = '$a$'\n" * 4000 + "```"
    (trace_id,) = bench.post(
        "/api/traces", [{"prompt": "Long.", "response": f"<think>\n{code}\n</think>\n\nDone.", "model": "m"}]
    )["trace_ids"]
    visit(tab.page, f"{bench.url}/ui/?trace={trace_id}&step=1")
    tab.page.wait_for_selector("[data-id=detail] .field .note")
    assert "20,000" in tab.page.inner_text("[data-id=detail] .note >> nth=0")
    assert not [url for url in asked if "/vendor/" in url]
