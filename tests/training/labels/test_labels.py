"""Estimators against an engine whose chances are known; label sets that say who said so."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.base import EngineError
from core.formats import parse_response
from core.run import TraceReader
from core.tasks import countdown as game
from core.trace import Problem
from tests.training.rigged import RiggedEngine, trace_of
from tests.training.synthetic import examples
from training.labels import binary_search, label_set, oracle
from training.labels.counts import Count, summary
from training.labels.rollouts import Completer, answer_is, by_rules, count_all

STEPS = [f"s{i}" for i in range(12)]
RIGHT = answer_is("right")


def test_counts_estimate_the_chances_and_the_interval_covers_them() -> None:
    chances = [1.0, 0.9, 0.6, 0.3, 0.1, 0.0]
    trace = trace_of(*STEPS[:6])
    covered, soft = 0, [0.0] * 6
    for round_ in range(12):
        engine = RiggedEngine(lambda k: chances[k - 1])
        counts = asyncio.run(count_all(Completer(engine), replace(trace, trace_id=f"t{round_}"), RIGHT, 8))
        assert len(engine.asked) == 6 * 8
        covered += sum(c.interval[0] <= p <= c.interval[1] for c, p in zip(counts, chances, strict=True))
        soft = [total + (c.soft or 0) / 12 for total, c in zip(soft, counts, strict=True)]
        assert (counts[0].hard, counts[5].hard, counts[5].soft) == (1, 0, 0.0)
    assert soft == pytest.approx(chances, abs=0.15)
    assert covered >= 0.9 * 12 * 6


def test_a_label_can_be_made_again() -> None:
    trace = trace_of(*STEPS[:3])
    once, again = (asyncio.run(count_all(Completer(RiggedEngine(lambda k: 0.5)), trace, RIGHT)) for _ in range(2))
    assert once == again


@given(st.integers(0, 30), st.integers(0, 30))
def test_hard_soft_and_interval_agree(right: int, wrong: int) -> None:
    count = Count(right, right + wrong)
    low, high = count.interval
    assert 0 <= low <= high <= 1
    if count.total:
        assert low - 1e-3 <= (count.soft or 0) <= high + 1e-3
        assert count.hard == (right > 0)
    else:
        assert count.hard is count.soft is None


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="9 of 8"):
        Count(9, 8)


@pytest.mark.parametrize("error", [0, 1, 5, 10, 11, None])
def test_binary_search_finds_the_first_error_in_few_rollouts(error: int | None) -> None:
    trace = trace_of(*STEPS)
    engine = RiggedEngine(lambda k: 1.0 if error is None or k <= error else 0.0)
    found = asyncio.run(binary_search.find(Completer(engine), trace, RIGHT, 4))
    assert found.step == error
    assert found.monotone
    assert len(engine.asked) <= 4 * 5  # 1 + log2(12) counts, not 12
    labels = found.labels(12)
    if error is None:
        assert labels == [1.0] * 12
    else:
        assert labels == [1.0] * error + [0.0] + [None] * (11 - error)


def test_a_model_that_turns_back_misleads_the_search_and_the_counts_show_it() -> None:
    """Steps 2 to 6 are lost, from 7 on it has recovered: binary search believes that there was no error."""
    engine = RiggedEngine(lambda k: 0.0 if 3 <= k <= 7 else 1.0)
    found = asyncio.run(binary_search.find(Completer(engine), trace_of(*STEPS), RIGHT, 8))
    assert found.step is None
    contradicted = binary_search.FirstError(None, {3: Count(0, 8), 9: Count(8, 8)})
    assert not contradicted.monotone
    assert binary_search.FirstError(None, {3: Count(3, 8), 9: Count(4, 8)}).monotone


def test_a_failing_engine_and_a_missing_check_are_sentences() -> None:
    class Broken(RiggedEngine):
        async def stream(self, request):  # type: ignore[no-untyped-def]
            raise EngineError("The server is gone.")
            yield

    with pytest.raises(EngineError, match="server is gone"):
        asyncio.run(count_all(Completer(Broken(lambda k: 1)), trace_of("a"), RIGHT))
    with pytest.raises(ValueError, match="give a reference answer"):
        asyncio.run(count_all(Completer(RiggedEngine(lambda k: 1)), trace_of("a"), by_rules))


@pytest.mark.parametrize("answer", ["42", " 42. ", "$42$", "So it is \\boxed{42}."])
def test_answers_are_compared_whole(answer: str) -> None:
    trace = trace_of("a", answer=answer)
    assert answer_is("42")(trace)
    assert not answer_is("4")(trace)
    assert not answer_is("142")(trace)


def test_equal_numbers_are_equal_answers_however_they_are_written() -> None:
    half = answer_is("1/2")
    for answer in ("0.5", "\\boxed{\\frac{1}{2}}", "The answer is 1/2.", "$\\frac12$"):
        assert half(trace_of("a", answer=answer)), answer
    assert not half(trace_of("a", answer="0.25"))
    assert not half(trace_of("a", answer=""))
    plain = replace(trace_of("a", answer=""), response="It is one half.\nAnswer: 0.5", format="plain")
    assert half(plain)


def countdown_traces(n: int = 12):
    traces = []
    for i, e in enumerate(examples(n, longest=8)):
        reader = TraceReader(Problem.ask(e.walk.prompt), "written", f"t{i}")
        reader.feed(e.walk.response)
        reader.close()
        traces.append((reader.trace("stop" if e.walk.path else "step_limit", sampling={}, stats={}), e))
    return traces


def test_the_oracle_agrees_with_a_search_of_everything() -> None:
    def reaches(state: game.State, target: int) -> bool:
        if len(state) == 1:
            return state[0] == target
        return any(reaches(game.after(state, m), target) for m in game.moves(state))

    seen = set()
    for trace, e in countdown_traces():
        labels = oracle.label(trace)
        assert [1 if y else -1 for y in labels] == e.ratings
        for step, y in zip(trace.steps, labels, strict=True):
            left = tuple(int(x) for x in step.summary.replace("Left: ", "").replace(" and ", ", ").split(", "))
            assert reaches(left, e.walk.problem.target) == bool(y)
        seen |= set(labels)
    assert seen == {0.0, 1.0}
    with pytest.raises(ValueError, match="no exact oracle"):
        oracle.label(trace_of("a", prompt="Who wrote Faust?"))


def test_a_label_set_is_a_snapshot_that_says_it_is_no_person(tmp_path: Path) -> None:
    from storage.snapshots import list_snapshots, load_snapshot
    from training.evaluation.solutions import read_snapshot
    from training.rows import read_traces

    made = [
        label_set.Labelled(t, oracle.label(t), [Count(int(y) * 3, 8) for y in oracle.label(t)])
        for t, _ in countdown_traces()
    ]
    folder = label_set.write(tmp_path, made, source="rollouts:pocket", settings={"n": 8})
    (info,) = list_snapshots(tmp_path)
    assert (info.error, info.n_rows, info.created_by) == ("", 12, "rollouts:pocket")
    assert "not by people" in info.warnings[0]
    snapshot = load_snapshot(tmp_path, folder.name)
    assert (snapshot.manifest["labels"], snapshot.manifest["source"]) == ("model", "rollouts:pocket")
    rows = list(snapshot.rows())
    assert {r["source"] for r in rows} == {r["rater_id"] for r in rows} == {"rollouts:pocket"}
    assert rows[0]["total"] == [8] * len(rows[0]["step_text"])
    for r in rows:
        assert list(zip(r["low"], r["high"], strict=True)) == [Count(n, 8).interval for n in r["right"]]
    judged = read_traces(folder)
    assert len(judged) == 12
    for (trace, e), one in zip(countdown_traces(), sorted(judged, key=lambda j: int(j.trace_id[1:])), strict=True):
        assert (one.trace_id, list(one.judgements[0].ratings)) == (trace.trace_id, e.ratings)
    assert len(read_snapshot(folder, split="all")) == 12
    with pytest.raises(ValueError, match="nothing to label"):
        label_set.write(tmp_path, [], source="x", settings={})


def test_every_format_exports_a_label_set_or_says_what_is_missing(tmp_path: Path) -> None:
    from storage.exports import FORMATS, ExportError, export
    from storage.snapshots import load_snapshot

    made = [label_set.Labelled(t, oracle.label(t)) for t, _ in countdown_traces()]
    snapshot = load_snapshot(tmp_path, label_set.write(tmp_path, made, source="oracle:x", settings={}).name)
    written, refused = set[str](), dict[str, str]()
    for name in FORMATS:
        try:
            export(snapshot, name, tmp_path / name)
            written.add(name)
        except ExportError as error:
            refused[name] = str(error)
    assert all("no row to write" in said for said in refused.values()), refused
    assert {"stepwise", "prm800k", "argilla", "label_studio", "hf_folder"} <= written
    export(snapshot, "tree", tmp_path / "all", {"traces": "all"})
    rows = [json.loads(line) for line in (tmp_path / "all" / "data.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    assert all(set(row["corrected_parent"]) == {None} for row in rows)


@pytest.mark.parametrize("method", ["oracle", "rollouts", "binary-search", "prm"])
def test_a_label_set_that_comes_back_by_an_import_is_not_passed_off_as_peoples(tmp_path: Path, method: str) -> None:
    from typer.testing import CliRunner

    from app.cli import app as cli
    from storage.exports import export
    from storage.snapshots import freeze, load_snapshot
    from storage.store import Store

    made = [label_set.Labelled(t, oracle.label(t)) for t, _ in countdown_traces(3)]
    labels = load_snapshot(tmp_path, label_set.write(tmp_path, made, source=f"{method}:x", settings={}).name)
    export(labels, "prm800k", tmp_path / "out")
    (file,) = (tmp_path / "out").glob("*.jsonl")
    done = CliRunner().invoke(cli, ["import", str(file), "--data", str(tmp_path / "data")])
    assert done.exit_code == 0, done.output
    assert "3 traces and " in done.stdout and " by 1 rater imported from " in done.stdout
    with Store.open(tmp_path / "data") as store:
        info = freeze(store, tmp_path / "frozen")
        manifest = load_snapshot(tmp_path / "frozen", info.snapshot_id).manifest
    assert manifest["labels"] == "simulated raters"
    assert any("by simulated raters, not by people" in said for said in manifest["warnings"])


def test_the_split_of_a_label_set_is_that_of_a_snapshot() -> None:
    import duckdb

    from storage import frozen

    ids = [f"{i:016x}" for i in range(200)]
    sql = frozen.SPLIT.format("t")
    found = duckdb.execute(
        f"select {sql} from (select unnest($ids) as problem_id) t", {"ids": ids, "test": 100}
    ).fetchall()
    assert [x for (x,) in found] == [label_set.split_of(i) for i in ids]


def test_soft_labels_reach_the_evaluation(tmp_path: Path) -> None:
    from training.evaluation.solutions import read_snapshot

    trace, _ = countdown_traces(1)[0]
    shares = [0.25] * len(trace.steps)
    folder = label_set.write(tmp_path, [label_set.Labelled(trace, shares)], source="prm:big", settings={})
    assert read_snapshot(folder, split="all")[0].labels == tuple(shares)
    assert json.loads((folder / "manifest.json").read_text())["class_balance"]["bad"] == len(shares)
    assert parse_response(trace.prompt, trace.response)[0]


def test_any_share_or_half_is_what_the_recipe_makes_of_counts(tmp_path: Path) -> None:
    from training.recipe import resolve_recipe
    from training.rows import RowsError, rater_labels, read_traces

    trace, _ = countdown_traces(1)[0]
    n = len(trace.steps)
    assert n >= 3
    counts = [Count(1, 8), Count(0, 8), *([Count(6, 8)] * (n - 2))]
    folder = label_set.write(
        tmp_path, [label_set.Labelled(trace, [c.soft for c in counts], counts)], source="rollouts:x@8", settings={}
    )
    (one,) = read_traces(folder)

    def labels(*words: str) -> list[float]:
        return rater_labels(one.judgements[0], resolve_recipe("prm", words, "snap"))

    assert labels("shares=soft")[:3] == [0.125, 0.0, 0.75]
    assert labels("shares=hard")[:3] == [0.0, 0.0, 1.0]
    assert labels("shares=any")[:3] == [1.0, 0.0, 1.0]
    stopped = labels("shares=any", "stop_at_first_error=true")
    assert stopped[:2] == [1.0, 0.0] and str(stopped[2]) == "nan"
    bare = label_set.write(tmp_path, [label_set.Labelled(trace, [1.0] * n)], source="oracle:countdown", settings={})
    (one,) = read_traces(bare)
    with pytest.raises(RowsError, match='oracle:countdown are not counts of rollouts, so shares = "any"'):
        labels("shares=any")


def test_what_the_counts_know_is_said() -> None:
    said = summary([Count(0, 8), Count(4, 8), Count(8, 8), None])
    assert said.startswith("12 of 24 rollouts from 3 steps were right; from 2 steps any was, from 1 some but not all.")
    width = (0.3244 + (0.7848 - 0.2152) + (1 - 0.6756)) / 3
    assert f"{width:.2f} wide" in said
    assert summary([]) == summary([None]) == ""


def test_known_items_are_no_votes_and_what_was_settled_counts_in_the_evaluation(tmp_path: Path) -> None:
    from tests.training.synthetic import snapshot_rows, write_snapshot
    from training.evaluation.solutions import read_snapshot

    one, two = examples(2, longest=6)
    n = len(one.ratings)

    def row(who: str, value: int, gold: str | None = None, of: int = 0, error: int | None = None) -> dict:
        found = snapshot_rows([one, two])[of]
        size = len(found["step_text"])
        settled = [1 if i == 1 and not of else None for i in range(size)]
        return {
            **found,
            "rater_id": who,
            "rating": [value] * size,
            "gold": gold,
            "adjudicated": settled,
            "first_error": error,
        }

    rows = [row("ann", 1), row("bob", -1, error=1), row("cyd", -1, "screening"), row("cyd", -1, "gold", of=1)]
    (found,) = read_snapshot(write_snapshot(tmp_path, rows), split="all")
    assert found.labels[:2] == (0.5, 1.0), "ann and bob differ; of the second step it was settled"
    assert len(found.labels) == n
