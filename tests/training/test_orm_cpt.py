"""Outcome reward models and continued pre-training: their rows, and that they run as jobs."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.scoring.encoding import separator_id
from core.scoring.prm import PrmScorer
from training import jobs
from training.kinds.cpt import cpt_rows, documents, with_pauses
from training.kinds.orm import orm_rows, outcome_of
from training.kinds.sft import NextToken
from training.recipe import read_recipe, resolve_recipe
from training.rows import IGNORE, JudgedTrace, Judgement, RowsError, read_traces


def trace(solved: bool | None, *verdicts: int | None) -> JudgedTrace:
    said = tuple(Judgement(str(i), (), None, v) for i, v in enumerate(verdicts))
    return JudgedTrace("t", "p", "q", "r", "stop", "steiner", solved, "train", (), (), said)


@pytest.mark.parametrize(
    ("given_trace", "solved", "verdict", "either"),
    [
        (trace(True, -1), 1.0, 0.0, 1.0),
        (trace(None, 1, -1, 1), None, 2 / 3, 2 / 3),
        (trace(False), 0.0, None, 0.0),
        (trace(None, 0, None), None, None, None),
    ],
)
def test_the_outcome_is_what_the_recipe_takes(given_trace: JudgedTrace, solved: Any, verdict: Any, either: Any) -> None:
    assert [outcome_of(given_trace, o) for o in ("solved", "verdict", "either")] == [solved, verdict, either]


def test_every_token_of_the_response_has_the_label_and_the_end_is_scored(data_dir: Path, tokenizer: Any) -> None:
    traces = read_traces(data_dir / "snapshots" / "snap")
    rows = orm_rows(traces, tokenizer, resolve_recipe("orm", [], "snap"))
    by_id = {t.trace_id: t for t in traces}
    for row in rows.train:
        labels = [y for y in row.labels if not math.isnan(y)]
        known = [i for i, y in zip(row.ids, row.labels, strict=True) if not math.isnan(y)]
        assert set(labels) == {float(bool(by_id[row.trace_id].solved))}
        assert tokenizer.decode(known[:-1]) == by_id[row.trace_id].response
        assert row.ids.count(separator_id(tokenizer)) == 1
        assert row.ids[-1] == separator_id(tokenizer)
    unknown = [replace(t, solved=None, judgements=()) for t in traces]
    with pytest.raises(RowsError, match='has an outcome by outcome = "either"'):
        orm_rows(unknown, tokenizer, resolve_recipe("orm", [], "snap"))


def test_an_outcome_model_is_trained_and_read_as_one_step(data_dir: Path, tiny_base: Path) -> None:
    folder = jobs.create_job(data_dir, "orm", "snap", [f"base={tiny_base}", "threads=1", "min_steps=1"])
    status = jobs.run_job(folder)
    assert (status.state, status.error) == ("done", "")
    assert {"auc", "base_rate", "n_test_responses", "n_train_tokens"} <= status.figures.keys()
    one = read_traces(data_dir / "snapshots" / "snap")[0]
    [score] = PrmScorer(folder / "model").score(one.prompt, [one.response])
    assert 0 < score < 1


@given(st.lists(st.integers(0, 50), max_size=60), st.floats(0, 0.5), st.integers(0, 99))
def test_pauses_are_put_in_and_nothing_is_lost(ids: list[int], share: float, seed: int) -> None:
    found = with_pauses(ids, 99, share, random.Random(seed))
    assert [i for i in found if i != 99] == ids
    assert found.count(99) == round(share * len(ids))


def test_no_loss_where_the_next_token_is_a_pause_and_none_is_lost_else() -> None:
    recipe = resolve_recipe("cpt", ["max_tokens=16", "pause_share=0.3"])
    rows = cpt_rows([list(range(3, 40))], 2, recipe, 99, ["train"]).train
    assert {len(row.ids) for row in rows[:-1]} == {16}
    for row in rows:
        at, targets = NextToken().targets(row)
        assert 99 not in targets
        assert at == [i for i in range(len(row.ids) - 1) if row.ids[i + 1] != 99]
    assert [i for row in rows for i in row.ids if i != 99] == [*range(3, 40), 2]
    assert IGNORE not in cpt_rows([[3, 4, 5]], 2, recipe, None, ["train"]).train[0].labels


def test_text_files_are_read_and_what_is_wrong_in_them_is_named(tmp_path: Path) -> None:
    plain, lines = tmp_path / "a.txt", tmp_path / "b.jsonl"
    plain.write_text("one document\n\nwith a gap")
    lines.write_text('{"text": "first"}\n\n{"text": "second"}\n')
    assert list(documents(plain)) == ["one document\n\nwith a gap"]
    assert list(documents(lines)) == ["first", "second"]
    lines.write_text('{"text": "first"}\n{"txt": 1}\n')
    with pytest.raises(RowsError, match=r'b\.jsonl:2: not a JSON object with "text"'):
        list(documents(lines))


def test_pre_training_needs_no_snapshot_and_remembers_its_file(tmp_path: Path, tiny_base: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"Reach {n} from 4, 7, 8 and 8."}) + "\n" for n in range(40)))
    given_keys = [f"base={tiny_base}", f"texts={texts}", "threads=1", "learning_rate=1e-2", "epochs=4", "batch=8"]
    folder = jobs.create_job(tmp_path, "cpt", "", given_keys)
    status = jobs.run_job(folder)
    assert (status.state, status.error) == ("done", "")
    assert status.figures["loss_after"] < status.figures["loss_before"]
    # The Train page sends a snapshot with every job; one that is not read is nowhere said to be what the model learned from.
    unread = jobs.create_job(tmp_path, "cpt", "snap", given_keys)
    assert read_recipe(unread / "recipe.toml").snapshot == jobs.read_status(unread).snapshot_id == ""
    assert json.loads((unread / "job.json").read_text())["snapshot_sha256"] is None
    again = jobs.create_job(tmp_path, "cpt", "", given_keys)
    texts.write_text("something else")
    assert "is not the file this job was made for" in jobs.run_job(again).error
    with pytest.raises(RowsError, match="is not the id of a snapshot"):
        jobs.create_job(tmp_path, "cpt", "", [f"base={tiny_base}"])
    with pytest.raises(RowsError, match=r"nowhere\.txt cannot be read"):
        jobs.create_job(tmp_path, "cpt", "", ["texts=nowhere.txt"])


def test_a_file_of_texts_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    from training.kinds.cpt import documents

    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(RowsError, match="cannot be read"):
            list(documents(path))
