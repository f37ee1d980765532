"""A model's scores leave as what other tools take for a model's word, and never come back as somebody's ratings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.trace import Trace
from storage.exports import export
from storage.imports.judged import Rated
from storage.imports.report import Report, fresh
from storage.snapshots import Snapshot, freeze, load_snapshot
from storage.store import Store
from tests.storage.helpers import make_trace, rate, rows_of


@pytest.fixture
def scored(store: Store) -> Trace:
    """Two raters and a model judged it; nobody judged the last step but the model. Of another, the step had no room in the model."""
    trace = make_trace((None, 0, 1), names=["a", "b", "😀"], created_at="2026-11-20T12:00:00.000Z")
    for rater, values in (("ann", [1, -1, None]), ("bob", [1, 0, None])):
        rate(store, trace, rater, values)
    store.add_scores(trace.trace_id, trace.segmentation_id, "prm", "v1", [0.75, 0.25, 0.5], "min").result()
    beyond = make_trace((None,), prompt="scored, but beyond the model's length", created_at="2026-11-20T12:00:01.000Z")
    rate(store, beyond, "ann", [1])
    store.add_scores(beyond.trace_id, beyond.segmentation_id, "prm", "v1", [float("nan")], "min").result()
    return trace


def frozen(store: Store, root: Path) -> Snapshot:
    return load_snapshot(root, freeze(store, root).snapshot_id)


def test_argilla_has_them_as_suggestions(store: Store, scored: Trace, tmp_path: Path) -> None:
    report = export(frozen(store, tmp_path / "s"), "argilla", tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    keys = ("correctness.suggestion", "correctness.suggestion.score", "correctness.suggestion.agent")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("good", 0.75, "prm v1"), ("bad", 0.75, "prm v1"), ("good", 0.5, "prm v1"), (None, None, None),
    ]  # fmt: skip
    answers = [dict(zip(row["correctness.responses.users"], row["correctness.responses"], strict=True)) for row in rows]
    assert answers == [{"ann": "good", "bob": "good"}, {"ann": "bad", "bob": "neutral"}, {}, {"ann": "good"}]
    assert (report.figures["answers"], report.figures["suggestions"]) == (5, 3)
    export(frozen(store, tmp_path / "s"), "argilla", tmp_path / "whole", {"unit": "trace"})
    assert "suggestion" not in str(rows_of(tmp_path / "whole")), "a trace has no score"


def test_label_studio_has_them_as_a_prediction(store: Store, scored: Trace, tmp_path: Path) -> None:
    report = export(frozen(store, tmp_path / "s"), "label_studio", tmp_path / "out")
    task, other = json.loads((tmp_path / "out" / "tasks.json").read_text("utf-8"))
    assert other["predictions"] == []
    (prediction,) = task["predictions"]
    results = prediction.pop("result")
    assert prediction == {"model_version": "prm v1", "score": 0.5}, "that of the least sure step"
    assert [(r["value"]["paragraphlabels"], r["score"], r["origin"]) for r in results] == [
        (["good"], 0.75, "prediction"), (["bad"], 0.75, "prediction"), (["good"], 0.5, "prediction"),
    ]  # fmt: skip
    shape = lambda r: (r["id"], r["from_name"], r["to_name"], r["type"], sorted(r["value"]))  # noqa: E731
    assert len(task["annotations"]) == 2
    for annotation in task["annotations"]:
        assert [shape(r) for r in annotation["result"]] == [shape(r) for r in results[:2]], "as an annotation has it"
    assert report.figures["predictions"] == 1


@pytest.mark.parametrize(("form", "file"), [("argilla", "data.parquet"), ("label_studio", "tasks.json")])
def test_they_come_back_as_nobodys_ratings(store: Store, scored: Trace, tmp_path: Path, form: str, file: str) -> None:
    def said(folder: Path) -> list[tuple[str, Any]]:
        export(frozen(store, folder / "s"), form, folder / "out")
        with Store.open(folder / "empty") as empty:
            batches = list(fresh(folder / "out" / file, Report(file), empty.held))
        found: list[Rated] = [one for batch in batches for one in batch.said]
        return [(one.rater, one.judgements) for one in found]

    with_scores = said(tmp_path / "with")
    store.write(lambda con, _: [con.execute("delete from model_score") and None], None).result()
    assert with_scores == said(tmp_path / "without")
    assert sum(len(judgements) for _, judgements in with_scores) == 5, "ann 2 and 1, bob 2"
