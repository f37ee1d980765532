"""What is exported can be imported again: the same rows come out of the other side, for every format that is read back."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from core.trace import Trace
from storage.exports import export, plan
from storage.imports.judged import Judgement, Rated
from storage.imports.keeping import keep, wanted
from storage.imports.report import Report, fresh
from storage.snapshots import Snapshot, freeze, load_snapshot
from storage.store import Store
from tests.storage.helpers import Rater, make_trace, rows_of

# What each format carries is compared but for the ids and times of the store that it left.
OWN = {"trace_id", "assignment_id", "segmentation_id", "snapshot_id", "chosen_trace_id", "rejected_trace_id", "timestamp",
       "created_at", "unique_id", "id"}  # fmt: skip
# Of a trace only the beginning is in a row of steps, so what is said of the whole is not the same afterwards.
CASES: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "stepwise": ("stepwise", {"stop_at_first_error": False}, {"n_steps", "ends_at", "solved"}),
    "prm800k": ("prm800k", {}, set()),
    "preference": ("preference", {"source": "pair"}, set()),
    "kto": ("kto", {"raters": "each", "neutral_as": "drop"}, set()),
    "argilla steps": ("argilla", {}, set()),
    "argilla traces": ("argilla", {"unit": "trace"}, set()),
    "label_studio": ("label_studio", {}, set()),
    "sft": ("sft", {}, set()),
    # The trace of a pair is the two steps alone; how far apart several raters were is not how far one is.
    "step_dpo": ("step_dpo", {}, {"chosen_step", "rejected_step", "margin", "n_votes"}),
    # Where and when it was rated here, what is inferred of it, and what a model scored are of the store that it left.
    "hf_folder": (
        "hf_folder",
        {},
        {"pair_id", "queue_id", "rubric_id", "rubric_version", "sampled_by", "submitted_at", "late"},
    ),
}
TEXT = st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"]), max_size=12)
RATING = st.sampled_from([1, 0, -1, None, "unsure"])
RATERS = ("import:ann", "import:bob é")
TRIPS = int(os.environ.get("WORLDLINE_TRIPS", "2"))
_numbers = itertools.count()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Store]]:
    """One that is exported from, and one for each format that is imported into."""
    root = tmp_path_factory.mktemp("stores")
    opened = {name: Store.open(root / name.replace(" ", "-")) for name in ("source", *CASES)}
    yield opened
    for store in opened.values():
        store.close()


@st.composite
def judged(draw: st.DrawFn) -> list[tuple[Trace, dict[str, list[Any]]]]:
    """Two or three traces of one question, each with what one or two raters said: (steps, verdict, note, better, first error)."""
    prompt = f"{draw(TEXT)} question {next(_numbers)}"
    found = []
    for at in range(draw(st.integers(2, 3))):
        parents = draw(st.sampled_from([(None,), (None, 0), (None, 0, 0), (None, 0, 1, 0)]))
        names = [f"{at}.{i} {draw(TEXT)}" for i in range(len(parents))]
        trace = make_trace(parents, prompt=prompt, names=names, model=draw(st.sampled_from(["pocket", "a model"])))
        said = {}
        for rater in RATERS[: draw(st.integers(1, 2))]:
            steps = draw(st.lists(RATING, min_size=len(parents), max_size=len(parents)))
            bad = [i for i, value in enumerate(steps) if value == -1]
            if not any(value is not None for value in steps):  # a trace that nobody judged is in no snapshot
                steps[0] = "unsure"
            said[rater] = [
                steps,
                draw(st.sampled_from([1, 0, -1])),
                draw(TEXT),
                draw(TEXT),
                bad[:1] if draw(st.booleans()) else [],
            ]
        found.append((trace, said))
    return found


def put(store: Store, trace: Trace, rater: str, said: list[Any]) -> None:
    steps, verdict, note, better, first_error = said
    hand = Rater(store, store.open_assignment(rater, trace.trace_id))
    events = [
        hand.event("set", target="step", step_idx=i, dimension="correctness",
                   **({"value_text": "unsure"} if value == "unsure" else {"value": value}))
        for i, value in enumerate(steps) if value is not None
    ]  # fmt: skip
    events += [hand.event("set", target="step", step_idx=i, dimension="first_error", value=1) for i in first_error]
    bad = [i for i, value in enumerate(steps) if value == -1]
    if bad and better:
        events.append(hand.event("set", target="step", step_idx=bad[-1], dimension="better", value_text=better))
    events.append(hand.event("set", target="trace", dimension="verdict", value=verdict))
    if note:
        events.append(hand.event("set", target="trace", dimension="note", value_text=note))
    events.append(hand.event("submit", dwell_ms=1234))
    assert len(store.add_rating_events(events).result()) == len(events)


def frozen(store: Store, root: Path, traces: list[str]) -> Snapshot:
    return load_snapshot(root, freeze(store, root, {"trace_ids": traces}).snapshot_id)


def carried(value: Any, less: set[str]) -> Any:
    if isinstance(value, dict):
        return {k: carried(v, less) for k, v in value.items() if k not in OWN | less}
    return [carried(v, less) for v in value] if isinstance(value, list) else value


def same(rows: list[Any], less: set[str]) -> list[str]:
    return sorted(json.dumps(carried(row, less), sort_keys=True) for row in rows)


# Each example goes through eight stores; WORLDLINE_TRIPS=100 for a long run, with new examples each time.
@pytest.mark.slow
@settings(
    max_examples=TRIPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
    derandomize=TRIPS < 10,
)
@given(made=judged(), strength=st.sampled_from([-3, -1, 2]))
def test_import_of_an_export_is_what_was_exported(
    stores: dict[str, Store], tmp_path_factory: pytest.TempPathFactory, made: Any, strength: int
) -> None:
    root, source = tmp_path_factory.mktemp("trip"), stores["source"]
    for waiting in [source.add_trace(trace) for trace, _ in made]:
        waiting.result()
    for trace, said in made:
        for rater, what in said.items():
            put(source, trace, rater, what)
    pair = Rated(made[0][0], (Judgement("pair", "preference", None, strength),), "ann", other=made[1][0])
    assert not keep(source, wanted([pair], ""), "test").problems
    snapshot = frozen(source, root / "source", [trace.trace_id for trace, _ in made])
    for name, (form, options, less) in CASES.items():
        out, back, store = root / name / "out", root / name / "back", stores[name]
        if plan(snapshot, form, options).rows == 0:
            continue
        first = export(snapshot, form, out, options)
        path = out / ("tasks.json" if form == "label_studio" else "data.jsonl")
        # A folder of data sets: traces with their steps before comparisons, which have the texts alone.
        files = (
            [path] if path.exists() else sorted(out.glob("*.parquet"), key=lambda f: (f.stem == "comparisons", f.name))
        )
        report, traces = Report(path.name), list[str]()
        for batch in (batch for file in files for batch in fresh(file, report, store.held)):
            for waiting in [store.add_trace(trace, source="import") for trace in batch.traces]:
                waiting.result()
            traces += [trace.trace_id for trace in batch.traces]
            ratings = wanted(batch.said, path.name)
            assert not keep(store, ratings, path.name).problems
            log = store.event_seq()
            assert not keep(store, ratings, path.name).problems
            assert store.event_seq() == log, "the same again adds nothing"
        assert report.errors == []
        again = export(frozen(store, root / name / "snapshots", traces), form, back, options)
        assert again.rows == first.rows
        assert same(rows_of(back), less) == same(rows_of(out), less), name


def test_ratings_from_a_file_are_of_somebody_and_of_the_steps_they_came_with(store: Store, tmp_path: Path) -> None:
    step = lambda text, rating: {  # noqa: E731
        "completions": [{"text": text, "rating": rating, "flagged": False}], "human_completion": None, "chosen_completion": 0,
    }  # fmt: skip
    line = lambda labeler, finish, *ratings: {  # noqa: E731
        "labeler": labeler, "timestamp": "2022-07-17T16:56:51.323252", "generation": None,
        "question": {"problem": "1 + 1?", "pre_generated_steps": ["a", "b", "c"]},
        "label": {"steps": [step(t, r) for t, r in zip("abc", ratings, strict=False)], "finish_reason": finish, "total_time": 9},
    }  # fmt: skip
    rows = [line("l-1", "found_error", 1, -1), line("l-2", "solution", 1, 0, 1), line("l-3", "give_up", 1)]
    rows.append({"prompt": "1 + 1?", "completions": ["a", "b", "c"], "labels": [True, None, False]})
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    report = Report(path.name)
    (batch,) = fresh(path, report, store.held)
    assert (len(batch.traces), report.repeated, report.judgements) == (1, 3, 9)
    store.add_trace(batch.traces[0], source="import").result()
    kept = keep(store, wanted(batch.said, path.name), path.name)
    assert (kept.assignments, kept.judgements, kept.problems) == (4, 9, [])
    snapshot = frozen(store, tmp_path / "snapshots", [])
    found = {row["rater_id"]: row for row in snapshot.rows()}
    assert {name: row["rating"] for name, row in found.items()} == {
        "import:l-1": [1, -1, None], "import:l-2": [1, 0, 1], "import:p.jsonl": [1, None, -1],
    }  # fmt: skip
    assert (found["import:l-1"]["first_error"], found["import:l-1"]["spent_ms"]) == (1, 9)
    assert snapshot.manifest["excluded"] == {"skipped (give_up)": 1}
    assert store.query("select distinct active, password_hash from rater where rater_id like 'import:%'") == [
        (False, None)
    ]
    other = [Rated(make_trace(prompt="nowhere"), batch.said[0].judgements, "l-9")]
    assert "its trace is not stored" in (keep(store, wanted(other, ""), "p").problems or [""])[0]
