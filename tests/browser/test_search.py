"""A search on the Solve page: from the form to the chosen trace, watched by two, walked by keyboard; and the tree's arithmetic."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars
import pytest

from tests.browser.conftest import visit
from tests.browser.test_access import AXE, BEYOND, NARROW, RULES, axe  # noqa: F401 — a fixture

GAME = "Reach 24 from 4, 7, 8 and 8."
PATIENCE_MS = 240_000  # a beam of the pocket model on a machine that does much else
NODES = ".search-tree .node"
ENDED = "[data-id=search-choice]:not([hidden])"
LAYOUT = """async (parents) => {
  const { NODE, layoutTree } = await import("/static/search-layout.js");
  const start = performance.now();
  const { x, y, layers, width, height } = layoutTree(parents.map((parent, id) => ({ id, parent })));
  const ms = performance.now() - start;
  const gaps = layers.flatMap((layer) => layer.slice(1).map((id, i) => x[id] - x[layer[i]]));
  const edges = layers.slice(1).map((layer) => layer.map((id) => parents[id]));
  return { x: [...x], y: [...y], layers, width, height, ms, gap: gaps.length ? Math.min(...gaps) : null, least: Math.min(...x) - NODE.width / 2,
    most: Math.max(...x) + NODE.width / 2, pitch: NODE.width + NODE.gapX,
    crossings: edges.filter((above, d) => above.some((p, i) => i && layers[d].indexOf(p) < layers[d].indexOf(above[i - 1]))).length };
}"""


@pytest.fixture(scope="module")
def beam(bench: Any) -> str:
    """A finished search, started without a browser."""
    asked = {"prompt": GAME, "strategy": "beam", "params": {"width": 2, "branch": 3}, "scorer": "countdown-oracle"}
    return str(bench.post("/api/searches", {**asked, "seed": 1})["search_id"])


@pytest.mark.slow
def test_a_beam_search_from_the_form_to_the_chosen_trace(open_tab: Any, bench: Any, screenshots: Path) -> None:
    page = open_tab("/ui/").page
    page.fill("[data-id=question]", GAME)
    page.select_option("[data-id=strategy]", "beam")
    page.fill("[name='param.width']", "2")
    page.fill("[name='param.branch']", "3")
    page.select_option("[name=scorer]", "countdown-oracle")
    page.fill("[name=budget_tokens]", "20000")
    page.click("[data-id=controls] summary")
    page.fill("[data-id=seed]", "1")
    page.click("[data-id=run]")
    page.wait_for_url("**search=*")
    search_id = page.url.split("search=")[1].split("&")[0]
    page.wait_for_selector(f"{NODES} >> nth=2", timeout=PATIENCE_MS)  # it grows while the search goes on
    page.wait_for_selector(ENDED, timeout=PATIENCE_MS)
    found = bench.get(f"/api/searches/{search_id}")
    assert (found["params"]["width"], found["scorer"], found["seed"]) == (2, "countdown-oracle", 1)
    assert found["budget"]["tokens"] == 20000 and found["user"] == "local"
    page.wait_for_function("(n) => document.querySelectorAll('.search-tree .node').length === n", arg=found["nodes"])
    ledger = page.inner_text("[data-id=search-ledger]")
    assert f"{found['ledger']['generated']:,}" in ledger and "GFLOP" in ledger and "of 20,000" in ledger
    assert "wall" in ledger.lower() and f"{found['ledger']['elapsed']:.1f} s" in ledger
    assert "✓ Right" in page.inner_text("[data-id=search-choice]")
    with page.expect_download() as saved:
        page.click("[data-id=search-nodes]")
    assert saved.value.suggested_filename == f"search-{search_id}.parquet"
    assert polars.read_parquet(saved.value.path())["spent_generated"].sum() == found["ledger"]["generated"]
    assert page.locator(f"{NODES}.pruned").count() > 0
    chosen = page.locator(f"{NODES}.chosen.eos.right")
    assert chosen.count() == 1 and "selected" in str(chosen.get_attribute("class"))
    assert "finished answer, right, score 1.000" in str(chosen.get_attribute("aria-label"))
    page.wait_for_selector("[data-id=search-node] >> text=Solved:")
    assert "seconds" in page.inner_text("[data-id=search-node] .counters").lower()
    page.screenshot(path=screenshots / "search.png", full_page=True)

    # Another browser, later, sees the same; the list below knows it as a search, not as its trace.
    other = open_tab(f"/ui/?search={search_id}").page
    other.wait_for_selector(ENDED)
    other.wait_for_function("(n) => document.querySelectorAll('.search-tree .node').length === n", arg=found["nodes"])
    other.wait_for_selector(f".recent a[href='?search={search_id}'] >> text=beam, {found['nodes']} nodes")
    assert other.locator(f".recent a[href='?trace={found['trace_id']}']").count() == 0

    # The chosen trace.
    page.click("[data-id=search-choice] >> text=Open the trace")
    page.wait_for_selector("#wl-solve-list .wl-row >> nth=1")
    assert found["trace_id"] in page.url
    assert "Solved" in page.inner_text("[data-id=verdict]")
    page.go_back()
    page.wait_for_selector(ENDED)


@pytest.mark.slow
def test_the_tree_is_walked_by_keyboard_and_another_answer_kept(open_tab: Any, bench: Any, beam: str) -> None:
    page = open_tab(f"/ui/?search={beam}").page
    page.wait_for_selector(ENDED, timeout=PATIENCE_MS)
    page.focus(".search-tree [tabindex='0']")
    page.keyboard.press("Home")
    assert page.inner_text("[data-id=search-node] h2") == "The question"
    page.wait_for_selector(f"[data-id=search-node] >> text={GAME}")
    page.keyboard.press("ArrowDown")
    first = page.evaluate("document.activeElement.dataset.node")
    assert page.inner_text("[data-id=search-node] h2") == f"Node {first}"
    page.wait_for_selector("[data-id=search-node] .node-step >> text=Thought")  # the step as it was cut
    assert f"node={first}" in page.url
    page.keyboard.press("ArrowRight")
    second = page.evaluate("document.activeElement.dataset.node")
    assert second != first
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.dataset.node") == "0"
    page.keyboard.press("End")
    assert "eos" in page.evaluate("document.activeElement.getAttribute('class')")
    visit(page, f"{bench.url}/ui/?search={beam}&node={first}")  # a link to a node
    page.wait_for_selector(f"[data-id=search-node] h2 >> text=Node {first}")
    size = page.evaluate("document.querySelector('.search-tree svg').getBoundingClientRect().width")
    page.click("[data-id=search-zoom-out]")
    assert page.evaluate("document.querySelector('.search-tree svg').getBoundingClientRect().width") < size
    other = page.locator(f"{NODES}.eos:not(.chosen)")
    if other.count():
        other.first.click()
        page.click("[data-id=search-node] >> text=Keep as trace")
        page.wait_for_selector("[data-id=search-node] >> text=Open as trace")
        link = page.get_attribute("[data-id=search-node] a", "href")
        assert bench.get(f"/api/traces/{str(link).removeprefix('?trace=')}")["sampling"]["search"]["search_id"] == beam


def test_a_search_is_stopped_and_what_is_wrong_is_said(open_tab: Any, bench: Any) -> None:
    page = open_tab("/ui/").page
    page.fill("[data-id=question]", GAME)
    page.select_option("[data-id=strategy]", "best-of-n")
    page.fill("[name='param.n']", "0")
    page.click("[data-id=run]")
    assert "search=" not in page.url  # the browser says what the field takes
    page.fill("[name='param.n']", "500")
    page.click("[data-id=run]")
    page.wait_for_selector("[data-id=search-stop]:not([hidden])")
    page.click("[data-id=search-stop]")
    page.wait_for_selector(ENDED, timeout=PATIENCE_MS)
    assert page.inner_text("[data-id=search-state]") == "Stopped"
    page.fill("[data-id=question]", "What is love?")
    page.click("[data-id=run]")
    page.wait_for_selector("[data-notice=form].error >> text=numbers game only")
    visit(page, f"{bench.url}/ui/?search=nobody")
    page.wait_for_selector("[data-notice=gone] >> text=There is no search nobody")
    assert page.is_visible("[data-id=empty]")


@pytest.mark.slow
def test_a_scorer_asks_for_what_it_needs_when_it_is_chosen(open_tab: Any, bench: Any) -> None:
    page = open_tab("/ui/").page
    page.fill("[data-id=question]", GAME)
    page.select_option("[data-id=strategy]", "beam")
    scorer, host = page.locator("[name=scorer]"), page.locator("[data-id=scorer-fields]")
    assert scorer.locator("[value=judge]").is_disabled()  # no model here can judge
    assert host.locator("input, textarea").count() == 0
    scorer.select_option("rollouts")
    assert [field.get_attribute("name") for field in host.locator("input").all()] == ["scorer.k", "scorer.max_tokens"]
    scorer.select_option("tests")
    assert "judges finished answers alone" in host.inner_text()
    page.click("[data-id=run]")
    assert (
        page.evaluate("document.activeElement.name") == "tests" and "search=" not in page.url
    )  # the browser asks for them
    scorer.select_option("served-prm")
    page.fill("[name='scorer.endpoint']", "http://127.0.0.1:9/v1")
    page.fill("[name='scorer.model']", "nobody")
    page.click("[data-id=run]")
    page.wait_for_selector("[data-notice=form].error >> text=nobody is neither the id of a finished job nor")
    page.reload()
    page.wait_for_selector("[name='scorer.endpoint']")
    assert page.input_value("[name='scorer.model']") == "nobody"  # remembered for the tab
    visit(page, f"{bench.url}/ui/evaluate")
    if page.get_attribute("[data-id=new]", "open") is None:
        page.click("[data-id=new] summary")
    assert page.locator("[name='scorer.served-prm.endpoint']").count() == 0
    page.check("[data-id=scorers] [value=served-prm]")
    page.wait_for_selector('[data-id=check].bad >> text="endpoint" is missing')
    page.fill("[name='scorer.served-prm.endpoint']", "http://127.0.0.1:9/v1")
    page.fill("[name='scorer.served-prm.model']", "nobody")
    page.press("[name='scorer.served-prm.model']", "Tab")
    page.wait_for_selector("[data-id=check].bad >> text=nobody is neither")
    page.uncheck("[data-id=scorers] [value=served-prm]")
    page.wait_for_selector("[data-id=check].muted >> text=searches. First:")


def test_the_words_of_a_model_are_words(open_tab: Any, bench: Any) -> None:
    """A log is written by a server, but what a model wrote stands in it: nothing of it may become markup."""
    evil = '<img src=x onerror="globalThis.hacked=1"><script>globalThis.hacked=1</script>'
    search_id = "01hostile"
    folder = bench.folder / "evals" / "e1" / "searches"
    folder.mkdir(parents=True)
    import json

    start = {
        "type": "start", "search_id": search_id, "strategy": "best-of-n", "params": {"n": 1}, "seed": 0, "aggregation": "prod",
        "problem": {"problem_id": "p", "prompt": evil, "task": "", "answer": None, "meta": {}}, "model": evil, "scorer": evil,
        "marks": {"step_end": "\n\n", "thinking_end": "", "wait": ""}, "created_at": "2026-11-20T12:00:00.000Z",
    }  # fmt: skip
    spent = dict.fromkeys(
        ("prompt", "cached", "generated", "scorer", "solver_flops", "scorer_flops", "seconds", "calls"), 1
    )
    result = {
        "type": "result", "key": "root/whole/0", "offset": 0, "k": 1, "last": False, "samples": [[evil, [1], "eos", 1]],
        "scores": [[]], "spent": [spent],
    }  # fmt: skip
    lines = (start, result, {"type": "done", "reason": "finished"})
    (folder / f"{search_id}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = open_tab(f"/ui/?search={search_id}").page
    page.wait_for_selector(ENDED)
    page.wait_for_selector("[data-id=search-node] >> text=onerror")
    page.click(f"{NODES} >> nth=0")
    page.wait_for_timeout(300)
    assert page.evaluate("globalThis.hacked") is None
    assert page.locator("[data-id=search] :is(img, script)").count() == 0


@pytest.mark.slow
def test_axe_finds_nothing_in_a_search_light_dark_or_narrow(open_tab: Any, beam: str, axe: str) -> None:  # noqa: F811
    page = open_tab(f"/ui/?search={beam}").page
    page.wait_for_selector(ENDED, timeout=PATIENCE_MS)
    page.wait_for_selector("[data-id=search-node] .counters")
    page.select_option("[data-id=strategy]", "beam")
    page.evaluate(axe)
    assert page.evaluate(AXE, RULES) == []
    page.evaluate("document.body.classList.toggle('dark')")
    assert page.evaluate(AXE, ["color-contrast"]) == []
    page.set_viewport_size({"width": NARROW, "height": 640})
    assert page.evaluate(AXE, RULES) == []
    assert page.evaluate(BEYOND) == []


@pytest.mark.slow
def test_nothing_stands_on_anything_and_no_edge_crosses_another(open_tab: Any) -> None:
    page = open_tab("/ui/").page
    # A question with three children, of which the first and the last have four each: both layers are wider than their parents.
    found = page.evaluate(LAYOUT, [None, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 3])
    assert found["layers"] == [[0], [1, 2, 3], [4, 5, 6, 7, 8, 9, 10, 11]]
    assert found["gap"] == pytest.approx(found["pitch"])
    x = found["x"]
    assert (
        x[0] == pytest.approx(x[2]) == pytest.approx(sum(x[4:12]) / 8)
    )  # as near below their parents as there is room
    assert found["least"] > 0 and found["most"] < found["width"]
    assert found["crossings"] == 0
    line = page.evaluate(LAYOUT, [None, 0, 1, 2])
    assert len(set(line["x"])) == 1 and line["y"] == sorted(set(line["y"]))
    alone = page.evaluate(LAYOUT, [None])
    assert alone["width"] > 0 and alone["height"] > 0
    # Children that come later, of an earlier parent, as in a search without a barrier a depth.
    parents: list[int | None] = [None, *[(i * 7) % i if i else 0 for i in range(1, 600)]]
    late = page.evaluate(LAYOUT, parents)
    assert late["crossings"] == 0
    assert late["gap"] >= late["pitch"] - 1e-6


@pytest.mark.slow
def test_a_tree_of_three_thousand_is_laid_out_fast(open_tab: Any) -> None:
    page = open_tab("/ui/").page
    parents = [None, *[max(0, i // 3 - 1) for i in range(3000)]]
    found = page.evaluate(LAYOUT, parents)
    assert sum(map(len, found["layers"])) == 3001
    assert found["crossings"] == 0
    assert found["ms"] < 200
    assert re.fullmatch(r"\d+(\.\d+)?", str(found["width"]))
