"""Deciding where raters differ by keyboard alone, and what a rater reads after an item whose answer is known."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import Bench, Tab, visit
from tests.storage.helpers import make_trace

HOSTILE = "<img src=x onerror=alert(1)> ${7*7}"


def rated(
    bench: Bench, trace_id: str, rater: str, values: tuple[int, ...], reason: str = "", queue: str | None = None
) -> str:
    """Rate a trace as somebody and submit; the assignment's id. queue: another one than that of all traces."""
    asked = {"trace_id": trace_id, "rater": rater, **({"queue": queue} if queue else {})}
    work = bench.post("/api/assignments", asked)
    start = {
        "assignment_id": work["assignment"]["assignment_id"],
        "rater_id": rater,
        "input_method": "key",
        "dwell_ms": 1500,
    }

    def event(seq: int, action: str, **fields: Any) -> dict[str, Any]:
        return {**start, "event_id": str(uuid.uuid4()), "seq": seq, "action": action, **fields}

    step = {"target": "step", "dimension": "correctness"}
    sent = [event(i, "set", **step, step_idx=i, value=value) for i, value in enumerate(values)]
    if reason:
        sent.append(event(50, "set", target="step", dimension="rationale", step_idx=1, value_text=reason))
    answer = bench.post("/api/ratings", {"events": [*sent, event(99, "submit")]})
    assert answer["rejected"] == []
    return str(start["assignment_id"])


def test_a_dispute_is_decided_by_keyboard_and_known_items_are_answered_for(
    bench: Bench, open_tab: Callable[..., Tab]
) -> None:
    trace = make_trace(prompt=f"Who is right? {HOSTILE}", names=["a", HOSTILE, "c"])
    bench.post("/api/traces", trace.to_json())
    rated(bench, trace.trace_id, "ada", (1, 1, 1))
    rated(bench, trace.trace_id, "bob", (1, -1, 1), reason=HOSTILE)

    queue = bench.post("/api/queues", {"title": "Known ones", "config": {"text": HOSTILE}})["queue_id"]
    answers = [
        {"target": "step", "step_idx": i, "dimension": "correctness", "value": v} for i, v in enumerate((1, -1, 1))
    ]
    known = {
        "queue": queue,
        "item": trace.trace_id,
        "kind": "screening",
        "answers": answers,
        "feedback": f"Look at step 2. {HOSTILE}",
    }
    bench.post("/api/quality/gold", known)

    page = open_tab("/ui/quality").page
    row = page.locator("[role=option]", has_text="Who is right?")
    row.wait_for()
    page.locator("[data-id=list]").focus()
    for _ in range(60):
        if row.get_attribute("aria-selected") == "true":
            break
        page.keyboard.press("j")
    page.locator(".opinion", has_text=HOSTILE).wait_for()
    assert page.locator(".opinion").count() == 2
    assert "ada" not in page.locator("[data-id=dispute]").inner_text()
    page.keyboard.press("h")
    page.locator(".history td", has_text="bob").first.wait_for()
    page.keyboard.press("g")
    page.keyboard.press("1")
    page.keyboard.press("Control+Enter")
    page.locator(".said", has_text='"reason" is empty').wait_for()
    page.keyboard.type("7 times 8 is 56.")
    page.keyboard.press("Control+Enter")
    row.wait_for(state="detached")
    (decision,) = (d for d in bench.get("/api/quality/adjudications?gaps=true") if d["item_id"] == trace.trace_id)
    assert (decision["step_idx"], decision["value"], decision["reason"]) == (1, -1, "7 times 8 is 56.")
    page.locator("[data-id=agreement] b").first.wait_for()
    page.locator("[data-id=kappa] .kappa").first.wait_for()

    visit(page, f"{bench.url}/ui/rate?queue={queue}")
    page.locator("#wl-rate-list").focus()
    for _ in range(3):
        page.keyboard.press("3")
    page.keyboard.press("Control+Enter")
    dialog = page.locator("dialog.gold-feedback")
    dialog.wait_for()
    assert "2 of 3 right" in dialog.inner_text()
    assert [cell.inner_text() for cell in dialog.locator("tbody td").all()] == ["step 2", "✓ good", "✗ bad"]
    assert HOSTILE in dialog.inner_text()
    page.keyboard.press("Enter")
    dialog.wait_for(state="detached")


@pytest.mark.slow
def test_the_history_of_any_label_opens_beside_its_step(bench: Bench, open_tab: Callable[..., Tab]) -> None:
    """Also where one rater alone has judged: the list of disputes does not have that."""
    trace = make_trace(prompt="Who alone has said so?", names=["a", "b", "c"])
    bench.post("/api/traces", trace.to_json())
    assignment = rated(bench, trace.trace_id, "ada", (1, -1, 1), reason=f"It does not follow. {HOSTILE}")
    page = open_tab(f"/ui/rate?assignment={assignment}&step=2").page
    page.wait_for_selector("#wl-rate-list .wl-row >> nth=3")
    page.focus("#wl-rate-list")
    page.keyboard.press("l")
    lines = page.locator("[data-id=panel] tbody tr")
    lines.first.wait_for()
    said = lines.all_inner_texts()
    assert len(said) == 3 and "bad" in said[0] and HOSTILE in said[1] and "submit" in said[2]
    assert all("ada" in line for line in said)
    page.keyboard.press("Escape")
    page.click("#wl-rate-list .selected [data-write=history]")
    lines.first.wait_for()

    visit(page, f"{bench.url}/ui/?trace={trace.trace_id}&step=3")
    page.wait_for_selector("#wl-solve-list .wl-row >> nth=3")
    page.click("[data-id=detail] >> text=History")
    page.locator("[data-id=detail] td", has_text="good").wait_for()
    visit(page, f"{bench.url}/ui/quality")
    page.locator("[data-id=minds] th", has_text="ada").wait_for()
    cell = page.locator("[data-id=kappa] td.kappa").first
    cell.wait_for()
    assert "n " in cell.inner_text() and "%" in cell.inner_text()
