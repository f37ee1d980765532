"""Straight runs of the step list folded to one row each: by mouse and key, one by one and all, and opened by what leads there."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from core.formats import steiner_tokens as t

LIST = "#wl-solve-list"
ROW_PX = 32
RUNS = (12, 1, 2, 9, 30, 4, 1, 1, 20)  # lengths; a turn back after each
LONG = RUNS * 12  # 960 steps: only the rows in view are in the page
WORD_EVERY = 17  # every so many steps hold the word that is searched for


def searched(runs: tuple[int, ...]) -> dict[str, Any]:
    """A row to import: straight runs of these lengths, each but the first entered by a turn back."""
    parts: list[str] = []
    number = 0
    for length in runs:
        for i in range(length):
            number += 1
            word = " with marmalade" if number % WORD_EVERY == 0 else ""
            texts = {
                "name": f"Case {number}",
                "thought": f"Look at {number}{word}.",
                "summary": "",
                "reflection": "Fine.",
            }
            fields = "".join(f"{begin}{texts[name]}{end}" for name, (begin, end) in t.FIELDS.items())
            parts += [f"{t.STEP_START}{fields}{t.STEP_END}", t.BACKTRACK if i == length - 1 else t.PROCEED]
    response = f"{t.REASONING_START}{''.join(parts[:-1])}{t.REASONING_END}Done."
    return {"prompt": "Straight runs.", "response": response, "model": "synthetic"}


def stretches(steps: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """(first, last) of the straight runs, counted from 1, from what the server says of the tree."""
    children: dict[int, int] = {}
    for step in steps:
        parent = -1 if step["parent"] is None else step["parent"]
        children[parent] = children.get(parent, 0) + 1
    out: list[tuple[int, int]] = []
    for step in steps:
        index, parent = step["index"], step["parent"]
        if out and parent is not None and parent == index - 1 and not step["is_backtrack"] and children[parent] == 1:
            out[-1] = (out[-1][0], index + 1)
        else:
            out.append((index + 1, index + 1))
    return out


def rows_when(runs: list[tuple[int, int]], open_runs: set[int] = frozenset()) -> list[int]:  # type: ignore[assignment]
    """The rows that stand for these runs when all are folded but those that begin at `open_runs`; row 0 is the question."""
    rows = [0]
    for first, last in runs:
        folded = last - first + 1 >= 3 and first not in open_runs
        rows += [first] if folded else range(first, last + 1)
    return rows


def rows(page: Any) -> list[int]:
    """The rows in the page, from top to bottom as they are seen."""
    found = page.evaluate(
        f"[...document.querySelectorAll('{LIST} .wl-row')].map(r => [r.getBoundingClientRect().top, Number(r.dataset.row)])"
    )
    assert found == sorted(found)  # in the order of the document too
    assert all(abs(b[0] - a[0] - ROW_PX) < 0.5 for a, b in pairwise(found))  # one under the other, no gap
    return [row for _, row in found]


def selected(page: Any) -> int:
    return int(page.get_attribute(f"{LIST} .wl-row.selected", "data-row"))


@pytest.fixture(scope="module")
def short(bench: Any) -> tuple[str, list[tuple[int, int]]]:
    return _stored(bench, RUNS)


@pytest.fixture(scope="module")
def long(bench: Any) -> tuple[str, list[tuple[int, int]]]:
    return _stored(bench, LONG)


def _stored(bench: Any, runs: tuple[int, ...]) -> tuple[str, list[tuple[int, int]]]:
    trace_id = str(bench.post("/api/traces", [searched(runs)])["trace_ids"][0])
    return trace_id, stretches(bench.get(f"/api/traces/{trace_id}")["steps"])


def test_a_short_trace_is_unfolded_until_one_asks(open_tab: Any, short: Any) -> None:
    trace_id, runs = short
    page = open_tab(f"/ui/?trace={trace_id}&step=1").page
    page.wait_for_selector(f"{LIST} .wl-row.selected")
    assert rows(page) == list(range(sum(RUNS) + 1))
    page.click(".fold-runs")
    assert rows(page) == rows_when(runs)
    assert page.get_attribute(".fold-runs", "aria-pressed") == "true"
    folded = page.locator(f"{LIST} .wl-row.folded")
    assert folded.count() == sum(last - first >= 2 for first, last in runs)
    assert "steps" in folded.first.inner_text() and folded.first.get_attribute("aria-expanded") == "false"
    # One by the mouse, and back again with the button that its first row has now.
    first = next(run[0] for run in runs if run[1] - run[0] >= 8 and run[0] > 1)
    page.click(f"{LIST} .wl-row[data-row='{first}'] button.fold")
    assert rows(page) == rows_when(runs, {first})
    page.hover(f"{LIST} .wl-row[data-row='{first}']")
    page.click(f"{LIST} .wl-row[data-row='{first}'] button.fold")
    assert rows(page) == rows_when(runs)
    page.click(".fold-runs")
    assert rows(page) == list(range(sum(RUNS) + 1))


def test_keys_move_from_row_to_row_and_turn_runs(open_tab: Any, short: Any) -> None:
    trace_id, runs = short
    page = open_tab(f"/ui/?trace={trace_id}&step=1").page
    page.wait_for_selector(f"{LIST} .wl-row.selected")
    page.focus(LIST)
    page.keyboard.press("o")
    want = rows_when(runs)
    assert rows(page) == want
    for row in want[2:5]:
        page.keyboard.press("j")
        assert selected(page) == row
    page.keyboard.press("k")
    assert selected(page) == want[3]
    assert rows(page) == want  # going by does not unfold
    first = next(run[0] for run in runs if run[1] - run[0] >= 8 and run[0] > want[3])
    while selected(page) < first:
        page.keyboard.press("j")
    page.keyboard.press("ArrowRight")
    assert rows(page) == rows_when(runs, {first})
    for _ in range(3):
        page.keyboard.press("j")
    assert selected(page) == first + 3
    page.keyboard.press("ArrowLeft")  # from within: the selection goes to the row that is left
    assert selected(page) == first and rows(page) == want
    assert f"Step {first}" in page.inner_text("[data-id=detail]")
    page.keyboard.press("o")
    assert selected(page) == first and rows(page) == list(range(sum(RUNS) + 1))


@pytest.mark.slow
def test_a_long_trace_opens_folded_and_what_leads_into_a_run_unfolds_it(open_tab: Any, long: Any) -> None:
    trace_id, runs = long
    first = next(run[0] for run in runs if run[1] - run[0] >= 20 and run[0] > 400)
    page = open_tab(f"/ui/?trace={trace_id}&step={first + 5}").page
    page.wait_for_selector(f"{LIST} .wl-row[data-row='{first + 5}'].selected")
    want = rows_when(runs, {first})
    heights = "(l => l.querySelector('.wl-rows').offsetHeight)(document.querySelector('" + LIST + "'))"
    assert page.evaluate(heights) == len(want) * ROW_PX
    there = rows(page)
    assert len(there) < len(want) and there == want[want.index(there[0]) :][: len(there)]
    # A jump along the dashed line leads to the step that was gone on from, in a run that was folded.
    page.focus(LIST)
    page.keyboard.press("u")
    back = selected(page)
    page.keyboard.press("b")
    target = selected(page)
    assert target < back and page.locator(f"{LIST} .wl-row[data-row='{target}'].selected:not(.folded)").count() == 1
    # Search: a folded run says how much of it was found, and the next match unfolds it.
    page.evaluate(f"document.querySelector('{LIST}').scrollTop = 0")
    page.fill("[data-id=find]", "marmalade")
    page.wait_for_selector(f"{LIST} .wl-row.folded.match .wl-chip:has-text('found')")
    page.focus("[data-id=find]")
    page.keyboard.press("Enter")
    found = next(n for n in range(target + 1, sum(LONG) + 1) if n % WORD_EVERY == 0)
    assert selected(page) == found
    assert page.locator(f"{LIST} .wl-row[data-row='{found}'].match:not(.folded)").count() == 1
    # The overview leads to any step as well.
    page.locator("[data-id=overview] .box[data-step]:not(.root)").first.click()
    assert selected(page) == 1 and page.locator(f"{LIST} .wl-row[data-row='2']").count() == 1
    # The choice holds for the next trace.
    page.click(".fold-runs")
    page.reload()
    page.wait_for_selector(f"{LIST} .wl-row.selected")
    assert page.locator(f"{LIST} .wl-row.folded").count() == 0
    assert page.evaluate(heights) == (sum(LONG) + 1) * ROW_PX


def test_a_higher_window_is_filled_with_rows(open_tab: Any, long: Any) -> None:
    trace_id, runs = long
    page = open_tab(f"/ui/?trace={trace_id}", height=640).page
    page.wait_for_selector(f"{LIST} .wl-row.selected")
    page.set_viewport_size({"width": 1440, "height": 2000})
    page.wait_for_function(
        f"""() => {{
            const list = document.querySelector("{LIST}").getBoundingClientRect();
            const last = [...document.querySelectorAll("{LIST} .wl-row")].at(-1).getBoundingClientRect();
            return list.height > 900 && last.bottom >= list.bottom;
        }}"""
    )
    shown = rows(page)
    assert shown == rows_when(runs, {1})[: len(shown)]


def test_the_gutter_of_a_folded_run_joins_what_comes_and_what_leaves(open_tab: Any, short: Any) -> None:
    trace_id, runs = short
    page = open_tab(f"/ui/?trace={trace_id}&step=1").page
    page.wait_for_selector(f"{LIST} .wl-row.selected")
    ends = """(row) => [...document.querySelectorAll(`#wl-solve-list .wl-row[data-row="${row}"] .wl-gutter [data-kind]`)]
      .map((e) => [e.dataset.kind, e.dataset.from]).filter(([kind]) => WANTED.includes(kind)).map((e) => e.join()).sort()"""
    comes = ends.replace("WANTED", "['in', 'rail-in', 'pass']")
    leaves = ends.replace("WANTED", "['out', 'rail-out']")
    long_ones = [run for run in runs if run[1] - run[0] >= 2]
    apart = [(page.evaluate(comes, first), page.evaluate(leaves, last)) for first, last in long_ones]
    assert any(coming for coming, _ in apart) and any(leaving for _, leaving in apart)
    page.click(".fold-runs")
    for (first, _), (coming, leaving) in zip(long_ones, apart, strict=True):
        assert page.evaluate(comes, first) == coming
        assert page.evaluate(leaves, first) == leaving
    width = page.evaluate(f"new Set([...document.querySelectorAll('{LIST} .wl-gutter')].map(g => g.offsetWidth)).size")
    assert width == 1


def test_what_is_being_written_stays_unfolded_and_is_folded_once_left(open_tab: Any) -> None:
    """The list's own code, fed events as a run sends them."""
    page = open_tab("/ui/").page
    shown = page.evaluate(
        """async () => {
          const { StepList } = await import("/static/steplist.js");
          const { TraceModel } = await import("/static/trace-model.js");
          const host = document.querySelector("main").appendChild(document.createElement("div"));
          host.style.cssText = "height:400px;position:relative";
          host.id = "probe";
          const model = new TraceModel();
          const list = new StepList(host, {});
          const rows = () => [...host.querySelectorAll(".wl-row")].map((r) => `${r.dataset.row}${r.dataset.last ? `-${r.dataset.last}` : ""}`).join(" ");
          const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
          const feed = async (event) => { list.update(model.apply(event)); await frame(); };
          const open = (index, parent, back = false) => feed({ type: "step_open", index, parent, is_backtrack: back, resumes: parent, replaces: null, confidence: 1 });
          model.state = "running";
          list.show(model);
          list.foldAll(true);
          await feed({ type: "start", trace_id: "t", prompt: "Q", model: "m" });
          for (let i = 0; i < 5; i++) await open(i, i ? i - 1 : null);
          const out = [rows()];
          await open(5, 1, true); // turns back into the middle: the run is two now, both left
          out.push(rows());
          for (let i = 6; i < 9; i++) await open(i, i - 1);
          out.push(rows());
          await feed({ type: "done", finish_reason: "stop", answer: "", stats: {} });
          out.push(rows());
          localStorage.removeItem("worldline.fold-runs");
          return out;
        }"""
    )
    assert shown == ["0 1 2 3 4 5", "0 1 2 3-4 6", "0 1 2 3-4 6 7 8 9", "0 1 2 3-4 6-8"]
