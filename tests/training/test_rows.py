"""From ratings to labels, from snapshots to token rows."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.formats import steiner_tokens as t
from core.scoring.encoding import EncodingError, encode_steps, separator_id
from storage.exports.prm800k import way_to_the_end
from tests.training.rigged import trace_of
from tests.training.synthetic import examples, snapshot_rows, unrated, write_snapshot
from training.labels import label_set
from training.recipe import RecipeError, resolve_recipe
from training.rows import (
    IGNORE,
    JudgedTrace,
    Judgement,
    RowsError,
    data_sha256,
    prm_rows,
    rater_labels,
    read_traces,
    response_pieces,
    sft_rows,
    step_labels,
    wanted,
)

NAN = math.nan


def prm(*overrides: str) -> Any:
    return resolve_recipe("prm", overrides, "snap")


def judged(*ratings: int | None, first_error: int | None = None) -> Judgement:
    return Judgement("r", tuple(ratings), first_error, None)


def trace(*judgements: Judgement, **changes: Any) -> JudgedTrace:
    n = len(judgements[0].ratings)
    made = JudgedTrace("t", "p", "q", "", "stop", "steiner", None, "train", ("x",) * n, (None,) * n, judgements)
    return replace(made, **changes)


def same(found: list[float], expected: list[float]) -> bool:
    return [None if math.isnan(y) else y for y in found] == [None if math.isnan(y) else y for y in expected]


# ------------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(("policy", "label"), [("good", 1.0), ("bad", 0.0), ("ignore", NAN)])
def test_neutral_means_what_the_recipe_says(policy: str, label: float) -> None:
    assert same(rater_labels(judged(1, 0, -1, None), prm(f"neutral_as={policy}")), [1.0, label, 0.0, NAN])


def test_everything_judged_counts_unless_the_recipe_stops_at_the_first_error() -> None:
    ratings = judged(1, -1, 1, -1)
    assert same(rater_labels(ratings, prm()), [1, 0, 1, 0])
    assert same(rater_labels(ratings, prm("stop_at_first_error=true")), [1, 0, NAN, NAN])


def test_a_marked_first_error_is_bad_and_can_end_what_counts() -> None:
    assert same(rater_labels(judged(1, None, 1, first_error=1), prm()), [1, 0, 1])
    assert same(rater_labels(judged(1, None, 1, first_error=1), prm("stop_at_first_error=true")), [1, 0, NAN])
    both = judged(1, -1, None, None, first_error=2)
    assert same(rater_labels(both, prm("stop_at_first_error=true")), [1, 0, NAN, NAN])


def test_raters_who_disagree_make_a_soft_label_or_none() -> None:
    two = trace(judged(1, 1, None, None), judged(1, -1, -1, None), judged(1, 1, None, None))
    assert same(step_labels(two, prm()), [1.0, 2 / 3, 0.0, NAN])
    assert same(step_labels(two, prm("disagreement=drop")), [1.0, NAN, 0.0, NAN])


def test_shares_of_a_label_set_are_the_labels_unless_the_recipe_takes_votes(tmp_path: Path, tokenizer: Any) -> None:
    shares = [0.75, 0.25, None, 1.0]
    made = [label_set.Labelled(trace_of("a", "b", "c", "d"), shares)]
    folder = label_set.write(tmp_path, made, source="rollouts:m@4", settings={"rollouts": 4})
    (found,) = read_traces(folder)
    soft = [NAN if share is None else share for share in shares]
    assert same(step_labels(found, prm()), soft)
    assert same(step_labels(found, prm("disagreement=drop")), soft)  # one method does not disagree with itself
    assert same(step_labels(found, prm("shares=hard")), [NAN if math.isnan(y) else float(y >= 0.5) for y in soft])
    cut = step_labels(found, prm("stop_at_first_error=true"))
    assert cut[:2] == [0.75, 0.25]
    assert all(map(math.isnan, cut[2:]))
    (row,) = prm_rows([replace(found, split="train")], tokenizer, prm()).train
    assert [y for y in row.labels if not math.isnan(y)] == [y for y in soft if not math.isnan(y)]


def test_unsure_is_no_label_and_several_raters_are_one_row(tmp_path: Path, tokenizer: Any) -> None:
    example = examples(1, longest=4)[0]
    rows = snapshot_rows([example]) + snapshot_rows([example], rater="second")
    rows[1]["unsure"] = [True] + [False] * (len(example.ratings) - 1)
    rows[1]["rating"] = [None, *example.ratings[1:]]
    (found,) = read_traces(write_snapshot(tmp_path, rows))
    assert len(found.judgements) == 2
    assert found.judgements[1].ratings[0] is None
    assert same(step_labels(found, prm()), [float(r > 0) for r in example.ratings])
    assert len(prm_rows([found], tokenizer, prm()).train) == 1


# ----------------------------------------------------------------------------------------------------------- encoding


def test_every_step_has_one_separator_and_the_label_stands_on_it(data_dir: Path, tokenizer: Any) -> None:
    traces = read_traces(data_dir / "snapshots" / "snap")
    rows = prm_rows(traces, tokenizer, prm())
    separator = separator_id(tokenizer)
    by_id = {tr.trace_id: tr for tr in traces}
    assert rows.test
    for row in (*rows.train, *rows.test):
        at = [i for i, token in enumerate(row.ids) if token == separator]
        labels = [row.labels[i] for i in at]
        assert same(labels, step_labels(by_id[row.trace_id], prm()))
        assert all(math.isnan(y) for i, y in enumerate(row.labels) if i not in at)
    assert rows.counts["good"] + rows.counts["bad"] == sum(len(tr.step_texts) for tr in traces)
    assert {r.problem_id for r in rows.train}.isdisjoint(r.problem_id for r in rows.test)


def test_the_ids_are_the_trace_with_separators_between_the_steps(tokenizer: Any) -> None:
    example = examples(1, longest=4)[0]
    encoded = encode_steps(tokenizer, example.walk.prompt, example.step_texts, 4096)
    plain = tokenizer(f"<|begin|>{example.walk.prompt}<|answer|>" + "".join(example.step_texts)).input_ids
    assert [i for i in encoded.ids if i != separator_id(tokenizer)] == plain
    assert tokenizer.unk_token_id not in plain


def test_truncation_drops_whole_steps_and_counts_them(data_dir: Path, tokenizer: Any) -> None:
    traces = read_traces(data_dir / "snapshots" / "snap")
    whole = prm_rows(traces, tokenizer, prm())
    cut = prm_rows(traces, tokenizer, prm("max_tokens=120"))
    separator = separator_id(tokenizer)
    assert all(len(row.ids) <= 120 for row in cut.train)
    lost = sum(r.ids.count(separator) for r in (*whole.train, *whole.test)) - sum(
        r.ids.count(separator) for r in (*cut.train, *cut.test)
    )
    assert cut.counts["steps_over_max_tokens"] == lost > 0


def test_a_separator_written_into_a_step_is_not_a_step(tokenizer: Any) -> None:
    encoded = encode_steps(tokenizer, "Reach <|step_score|> 9", ["a<|step_score|>b", "c"], 100)
    assert encoded.ids.count(separator_id(tokenizer)) == 2


def test_a_question_beyond_the_limit_is_an_error(tokenizer: Any) -> None:
    with pytest.raises(EncodingError, match="more than the limit of 20"):
        encode_steps(tokenizer, "Reach 24 from 4. " * 20, ["x"], 20)


# ---------------------------------------------------------------------------------------------------------- snapshots


def test_a_snapshot_that_is_missing_changed_or_foreign_is_a_sentence(data_dir: Path) -> None:
    with pytest.raises(RowsError, match='There is no snapshot "other"'):
        data_sha256(data_dir / "snapshots" / "other")
    snapshot = data_dir / "snapshots" / "snap"
    assert len(data_sha256(snapshot)) == 64
    (snapshot / "manifest.json").write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(RowsError, match="is not the file that was frozen"):
        data_sha256(snapshot)
    (snapshot / "manifest.json").write_text("{")
    with pytest.raises(RowsError, match="Freeze the snapshot again"):
        data_sha256(snapshot)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    rows = snapshot_rows(examples(2, longest=3))
    for row in rows:
        del row["split"]
    with pytest.raises(RowsError, match='no column "split"'):
        read_traces(write_snapshot(tmp_path, rows))


def test_a_problem_on_both_sides_of_the_split_is_refused(tmp_path: Path) -> None:
    rows = snapshot_rows(examples(2, longest=3))
    rows[1]["problem_id"] = rows[0]["problem_id"]
    rows[1]["split"] = "test"
    with pytest.raises(RowsError, match="is in both splits"):
        read_traces(write_snapshot(tmp_path, rows))


def test_nothing_rated_and_nothing_to_train_on_are_different_sentences(tmp_path: Path, tokenizer: Any) -> None:
    nothing = snapshot_rows([unrated(e) for e in examples(3, longest=4)])
    with pytest.raises(RowsError, match="None of the 3 traces in the snapshot has a rated step"):
        prm_rows(read_traces(write_snapshot(tmp_path, nothing, "a")), tokenizer, prm())
    held_out = [{**row, "split": "test"} for row in snapshot_rows(examples(3, longest=4))]
    with pytest.raises(RowsError, match="is in the test split"):
        prm_rows(read_traces(write_snapshot(tmp_path, held_out, "b")), tokenizer, prm())


def test_what_the_store_freezes_is_what_training_reads(tmp_path: Path, tokenizer: Any) -> None:
    """From rating events through the database and the snapshot to labels: unrated, unsure, first error, two raters."""
    from storage.snapshots import SnapshotSpec, freeze
    from storage.store import Store
    from tests.storage.helpers import Rater, make_trace, rate

    trace = make_trace((None, 0, 0, 2))
    with Store.open(tmp_path) as store:
        rate(store, trace, "ann", [1, -1, "unsure", None], verdict=1)
        second = Rater(store, store.open_assignment("bob", trace.trace_id))
        second.step(0, 1)
        second.first_error(1)
        second.step(2, 0)
        second.submit()
        info = freeze(store, tmp_path / "snapshots", SnapshotSpec(test_percent=0))
    assert data_sha256(info.folder) == info.sha256
    (found,) = read_traces(info.folder)
    assert (found.prompt, found.response, found.parents) == (trace.prompt, trace.response, (None, 0, 0, 2))
    assert "".join(found.step_texts) == trace.response[: trace.steps[-1].end]
    ann, bob = found.judgements
    assert (ann.ratings, ann.verdict, ann.first_error) == ((1, -1, None, None), 1, None)
    assert (bob.ratings, bob.verdict, bob.first_error) == ((1, -1, 0, None), None, 1)
    assert same(step_labels(found, prm("neutral_as=good")), [1.0, 0.0, 1.0, NAN])
    assert len(prm_rows([found], tokenizer, prm()).train) == len(sft_rows([found], tokenizer, sft()).train) == 1


# -------------------------------------------------------------------------------------------------------- fine-tuning


def sft(*overrides: str) -> Any:
    return resolve_recipe("sft", overrides, "snap")


def test_which_traces_are_chosen() -> None:
    def with_verdicts(*verdicts: int | None, solved: bool | None = None, rating: int = 1) -> JudgedTrace:
        return trace(*(Judgement("r", (rating,), None, v) for v in verdicts), solved=solved)

    assert wanted(with_verdicts(1), "approved")
    assert wanted(with_verdicts(1, 1, -1), "approved")
    assert not wanted(with_verdicts(1, -1), "approved")
    assert not wanted(with_verdicts(None), "approved")
    assert wanted(with_verdicts(None, solved=True), "solved")
    assert not wanted(with_verdicts(None, solved=True, rating=-1), "solved")
    assert not wanted(with_verdicts(1, solved=None), "solved")
    assert wanted(with_verdicts(-1, solved=True), "either")
    assert wanted(with_verdicts(None), "all")


def test_wrong_turns_labelled_without_people_do_not_speak_against_a_solved_trace() -> None:
    by_oracle = Judgement("oracle:countdown", (1, -1, 1), None, None, soft=(1.0, 0.0, 1.0))
    by_person = Judgement("ann", (1, -1, 1), None, None)
    searched = replace(backtracking(), solved=True, judgements=(by_oracle,))
    assert wanted(searched, "solved")
    assert not wanted(replace(searched, judgements=(by_oracle, by_person)), "solved")
    assert not wanted(replace(searched, solved=None), "solved")


def test_a_file_of_traces_has_no_verdicts_to_choose_by() -> None:
    with pytest.raises(RecipeError, match='holds no verdicts; choose = "all"'):
        sft("traces=paths.jsonl")
    assert sft("traces=paths.jsonl", "choose=solved").traces == "paths.jsonl"


def test_the_question_and_a_forced_end_are_not_learned(tmp_path: Path, tokenizer: Any) -> None:
    rows = snapshot_rows(examples(30, longest=5))
    for row in rows:
        row["verdict"] = 1
    made = sft_rows(read_traces(write_snapshot(tmp_path, rows)), tokenizer, sft())
    by_id = {row["trace_id"]: row for row in rows}
    end = tokenizer.convert_tokens_to_ids(t.REASONING_END)
    forced = 0
    for row in made.train:
        source = by_id[row.trace_id]
        head = tokenizer(f"<|begin|>{source['prompt']}<|answer|>").input_ids
        assert row.ids == head + tokenizer(f"{source['response']}<|end|>").input_ids
        assert row.labels[: len(head)] == [IGNORE] * len(head)
        learned = [y for y in row.labels if y != IGNORE]
        if source["finish_reason"] == "stop":
            assert learned == row.ids[len(head) :]
        else:
            forced += 1
            assert learned == [i for i in row.ids[len(head) :] if i != end]
    assert forced


def backtracking() -> JudgedTrace:
    """Three steps of which the middle one was abandoned."""
    texts = (f"{t.REASONING_START}[a]", f"{t.PROCEED}[b]", f"{t.BACKTRACK}[c]")
    tail = f"{t.REASONING_END}Done."
    return trace(judged(1, -1, 1), step_texts=texts, parents=(None, 0, 0), response="".join(texts) + tail)


def test_backtracks_can_be_kept_masked_or_cut() -> None:
    made = backtracking()
    kept = response_pieces(made, "keep")
    assert "".join(text for text, _ in kept) == made.response
    assert all(learn for _, learn in kept)
    masked = response_pieces(made, "mask")
    assert "".join(text for text, _ in masked) == made.response
    assert [text for text, learn in masked if not learn] == [t.PROCEED, "[b]"]
    cut = response_pieces(made, "cut")
    assert "".join(text for text, _ in cut) == f"{t.REASONING_START}[a]{t.PROCEED}[c]{t.REASONING_END}Done."


def test_the_way_to_the_end_follows_the_tree() -> None:
    assert way_to_the_end([None, 0, 1, 0, None, 4]) == [4, 5]
    assert way_to_the_end([None, 0, 1, 0]) == [0, 3]
    assert way_to_the_end([]) == []


def test_cut_searches_are_shorter_and_still_true(tmp_path: Path, tokenizer: Any) -> None:
    """Without its abandoned branches, a solved search is a walk in which every step follows from the one before."""
    solved = [e for e in examples(40, longest=8) if e.walk.path]
    traces = read_traces(write_snapshot(tmp_path, snapshot_rows(solved)))
    for found in traces:
        way = way_to_the_end(found.parents)
        text = "".join(piece for piece, _ in response_pieces(found, "cut"))
        assert t.BACKTRACK not in text
        assert text.count(t.STEP_START) == len(way) == text.count(t.PROCEED) + 1
    whole, cut = (
        sft_rows(traces, tokenizer, sft("choose=either")),
        sft_rows(traces, tokenizer, sft("choose=either", "backtracks=cut")),
    )
    assert sum(len(r.ids) for r in cut.train) < sum(len(r.ids) for r in whole.train)


def test_known_items_are_no_judgements_and_what_was_settled_stands(tmp_path: Path) -> None:
    """As in exports: a rater's answer to a gold item says something of the rater; an adjudicator's word ends a dispute."""
    one, two = examples(2, longest=6)
    n = len(one.ratings)
    rows = [
        {
            **row,
            "gold": gold,
            "adjudicated": decided,
            "adjudicated_verdict": verdict,
            "first_error": error,
            "rater_id": who,
        }
        for row, gold, decided, verdict, error, who in (
            (snapshot_rows([one])[0], None, [-1 if i == 1 else None for i in range(n)], 1, None, "ann"),
            (snapshot_rows([one])[0], None, [-1 if i == 1 else None for i in range(n)], 1, 0, "bob"),
            (snapshot_rows([one])[0], "gold", [None] * n, None, None, "cyd"),
            ({**snapshot_rows([one, two])[1]}, "screening", [None] * len(two.ratings), None, None, "ann"),
        )
    ]
    first, second = read_traces(write_snapshot(tmp_path, rows))
    assert [j.rater_id for j in first.judgements] == ["ann", "bob"]
    assert [j.ratings[1] for j in first.judgements] == [-1, -1]
    assert [j.verdict for j in first.judgements] == [1, 1]
    assert first.judgements[1].first_error == 0, "nothing was settled of that step"
    assert second.judgements == ()
    rows[1]["adjudicated"] = [1] * n
    rows[0]["adjudicated"] = [1] * n
    first, _ = read_traces(write_snapshot(tmp_path / "again", rows))
    assert first.judgements[1].first_error is None, "the step that bob marked was settled to be good"
    assert set(first.judgements[1].ratings) == {1}


def test_only_searches_in_steiners_format_can_be_masked_and_others_are_counted(tmp_path: Path, tokenizer: Any) -> None:
    rows = snapshot_rows(examples(8, longest=6))
    for row in rows[:3]:
        row["format"] = "plain"
    traces = read_traces(write_snapshot(tmp_path, rows))
    for backtracks, whole in (("keep", None), ("mask", 3)):
        recipe = resolve_recipe("sft", ["choose=all", f"backtracks={backtracks}"])
        assert sft_rows(traces, tokenizer, recipe).counts.get("traces_learned_whole_by_their_format") == whole
