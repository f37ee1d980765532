"""Argilla's records, Label Studio's tasks and PRM800K's lines say what each rater said of each step, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.exports import export
from storage.snapshots import Snapshot, freeze, load_snapshot
from storage.store import Store
from tests.storage.helpers import HOSTILE, Rater, make_trace, rows_of

WORDS = {1: "good", 0: "neutral", -1: "bad"}
Said = tuple[str, int | None, str, str, str]  # trace, step, rater, question, answer


@pytest.fixture
def snapshot(store: Store, tmp_path: Path) -> Snapshot:
    """Traces of every length with hostile texts, of each one to three raters, who say different things of different steps."""
    values: list[int | None] = [1, -1, 0, None]
    for n, text in enumerate(HOSTILE, start=1):
        trace = make_trace(
            [None, *range(n - 1)], names=[HOSTILE[(n + i) % len(HOSTILE)] for i in range(n)], prompt=text or "q"
        )
        store.add_trace(trace).result()
        for r, rater in enumerate(["ann+a@example.org", "bob é", "c"][: 1 + n % 3]):
            hand = Rater(store, store.open_assignment(rater, trace.trace_id))
            for i in range(n):
                if (i + r + n) % 5:  # of some steps nobody says anything
                    hand.step(i, values[(i + r) % 4])
                if values[(i + r) % 4] == -1 and (i + r + n) % 5:
                    hand.send("set", target="step", step_idx=i, dimension="rationale", value_text=f"{text} why {i}")
                    hand.send("set", target="step", step_idx=i, dimension="better", value_text=f"{text} better {i}")
            hand.verdict((1, 0, -1)[r])
            if text:
                hand.send("set", target="trace", dimension="note", value_text=text)
            hand.submit()
    return load_snapshot(tmp_path / "s", freeze(store, tmp_path / "s").snapshot_id)


def said(snapshot: Snapshot) -> Iterator[Said]:
    for row in snapshot.rows():
        trace, rater = row["trace_id"], row["rater_id"]
        for i, value in enumerate(row["rating"]):
            if value is not None or row["unsure"][i]:
                yield trace, i, rater, "correctness", "unsure" if value is None else WORDS[value]
            for name in ("rationale", "better"):
                if row[name][i] is not None:
                    yield trace, i, rater, name, row[name][i]
        if row["verdict"] is not None:
            yield trace, None, rater, "verdict", WORDS[row["verdict"]]
        if row["note"]:
            yield trace, None, rater, "note", row["note"]


def test_records_of_argilla(snapshot: Snapshot, tmp_path: Path) -> None:
    found: list[Said] = []
    for unit in ("step", "trace"):
        export(snapshot, "argilla", tmp_path / unit, {"unit": unit, "context_chars": 40})
        for row in rows_of(tmp_path / unit):
            for key in [key for key in row if key.endswith(".responses")]:
                users, status = row[f"{key}.users"], row[f"{key}.status"]
                assert status == ["submitted"] * len(row[key])
                found += [
                    (row["trace_id"], row["step_index"], user, key.removesuffix(".responses"), text)
                    for user, text in zip(users, row[key], strict=True)
                ]
    assert sorted(found, key=str) == sorted(said(snapshot), key=str)
    texts = {(row["trace_id"], i): row for row in snapshot.rows() for i in range(len(row["step_text"]))}
    records = rows_of(tmp_path / "step")
    assert {(r["trace_id"], r["step_index"]) for r in records} == set(texts), "steps without an answer included"
    for record in records:
        row, i = texts[record["trace_id"], record["step_index"]], record["step_index"]
        start = row["step_start"][i]
        assert (record["context"], record["step"]) == (row["response"][max(0, start - 40) : start], row["step_text"][i])
        assert (record["prompt"], record["id"]) == (row["prompt"], f"{row['trace_id']}-{i}")


def test_tasks_of_label_studio(snapshot: Snapshot, tmp_path: Path) -> None:
    report = export(snapshot, "label_studio", tmp_path / "out")
    tasks = rows_of(tmp_path / "out")
    assert [task["id"] for task in tasks] == list(range(1, len(tasks) + 1))
    found: list[Said] = []
    for task in tasks:
        trace, texts = task["data"]["trace_id"], [step["text"] for step in task["data"]["steps"]]
        assert [step["name"] for step in task["data"]["steps"]] == [f"step {i}" for i in range(len(texts))]
        for annotation in task["annotations"]:
            for result in annotation["result"]:
                value, name = result["value"], result["from_name"]
                step = int(result["id"][1:]) if result["to_name"] == "steps" else None
                if step is not None:
                    assert (value["start"], value["end"], value["startOffset"]) == (str(step), str(step), 0)
                    assert value["endOffset"] == len(texts[step].encode("utf-16-le")) // 2, "as a browser counts"
                if name == "correctness":
                    assert value["text"] == texts[step or 0]
                (answer,) = value.get("paragraphlabels") or value.get("choices") or value["text"]
                found.append((trace, step, annotation["completed_by"]["email"], name, answer))
            steps = [int(r["id"][1:]) for r in annotation["result"] if r["to_name"] == "steps"]
            assert steps == sorted(steps), "in the order of the trace"
    assert sorted(found, key=str) == sorted(said(snapshot), key=str)
    assert report.figures["annotations"] == len(list(snapshot.rows()))
    raw = (tmp_path / "out" / "tasks.json").read_text("utf-8")
    assert len(raw.splitlines()) == len(tasks) + 2, "a task is one line to every reader"


def test_lines_of_prm800k(snapshot: Snapshot, tmp_path: Path) -> None:
    export(snapshot, "prm800k", tmp_path / "out")
    found: list[Said] = []
    rows = {(row["trace_id"], row["rater_id"]): row for row in snapshot.rows()}
    lines: list[dict[str, Any]] = rows_of(tmp_path / "out")
    for line in lines:
        own, rater = line["worldline"], line["labeler"]
        row = rows.pop((own["trace_id"], rater))
        assert line["question"]["pre_generated_steps"] == row["step_text"]
        assert "".join(row["step_text"]) + own["tail"] == row["response"]
        for i, step in enumerate(line["label"]["steps"]):
            (one,), human = step["completions"], step["human_completion"]
            assert (one["text"], step["chosen_completion"]) == (row["step_text"][i], 0)
            if one["rating"] is not None or i in own["unsure"]:
                found.append(
                    (own["trace_id"], i, rater, "correctness", "unsure" if i in own["unsure"] else WORDS[one["rating"]])
                )
            if human is not None:
                assert human["source"] == "human"
                found.append((own["trace_id"], i, rater, "better", human["text"]))
        wrong = -1 in row["rating"]
        assert line["label"]["finish_reason"] == ("found_error" if wrong else "solution")
    assert not rows, "every rater's own line"
    carried = [one for one in said(snapshot) if one[3] in ("correctness", "better")]
    assert sorted(found, key=str) == sorted(carried, key=str)
    assert len((tmp_path / "out" / "data.jsonl").read_text("utf-8").splitlines()) == len(lines)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["rows"] == len(lines)
