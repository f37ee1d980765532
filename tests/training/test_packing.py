"""Packed rows are as if alone, and however a step is cut into batches and processes, it is the same step."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.synthetic import examples, snapshot_rows, write_snapshot
from training.flops import multiplied_parameters, row_flops
from training.kinds.prm import PrmObjective, new_prm
from training.kinds.sft import NextToken
from training.loop import fit, make_plan
from training.packing import batch_of, outputs, packs_cleanly, row_attention
from training.recipe import resolve_recipe
from training.rows import IGNORE, TokenRow, prm_rows, read_traces, sft_rows
from training.run_folder import JobStatus, Run, RunFolder


@pytest.fixture(scope="module")
def language_model(tiny_base: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).eval()


def random_row(rng: random.Random, length: int, labelled: float = 0.5) -> TokenRow:
    ids = [rng.randrange(3, 60) for _ in range(length)]
    return TokenRow(ids, [i if rng.random() < labelled else IGNORE for i in ids], "t", "p")


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_packed_row_gives_what_it_gives_alone(language_model: Any, lengths: list[int], seed: int) -> None:
    import torch

    rng, objective = random.Random(seed), NextToken()
    rows = [random_row(rng, n) for n in lengths]
    with torch.no_grad():
        alone = torch.cat([outputs(language_model, batch_of([r], objective, packed=False), objective) for r in rows])
        padded = outputs(language_model, batch_of(rows, objective, packed=False), objective)
        with row_attention(language_model):
            packed = outputs(language_model, batch_of(rows, objective, packed=True), objective)
    assert packed.shape == alone.shape
    assert torch.allclose(packed, alone, atol=1e-5)
    assert torch.allclose(padded, alone, atol=1e-5)


@pytest.mark.parametrize("changes", [{"num_key_value_heads": 1}, {"sliding_window": 5}])
def test_grouped_heads_and_sliding_windows_are_kept(changes: dict[str, int]) -> None:
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    shape = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    config = MistralConfig(
        **shape, num_attention_heads=4, **({"num_key_value_heads": 4, "sliding_window": None} | changes)
    )
    model = MistralForCausalLM(config).eval()
    rng, objective = random.Random(1), NextToken()
    rows = [random_row(rng, n) for n in (9, 14, 3)]
    with torch.no_grad():
        alone = torch.cat([outputs(model, batch_of([r], objective, packed=False), objective) for r in rows])
        with row_attention(model):
            packed = outputs(model, batch_of(rows, objective, packed=True), objective)
    assert torch.allclose(packed, alone, atol=1e-5)
    assert packs_cleanly(model, rows, objective)


def test_a_model_that_carries_a_state_over_the_batch_is_found_out() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    model = MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, state_size=4))
    rng = random.Random(2)
    assert not packs_cleanly(model, [random_row(rng, n) for n in (6, 9)], NextToken())


def test_no_logits_are_made_where_nothing_is_judged(language_model: Any) -> None:
    import torch

    rows = [random_row(random.Random(3), n, labelled=0.2) for n in (50, 30)]
    seen: list[int] = []
    hook = language_model.lm_head.register_forward_hook(lambda m, args, out: seen.append(out.shape[1]))
    with torch.no_grad(), row_attention(language_model):
        outputs(language_model, batch_of(rows, NextToken(), packed=True), NextToken())
    hook.remove()
    assert seen == [sum(y != IGNORE for row in rows for y in row.labels[1:])]


@pytest.mark.parametrize("kind", ["prm", "sft"])
def test_eight_at_once_two_times_four_and_eight_times_one_are_the_same_step(
    kind: str, tmp_path: Path, tiny_base: Path, tokenizer: Any
) -> None:
    """Labels are counted over the whole step, so that traces of different length weigh the same in all."""
    import torch
    from transformers import AutoModelForCausalLM

    data = snapshot_rows(examples(20, longest=6))
    for row in data:
        row["verdict"] = 1
    traces = read_traces(write_snapshot(tmp_path, data))
    trained = []
    for batch, accumulate, packing in ((8, 1, "true"), (4, 2, "true"), (1, 8, "true"), (4, 2, "false")):
        given = [f"batch={batch}", f"accumulate={accumulate}", f"packing={packing}", "epochs=2", "min_steps=1"]
        recipe = resolve_recipe(kind, [*given, "learning_rate=1e-2"], "snap")
        if kind == "prm":
            rows, objective = prm_rows(traces, tokenizer, recipe).train, PrmObjective()
            model = new_prm(tiny_base, tokenizer, seed=1)
        else:
            rows, objective = sft_rows(traces, tokenizer, recipe).train, NextToken()
            model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
        folder = tmp_path / f"run-{len(trained)}"
        folder.mkdir()
        run = Run(RunFolder(folder), JobStatus("job", kind, "running", "snap"))
        # In double precision: Adam makes steps of one size out of gradients that are rounding errors, and those are the processor's.
        trained.append(fit(model.double(), rows, objective, recipe, run).state_dict())
    start = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).state_dict()
    assert (
        max((trained[0][n] - start[n]).abs().max().item() for n in start if n in trained[0]) > 1e-2
    )  # something moved
    for other in trained[1:]:
        for name, weights in trained[0].items():
            assert torch.allclose(weights, other[name], rtol=0, atol=1e-9), name


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 3), st.integers(1, 7), st.integers(0, 9))
def test_a_plan_reads_every_row_once_a_pass(lengths: list[int], passes: int, a_step: int, seed: int) -> None:
    plan = make_plan(lengths, passes, a_step, seed)
    assert sorted(plan) == sorted(list(range(len(lengths))) * passes)
    assert plan == make_plan(lengths, passes, a_step, seed)


def test_flops_are_those_that_torch_counts(language_model: Any) -> None:
    """Against torch's own counter of a forward and backward pass; it counts all of attention, we half of it."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    n = 64
    ids = torch.randint(3, 60, (1, n))
    language_model.train()
    language_model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        language_model(input_ids=ids, labels=ids).loss.backward()
    language_model.set_attn_implementation("sdpa")
    language_model.zero_grad()
    language_model.eval()
    config = language_model.config
    shape = multiplied_parameters(language_model), config.num_hidden_layers, config.hidden_size
    unseen = 12 * config.num_hidden_layers * config.hidden_size * n * (n - 1) / 2
    assert row_flops(*shape, [n]) + unseen == pytest.approx(counter.get_total_flops(), rel=0.03)
