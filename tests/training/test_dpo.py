"""DPO: the pairs that a real snapshot gives, TRL's loss on them against the formula, and the job."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest

from core.formats import steiner_tokens as t
from core.scoring.encoding import encode_messages, encode_prompt
from core.trace import problem_id_of
from storage.frozen import split_of
from storage.pairing import by_hand
from storage.pairs import add_pairs, canonical
from storage.queues.settings import Queue, save_queues
from storage.snapshots import freeze
from storage.store import Store
from tests.storage.helpers import Rater, make_trace, rate
from training import jobs
from training.kinds import dpo
from training.recipe import resolve_recipe
from training.rows import RowsError

SMALL = [
    "device=cpu",
    "threads=1",
    "min_steps=4",
    "batch=2",
    "accumulate=1",
    "learning_rate=1e-3",
    "checkpoint_every=100",
]
NAMES = ["Try 8 + 7", "Try 8 × 7", "Try 8 − 7"]


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose snapshot has branches rated apart, verdicts, a better step and compared traces, on both sides."""
    data = tmp_path_factory.mktemp("rated")
    every = [f"Reach {target} from 4, 7, 8 and 8." for target in range(10, 100)]
    sides = {side: [q for q in every if split_of(problem_id_of(q)) == side] for side in ("train", "test")}
    with Store.open(data / "store") as store:
        for prompt in [sides["test"][0], *sides["train"][:2]]:
            # Steps 1 and 2 both follow step 0: the better branch was entered by a turn back.
            good = make_trace((None, 0, 0), prompt=prompt, names=NAMES, model="a")
            poor = make_trace((None, 0), prompt=prompt, names=["Try 4 + 7", "Try 4 × 7"], model="b")
            rate(store, good, "ann", [1, -1, 1], verdict=1)
            rate(store, poor, "ann", [-1, None], verdict=-1)
        store.write(save_queues, Queue("pairs", "pairs", unit="pair")).result()
        pairs = store.read(lambda con: by_hand(con, "pairs", [(good.trace_id, poor.trace_id)]))
        store.write(add_pairs, pairs).result()
        taken = store.next_assignment("bob", "pairs")
        assert taken is not None
        hand = Rater(store, taken)
        for_good = -2.0 if canonical(good.trace_id, poor.trace_id)[0] == good.trace_id else 2.0
        hand.send("set", target="pair", dimension="preference", value=for_good)
        hand.submit()
        info = freeze(store, data / "snapshots", {}, "ann")
    (data / "id").write_text(info.snapshot_id)
    return data


def rows_of(rated: Path, tokenizer: Any, *overrides: str) -> dpo.Pairs:
    snapshot_id = (rated / "id").read_text()
    recipe = resolve_recipe("dpo", list(overrides), snapshot_id)
    return dpo.pair_rows(dpo.exported(rated / "snapshots" / snapshot_id, recipe), tokenizer, recipe)


def test_a_pair_of_branches_shares_what_was_written_before_it(rated: Path, tokenizer: Any) -> None:
    pairs = rows_of(rated, tokenizer, "pairs=branch")
    assert pairs.counts["pairs"] == pairs.counts["branch_pairs"] == 3
    for row in (*pairs.train, *pairs.test):
        prompt = tokenizer.decode(row.prompt)
        assert prompt.count(t.STEP_END) == 1, "the step that both follow"
        assert prompt.endswith(t.PROCEED)
        chosen, rejected = (tokenizer.decode(ids) for ids in (row.chosen, row.rejected))
        assert "8 − 7" in chosen and "8 × 7" in rejected
        assert chosen.startswith(t.STEP_START) and chosen.endswith(t.STEP_END), "a step, without end token"


def test_whole_responses_begin_at_the_question_and_end_with_the_end_token(rated: Path, tokenizer: Any) -> None:
    pairs = rows_of(rated, tokenizer, "pairs=verdict")
    for row in pairs.train:
        assert row.prompt == encode_prompt(tokenizer, "Reach")[:1] + row.prompt[1:]
        assert row.chosen[-1] == row.rejected[-1] == tokenizer.eos_token_id
        assert t.BACKTRACK in tokenizer.decode(row.chosen)
        assert t.BACKTRACK not in tokenizer.decode(row.rejected)


def test_compared_traces_are_pairs_as_raters_preferred(rated: Path, tokenizer: Any) -> None:
    rows = list(
        dpo.exported(rated / "snapshots" / (rated / "id").read_text(), resolve_recipe("dpo", ["pairs=compared"]))
    )
    assert [(row["source"], row["margin"]) for row in rows] == [("pair", 2.0)]
    assert "8 + 7" in rows[0]["chosen"] and "4 + 7" in rows[0]["rejected"]
    assert rows_of(rated, tokenizer, "pairs=all").counts["compared_pairs"] == 1


def test_a_pair_of_a_later_turn_is_asked_with_what_was_said_before(tokenizer: Any) -> None:
    said = [
        {"role": "user", "content": "Reach 24 from 4, 7, 8 and 8."},
        {"role": "assistant", "content": "7 × 4 − 8 + 4"},
    ]
    row = {
        "source": "verdict",
        "question": "Reach 25.",
        "prompt": "Reach 25.",
        "chosen": "a",
        "rejected": "b",
        "split": "train",
    }
    recipe = resolve_recipe("dpo", [], "snap")
    with_it, alone = (dpo.pair_rows(iter([{**row, "history": h}]), tokenizer, recipe).train[0] for h in (said, []))
    assert alone.prompt == encode_prompt(tokenizer, "Reach 25.")
    assert with_it.prompt == encode_messages(tokenizer, [*said, {"role": "user", "content": "Reach 25."}])
    assert with_it.prompt != alone.prompt
    assert (with_it.chosen, with_it.rejected) == (alone.chosen, alone.rejected)


def test_long_pairs_are_left_out_whole_and_nothing_left_is_a_sentence(rated: Path, tokenizer: Any) -> None:
    with pytest.raises(RowsError, match=r"None of the 3 pairs .* max_tokens = 16"):
        rows_of(rated, tokenizer, "pairs=branch", "max_tokens=16")
    with pytest.raises(RowsError, match="None of the 0 pairs"):
        rows_of(rated, tokenizer, "pairs=better")


def test_the_loss_of_trl_is_the_formula(rated: Path, tmp_path: Path, tiny_base: Path) -> None:
    """Rafailov et al. 2023, equation 7, from probabilities that are written out here."""
    trl = pytest.importorskip("trl")
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM

    from training.base_model import load_tokenizer

    tokenizer = load_tokenizer(tiny_base)
    rows = rows_of(rated, tokenizer, "pairs=all").train[:6]
    model, reference = (AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32) for _ in range(2))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for p in model.parameters():
            p += 0.05 * torch.randn(p.shape, generator=generator)
    settings = trl.DPOConfig(
        str(tmp_path),
        beta=0.3,
        max_length=None,
        use_cpu=True,
        bf16=False,
        report_to="none",
        gradient_checkpointing=False,
    )
    trainer = dpo.trainer_class()(
        model=model, ref_model=reference, args=settings, processing_class=tokenizer,
        train_dataset=Dataset.from_list([r.to_trl() for r in rows]),
    )  # fmt: skip
    model.eval()
    batch = trainer.data_collator([r.to_trl() for r in rows])
    with torch.no_grad():
        theirs = float(trainer.compute_loss(model, batch))
    margins = [0.3 * (chosen - rejected) for chosen, rejected in dpo.log_ratios(model, reference, rows)]
    assert max(map(abs, margins)) > 0.01, "the two models differ"
    assert theirs == pytest.approx(sum(math.log1p(math.exp(-m)) for m in margins) / len(margins), abs=1e-5)


def test_a_job_puts_pairs_right_and_leaves_the_reference_alone(rated: Path, tiny_base: Path) -> None:
    pytest.importorskip("trl")
    options = [*SMALL, f"base={tiny_base}", "pairs=branch"]
    folder = jobs.create_job(rated, "dpo", (rated / "id").read_text(), options)
    status = jobs.run_job(folder)
    assert status.state == "done", status.error
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-5), "at first the model is its own reference"
    assert rows[-1]["loss"] < 0.64
    assert all(a["step"] + 1 == b["step"] for a, b in itertools.pairwise(rows))
    assert {"rewards_accuracies", "rewards_margins"} <= set(rows[-1])
    assert status.figures["n_test_pairs"] == 1
    assert status.figures["pairs_right"] == 1.0
    assert status.figures["margin"] > 0
