"""The whole loop, small: it goes on where it was cut, its raters are known for what they are, its arithmetic is right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from core.tasks import countdown as game
from storage.store import Store
from tests.core.scoring_models import token_classifier
from tests.training.rigged import trace_of
from training.flywheel import measure, raters, sampled, scoring
from training.flywheel.plan import FULL, QUICK, Kept, Plan
from training.flywheel.run import run, weights
from training.labels import oracle


@pytest.mark.slow
def test_the_quick_flywheel_goes_on_where_it_was_cut_and_reports(tmp_path: Path) -> None:
    def cut(stage: str, share: float, left: float | None) -> None:
        if stage == "orm-3" and share > 0:  # in the midst of a job
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, QUICK, cut)
    before = {p.name: p.read_bytes() for p in (tmp_path / "stages").glob("*.json")}
    assert "prm-random-3.json" in before
    assert "orm-3.json" not in before

    done = CliRunner().invoke(app, ["flywheel", str(tmp_path), "--quick"])
    assert done.exit_code == 0, done.output
    assert {p.name: p.read_bytes() for p in (tmp_path / "stages").glob("*.json")}.items() >= before.items()
    assert (tmp_path / "table.md").read_text() in done.output
    assert "<polyline" in (tmp_path / "flywheel.svg").read_text()
    figures = json.loads((tmp_path / "results.json").read_text())
    assert set(figures["seconds"]) == set(weights(QUICK))  # what time is left is reckoned from all stages there are
    assert [p["traces"] for p in figures["curve"]] == [3, 6]
    for point in figures["curve"]:
        assert 0 <= point["prm"]["best"]["last"]["mean"] <= figures["pool"]["ceiling"]["mean"]
    assert [p["traces"] for p in figures["active"]["uncertainty"]] == [3, 6]
    assert figures["active"]["uncertainty"][1]["drawn"]["chosen"] == 3
    assert [r["samples"] for r in figures["rounds"]] == [{"least": 3, "most": 3}] * 3

    with Store.open(tmp_path / "data") as store:
        assert store.query("select distinct rater_id from rating_event") == [("simulated:oracle-with-10%-errors",)]
        held_out = [t for (t,) in store.query("select prompt from trace") if is_held_out(t)]
    assert not held_out  # nothing that is measured on was rated or trained on
    for folder in (tmp_path / "data" / "snapshots").iterdir():
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["labels"] == "simulated raters"
        assert "by simulated raters, not by people" in " ".join(manifest["warnings"])
        assert "steps by simulated raters" in (folder / "README.md").read_text()

    other = CliRunner().invoke(app, ["flywheel", str(tmp_path), "--quick", "--seed", "2"])
    assert other.exit_code == 1
    assert "other settings" in other.output


def is_held_out(prompt: str) -> bool:
    from core.tasks.countdown_text import understand

    return understand(prompt).held_out


def test_a_simulated_rater_errs_as_often_as_asked_and_the_same_each_time() -> None:
    traces = [trace_of(*"abcdef", prompt="Reach 24 from 4, 7, 8 and 8.", trace_id=f"t{i}") for i in range(200)]
    wrong = 0
    for trace in traces:
        said, _ = raters.judgement(trace, 0.2, 1)
        assert raters.judgement(trace, 0.2, 1)[0] == said
        truth = [1 if y else -1 for y in oracle.label(trace)]
        assert raters.judgement(trace, 0.0, 1)[0] == truth
        wrong += sum(a != b for a, b in zip(said, truth, strict=True))
    assert 0.17 < wrong / 1200 < 0.23
    with pytest.raises(ValueError, match="a coin"):
        replace(FULL, error=0.5)


def test_majority_counts_answers_and_shares_ties() -> None:
    a, b, none = "Solved: 1 + 2 = 3", "Solved: 4 − 1 = 3", "Not solved yet: 3 was not found in these steps."
    assert measure.majority([a, a, b, none, none, none], [True, True, False, False, False, False]) == 1.0
    assert measure.majority([a, b], [True, False]) == 0.5
    assert measure.majority([none], [False]) == 0.0


def test_labels_needed_reads_between_two_points() -> None:
    curve = [(10.0, 0.6), (100.0, 0.8), (1000.0, 0.7)]
    assert measure.labels_needed(curve, 0.7) == pytest.approx(10**1.5)
    assert measure.labels_needed(curve, 0.5) == 10.0
    assert measure.labels_needed(curve, 0.9) is None


def test_questions_and_seeds_follow_from_the_plan_alone() -> None:
    questions = sampled.training_questions(30, 5)
    assert len({q.key for q in questions}) == 30
    assert questions == sampled.training_questions(30, 5)
    assert not any(q.held_out for q in questions)
    asked = sampled.asks("pool-0", questions, 2, 1)
    assert len({a.seed for a in asked}) == len({a.trace_id for a in asked}) == 60
    assert [len(q.numbers) for q in questions[:4]] == list(game.COUNTS) * 2


def test_a_torn_last_line_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    whole = json.dumps(trace_of("a").to_json()) + "\n"
    path.write_text(whole + whole[:40])
    assert [t.trace_id for t in sampled.read(path)] == ["trace"]
    assert path.read_text() == whole


def test_a_stage_is_done_once_and_time_left_follows_from_the_weights(tmp_path: Path) -> None:
    heard: list[tuple[str, float, float | None]] = []
    plan = Plan()
    kept = Kept(tmp_path, plan, lambda *said: heard.append(said), {"a": 1.0, "b": 3.0})
    assert kept.once("a", lambda: [1, 2]) == [1, 2]
    kept.seconds["a"] = 10.0
    assert kept.once("b", lambda: kept.at(0.5) or "made") == "made"
    assert heard[0] == ("a", 0.0, None)
    stage, share, left = heard[-1]
    assert (stage, share) == ("b", 0.625)
    assert left == pytest.approx(10 / 2.5 * 1.5, rel=0.05)
    again = Kept(tmp_path, plan, lambda *said: None, {"a": 1.0, "b": 3.0})
    assert again.once("a", lambda: pytest.fail("made twice")) == [1, 2]
    with pytest.raises(ValueError, match="other settings"):
        Kept(tmp_path, replace(plan, seed=2), lambda *said: None, {})


def test_scores_of_two_workers_are_those_of_one(tmp_path: Path) -> None:
    token_classifier(tmp_path)
    texts = [
        (f"Question {i}", ["first step\n\n", "second step " * (i % 7 + 1)]) for i in range(2 * scoring.PER_CALL + 3)
    ]
    seen: list[float] = []
    alone = scoring.scores(tmp_path, texts, 1, seen.append)
    assert [len(steps) for steps in alone] == [2] * len(texts)
    assert len({round(step, 6) for steps in alone for step in steps}) > 2
    for a, b in zip(alone, scoring.scores(tmp_path, texts, 2, seen.append), strict=True):
        assert b == pytest.approx(a, abs=1e-6)
    assert seen == [*seen[:3], *seen[:3]]
    assert seen[2] == 1.0
