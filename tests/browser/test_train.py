"""A finished reinforcement job on the Train page: the curves that show whether its reward was cheated, and putting it to use."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.browser.conftest import visit, workbench
from tests.browser.test_access import AXE, BEYOND, NARROW, RULES
from tests.browser.test_access import axe as axe
from training.checkpoints import Checkpoint, record

JOB, PLAIN, OTHER = (
    f"{kind}-01kaexr0v7m3p9d2k4c6h8n5q{end}" for kind, end in (("rl", "a"), ("sft", "b"), ("sft", "c"))
)
STEPS = 30
# In the order in which the page shows them; and a figure that has no curve of its own.
GUARDS = {
    "solved": 0.2,
    "step_reward": -0.05,
    "tokens": 420,
    "steps": 10,
    "well_formed": 1.0,
    "repeated": 0.05,
    "backtracks": 0.7,
}
MORE = {"grad_norm": 0.1}


def kept(data: Path, job_id: str, guards: dict[str, float], figures: dict[str, Any]) -> None:
    """A job as it is when it is done."""
    folder, draw = data / "jobs" / job_id, Random(5)
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    kind = job_id.split("-")[0]
    times = {
        "created_at": "2026-11-20T12:00:00.000Z",
        "started_at": "2026-11-20T12:00:01.000Z",
        "ended_at": "2026-11-20T12:10:00.000Z",
    }
    status = {"job_id": job_id, "kind": kind, "state": "done", "snapshot_id": "", "step": STEPS, "total_steps": STEPS, "seconds": 600.0,
              "figures": figures, **times}  # fmt: skip
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "job.json").write_text(
        json.dumps({"job_id": job_id, "kind": kind, "snapshot_id": "", "snapshot_sha256": ""})
    )
    entry = Checkpoint(job_id, kind, "model", times["ended_at"], "01kaexr0v7m3p9d2k4c6h8n5qs", {}, "pocket", "", "", None, STEPS, 600.0, None, "1", figures)  # fmt: skip
    record(folder, entry)
    (folder / "log.txt").write_text("12:10:00  done\n")
    rows = [
        {"step": i, "loss": 1 / i, **MORE, **{k: v * (1 + draw.uniform(-0.1, 0.1)) for k, v in guards.items()}}
        for i in range(1, STEPS + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.slow
def test_the_guards_of_a_reinforcement_job_are_curves_and_a_click_puts_it_to_use(
    browser: Any, tmp_path: Path, axe: str, screenshots: Path
) -> None:
    kept(
        tmp_path / "data",
        JOB,
        GUARDS,
        {"solved_before": 0.215, "solved_after": 0.245, "gain": 0.03, "gain_95": [-0.014, 0.074]},
    )
    kept(tmp_path / "data", PLAIN, {}, {})
    errors: list[str] = []
    with workbench(tmp_path) as bench:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.on("pageerror", lambda error: errors.append(str(error)))
        visit(page, f"{bench.url}/ui/train?job={JOB}")
        page.wait_for_selector(".small-chart >> nth=6")
        charts = page.locator(".small-chart")
        named = [c.split(" (")[0] for c in charts.locator("figcaption").all_inner_texts()]
        assert named == [
            "Solved", "Reward a step", "Tokens a rollout", "Steps a rollout", "Whole steps", "Steps said before", "Steps that turn back",
        ]  # fmt: skip
        for key, chart in zip(GUARDS, charts.all(), strict=True):
            drawn = chart.locator("svg polyline, svg path").evaluate_all(
                "found => found.map((one) => (one.getAttribute('points') ?? one.getAttribute('d')).match(/-?[0-9.]+[ ,]-?[0-9.]+/g).length)"
            )
            assert max(drawn) >= STEPS, f"{key}: every step is a point of its curve, not {drawn}"
        said = page.inner_text("[data-id=job]")
        registry = page.locator("[data-id=checkpoints] .table-scroll")
        assert "solved after, held out 0.245" in registry.inner_text()
        assert registry.evaluate("e => e.scrollWidth <= e.clientWidth"), "no figure runs off the card"
        assert "0.245" in said and "−0.014 to 0.074" in said, (
            "what was measured on held-out questions, with its interval"
        )
        page.evaluate(axe)
        assert page.evaluate(AXE, RULES) == []
        page.screenshot(path=screenshots / "train-rl.png", full_page=True)

        page.click("[data-id=job] >> text=Use in workbench")
        page.wait_for_selector("[data-id=notices] >> text=It runs in this process.")
        page.wait_for_selector("[data-id=job] >> text=✓ in use")
        assert JOB in [m["id"] for m in bench.get("/api/models")]
        page.click("[data-id=notices] >> text=Go to Solve")
        page.wait_for_url(f"**model={JOB}*")

        visit(page, f"{bench.url}/ui/train?job={PLAIN}")
        page.wait_for_selector("[data-id=job] >> text=done")
        page.wait_for_selector("[data-id=chart] svg")
        assert page.locator(".small-chart").count() == 0, "a job without them shows none"
        page.set_viewport_size({"width": NARROW, "height": 640})
        visit(page, f"{bench.url}/ui/train?job={JOB}")
        page.wait_for_selector(".small-chart >> nth=6")
        assert page.evaluate(BEYOND) == []
        page.close()
    assert errors == []


@pytest.mark.slow
def test_jobs_that_are_ticked_are_compared_in_one_chart(
    browser: Any, tmp_path: Path, axe: str, screenshots: Path
) -> None:
    kept(tmp_path / "data", PLAIN, {}, {"loss_after": 0.25, "n_train_traces": 20})
    kept(tmp_path / "data", OTHER, {}, {"loss_after": 0.5})
    kept(tmp_path / "data", JOB, GUARDS, {"gain_95": [-0.014, 0.074]})
    errors: list[str] = []
    with workbench(tmp_path) as bench:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.on("pageerror", lambda error: errors.append(str(error)))
        visit(page, f"{bench.url}/ui/train?job={PLAIN}")
        page.check(f"[data-key=tick-{PLAIN}]")
        assert page.is_hidden("[data-id=compare]"), "one job is compared with nothing"
        page.check(f"[data-key=tick-{OTHER}]")
        page.check(f"[data-key=tick-{JOB}]")
        page.wait_for_selector("[data-id=compare] thead th >> nth=3")
        lines = page.locator("[data-id=compare] svg polyline, [data-id=compare] svg path").evaluate_all(
            "found => found.map((one) => (one.getAttribute('points') ?? one.getAttribute('d')).match(/-?[0-9.]+[ ,]-?[0-9.]+/g)?.length ?? 0)"
        )
        assert sum(n >= STEPS for n in lines) == 3, f"every step of every job is a point of its line: {lines}"
        names = page.locator("[data-id=compare] thead th").all_inner_texts()[1:]
        assert len(set(names)) == 3
        table = [row.split("\t") for row in page.locator("[data-id=compare] tbody tr").all_inner_texts()]
        figures = {row[0]: dict(zip(names, row[1:], strict=True)) for row in table}
        of = {job: next(n for n in names if n.endswith(job[-5:])) for job in (PLAIN, OTHER, JOB)}
        loss = figures["held-out loss after"]
        assert (loss[of[PLAIN]], loss[of[OTHER]], loss[of[JOB]]) == ("0.25", "0.5", "–")
        assert figures["95 % interval of the gain"][of[JOB]] == "−0.014 to 0.074"
        page.select_option("[aria-label='What the chart shows']", "grad_norm")
        page.wait_for_selector("[data-id=compare] svg[aria-label^='Norm of the gradient']")
        page.evaluate(axe)
        assert page.evaluate(AXE, RULES) == []
        page.screenshot(path=screenshots / "train-compare.png", full_page=True)
        visit(page, page.url)
        page.wait_for_selector("[data-id=compare] thead th >> nth=3")
        page.uncheck(f"[data-key=tick-{JOB}]")
        page.wait_for_selector("[data-id=compare] thead th >> nth=3", state="detached")
        page.close()
    assert errors == []
