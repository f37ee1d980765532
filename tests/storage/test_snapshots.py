"""Snapshots hold what was submitted, as it stood, and show when they were touched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.trace import Earlier
from storage import database, frozen_rows
from storage.agreement import first_error_agreement, step_agreement
from storage.errors import NothingRated, SnapshotError
from storage.exports import export
from storage.frozen import split_of
from storage.quality.votes import first_errors
from storage.queues.settings import DEFAULT_QUEUE
from storage.settled import REBUILD
from storage.snapshots import SnapshotSpec, freeze, list_snapshots, load_snapshot, preview
from storage.store import Store, StoreError
from tests.storage.helpers import HOSTILE, Rater, make_trace, rate

COLUMNS = {
    "trace_id": "string", "problem_id": "string", "prompt": "string", "earlier": "string", "response": "string",
    "answer": "string", "reference": "string", "finish_reason": "string", "model": "string", "format": "string", "solved": "bool", "search": "string", "ledger": "string", "rater_id": "string",
    "assignment_id": "string", "segmentation_id": "string", "step_text": "list<element: string>",
    "step_start": "list<element: int32>", "step_end": "list<element: int32>", "rating": "list<element: int8>",
    "unsure": "list<element: bool>", "first_error": "int32", "decision": "list<element: string>",
    "parent": "list<element: int32>", "is_backtrack": "list<element: bool>", "resumes": "list<element: int32>",
    "kind": "list<element: string>", "corrected_parent": "list<element: int32>", "corrected_kind": "list<element: string>",
    "cuts": "list<element: list<element: int32>>", "joined": "list<element: bool>",
    "score": "list<element: double>", "scorer": "string", "scorer_version": "string",
    "span": "list<element: list<element: int32>>", "error_type": "list<element: string>",
    "severity": "list<element: int8>", "rationale": "list<element: string>", "better": "list<element: string>",
    "recovered": "list<element: int32>", "adjudicated": "list<element: int8>",
    "worth_exploring": "list<element: int8>", "left_in_time": "list<element: int8>",
    "right_return": "list<element: int8>", "verdict": "int8", "adjudicated_verdict": "int8", "note": "string",
    "tags": "string", "prelabel_visible": "bool", "spent_ms": "int64", "queue_id": "string", "rubric_id": "string",
    "rubric_version": "int32", "gold": "string", "late": "bool", "sampled_by": "string", "submitted_at": "string", "split": "string",
}  # fmt: skip


def test_a_row_says_what_the_rater_said(store: Store, tmp_path: Path) -> None:
    trace = make_trace((None, 0, 0, 2, None), solved=False)
    store.add_trace(trace).result()
    hand = Rater(store, store.open_assignment("ann", trace.trace_id))
    hand.step(0, 1)
    hand.step(1, 0)
    hand.step(2, None)
    hand.first_error(3)
    for dimension, value in (("worth_exploring", 1), ("left_in_time", 0)):
        hand.send("set", target="decision", step_idx=2, dimension=dimension, value=value)
    hand.verdict(-1)
    hand.send("set", target="trace", dimension="note", value_text="ends well, \u202e begins badly")
    hand.submit()
    info = freeze(store, tmp_path, {}, "ann", name="first")
    snapshot = load_snapshot(tmp_path, info.snapshot_id)
    (row,) = snapshot.rows()
    assert row["rating"] == [1, 0, None, -1, None], "later steps stay unrated after a first error"
    assert row["unsure"] == [False, False, True, False, False]
    assert (row["first_error"], row["verdict"], row["note"]) == (3, -1, "ends well, \u202e begins badly")
    assert row["worth_exploring"] == [None, None, 1, None, None]
    assert row["left_in_time"] == [None, None, 0, None, None]
    assert row["right_return"] == [None] * 5
    assert row["parent"] == [None, 0, 0, 2, None]
    assert row["resumes"] == [None, None, 0, None, None]
    assert row["is_backtrack"] == [False, False, True, False, True]
    assert row["decision"] == ["proceed", "backtrack", "proceed", "backtrack", "finish"]
    assert row["step_text"] == [trace.step_text(i) for i in range(5)]
    assert [trace.response[a:b] for a, b in zip(row["step_start"], row["step_end"], strict=True)] == row["step_text"]
    assert row["response"] == trace.response
    assert row["solved"] is False
    assert row["submitted_at"].endswith("Z")
    assert {f.name: str(f.type) for f in snapshot.table().schema} == COLUMNS


def test_the_answer_of_a_search_is_frozen_with_what_it_cost(store: Store, tmp_path: Path) -> None:
    found, plain = make_trace(), make_trace()
    spent = {"prompt": 9, "generated": 40, "scorer": 80, "solver_flops": 1.5e9, "scorer_flops": None}
    found = replace(found, sampling={"search": {"strategy": "beam", "node": 7}}, stats={"ledger": spent})
    for trace in (found, plain):
        store.add_trace(trace).result()
        hand = Rater(store, store.open_assignment("ann", trace.trace_id))
        hand.step(0, 1)
        hand.submit()
    info = freeze(store, tmp_path, {}, "ann", name="searched")
    rows = {row["trace_id"]: row for row in load_snapshot(tmp_path, info.snapshot_id).rows()}
    assert json.loads(rows[found.trace_id]["ledger"]) == spent
    assert json.loads(rows[found.trace_id]["search"]) == {"strategy": "beam", "node": 7}
    assert (rows[plain.trace_id]["ledger"], rows[plain.trace_id]["search"]) == (None, None)


def test_the_newest_scores_of_a_model_are_frozen_beside_the_ratings(store: Store, tmp_path: Path) -> None:
    scored, plain = make_trace((None, 0)), make_trace((None, 0), prompt="another")
    for rater in ("ann", "bob"):
        rate(store, scored, rater, [1, None])
    rate(store, plain, "ann", [1, 1])
    for version, values in (("v1", [0.1, 0.2]), ("v2", [0.9, 0.25])):
        store.add_scores(scored.trace_id, scored.segmentation_id, "prm", version, values, "min").result()
    rows = list(load_snapshot(tmp_path, freeze(store, tmp_path).snapshot_id).rows())
    said = [(row["trace_id"], row["rating"], row["score"], row["scorer"], row["scorer_version"]) for row in rows]
    assert said.count((scored.trace_id, [1, None], [0.9, 0.25], "prm", "v2")) == 2
    assert said.count((plain.trace_id, [1, 1], None, None, None)) == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_strings_are_frozen_as_they_are(store: Store, tmp_path: Path, text: str) -> None:
    trace = make_trace((None, 0), names=[text, "😀" + text], prompt=text or " ", model=text)
    rate(store, trace, "ann " + text, [1, -1])
    info = freeze(store, tmp_path / "it's here", {}, text, name=text)
    (row,) = load_snapshot(tmp_path / "it's here", info.snapshot_id).rows()
    assert row["step_text"] == [trace.step_text(0), trace.step_text(1)]
    assert (row["prompt"], row["rater_id"], row["response"]) == (trace.prompt, "ann " + text, trace.response)


def test_a_snapshot_with_nothing_rated_is_refused(store: Store, tmp_path: Path) -> None:
    trace = make_trace()
    store.add_trace(trace).result()
    root = tmp_path / "snapshots"
    with pytest.raises(NothingRated, match="Nothing to freeze: no submitted assignment has a rating"):
        freeze(store, root)
    hand = Rater(store, store.open_assignment("ann", trace.trace_id))
    hand.step(0, 1)
    with pytest.raises(NothingRated, match="Left out: 1 not submitted"):
        freeze(store, root)
    hand.send("clear", target="step", step_idx=0, dimension="correctness")
    hand.submit()
    with pytest.raises(NothingRated, match="Left out: 1 submitted without a rating"):
        freeze(store, root)
    assert list_snapshots(root) == []
    assert not root.exists() or not list(root.iterdir())


def test_what_was_left_out_is_counted_by_reason(store: Store, tmp_path: Path) -> None:
    rate(store, make_trace(), "ann", [1, 1, -1])
    rate(store, make_trace(), "ann", [])
    rate(store, make_trace(model="other"), "ann", [1])
    hand = rate(store, make_trace(), "ann", [1])
    hand.send("reopen")
    hand = rate(store, make_trace(), "ann", [1])
    hand.send("skip", value_text="bad_problem")
    info = freeze(store, tmp_path, {"models": ["pocket"]})
    manifest = load_snapshot(tmp_path, info.snapshot_id).manifest
    assert manifest["excluded"] == {
        "not asked for by the spec": 1, "not submitted": 1, "skipped (bad_problem)": 1, "submitted without a rating": 1,
    }  # fmt: skip
    assert info.n_rows == 1
    assert any("Left out" in w for w in info.warnings)


def test_later_turns_are_marked_and_warned_of(store: Store, tmp_path: Path) -> None:
    first = make_trace()
    rate(store, first, "ann", [1])
    rate(store, make_trace(earlier=Earlier((first.trace_id,), "summaries")), "ann", [1])
    info = freeze(store, tmp_path)
    said = [row["earlier"] for row in load_snapshot(tmp_path, info.snapshot_id).rows()]
    assert sorted(map(str, said)) == sorted(
        ["None", json.dumps({"trace_ids": [first.trace_id], "given_as": "summaries"})]
    )
    assert any("1 of 2 rows are later turns" in w for w in info.warnings)


def test_a_snapshot_is_as_of_one_event(store: Store, tmp_path: Path) -> None:
    hand = rate(store, make_trace(), "ann", [1, 1, 1])
    first = freeze(store, tmp_path)
    hand.send("reopen")
    hand.step(0, -1)
    hand.submit()
    second = freeze(store, tmp_path)
    ratings = [next(load_snapshot(tmp_path, i.snapshot_id).rows())["rating"] for i in (first, second)]
    assert ratings == [[1, 1, 1], [-1, 1, 1]]
    assert first.event_seq < second.event_seq == store.event_seq()
    assert [i.snapshot_id for i in list_snapshots(tmp_path)] == [second.snapshot_id, first.snapshot_id]
    recorded = store.query("select snapshot_id, event_seq, n_rows, sha256 from snapshot order by event_seq")
    assert recorded == [(i.snapshot_id, i.event_seq, 1, i.sha256) for i in (first, second)]


def test_the_manifest_and_the_card_tell_the_whole_story(store: Store, tmp_path: Path) -> None:
    trace = make_trace()
    rate(store, trace, "ann", [1, 0, -1], verdict=-1)
    rate(store, trace, "bob", [1, 0, "unsure"])
    info = freeze(store, tmp_path, SnapshotSpec(), "ann", name="pilot")
    manifest = json.loads((info.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["counts"] | {"train_rows": 0, "test_rows": 0} == {
        "rows": 2, "traces": 1, "problems": 1, "steps": 6, "rated_steps": 5, "judged_backtracks": 0, "verdicts": 1,
        "better_steps": 0, "adjudicated_steps": 0, "gold_rows": 0, "late_rows": 0, "pairs": 0,
        "train_rows": 0, "test_rows": 0,
    }  # fmt: skip
    assert manifest["class_balance"] == {
        "good": 2, "neutral": 2, "bad": 1, "unsure": 1, "unrated": 0, "positive_share": 0.4,
    }  # fmt: skip
    assert manifest["by_rater"] == {"ann": 1, "bob": 1}
    assert manifest["agreement"]["n_raters"] == 2
    assert manifest["agreement"]["steps"]["n_units"] == 2
    assert manifest["rubrics"] == {"steps v1": 2}
    assert (manifest["event_seq"], manifest["created_by"], manifest["name"]) == (store.event_seq(), "ann", "pilot")
    for key in ("spec", "policies", "sha256", "created_at", "worldline_version", "excluded"):
        assert key in manifest
    card = (info.folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    assert info.sha256 in card


def test_the_first_error_of_a_rater_who_marks_none_is_the_first_step_called_bad(store: Store, tmp_path: Path) -> None:
    """As the Quality page has it: else two raters who call different steps bad would agree that there is no error."""
    apart, alike, marked = (make_trace((None, 0, 1), prompt=f"question {i}") for i in range(3))
    for rater, bad in (("ann", 0), ("ben", 2)):
        rate(store, apart, rater, [-1 if i == bad else 1 for i in range(3)])
        rate(store, alike, rater, [1, 1, 1])
    rate(store, marked, "ann", [1, -1])
    store.add_trace(marked).result()
    hand = Rater(store, store.open_assignment("ben", marked.trace_id))
    hand.step(0, -1)
    hand.first_error(1)
    hand.submit()
    found = load_snapshot(tmp_path, freeze(store, tmp_path).snapshot_id).manifest["agreement"]["first_error"]
    assert found == {"n_pairs": 3, "same_percent": 66.7, "mean_distance_steps": 1.0}
    page = store.read(lambda con: first_errors(con, DEFAULT_QUEUE))
    assert (page.n_pairs, page.same, page.apart) == (3, 2, {0: 1, 2: 1})


def test_agreement_of_one_rater_is_undefined_in_words(store: Store, tmp_path: Path) -> None:
    rate(store, make_trace(), "ann", [1, 0, -1])
    info = freeze(store, tmp_path)
    assert load_snapshot(tmp_path, info.snapshot_id).manifest["agreement"] == "undefined: one rater"


def test_tampering_is_noticed(store: Store, tmp_path: Path) -> None:
    rate(store, make_trace(), "ann", [1, 0, -1])
    info = freeze(store, tmp_path)
    data = info.folder / "data.parquet"
    whole = data.read_bytes()
    table = pq.read_table(data)
    better = table.set_column(
        table.schema.get_field_index("rating"), "rating", pa.array([[1, 1, 1]], pa.list_(pa.int8()))
    )
    pq.write_table(better, data)
    with pytest.raises(SnapshotError, match="was changed after it was frozen"):
        load_snapshot(tmp_path, info.snapshot_id)
    data.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(SnapshotError, match="was changed after it was frozen"):
        load_snapshot(tmp_path, info.snapshot_id)
    data.write_bytes(whole)
    assert load_snapshot(tmp_path, info.snapshot_id).info == info
    data.unlink()
    with pytest.raises(SnapshotError, match="is missing"):
        load_snapshot(tmp_path, info.snapshot_id)
    (info.folder / "data.parquet").write_bytes(whole)
    (info.folder / "manifest.json").write_text("{")
    with pytest.raises(SnapshotError, match="cannot be read"):
        load_snapshot(tmp_path, info.snapshot_id)
    (broken,) = list_snapshots(tmp_path)
    assert "manifest.json cannot be read" in broken.error


@pytest.mark.parametrize("name", ["nowhere", "../data", "", ".", "/etc"])
def test_a_snapshot_that_is_not_there_is_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(SnapshotError, match="There is no snapshot"):
        load_snapshot(tmp_path, name)
    assert list_snapshots(tmp_path / "nowhere") == []


def test_a_spec_with_an_unknown_key_or_a_wrong_value_is_refused(store: Store) -> None:
    for spec, words in (
        ({"model": "pocket"}, '"model" is not part of a snapshot spec'),
        ({"models": "pocket"}, '"models" must be a list'),
        ({"solved": "yes"}, '"solved" must be true'),
        ({"test_percent": 101}, '"test_percent" is 101'),
    ):
        with pytest.raises(StoreError, match=words):
            store.read(lambda con, spec=spec: preview(con, spec))


def test_the_preview_is_what_freezing_writes_and_warns_before(store: Store, tmp_path: Path) -> None:
    rate(store, make_trace((None, 0, 1, 2)), "ann", [1, None, 1, None])
    shown = store.read(lambda con: preview(con, {"solved": None}))
    info = freeze(store, tmp_path)
    assert (shown.n_traces, shown.n_rows, shown.n_steps, shown.histogram) == (
        info.n_traces, info.n_rows, info.n_steps, info.histogram,
    )  # fmt: skip
    text = " ".join(shown.warnings)
    assert "unrated or unsure steps before rated ones" in text
    assert "2 of 2 rated steps are good" in text
    assert "test split" in text


def test_problems_never_stand_on_both_sides_of_the_split(store: Store, tmp_path: Path) -> None:
    for i in range(40):
        rate(store, make_trace((None,), prompt=f"question {i % 20}", names=[str(i)]), "ann", [1])
    info = freeze(store, tmp_path, {"test_percent": 30})
    rows = list(load_snapshot(tmp_path, info.snapshot_id).rows(["problem_id", "split", "trace_id"]))
    assert all(row["split"] == split_of(row["problem_id"], 30) for row in rows)
    assert {row["split"] for row in rows} == {"train", "test"}


def test_agreement_figures_on_known_cases() -> None:
    """97 % raw agreement with 97 % good: α says 0.48, AC1 says 0.97 (as measured with two categories)."""
    units = [(1, 1)] * 955 + [(1, -1)] * 15 + [(-1, 1)] * 15 + [(-1, -1)] * 15
    found = step_agreement(units)
    assert found["percent"] == 97.0
    assert found["alpha_ordinal"] == pytest.approx(0.485, abs=0.005)
    assert found["ac1"] == pytest.approx(0.97, abs=0.005)
    assert step_agreement([(1, 1), (1, 1)])["alpha_ordinal"] == "undefined: all ratings are equal"
    assert step_agreement([(1,), ()])["percent"] == "undefined: no step was rated by two raters"
    assert step_agreement([(1, 1), (-1, -1), (0, 0)])["alpha_ordinal"] == 1.0
    near, far = step_agreement([(1, 0), (-1, -1), (1, 1)]), step_agreement([(1, -1), (-1, -1), (1, 1)])
    assert near["alpha_ordinal"] > far["alpha_ordinal"], "good against bad is further apart than good against neutral"
    assert first_error_agreement([[3, 3], [2, 6], [None, 1]]) == {
        "n_pairs": 3, "same_percent": 33.3, "mean_distance_steps": 2.0,
    }  # fmt: skip


def test_a_snapshot_written_in_parts_is_the_snapshot_written_at_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(5):
        trace = make_trace((None, 0, 1, 1)[: 1 + i % 4], prompt=f"question {i}")
        rate(store, trace, "ann", [1, "unsure"] if i % 2 else [1])
        if i % 2:
            rate(store, trace, "bob", [-1])
    whole = load_snapshot(tmp_path, freeze(store, tmp_path).snapshot_id)
    monkeypatch.setattr(frozen_rows, "PART", 3)
    monkeypatch.setattr(frozen_rows, "ROWS_AT_ONCE", 2)
    parts = load_snapshot(tmp_path, freeze(store, tmp_path).snapshot_id)
    assert pq.ParquetFile(parts.data_path).num_row_groups > 3
    assert parts.table().equals(whole.table())
    assert {k: v for k, v in parts.manifest.items() if k not in ("snapshot_id", "created_at", "sha256")} == {
        k: v for k, v in whole.manifest.items() if k not in ("snapshot_id", "created_at", "sha256")
    }


@pytest.mark.slow
def test_long_texts_are_frozen_with_less_memory_than_they_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """16,000 responses of 8 kB, all different, with 144 MB for the database; read and exported again."""
    copies = 16_000
    with Store.open(tmp_path / "data") as store:
        rate(store, make_trace(), "ann", [1, -1, 1])
    con = database.connect(tmp_path / "data")
    for table, changes in {
        "trace": "trace_id || n as trace_id, response || repeat(md5(n::varchar), 250) as response, created_at + to_seconds(n) as created_at",
        "segmentation": "segmentation_id || n as segmentation_id, trace_id || n as trace_id",
        "step": "segmentation_id || n as segmentation_id", "tree_edge": "segmentation_id || n as segmentation_id",
        "assignment": "assignment_id || n as assignment_id, segmentation_id || n as segmentation_id, trace_id || n as trace_id",
        "rating_event": "server_seq + 10 * n as server_seq, event_id || n as event_id, assignment_id || n as assignment_id, "
        "segmentation_id || n as segmentation_id",
    }.items():  # fmt: skip
        con.execute(f"insert into {table} select t.* replace ({changes}) from {table} t, range(1, {copies}) c(n)")
    con.execute(REBUILD)
    con.execute("checkpoint")
    con.close()

    monkeypatch.setenv("WORLDLINE_MEMORY", "144MB")
    with Store.open(tmp_path / "data") as store:
        assert store.query("select count(*), sum(strlen(response)) > 128e6 from trace") == [(copies, True)]
        info = freeze(store, tmp_path / "snapshots", SnapshotSpec())
    snapshot = load_snapshot(tmp_path / "snapshots", info.snapshot_id)
    assert info.n_rows == copies
    assert len({row["response"] for row in snapshot.rows(("response",))}) == copies
    assert export(snapshot, "prm800k", tmp_path / "out").rows == copies
    with (tmp_path / "out" / "data.jsonl").open("rb") as lines:
        assert sum(1 for _ in lines) == copies


def test_parts_hold_what_both_limits_allow() -> None:
    runs = frozen_rows._runs
    assert list(runs([], 3, 10)) == []
    assert list(runs([1, 1, 1, 1], 3, 10)) == [(0, 3), (3, 4)]
    assert list(runs([4, 4, 4, 20, 1], 3, 10)) == [(0, 2), (2, 3), (3, 4), (4, 5)], "one alone may be too long"
