"""Exports load with `datasets`, are what TRL's trainers expected, and warn before anything is written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.trace import Earlier
from core.turns import Turns
from storage.errors import ExportError
from storage.exports import FORMATS, export, plan, preflight
from storage.exports.lines import has_line_breaks, one_line_each
from storage.references import set_references
from storage.snapshots import Snapshot, freeze, load_snapshot
from storage.store import Store
from tests.storage.helpers import HOSTILE, Rater, make_trace, rate, rows_of


def _freeze(store: Store, tmp_path: Path) -> Snapshot:
    return load_snapshot(tmp_path / "snapshots", freeze(store, tmp_path / "snapshots").snapshot_id)


def _load(folder: Path, tmp_path: Path) -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.load_dataset(
        "parquet", data_files=str(folder / "data.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )


def _tokenize_row(row: dict[str, Any], separator: str = "\n") -> tuple[list[int], list[int]]:
    """What TRL's PRMTrainer did to a row, with bytes for tokens: ids and labels, −100 where there is none."""
    assert isinstance(row["prompt"], str)
    assert len(row["completions"]) == len(row["labels"]), "TRL: ValueError"
    ids, labels = list(row["prompt"].encode()), [-100] * len(row["prompt"].encode())
    for completion, label in zip(row["completions"], row["labels"], strict=True):
        assert isinstance(completion, str)
        assert isinstance(label, bool), "TRL applies int(): None fails, 0.5 becomes 0, −1 becomes a class of its own"
        step = list((completion + separator).encode())
        ids += step
        labels += [-100] * (len(step) - 1) + [int(label)]
    return ids, labels


def _labels(snapshot: Snapshot, tmp_path: Path, **options: Any) -> list[list[bool]]:
    folder = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    export(snapshot, "stepwise", folder, options)
    return [json.loads(line)["labels"] for line in (folder / "data.jsonl").read_text(encoding="utf-8").splitlines()]


def test_stepwise_rows_are_what_trl_expected(store: Store, tmp_path: Path) -> None:
    traces = {}
    for i, text in enumerate(HOSTILE):
        trace = make_trace((None, 0, 1, 1), prompt=f"question {i} {text}", names=[text, "a", text, "b"])
        traces[trace.trace_id] = trace
        rate(store, trace, "ann", [1, 0, -1 if i % 2 else 1, 1])
    snapshot = _freeze(store, tmp_path)
    report = export(snapshot, "stepwise", tmp_path / "out")
    data = _load(tmp_path / "out", tmp_path)
    assert report.rows == len(data) == len(HOSTILE)
    assert data.column_names[:3] == ["prompt", "completions", "labels"]
    assert str(data.features["labels"]) == "List(Value('bool'))"
    for row in data:
        ids, labels = _tokenize_row(row)
        assert len(ids) == len(labels)
        assert sum(label != -100 for label in labels) == len(row["labels"]) > 0
        trace = traces[row["trace_id"]]
        assert trace.response.startswith("".join(row["completions"])), "the steps join to a prefix of the response"
        assert row["prompt"] == trace.prompt
        assert row["snapshot_id"] == snapshot.snapshot_id
    lines = (tmp_path / "out" / "data.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == list(data), "JSONL and Parquet hold the same rows, one a line"


def test_the_first_error_leaves_later_steps_unrated_and_the_export_stops_there(store: Store, tmp_path: Path) -> None:
    trace = make_trace((None, 0, 1, 2, 3))
    store.add_trace(trace).result()
    hand = Rater(store, store.open_assignment("ann", trace.trace_id))
    hand.step(0, 1)
    hand.step(1, 1)
    hand.first_error(2)
    hand.submit()
    snapshot = _freeze(store, tmp_path)
    assert next(snapshot.rows())["rating"] == [1, 1, -1, None, None]
    assert _labels(snapshot, tmp_path) == [[True, True, False]]
    assert _labels(snapshot, tmp_path, stop_at_first_error=False) == [[True, True, False]], "unrated is never bad"
    hand.step(3, 1)
    snapshot = _freeze(store, tmp_path)
    assert _labels(snapshot, tmp_path) == [[True, True, False]]
    assert _labels(snapshot, tmp_path, stop_at_first_error=False) == [[True, True, False, True]]


def test_a_first_error_without_a_rating_of_its_own_is_bad(store: Store, tmp_path: Path) -> None:
    trace = make_trace()
    store.add_trace(trace).result()
    hand = Rater(store, store.open_assignment("ann", trace.trace_id))
    hand.step(0, 1)
    hand.send("set", target="step", step_idx=1, dimension="first_error", value=1)
    hand.submit()
    assert _labels(_freeze(store, tmp_path), tmp_path) == [[True, False]]


def test_neutral_becomes_what_was_asked_for(store: Store, tmp_path: Path) -> None:
    rate(store, make_trace((None, 0, 1, 2)), "ann", [1, 0, 1, -1])
    snapshot = _freeze(store, tmp_path)
    assert _labels(snapshot, tmp_path) == [[True, True, True, False]]
    assert _labels(snapshot, tmp_path, neutral_as="negative") == [[True, False, True, False]]
    assert _labels(snapshot, tmp_path, neutral_as="drop") == [[True]]


def test_a_row_ends_at_the_first_unrated_or_unsure_step(store: Store, tmp_path: Path) -> None:
    rate(store, make_trace((None, 0, 1)), "ann", [1, None, 1])
    rate(store, make_trace((None, 0, 1)), "ann", [1, 1, "unsure"])
    rate(store, make_trace((None, 0, 1)), "ann", [None, 1, -1])
    snapshot = _freeze(store, tmp_path)
    assert sorted(_labels(snapshot, tmp_path), key=len) == [[True], [True, True]]
    text = " ".join(preflight(snapshot, "stepwise"))
    assert "2 of 2 rows end before the trace does" in text
    assert "3 ratings after such gaps are not exported" in text
    assert "1 rated traces are left out, because their first step has no label (1 unrated)" in text


@pytest.mark.parametrize("how", ["dawid_skene", "mace"])
def test_a_rater_who_is_always_wrong_is_not_believed(store: Store, tmp_path: Path, how: str) -> None:
    """Two who agree, one who says the opposite of everything. Where one of the two is missing, a majority ties and an estimate knows."""
    truth = [[1, -1, 1], [-1, 1, 1], [1, 1, -1], [-1, -1, 1], [1, -1, -1], [-1, 1, -1]]
    for i, values in enumerate(truth):
        trace = make_trace(prompt=f"question {i}", names=["a", "b", "c"])
        for rater in ("ann", "bob") if i else ("ann",):
            rate(store, trace, rater, values)
        rate(store, trace, "eve", [-v for v in values])
    snapshot = _freeze(store, tmp_path)
    shared: dict[str, Any] = {"stop_at_first_error": False, "ties": "drop"}
    known = sorted([v > 0 for v in values] for values in truth)
    assert sorted(_labels(snapshot, tmp_path, raters=how, **shared)) == known
    assert len(_labels(snapshot, tmp_path, raters="majority", **shared)) == len(truth) - 1
    for other in ("kto", "tree"):
        with pytest.raises(ExportError, match="raters"):
            plan(snapshot, other, {"raters": how})


def test_several_raters_give_a_row_each_or_one_by_majority(store: Store, tmp_path: Path) -> None:
    trace = make_trace((None, 0, 1, 2))
    for rater, values in (("ann", [1, 1, 1, 1]), ("bob", [1, -1, 1, "unsure"]), ("cid", [1, 1, -1, -1])):
        rate(store, trace, rater, values)
    snapshot = _freeze(store, tmp_path)
    assert len(_labels(snapshot, tmp_path)) == 3
    assert _labels(snapshot, tmp_path, raters="majority") == [[True, True, True]], "a tie is no label"
    report = export(snapshot, "stepwise", tmp_path / "majority", {"raters": "majority"})
    assert report.figures["rows_end_at"] == {"raters tied": 1}
    (row,) = _load(tmp_path / "majority", tmp_path)
    assert row["rater_id"] == "ann+bob+cid"


def test_warnings_come_before_anything_is_written(store: Store, tmp_path: Path) -> None:
    for i in range(12):
        rate(store, make_trace((None, 0), names=["a", "b\nc" * 400], prompt=f"q{i}"), "ann", [1, 1])
    snapshot = _freeze(store, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    warnings = preflight(snapshot, "stepwise", {"max_length": 64})
    assert sorted(tmp_path.rglob("*")) == before
    text = " ".join(warnings)
    assert "Class balance: 24 good, 0 bad (100 % good)" in text
    assert "12 of 12 rows are longer than max_length=64 tokens (estimated" in text
    assert 'The separator "\\n" occurs inside 12 steps' in text
    counted = plan(snapshot, "stepwise", {"max_length": 64, "separator": "<sep>"}, count_tokens=lambda _: 1)
    assert not any("longer" in w or "separator" in w for w in counted.warnings)
    assert counted.figures["token_counts"] == "by tokenizer"


def test_an_export_without_rows_is_refused(store: Store, tmp_path: Path) -> None:
    rate(store, make_trace(), "ann", [None, None, None], verdict=1)
    snapshot = _freeze(store, tmp_path)
    assert "There is no row to write" in preflight(snapshot, "stepwise")[0]
    assert "There is no pair to write" in preflight(snapshot, "preference")[0]
    for name in ("stepwise", "preference", "step_dpo", "tree"):
        with pytest.raises(ExportError, match=r"Nothing was written. There is no"):
            export(snapshot, name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fine_tuning_says_why_nothing_was_chosen(store: Store, tmp_path: Path) -> None:
    rate(store, make_trace(solved=True), "ann", [1, -1, 1])
    rate(store, make_trace(prompt="q", solved=False), "ann", [1, 1, 1], verdict=-1)
    snapshot = _freeze(store, tmp_path)
    found = plan(snapshot, "sft", {"choose": "solved"})
    assert found.rows == 0 and found.left_out == {"not solved": 1, "solved, with a step called bad": 1}
    assert "1 not solved, 1 solved, with a step called bad" in found.warnings[0]
    assert plan(snapshot, "sft").left_out == {"not approved": 2}


def test_an_export_never_overwrites_what_is_not_an_export(store: Store, tmp_path: Path) -> None:
    rate(store, make_trace(), "ann", [1, 1, -1])
    snapshot = _freeze(store, tmp_path)
    out = tmp_path / "out"
    export(snapshot, "stepwise", out)
    first = (out / "data.jsonl").read_bytes()
    export(snapshot, "stepwise", out, {"neutral_as": "drop"})
    assert (out / "data.jsonl").read_bytes() == first
    assert json.loads((out / "manifest.json").read_text())["policies"]["neutral_as"] == "drop"
    (out / "thesis.tex").write_text("mine")
    with pytest.raises(ExportError, match="already holds other files"):
        export(snapshot, "stepwise", out)
    with pytest.raises(ExportError, match="is a file"):
        export(snapshot, "stepwise", out / "thesis.tex")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "data.parquet").write_text("mine")
    with pytest.raises(ExportError, match="already holds other files"):
        export(snapshot, "stepwise", foreign)
    assert (foreign / "data.parquet").read_text() == "mine"
    assert sorted(p.name for p in foreign.iterdir()) == ["data.parquet"]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("ppo", {}, "format 'ppo' is not known; it must be one of stepwise, prm800k, preference"),
        ("sft", {"neutral_as": "drop"}, '"neutral_as" is not an option of the sft export'),
        ("stepwise", {"neutral": "drop"}, '"neutral" is not an option of the stepwise export'),
        ("stepwise", {"neutral_as": "maybe"}, "must be one of positive, negative, drop"),
        ("stepwise", {"max_length": 0}, '"max_length" must be a whole number'),
        ("stepwise", {"max_length": "many"}, '"max_length" must be a whole number'),
        ("stepwise", {"stop_at_first_error": "perhaps"}, "must be true or false"),
        ("preference", {"source": 7}, "must be text"),
    ],
)
def test_options_are_checked_by_name(
    store: Store, tmp_path: Path, name: str, options: dict[str, Any], words: str
) -> None:
    rate(store, make_trace(), "ann", [1, 1, -1])
    with pytest.raises(ExportError, match=words):
        preflight(_freeze(store, tmp_path), name, options)


def test_options_may_come_as_text_from_a_command_line(store: Store, tmp_path: Path) -> None:
    rate(store, make_trace(), "ann", [-1, 1, 1])
    found = plan(_freeze(store, tmp_path), "stepwise", {"stop_at_first_error": "false", "max_length": "2048"})
    assert found.figures["labels"] == 3


@pytest.mark.parametrize("at_once", [1, 10**9])
def test_preference_pairs_whole_traces_of_the_same_question(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("storage.exports.preference.AT_ONCE", at_once)
    good, tie, bad = (make_trace((None, 0), names=[n, "end"]) for n in ("good", "also good", "bad"))
    other = make_trace((None,), prompt="another question", names=["x"])
    respelled = make_trace((None,), prompt="reach 24   from 4, 7, 8 and 8.", names=["y"])
    for trace, verdict in ((good, 1), (tie, 1), (bad, -1), (other, -1), (respelled, -1)):
        rate(store, trace, "ann", [], verdict=verdict)
    assert respelled.problem_id == good.problem_id
    export(_freeze(store, tmp_path), "preference", tmp_path / "out")
    data = _load(tmp_path / "out", tmp_path)
    assert data.column_names[:4] == ["prompt", "chosen", "rejected", "source"]
    assert {(r["chosen"], r["rejected"]) for r in data} == {(good.response, bad.response), (tie.response, bad.response)}
    for row in data:
        assert row["prompt"] == good.prompt
        assert (row["source"], row["margin"], row["n_votes"]) == ("verdict", 2.0, 2)


def test_only_who_gave_a_verdict_is_named_with_it(store: Store, tmp_path: Path) -> None:
    """An import makes a verdict of each name: nobody may come back as having said what they did not say."""
    good, bad = (make_trace((None,), names=[name]) for name in ("good", "bad"))
    for rater, verdict in (("ann", 1), ("bob", None), ("cyd", 1), ("dan", -1)):
        rate(store, good, rater, [1], verdict=verdict)
    rate(store, bad, "bob", [1])
    rate(store, bad, "eve", [-1], verdict=-1)
    snapshot = _freeze(store, tmp_path)
    named = {}
    for name, column in (("sft", "raters"), ("kto", "rater_id"), ("preference", "raters")):
        export(snapshot, name, tmp_path / name)
        named[name] = sorted((row[column], row.get("n_votes")) for row in _load(tmp_path / name, tmp_path))
    assert named == {
        "sft": [("ann+cyd", None)],
        "kto": [("ann+cyd+dan", 3), ("eve", 1)],
        "preference": [("ann+cyd+dan+eve", 4)],
    }


def test_an_export_has_a_manifest_that_leads_back_to_the_ratings(store: Store, tmp_path: Path) -> None:
    trace = make_trace((None, None))
    store.add_trace(trace).result()
    hand = Rater(store, store.open_assignment("ann", trace.trace_id))
    hand.send("set", target="step", step_idx=1, dimension="parent", value=0)  # the tree export holds corrections alone
    hand.step(0, 1)
    hand.step(1, -1)
    hand.verdict(1)
    hand.submit()
    snapshot = _freeze(store, tmp_path)
    for name in FORMATS:
        report = export(snapshot, name, tmp_path / name)
        assert sorted(p.name for p in report.folder.iterdir()) == sorted(report.files)
        manifest = json.loads((report.folder / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["snapshot"]["sha256"] == snapshot.info.sha256
        assert manifest["snapshot"]["event_seq"] == store.event_seq()
        assert manifest["rows"] == report.rows
        assert (report.folder / "README.md").read_text(encoding="utf-8").startswith("---\n")
        assert json.dumps(report.to_json())


def test_a_folder_of_any_format_loads_by_its_card_alone(store: Store, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    trace = make_trace((None, None))
    store.add_trace(trace).result()
    hand = Rater(store, store.open_assignment("ann", trace.trace_id))
    hand.send("set", target="step", step_idx=1, dimension="kind", value_text="verify")
    hand.step(0, 1)
    hand.step(1, -1)
    hand.verdict(1)
    hand.submit()
    snapshot = _freeze(store, tmp_path)
    for name, form in FORMATS.items():
        report = export(snapshot, name, tmp_path / name)
        data = datasets.load_dataset(str(tmp_path / name), cache_dir=str(tmp_path / "cache"))
        assert sum(len(split) for split in data.values()) == report.rows, name
        first = next(iter(data.values()))
        assert set(form.columns) - {"rationale.responses"} <= set(first.column_names) | {"verdict.responses"}, name


def test_a_corrected_tree_is_data_and_what_nobody_saw_is_marked(store: Store, tmp_path: Path) -> None:
    trace, other = make_trace((None, 0, 1, 0)), make_trace((None, 0), prompt="another")
    rate(store, other, "ann", [1, 1])
    store.add_trace(trace).result()
    hand = Rater(store, store.open_assignment("ann", trace.trace_id))
    hand.step(1, 1)
    hand.send("set", target="step", step_idx=3, dimension="parent", value=-1)
    hand.send("set", target="step", step_idx=2, dimension="kind", value_text="verify")
    hand.send("set", target="step", step_idx=1, dimension="parent", value=-1)
    hand.send("clear", target="step", step_idx=1, dimension="parent")
    hand.submit()
    snapshot = _freeze(store, tmp_path)
    report = export(snapshot, "tree", tmp_path / "out")
    (row,) = _load(tmp_path / "out", tmp_path)
    assert row["parent"] == [-1, 0, 1, 0]
    assert row["corrected_parent"] == [None, None, None, -1]
    assert row["corrected_kind"] == [None, None, "verify", None]
    assert row["seen"] == [False, True, True, True]
    assert "".join(row["steps"]) == trace.response[: trace.steps[-1].end]
    assert report.figures["parents_corrected"] == report.figures["kinds_corrected"] == 1
    assert "1 of 4 steps" in report.warnings[0]
    assert plan(snapshot, "tree", {"traces": "all"}).rows == 2


def test_a_later_turn_is_exported_with_what_was_said_before(store: Store, tmp_path: Path) -> None:
    first = make_trace(prompt="first question")
    rate(store, first, "ann", [1, 1, 1], verdict=1)
    later = make_trace(prompt="second question", earlier=Earlier((first.trace_id,), "full"))
    lost = make_trace(prompt="third question", earlier=Earlier(("not frozen",), "full"))
    for trace in (later, lost):
        rate(store, trace, "ann", [1, 1, 1], verdict=1)
    snapshot = _freeze(store, tmp_path)
    before = Turns.of([first], "full").messages(later.prompt)[:-1]
    for format, options in (("stepwise", {}), ("sft", {}), ("sft", {"shape": "messages"})):
        folder = tmp_path / f"{format}{len(options)}"
        report = export(snapshot, format, folder, options)
        rows = {r["trace_id"]: r for r in map(json.loads, (folder / "data.jsonl").read_text().splitlines())}
        if options:
            assert rows[later.trace_id]["messages"][:-1] == [*before, {"role": "user", "content": later.prompt}]
            assert len(rows[first.trace_id]["messages"]) == 2
        else:
            assert rows[later.trace_id]["history"] == before
            assert rows[first.trace_id]["history"] == rows[lost.trace_id]["history"] == []
        assert any("1 row is a later turn of a conversation whose earlier turns" in w for w in report.warnings)


@pytest.mark.parametrize("steps", ["walk", "path"])
def test_a_prm800k_line_has_each_step_with_its_own_rating(store: Store, tmp_path: Path, steps: str) -> None:
    traces = [
        make_trace((None, 0, 0, 2), prompt=f"q{i}", names=["a", text, "b", "c"]) for i, text in enumerate(HOSTILE)
    ]
    for trace in traces:
        rate(store, trace, "ann", [1, -1, 0, None])
    store.write(set_references, (traces[0].problem_id, "24")).result()
    export(_freeze(store, tmp_path), "prm800k", tmp_path / "out", {"steps": steps})
    lines = [json.loads(line) for line in (tmp_path / "out" / "data.jsonl").read_text("utf-8").splitlines()]
    by_id = {line["worldline"]["trace_id"]: line for line in lines}
    order = [[0], [1], [2]] if steps == "walk" else [[0], [1, 2]]
    for trace in traces:
        line = by_id[trace.trace_id]
        assert line["question"]["ground_truth_answer"] == ("24" if trace is traces[0] else None)
        said = [[(c["text"], c["rating"]) for c in s["completions"]] for s in line["label"]["steps"]]
        assert said == [[(trace.step_text(i), [1, -1, 0][i]) for i in offered] for offered in order]
        assert [s["chosen_completion"] for s in line["label"]["steps"]] == [len(offered) - 1 for offered in order]
        whole = "".join(line["question"]["pre_generated_steps"]) + (line["worldline"]["tail"] or "")
        assert (whole == trace.response) == (steps == "walk")


@pytest.mark.parametrize("name", ["stepwise", "step_dpo", "preference", "kto", "sft"])
def test_lines_and_table_hold_the_same_rows(store: Store, tmp_path: Path, name: str) -> None:
    for i, text in enumerate(HOSTILE):
        trace = make_trace((None, 0, 0), prompt="one question", names=[text, "a", f"b {i}"])
        rate(store, trace, "ann", [1, 0, -1 if i % 2 else 1], verdict=1 if i % 2 else -1)
    export(_freeze(store, tmp_path), name, tmp_path / "out")
    lines = rows_of(tmp_path / "out")
    assert lines == pq.read_table(tmp_path / "out" / "data.parquet").to_pylist()
    assert len(lines) > 3


def test_what_is_written_has_the_sums_of_its_manifest_however_long(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.exports.writing.CARRIED", 100)  # to the disk on the way, again and again
    for text in HOSTILE:
        rate(store, make_trace(prompt=text or "q"), "ann", [1, 0, -1], verdict=1)
    snapshot = _freeze(store, tmp_path)
    for name in ("stepwise", "prm800k", "argilla", "label_studio", "hf_folder"):
        report = export(snapshot, name, tmp_path / name)
        sums = json.loads((report.folder / "manifest.json").read_text("utf-8"))["sha256"]
        assert set(sums) == {*report.files} - {"manifest.json", "README.md"}
        for file, digest in sums.items():
            assert hashlib.sha256((report.folder / file).read_bytes()).hexdigest() == digest


def test_whole_traces_say_how_a_search_found_them_and_what_it_cost(store: Store, tmp_path: Path) -> None:
    spent, how = {"generated": 40, "scorer": 80, "scorer_flops": None}, {"strategy": "beam", "node": 7}
    good = replace(make_trace(), sampling={"search": how}, stats={"ledger": spent})
    bad = make_trace((None, 0))
    for trace, verdict in ((good, 1), (bad, -1)):
        rate(store, trace, "ann", [1] * len(trace.steps), verdict=verdict)
    snapshot = _freeze(store, tmp_path)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, options in (("sft", {}), ("kto", {}), ("tree", {"traces": "all"}), ("preference", {"source": "verdict"})):
        export(snapshot, name, tmp_path / name, options)
        lines = (tmp_path / name / "data.jsonl").read_text(encoding="utf-8").splitlines()
        found[name] = [json.loads(line) for line in lines]
    for name in ("sft", "kto", "tree"):
        rows = {row["trace_id"]: row for row in found[name]}
        assert json.loads(rows[good.trace_id]["ledger"]) == spent
        assert json.loads(rows[good.trace_id]["search"]) == how
        assert all(row["ledger"] is row["search"] is None for t, row in rows.items() if t == bad.trace_id)
    assert {bad.trace_id, good.trace_id} == {row["trace_id"] for row in found["kto"]}
    (pair,) = found["preference"]
    assert (json.loads(pair["chosen_ledger"]), json.loads(pair["chosen_search"])) == (spent, how)
    assert pair["rejected_ledger"] is pair["rejected_search"] is None


@given(st.text(st.sampled_from("a\n\u2027\u2028\u2029\u202a\u2030\x84\x85\x86Åé—𝛼\u0a28"), max_size=6))
def test_characters_that_break_lines_for_some_readers_are_found_wherever_they_stand(text: str) -> None:
    assert has_line_breaks(text.encode()) == any(c in text for c in "\x85\u2028\u2029")
    line = bytes(one_line_each(json.dumps(text, ensure_ascii=False).encode())).decode()
    assert json.loads(line) == text and len(line.splitlines()) == 1
