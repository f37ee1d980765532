"""What is learned of a row: pauses, earlier turns, and the coloured text that the page shows before a start."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.formats import steiner_tokens as t
from core.scoring.encoding import separator_id
from core.trace import Earlier
from tests.training.synthetic import examples, snapshot_rows, write_snapshot
from training.kinds import KINDS
from training.kinds.sft import NextToken
from training.masks import pieces
from training.new_tokens import add_to_tokenizer, read_descriptions
from training.recipe import resolve_recipe
from training.rows import IGNORE, RowsError, TokenRow, read_traces, sft_rows


def sft(*overrides: str) -> Any:
    return resolve_recipe("sft", ["choose=either", *overrides], "snap")


@pytest.fixture
def with_pause(tiny_base: Path) -> Any:
    from training.base_model import load_tokenizer

    tokenizer = load_tokenizer(tiny_base)
    add_to_tokenizer(tokenizer, read_descriptions(["pause"]))
    return tokenizer


def test_pauses_stand_before_the_response_and_the_last_one_predicts_its_first_token(
    data_dir: Path, with_pause: Any
) -> None:
    traces = read_traces(data_dir / "snapshots" / "snap")
    plain = sft_rows(traces, with_pause, sft()).train
    pause = with_pause.convert_tokens_to_ids("<|pause|>")
    for row, without in zip(sft_rows(traces, with_pause, sft("pauses=5")).train, plain, strict=True):
        assert [i for i in row.ids if i != pause] == without.ids
        assert [y for y in row.labels if y != IGNORE] == [y for y in without.labels if y != IGNORE]
        at, targets = NextToken().targets(row)
        assert row.ids[at[0] - 4 : at[0] + 1] == [pause] * 5  # the five, and the loss begins at the last
        assert with_pause.convert_ids_to_tokens(int(targets[0])) == t.REASONING_START
        assert pause not in targets


def test_a_model_without_the_pause_token_is_told_how_to_get_it(data_dir: Path, tokenizer: Any) -> None:
    traces = read_traces(data_dir / "snapshots" / "snap")
    with pytest.raises(RowsError, match=r'Add it with new_tokens=\["pause"\]'):
        sft_rows(traces, tokenizer, sft("pauses=5"))


def test_a_later_turn_is_learned_after_what_was_said_before_it(tmp_path: Path, tokenizer: Any) -> None:
    rows = snapshot_rows(examples(4, longest=5), test_every=99)
    for row in rows:
        row["solved"], row["rating"] = True, [1] * len(row["rating"])
        row["earlier"] = None
    rows[2]["earlier"] = json.dumps(Earlier((rows[0]["trace_id"], rows[1]["trace_id"]), "summaries").to_json())
    rows[3]["earlier"] = json.dumps(Earlier(("elsewhere",), "full").to_json())
    traces = read_traces(write_snapshot(tmp_path, rows))
    made = {how: sft_rows(traces, tokenizer, sft(f"turns={how}")) for how in ("as_given", "summaries", "full", "alone")}
    text = {how: tokenizer.decode(found.train[2].ids) for how, found in made.items()}
    question, response = rows[2]["prompt"], rows[2]["response"]
    assert text["alone"] == f"<|begin|>{question}<|answer|>{response}<|end|>"
    assert text["full"] == "".join(f"<|begin|>{r['prompt']}<|answer|>{r['response']}<|end|>" for r in rows[:3])
    assert text["as_given"] == text["summaries"]
    assert len(text["alone"]) < len(text["summaries"]) < len(text["full"])
    before = text["summaries"].removesuffix(text["alone"])
    assert t.THOUGHT_START not in before and t.SUMMARY_START in before
    for found in made.values():  # whatever was said before, the last response alone is learned
        learned = [int(y) for y in found.train[2].labels if y != IGNORE]
        assert tokenizer.decode(learned) == f"{response}<|end|>"
    lost = "traces_whose_earlier_turns_are_not_in_the_snapshot"
    assert (len(made["as_given"].train), made["as_given"].counts[lost], made["as_given"].counts["later_turns"]) == (
        3,
        1,
        1,
    )
    assert (len(made["alone"].train), lost in made["alone"].counts) == (4, False)


@given(st.lists(st.tuples(st.integers(3, 60), st.booleans()), min_size=1, max_size=40))
def test_the_coloured_text_is_the_whole_row_and_colours_what_has_a_loss(tokens: list[tuple[int, bool]]) -> None:
    class Letters:  # one character a token: what a real tokenizer decodes is tested below
        def decode(self, ids: list[int], **_: Any) -> str:
            return "".join(map(chr, ids))

    row = TokenRow([i for i, _ in tokens], [i if learn else IGNORE for i, learn in tokens], "", "")
    found = pieces(row, Letters(), scores=False)
    assert "".join(p.text for p in found) == "".join(chr(i) for i, _ in tokens)
    assert all(a.label != b.label for a, b in itertools.pairwise(found))
    assert sum(p.tokens for p in found if p.label == "learned") == len(NextToken().targets(row)[0])


def test_every_kind_shows_the_rows_that_it_trains_on(data_dir: Path, tiny_base: Path, tokenizer: Any) -> None:
    snapshot = data_dir / "snapshots" / "snap"
    by_id = {trace.trace_id: trace for trace in read_traces(snapshot)}
    for name in ("prm", "orm", "sft", "cpt"):
        kind = KINDS[name]
        assert kind.rows is not None
        set_ = [f"base={tiny_base}", *(["choose=either"] if name == "sft" else [])]
        rows, made_with = kind.rows(snapshot, resolve_recipe(name, set_, "snap"), None)
        few, _ = kind.rows(snapshot, resolve_recipe(name, set_, "snap"), 3)
        assert few.train == rows.train[: len(few.train)] or name == "cpt"
        found = pieces(rows.train[0], made_with, scores=kind.card.tag == "token-classification")
        whole = "".join(p.text for p in found)
        assert whole == made_with.decode(rows.train[0].ids)
        trace = next((x for x in by_id.values() if x.trace_id == rows.train[0].trace_id), None)
        if name == "sft":
            assert trace and [p.text for p in found if p.label == "learned"] == [f"{trace.response}<|end|>"]
        if name == "prm":
            assert {p.text for p in found if p.label != "read"} == {tokenizer.decode([separator_id(tokenizer)])}
            assert {p.label for p in found} <= {"read", "good", "bad"}


def test_a_share_is_shown_as_one(data_dir: Path, tiny_base: Path, tokenizer: Any) -> None:
    trace = read_traces(data_dir / "snapshots" / "snap")[0]
    one = trace.judgements[0]
    flipped = replace(one, ratings=tuple(-r for r in one.ratings if r is not None))
    from training.rows import prm_rows

    (row,) = prm_rows([replace(trace, judgements=(one, one, flipped))], tokenizer, resolve_recipe("prm", [])).train
    scored = [p for p in pieces(row, tokenizer, scores=True) if p.label != "read"]
    assert {p.label for p in scored} == {"soft"}
    assert {round(p.value or 0, 3) for p in scored} <= {0.333, 0.667}
