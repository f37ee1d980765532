"""Data in, report out: readers name file and line, the report holds what brute force finds."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.training.synthetic import examples, snapshot_rows, write_snapshot
from training.evaluation.report import evaluate, markdown, write
from training.evaluation.solutions import Solution, read_file, read_snapshot, up_to_first_error


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return path


def test_each_family_is_known_by_its_fields(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "mixed.jsonl",
        {"id": "gsm8k-3", "problem": "p", "steps": ["a", "b", "c"], "label": 1, "final_answer_correct": False},
        {"modified_question": "q", "modified_process": ["a", "b"], "error_steps": [2], "classification": "circular"},
        {"prompt": "r", "completions": ["a", "b"], "labels": [True, None]},
    )
    bench, prmbench, stepwise = read_file(file)
    assert [str(y) for y in bench.labels] == ["1.0", "0.0", "nan"]
    assert (bench.solved, bench.slices) == (False, ("set:gsm8k",))
    assert (prmbench.labels, prmbench.slices) == ((1.0, 0.0), ("set:prmbench", "class:circular", "group:simplicity"))
    assert [str(y) for y in stepwise.labels] == ["1.0", "nan"]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("{", "bad.jsonl:2: not JSON"),
        ({"prompt": "p"}, "bad.jsonl:2: no family has these fields"),
        ({"problem": "p", "steps": ["a"], "label": 1}, 'bad.jsonl:2: "label" is 1'),
        ({"prompt": "p", "completions": ["a", "b"], "labels": [1]}, 'bad.jsonl:2: "labels" has 1 entries for 2 steps'),
        ({"modified_process": ["a"], "error_steps": [0], "question": "q"}, 'bad.jsonl:2: "error_steps" is [0]'),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: object, sentence: str) -> None:
    file = lines(tmp_path / "bad.jsonl", {"prompt": "p", "completions": ["a"], "labels": [1]}, row)
    with pytest.raises(ValueError) as caught:
        read_file(file)
    assert sentence in str(caught.value)


def test_a_snapshot_gives_its_held_out_side_with_slices_a_step(tmp_path: Path) -> None:
    folder = write_snapshot(tmp_path, snapshot_rows(examples(20, longest=8)))
    held_out, everything = read_snapshot(folder), read_snapshot(folder, split="all")
    assert 0 < len(held_out) < len(everything) == 20
    assert all(len(s.labels) == len(s.step_texts) == len(s.step_slices) for s in everything)
    assert any("entered by:backtrack" in names for s in everything for names in s.step_slices)


def solutions() -> list[Solution]:
    made = []
    for i in range(30):
        error = i % 4 - 1
        made.append(
            Solution(f"p{i % 6}", "q", ("a", "b", "c", "d"), up_to_first_error(4, error), error < 0, ("set:x",))
        )
    return made


def test_an_oracle_scores_perfectly_and_a_constant_scores_nothing(tmp_path: Path) -> None:
    data = solutions()
    oracle = evaluate([[1.0 if y == 1 else 0.0 for y in s.labels] for s in data], data, scorer="oracle", name="made")
    assert (oracle.auc, oracle.ece, oracle.first_error.f1) == (1.0, 0.0, 1.0)
    for point in oracle.best_of["prod"]:
        assert point.best == pytest.approx(point.ceiling)
    constant = evaluate([[0.7] * 4 for _ in data], data, scorer="constant", name="made")
    assert constant.auc == 0.5
    for point in constant.best_of["min"]:
        assert point.best == pytest.approx(point.random)
    text = markdown(oracle)
    assert "| AUC (95 % over problems) | 1.000 (1.000 to 1.000) |" in text and "| set:x |" in text
    paths = write(oracle, tmp_path / "out")
    assert json.loads(paths[0].read_text())["first_error"]["f1"] == 1.0
    assert ET.parse(paths[2]).getroot().tag.endswith("svg")


def test_what_is_undefined_is_said_and_not_printed_as_a_number() -> None:
    data = [Solution("p", "q", ("a",), (1.0,))]
    report = evaluate([[0.5]], data, scorer="s", name="d")
    assert report.auc is None and report.first_error.f1 is None
    assert len(report.notes) == 3
    assert "undefined" in markdown(report) and "## Best of k" not in markdown(report)
    with pytest.raises(ValueError, match="1 steps and 2 scores"):
        evaluate([[0.5, 0.5]], data, scorer="s", name="d")


def test_a_title_cannot_break_the_picture() -> None:
    from training.evaluation.picture import reliability_svg
    from training.evaluation.steps import reliability

    ET.fromstring(reliability_svg(reliability([0.2], [1]), '<script>"&'))


def test_prmbenchs_scores_are_those_of_its_tables(tmp_path: Path) -> None:
    """By hand. multi_solutions: 20 right steps, 15 found right: F1 = 2·15/(15 + 20) = 6/7, and that is its score.
    deception: 20 steps, 5 of them wrong; right are said to be right 12 times of 15, wrong to be wrong 2 times of 5. F1 =
    2·12/(12 + 3 + 15) = 4/5, negative F1 = 2·2/(2 + 3 + 5) = 2/5: score 3/5. The group is the mean of its classes, 51/70.
    All together: F1 = 2·27/(27 + 3 + 35) = 54/65, negative F1 = 2·2/(10 + 5) = 4/15."""
    many = {
        "modified_question": "q",
        "modified_process": ["s"] * 20,
        "error_steps": [],
        "classification": "multi_solutions",
    }
    lie = {
        "modified_question": "r",
        "modified_process": ["s"] * 20,
        "error_steps": [1, 2, 3, 4, 5],
        "classification": "deception",
    }
    data = read_file(lines(tmp_path / "bench.jsonl", many, lie))
    scores = [[0.9] * 15 + [0.1] * 5, [0.1] * 2 + [0.9] * 3 + [0.9] * 12 + [0.1] * 3]
    found = {s.name: s.prm_score for s in evaluate(scores, data, scorer="x", name="y").slices}
    assert found["class:multi_solutions"] == pytest.approx(6 / 7)
    assert found["class:deception"] == pytest.approx(3 / 5)
    assert found["group:sensitivity"] == pytest.approx(51 / 70)
    assert found["set:prmbench"] == pytest.approx((54 / 65 + 4 / 15) / 2)
