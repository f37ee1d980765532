"""The commands end to end: made, labelled, chosen, measured; and a sentence for each thing that cannot be done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.core import scoring_models as tiny


def run(*words: object, fails: bool = False) -> tuple[str, str]:
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert (done.exit_code != 0) == fails, done.output
    return done.stdout, done.stderr


def test_from_synthesis_over_labels_to_a_report(tmp_path: Path) -> None:
    made = json.loads(
        run("synthesize", "countdown", tmp_path / "p.jsonl", "--dags", 6, "--paths", 3, "--workers", 1)[0]
    )
    assert made["paths"] == len((tmp_path / "p.jsonl").read_text().splitlines()) > 8
    paths = json.loads(run("synthesize", "dag", tmp_path / "d.jsonl", "--from", tmp_path / "p.jsonl")[0])
    assert paths["questions"] == 6 and paths["lengths"]["kept"] > 0
    snapshot, said = run("label", "oracle", tmp_path / "p.jsonl", "--data", tmp_path)
    assert "kept apart from people's ratings" in said
    tiny.token_classifier(tmp_path / "prm")
    on = (snapshot.strip(), "--data", tmp_path, "--split", "all")
    text, _ = run("evaluate-prm", tmp_path / "prm", *on, "--out", tmp_path / "report")
    assert "| AUC (95 % over problems) |" in text and "## Best of k" in text
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["solutions"] == made["paths"] and 0 < report["base_rate"] < 1
    assert (tmp_path / "report" / "reliability.svg").is_file()


def test_a_supervisors_scores_become_the_labels(tmp_path: Path) -> None:
    import polars as pl

    from core.scoring.prm import PrmScorer

    tiny.token_classifier(tmp_path / "prm")
    run("synthesize", "countdown", tmp_path / "p.jsonl", "--dags", 2, "--paths", 1, "--workers", 1)
    snapshot, _ = run("label", "prm", tmp_path / "p.jsonl", "--model", tmp_path / "prm", "--data", tmp_path)
    scorer = PrmScorer(tmp_path / "prm")
    for row in pl.read_parquet(tmp_path / "snapshots" / snapshot.strip() / "data.parquet").iter_rows(named=True):
        assert row["soft"] == pytest.approx(scorer.score(row["prompt"], row["step_text"]), abs=1e-5)
        assert row["rater_id"] == f"prm:prm@{scorer.version}"


def test_selection_by_stages(tmp_path: Path) -> None:
    rows = [
        {"question": f"q{i}", "domain": "ab"[i % 2], "tokens": i + 1, "solved_by": ["7B"] * (i < 4)} for i in range(12)
    ]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    report = json.loads(run("select", "s1k", tmp_path / "pool.jsonl", tmp_path / "out.jsonl", "--size", 5)[0])
    assert report["stages"] == {"raw": 12, "without API errors": 12, "quality": 12, "difficulty": 8, "diversity": 5}
    chosen = [json.loads(x) for x in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(chosen) == 5 and all(r in rows[4:] for r in chosen)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("label", "magic", "x.jsonl"), "magic is not a method; there are: oracle"),
        (("label", "oracle", "nothing.jsonl"), "nothing.jsonl is not a file"),
        (("label", "oracle", "bad.jsonl"), "bad.jsonl:1: not JSON"),
        (("label", "oracle", "faust.jsonl"), "There is no exact oracle"),
        (("synthesize", "magic", "out.jsonl"), "magic is not a way to synthesize"),
        (("synthesize", "dag", "out.jsonl"), "give them with --from"),
        (("select", "magic", "x", "y"), "magic is not a way to select"),
        (("select", "s1k", "faust.jsonl", "y"), "row 1 has no 'question'"),
        (("select", "s1k", "empty.jsonl", "y", "--mode", "notebook"), "domain weights"),
        (("evaluate-prm", "nowhere", "stepwise.jsonl"), "nowhere holds no model"),
        (("evaluate-prm", "nowhere", "no-snapshot", "--data", "."), 'There is no snapshot "no-snapshot"'),
        (("evaluate-prm", "nowhere", "x", "--split", "dev"), "--split is dev"),
        (("evaluate-prm", "nowhere", "stepwise.jsonl", "--family", "judge"), "asked through --endpoint"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.jsonl").write_text("{\n")
    Path("empty.jsonl").write_text("")
    Path("faust.jsonl").write_text(json.dumps({"prompt": "Who wrote Faust?", "response": "Goethe."}) + "\n")
    Path("stepwise.jsonl").write_text(json.dumps({"prompt": "p", "completions": ["a"], "labels": [1]}) + "\n")
    _, said = run(*words, fails=True)
    assert sentence in said
    assert "Traceback" not in said
