"""Later turns of a conversation: exports for trainers give what was said before, and say where they cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.trace import Earlier, Trace, problem_id_of
from core.turns import Message, Turns
from storage.exports import export
from storage.frozen import split_of
from storage.imports import read
from storage.imports.judged import Judgement, Rated
from storage.imports.keeping import keep, wanted
from storage.snapshots import Snapshot, freeze, load_snapshot
from storage.store import Store
from tests.storage.helpers import make_trace, rate, rows_of
from training.conversations import turns_before
from training.rows import read_traces

ALONE = "later turns of a conversation whose earlier turns"


class Talk:
    """A first question; a second one after it, answered well and badly; and one after a turn that is not in the snapshot."""

    def __init__(self, store: Store) -> None:
        self.first = make_trace(prompt="first question")
        after = Earlier((self.first.trace_id,), "full")
        self.good, self.bad = (self.later(name, after) for name in ("good", "bad"))
        self.lost, self.lost_bad = (self.later(name, Earlier(("not frozen",), "full")) for name in ("lost", "lost bad"))
        rate(store, self.first, "ann", [1, 1, 1], verdict=1)
        for trace, values, verdict in (
            (self.good, [1, 1, -1], 1), (self.bad, [1, 1, 1], -1), (self.lost, [1, 1, 1], 1), (self.lost_bad, [1, 1, 1], -1),
        ):  # fmt: skip
            rate(store, trace, "ann", values, verdict=verdict)
        compared = Rated(self.good, (Judgement("pair", "preference", None, -2.0),), "ann", other=self.bad)
        assert not keep(store, wanted([compared], ""), "test").problems
        self.before = Turns.of([self.first], "full").messages("")[:-1]

    def later(self, name: str, after: Earlier) -> Trace:
        return make_trace((None, 0, 0), names=[name, "b", "c"], prompt="second question", earlier=after)

    def chat(self, trace: Trace) -> list[Message]:
        """All up to the question of a trace, as far as the snapshot has it."""
        known = trace.earlier is not None and trace.earlier.trace_ids == (self.first.trace_id,)
        return [*(self.before if known else []), {"role": "user", "content": trace.prompt}]


@pytest.fixture
def talk(store: Store) -> Talk:
    return Talk(store)


def frozen(store: Store, root: Path) -> Snapshot:
    return load_snapshot(root, freeze(store, root).snapshot_id)


def written(snapshot: Snapshot, form: str, folder: Path, **options: Any) -> tuple[list[dict[str, Any]], str]:
    """The rows of an export, and its warnings."""
    report = export(snapshot, form, folder, options)
    return rows_of(folder), " ".join(report.warnings)


@pytest.mark.parametrize("shape", ["text", "messages"])
def test_preferences_have_what_was_said_before(store: Store, talk: Talk, tmp_path: Path, shape: str) -> None:
    rows, warnings = written(frozen(store, tmp_path / "s"), "preference", tmp_path / "out", shape=shape)
    found = {(row["source"], row["chosen_trace_id"], row["rejected_trace_id"]): row for row in rows}
    pairs = [
        ("pair", talk.good, talk.bad), ("branch", talk.good, talk.good), ("verdict", talk.good, talk.bad),
        ("verdict", talk.lost, talk.lost_bad),
    ]  # fmt: skip
    assert set(found) == {(source, a.trace_id, b.trace_id) for source, a, b in pairs}, "of one conversation each"
    for source, chosen, rejected in pairs:
        row = found[source, chosen.trace_id, rejected.trace_id]
        whole = source != "branch"
        sides = [chosen.response, rejected.response] if whole else [
            chosen.response[: chosen.steps[1].end], chosen.response[: chosen.steps[0].end],
        ]  # fmt: skip
        if shape == "text":
            assert row["history"] == talk.chat(chosen)[:-1]
            assert row["prompt"].startswith("second question")
            assert (row["prompt"] == "second question") == whole
        else:
            assert "history" not in row
            assert row["prompt"] == talk.chat(chosen)
            for side, text in zip(("chosen", "rejected"), sides, strict=True):
                (said,) = row[side]
                assert said["role"] == "assistant"
                assert said["content"] == text if whole else said["content"].startswith(sides[1])
    assert "1 row is a later turn of a conversation whose earlier turns" in warnings


@pytest.mark.parametrize("source", ["trace", "step"])
def test_kto_has_what_was_said_before(store: Store, talk: Talk, tmp_path: Path, source: str) -> None:
    snapshot = frozen(store, tmp_path / "s")
    texts, warnings = written(snapshot, "kto", tmp_path / "texts", source=source)
    chats, _ = written(snapshot, "kto", tmp_path / "chats", source=source, shape="messages")
    traces = {t.trace_id: t for t in (talk.first, talk.good, talk.bad, talk.lost, talk.lost_bad)}
    assert {row["trace_id"] for row in texts} == set(traces)
    for text, chat in zip(texts, chats, strict=True):
        trace = traces[text["trace_id"]]
        assert text["history"] == talk.chat(trace)[:-1]
        assert chat["prompt"] == talk.chat(trace)
        (said,) = chat["completion"]
        assert trace.prompt + said["content"] == text["prompt"] + text["completion"]
        assert (chat["label"], chat["step"], said["role"]) == (text["label"], text["step"], "assistant")
        assert not {"question", "earlier"} & set(text)
    assert f"{2 if source == 'trace' else 6} rows are {ALONE}" in warnings


def test_kto_has_it_for_pairs_of_which_both_are_bad(store: Store, tmp_path: Path) -> None:
    first = make_trace(prompt="first question")
    rate(store, first, "ann", [1])
    after = Earlier((first.trace_id,), "full")
    left, right = (make_trace(names=[name, "b", "c"], prompt="second", earlier=after) for name in ("l", "r"))
    for waiting in [store.add_trace(trace) for trace in (left, right)]:
        waiting.result()
    bad = Rated(left, (Judgement("pair", "preference", None, None, "both_bad"),), "ann", other=right)
    assert not keep(store, wanted([bad], ""), "test").problems
    rows, _ = written(frozen(store, tmp_path / "s"), "kto", tmp_path / "out")
    assert [row["source"] for row in rows] == ["both_bad"] * 2
    assert all(row["history"] == Turns.of([first], "full").messages("")[:-1] for row in rows)


def test_pairs_of_steps_have_what_was_said_before(store: Store, talk: Talk, tmp_path: Path) -> None:
    (row,), _ = written(frozen(store, tmp_path / "s"), "step_dpo", tmp_path / "out")
    assert (row["trace_id"], row["history"]) == (talk.good.trace_id, talk.before)


@pytest.mark.parametrize("unit", ["step", "trace"])
def test_records_of_argilla_have_what_was_said_before(store: Store, talk: Talk, tmp_path: Path, unit: str) -> None:
    rows, warnings = written(frozen(store, tmp_path / "s"), "argilla", tmp_path / "out", unit=unit)
    traces = {t.trace_id: t for t in (talk.first, talk.good, talk.bad, talk.lost, talk.lost_bad)}
    assert {row["trace_id"] for row in rows} == set(traces)
    for row in rows:
        assert [*row["history"], {"role": "user", "content": row["prompt"]}] == talk.chat(traces[row["trace_id"]])
    assert f"2 traces are {ALONE}" in warnings


def test_tasks_of_label_studio_have_what_was_said_before(store: Store, talk: Talk, tmp_path: Path) -> None:
    snapshot = frozen(store, tmp_path / "s")
    report = export(snapshot, "label_studio", tmp_path / "out")
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text("utf-8"))
    said = {task["data"]["trace_id"]: task["data"]["history"] for task in tasks}
    traces = (talk.first, talk.good, talk.bad, talk.lost, talk.lost_bad)
    assert said == {trace.trace_id: talk.chat(trace)[:-1] for trace in traces}
    assert 'value="$history"' in (tmp_path / "out" / "label_config.xml").read_text("utf-8")
    assert f"2 tasks are {ALONE}" in " ".join(report.warnings)


def test_prm800k_has_no_place_for_it_and_says_so(store: Store, talk: Talk, tmp_path: Path) -> None:
    rows, warnings = written(frozen(store, tmp_path / "s"), "prm800k", tmp_path / "out")
    assert {row["question"]["problem"] for row in rows} == {"first question", "second question"}
    assert "4 of 5 lines are of later turns of a conversation" in warnings
    assert "left_out" in (manifest := json.loads((tmp_path / "out" / "manifest.json").read_text())), "counted once"
    assert manifest["left_out"] == {}


@pytest.mark.parametrize(("form", "shape"), [("preference", "text"), ("preference", "messages"), ("kto", "text"), ("kto", "messages")])  # fmt: skip
def test_rows_of_later_turns_can_be_imported(store: Store, talk: Talk, tmp_path: Path, form: str, shape: str) -> None:
    options = {"source": "verdict"} if form == "preference" else {}
    rows, _ = written(frozen(store, tmp_path / "s"), form, tmp_path / "out", shape=shape, **options)
    found = [read(row, "row") for row in rows]
    assert {one.family for one in found} == {"trl" if form == "preference" else "kto"}
    for row, one in zip(rows, found, strict=True):
        assert one.said and one.said[0].judgements, "labels come along"
        for trace in one.traces:
            asked = row["prompt"] if shape == "text" else row["prompt"][-1]["content"]
            assert trace.prompt.endswith(asked)
            known = {t.response for t in (talk.first, talk.good, talk.bad, talk.lost, talk.lost_bad)}
            assert trace.response in known


def test_what_is_held_out_is_not_read_before_what_is_trained_on(store: Store, tmp_path: Path) -> None:
    """A follow-up is another problem, so it may be trained on while the first question is held out."""
    held, trained = (
        next(n for n in range(200) if split_of(problem_id_of(f"{what} {n}?")) == side)
        for what, side in (("first", "test"), ("second", "train"))
    )
    first = make_trace(prompt=f"first {held}?")
    after = Earlier((first.trace_id,), "full")
    good, bad = (
        make_trace((None, 0, 0), names=[n, "b", "c"], prompt=f"second {trained}?", earlier=after)
        for n in ("good", "bad")
    )
    for trace, values, verdict in ((first, [1, 1, 1], 1), (good, [1, 1, -1], 1), (bad, [1, 1, 1], -1)):
        rate(store, trace, "ann", values, verdict=verdict)
    snapshot = frozen(store, tmp_path / "s")
    for form in ("sft", "kto", "preference", "step_dpo", "stepwise"):
        rows, warnings = written(snapshot, form, tmp_path / form)
        assert not [r for r in rows if r["split"] == "train" and f"first {held}" in json.dumps(r)], form
        assert "held out while it is trained on" in warnings, form
    by_id = {trace.trace_id: trace for trace in read_traces(snapshot.data_path.parent)}
    assert turns_before(by_id[good.trace_id], by_id, "as_given") is None
    assert turns_before(by_id[good.trace_id], by_id, "alone") is not None
