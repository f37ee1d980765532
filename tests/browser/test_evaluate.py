"""An evaluation on screen: from the form to the plot, from a point to the search behind it, two cells compared, stopped and gone on with."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import pytest

from core.evaluation import folder
from core.evaluation.plan import Plan
from core.evaluation.problems import load
from tests.browser.conftest import visit
from tests.browser.test_access import AXE, BEYOND, NARROW, RULES
from tests.browser.test_access import axe as axe

ENDS_MS = 240_000  # the real pocket model on a busy machine
PROBLEMS = [
    {"question": "Reach 24 from 4, 6 and 1."},
    {"problem": "Reach 10 from 2, 3 and 4.", "note": "<img src=x onerror=alert(1)>"},
]  # fmt: skip


def upload(page: Any, name: str) -> None:
    """Give the form of a new evaluation a file with `PROBLEMS`."""
    if page.get_attribute("[data-id=new]", "open") is None:
        page.click("[data-id=new] summary")
    rows = "".join(json.dumps(row) + "\n" for row in PROBLEMS).encode()
    page.set_input_files("[data-id=file]", {"name": name, "mimeType": "text/plain", "buffer": rows})
    page.wait_for_selector("[data-id=upload-said] >> text=2 problems kept")


def test_an_uploaded_file_can_be_deleted(open_tab: Any) -> None:
    page = open_tab("/ui/evaluate").page
    upload(page, "gone.jsonl")
    name = page.input_value("[data-id=problems]")
    assert page.locator(f"[data-id=sets] option[value='{name}']").count() == 1
    page.click(f"text=Delete the file {name}")
    page.keyboard.press("Escape")
    assert page.input_value("[data-id=problems]") == name, "the way back has the focus"
    page.click(f"text=Delete the file {name}")
    page.click("dialog >> text=Delete >> nth=-1")
    page.wait_for_selector(f"[data-id=upload-said] >> text={name} is deleted")
    assert page.input_value("[data-id=problems]") != name
    assert page.locator(f"[data-id=sets] option[value='{name}']").count() == 0
    assert page.is_hidden("[data-id=drop-set]")


@pytest.mark.slow
def test_an_evaluation_from_the_form_to_the_plot_and_to_the_searches_behind_a_point(
    open_tab: Any, bench: Any, axe: str
) -> None:
    page = open_tab("/ui/evaluate").page
    upload(page, "two <b>.jsonl")
    page.fill("[data-id=n]", "2")
    page.fill("[data-id=budget-tokens]", "60, 400")
    page.check("[data-id=scorers] [value=countdown-oracle]")
    page.uncheck("[data-id=scorers] [value=none]")
    page.select_option("[data-id=add]", "beam")
    page.click("[data-id=add-go]")
    beam = page.locator(".eval-strategy", has_text="Beam search")
    beam.locator("[name=width]").fill("0")
    page.wait_for_selector("[data-id=check].bad >> text=width")
    beam.locator("[name=width]").fill("2")
    beam.locator("[name=branch]").fill("2")
    page.click("text=Sampling and limits")
    page.fill("[data-id=max_steps]", "6")
    page.fill("[data-id=max_tokens]", "400")
    page.wait_for_selector("[data-id=check] >> text=2 problems × 5 cells: 10 searches")
    page.fill("[data-id=name]", "Small one")
    page.click("[data-id=go]")
    page.wait_for_selector("[data-id=head] >> text=Small one")

    page.click("[data-id=head] >> text=Stop")
    page.wait_for_selector("[data-id=head] >> text=stopped")
    page.click("[data-id=head] >> text=Go on")
    page.wait_for_selector("[data-id=head] >> text=done", timeout=ENDS_MS)
    page.wait_for_selector("[data-id=sub] >> text=10 of 10 searches done")
    page.wait_for_selector(".eval-cells tbody tr >> nth=4")
    assert page.locator(".eval-plots .eval-plot").count() == 2
    assert page.locator(".eval-plots svg .eval-point").count() == 10  # five cells, against tokens and against FLOPs
    assert page.locator(".eval-curves .chart-legend >> text=weighted@k").count() == 1

    # A point by keys alone: what it says is its name, and Enter leads to its searches.
    point = page.locator(".eval-plots .eval-point >> nth=2")
    point.focus()
    words = point.get_attribute("aria-label")
    assert "solved" in words and "tokens a problem" in words
    assert words in page.inner_text(".eval-plots .eval-said >> nth=0")
    page.keyboard.press("Enter")
    cell = point.get_attribute("data-pick")
    page.wait_for_function("(cell) => document.querySelector('.eval-problems select').value === cell", arg=cell)
    assert (
        page.locator(".eval-problems tbody tr").count() == 2
        and page.locator(".eval-problems .eval-outcome").count() == 2
    )
    address = page.get_attribute(".eval-problems .eval-outcome a >> nth=0", "href")
    search = bench.get(f"/api/searches/{address.partition('search=')[2]}")
    assert (search["prompt"], search["reason"] in ("finished", "budget")) == (PROBLEMS[0]["question"], True)

    page.select_option(".eval-compare select >> nth=0", index=1)
    page.select_option(".eval-compare select >> nth=1", index=3)
    page.click(".eval-compare [type=submit]")
    page.wait_for_selector(".eval-compared >> text=over 2 problems")
    with page.expect_download() as saved:
        page.click("[data-id=head] >> text=Parquet")
    import polars as pl

    assert pl.read_parquet(io.BytesIO(saved.value.path().read_bytes())).height == 10

    page.evaluate(axe)
    assert page.evaluate(AXE, RULES) == []
    page.evaluate("document.body.classList.toggle('dark')")
    assert page.evaluate(AXE, ["color-contrast"]) == []
    page.set_viewport_size({"width": NARROW, "height": 640})
    assert page.evaluate(AXE, RULES) == [] and page.evaluate(BEYOND) == []

    other = open_tab()
    visit(other.page, f"{bench.url}{address}")
    other.page.wait_for_selector("[data-id=search]:not([hidden])")


def test_an_evaluation_is_deleted_after_a_question_and_not_before(open_tab: Any, bench: Any) -> None:
    plan = Plan.from_json({"problems": "countdown:2", "n": 2})
    eval_id = "01kaexr0v7m3p9d2k4c6h8n5dd"
    name = "<img src=x onerror=window.__xss=1>"
    made = folder.create(bench.folder / "evals" / eval_id, plan, load(plan.problems), name=name)
    page = open_tab(f"/ui/evaluate?eval={eval_id}").page
    page.click("[data-id=head] >> text=Delete")
    page.wait_for_selector(f"dialog[open] >> text={name}")
    page.click("dialog >> text=Keep it")
    page.wait_for_selector("dialog", state="detached")
    assert made.path.is_dir()
    page.click("[data-id=head] >> text=Delete")
    page.click("dialog[open] .danger")
    page.wait_for_selector(f'[data-key="{eval_id}"]', state="detached")
    assert not made.path.exists()
    assert eval_id not in page.url and page.evaluate("window.__xss") is None
    page.wait_for_function("document.activeElement.closest('.wl-evaluate .left') !== null")


def test_an_evaluation_that_is_not_there_and_a_plan_that_cannot_be(open_tab: Any, bench: Any) -> None:
    page = open_tab("/ui/evaluate?eval=01kaexr0v7m3p9d2k4c6h8n5qs").page
    page.wait_for_selector("[data-notice=gone] >> text=There is no evaluation 01kaexr0v7m3p9d2k4c6h8n5qs")
    if page.get_attribute("[data-id=new]", "open") is None:
        page.click("[data-id=new] summary")
    page.fill("[data-id=problems]", "countdown:<b>")
    page.wait_for_selector("[data-id=check].bad >> text=is no built-in set")
    page.fill("[data-id=problems]", "countdown:2")
    page.fill("[data-id=seeds]", "0, first")
    page.wait_for_selector("[data-id=check].bad >> text=seeds")
    before = len(bench.get("/api/evals"))
    page.click("[data-id=go]")
    page.wait_for_selector("[data-id=check].bad >> text=seeds")
    assert len(bench.get("/api/evals")) == before
    bad = httpx.post(f"{bench.url}/api/evals/problems?name=x.jsonl", content=b"{}\n", headers={"origin": bench.url})
    assert bad.status_code == 422
