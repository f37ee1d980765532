"""RL as a job: rollouts, per-step advantages in TRL's loss, and that a job stops, resumes and ends with a cause."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.formats import parse_response
from core.scoring.encoding import encode_prompt
from core.tasks import countdown_text as words
from training import jobs
from training.kinds import rl
from training.recipe import resolve_recipe
from training.rewards.rollout import ANSWER, Rollout
from training.rollouts import sample
from training.rows import RowsError
from training.run_folder import JobError, JobStatus, Run, RunFolder

SMALL = [
    "questions=8", "min_steps=3", "group=2", "batch=4", "max_tokens=70", "held_out=4", "device=cpu", "threads=1",
    "checkpoint_every=100", "learning_rate=1e-3",
]  # fmt: skip


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def model(learned_base: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(learned_base, dtype=torch.float32)


def test_rollouts_are_what_the_model_would_say_alone(model: Any, learned_base: Path) -> None:
    """Greedy, in company that ends at other times, against transformers' own loop."""
    import torch

    from training.base_model import load_tokenizer

    tokenizer = load_tokenizer(learned_base)
    heads = [encode_prompt(tokenizer, p) for p in rl.game_questions(5, 3)]
    limits = {"max_tokens": 40, "eos": tokenizer.eos_token_id, "vocabulary": len(tokenizer)}
    found = sample(model, heads, temperature=0.0, seed=1, **limits)
    for head, ids in zip(heads, found, strict=True):
        alone = model.generate(torch.tensor([head]), max_new_tokens=40, do_sample=False)[0, len(head) :].tolist()
        assert ids == alone
    drawn = [sample(model, heads, temperature=1.0, seed=s, **limits) for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_questions_are_of_the_training_side_and_held_out_ones_never() -> None:
    assert not any(words.understand(q).held_out for q in rl.game_questions(100, 1))
    held_out = [words.understand(q) for q in rl.held_out_questions(100)]
    assert all(q.held_out for q in held_out)
    assert len({q.key for q in held_out}) == 100
    assert {len(words.understand(q).numbers) for q in rl.game_questions(20, 1, 3)} == {3}
    three = rl.held_out_questions(500, 3)
    assert (len(three), len(set(three))) == (500, 212)
    assert three[:212] == three[212:424]


def test_other_questions_want_a_reward_model(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = data_dir / "snapshots" / "snap"
    recipe = resolve_recipe("rl", ["questions=0"], "snap")
    assert rl.questions_of(snapshot, recipe)
    real = rl.read_traces
    monkeypatch.setattr(rl, "read_traces", lambda s: [replace(t, prompt="Prove it.") for t in real(s)])
    with pytest.raises(RowsError, match="not the numbers game"):
        rl.questions_of(snapshot, recipe)
    alone = resolve_recipe("rl", ["questions=0", "dag_reward=0.0", "outcome_reward=0.0", "prm_reward=1.0"], "snap")
    assert rl.questions_of(snapshot, alone) == ["Prove it."]


def test_a_reward_model_gives_each_step_its_score(tmp_path: Path, tiny_base: Path) -> None:
    from core.scoring.prm import PrmScorer
    from training.base_model import load_tokenizer
    from training.rewards.rollout import read
    from training.synthesis.countdown import walks

    tokenizer = load_tokenizer(tiny_base)
    scorer = PrmScorer(prm_in(tmp_path / "prm", tiny_base))
    walk = next(walks(2))
    rollout = read(tokenizer, walk.prompt, tokenizer(walk.response, add_special_tokens=False).input_ids)
    recipe = resolve_recipe("rl", ["dag_reward=0.0", "outcome_reward=0.0", "prm_reward=2.0"])
    scores = scorer.score(walk.prompt, rollout.step_texts)
    assert rl.Rewards(recipe, scorer).steps([rollout]) == [pytest.approx([2 * s for s in scores])]
    assert rl.Rewards(recipe, scorer).wholes([rollout]) == [0.0]


def prm_in(folder: Path, base: Path) -> Path:
    """A reward model with a head of chance."""
    import torch
    from transformers import AutoModelForTokenClassification

    from training.base_model import fit_vocabulary, load_tokenizer, save_model

    torch.manual_seed(1)
    tokenizer = load_tokenizer(base)
    net = AutoModelForTokenClassification.from_pretrained(base, num_labels=2)
    fit_vocabulary(net, tokenizer)
    save_model(net, tokenizer, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("questions", "figure"), [("the game", "solved"), ("others", "score")])
def test_it_is_measured_by_what_it_is_trained_on(
    data_dir: Path, tmp_path: Path, learned_base: Path, questions: str, figure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Solved tries are counted whatever is rewarded; where nobody can tell, the reward model's own score of held-out questions is."""
    pytest.importorskip("trl")
    asked: list[list[str]] = []
    real_measure, real_traces = rl.measure, rl.read_traces

    def measure(model: Any, tokenizer: Any, prompts: Any, *rest: Any) -> Any:
        asked.append(list(prompts))
        return real_measure(model, tokenizer, prompts, *rest)

    monkeypatch.setattr(rl, "measure", measure)
    if figure == "score":
        # Such that the game's rules cannot read it, on both sides of the split.
        monkeypatch.setattr(
            rl, "read_traces", lambda s: [replace(t, prompt=f"Prove lemma {t.trace_id}.") for t in real_traces(s)]
        )
    how = [
        *SMALL, f"base={learned_base}", "questions=0", "dag_reward=0.0", "outcome_reward=0.0", "prm_reward=1.0",
        f"prm={prm_in(tmp_path / 'prm', learned_base)}", "min_steps=1",
    ]  # fmt: skip
    folder = jobs.create_job(data_dir, "rl", "snap", how)
    status = jobs.run_job(folder)
    assert status.state == "done", status.error
    assert {f"{figure}_before", f"{figure}_after", "gain", "gain_95", "backtracks_after"} <= set(status.figures)
    rows = jobs.metrics_after(folder)
    assert all(("solved" in row) == (figure == "solved") for row in rows)
    if figure == "score":
        test = {t.prompt for t in rl.read_traces(data_dir / "snapshots" / "snap") if t.split == "test"}
        assert set(asked[0]) <= test and asked[0] == asked[1] and len(asked[0]) == 4
        assert 0 < status.figures["score_before"] < 1
        assert "solved_after" not in status.figures


def test_tries_that_solve_are_counted_though_the_outcome_is_not_rewarded(data_dir: Path) -> None:
    pytest.importorskip("trl")
    trace = next(t for t in rl.read_traces(data_dir / "snapshots" / "snap") if t.solved)
    steps, _, answer, _ = parse_response(trace.prompt, trace.response)
    rollout = Rollout(trace.prompt, trace.response, tuple(steps), answer, (ANSWER,), True)
    trainer = SimpleNamespace(
        _metrics={"train": defaultdict(list)}, rewards=rl.Rewards(resolve_recipe("rl", ["outcome_reward=0.0"]))
    )
    rl.trainer_class()._tell(trainer, [rollout])
    assert trainer._metrics["train"]["solved"] == [1.0]


def test_the_paired_interval_is_that_of_the_differences() -> None:
    mean, (low, high) = rl.paired_interval([False, False, True, True], [True, False, True, True], list("abcd"))
    assert mean == 0.25
    assert (low, high) == pytest.approx((0.25 - 1.96 * 0.25, 0.25 + 1.96 * 0.25))
    twice = rl.paired_interval([False, False, True, True] * 2, [True, False, True, True] * 2, list("abcd") * 2)
    assert twice == (mean, (low, high)), "asking again makes nothing surer"


def test_the_loss_is_the_advantage_times_the_log_probability_of_exactly_those_tokens(
    tmp_path: Path, tiny_base: Path
) -> None:
    """TRL's gradient for (B, T) advantages against one written out."""
    trl = pytest.importorskip("trl")
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM

    from training.base_model import load_tokenizer
    from training.watch import arguments

    recipe = resolve_recipe("rl", SMALL)
    run = Run(RunFolder(tmp_path), JobStatus("job", "rl", "running", ""))
    tokenizer = load_tokenizer(tiny_base)
    net = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    settings = trl.GRPOConfig(**arguments(recipe, run, torch.device("cpu")), max_steps=1, num_generations=2, beta=0.0)
    trainer = rl.trainer_class()(
        model=net, reward_funcs=[rl._unused], args=settings, processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": ["a", "b"]}),
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    heads, made = [[5, 6, 7], [8]], [[9, 10, 11, 12], [13, 14]]
    advantages = [[0.0, 0.5, 0.5, -1.0], [2.0, 0.0]]
    net.train()
    trainer._compute_loss(net, rl.tensors(heads, made, advantages, tokenizer.pad_token_id)).backward()
    found = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    total = torch.zeros(())
    for head, ids, values in zip(heads, made, advantages, strict=True):
        log_p = net(input_ids=torch.tensor([head + ids])).logits[0, len(head) - 1 : -1].log_softmax(-1)
        total = total - (log_p.gather(1, torch.tensor(ids)[:, None])[:, 0] * torch.tensor(values)).sum() / 6
    total.backward()
    for name, p in net.named_parameters():
        torch.testing.assert_close(found[name], p.grad, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.slow
def test_a_job_learns_stops_and_resumes_to_the_same_weights(tmp_path: Path, learned_base: Path) -> None:
    pytest.importorskip("trl")
    import torch
    from safetensors.torch import load_file

    whole = jobs.create_job(tmp_path / "a", "rl", "", [*SMALL, f"base={learned_base}"])
    status = jobs.run_job(whole)
    assert status.state == "done", status.error
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    guards = {"tokens", "steps", "well_formed", "repeated", "backtracks", "finished", "solved", "step_reward"}
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(guards <= set(row) for row in rows)
    assert {"solved_before", "solved_after", "gain_95", "backtracks_before", "backtracks_after"} <= set(status.figures)

    reused = jobs.create_job(tmp_path / "c", "rl", "", [*SMALL, "reuse=2", "held_out=0", f"base={learned_base}"])
    assert jobs.run_job(reused).state == "done"
    tried = [jobs.read_status(folder).figures["n_rollouts"] for folder in (whole, reused)]
    assert tried[0] == tried[1], "every question is tried as often, with two steps on each batch"
    assert jobs.read_status(reused).step == 8

    broken = jobs.create_job(tmp_path / "b", "rl", "", [*SMALL, f"base={learned_base}"])

    def stop_at_two(now: JobStatus) -> None:
        if now.step == 2:
            RunFolder(broken).request_stop()

    assert jobs.run_job(broken, stop_at_two).state == "stopped"
    assert jobs.run_job(broken).state == "done"
    one, two = weights(whole), weights(broken)
    base = load_file(learned_base / "model.safetensors")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], base[name]) for name in one)


def test_weights_that_run_away_end_the_job_with_the_cause(tmp_path: Path, learned_base: Path) -> None:
    pytest.importorskip("trl")
    folder = jobs.create_job(
        tmp_path, "rl", "", [*SMALL, f"base={learned_base}", "learning_rate=1e30", "held_out=0", "warmup=0.0"]
    )
    status = jobs.run_job(folder)
    assert status.state == "failed"
    assert "--set learning_rate=1e+29" in status.error


def test_what_cannot_be_trained_is_a_sentence(tmp_path: Path, tiny_base: Path) -> None:
    pytest.importorskip("trl")
    run = Run(RunFolder(tmp_path), JobStatus("job", "rl", "running", ""))
    with pytest.raises(JobError, match="multiple of group"):
        rl.train(None, resolve_recipe("rl", [*SMALL, "group=3"]), run)
    with pytest.raises(JobError, match="--set prm="):
        rl.train(None, resolve_recipe("rl", [*SMALL, "prm_reward=1.0"]), run)


def test_without_trl_the_job_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(JobError, match=r"worldline\[rl\]"):
        rl.trainer_class()


def test_bfloat16_needs_no_gpu(tmp_path: Path) -> None:
    """The trainer refuses it without one unless it is told outright that the CPU is meant."""
    trl = pytest.importorskip("trl")
    import torch

    from training.watch import arguments

    recipe = resolve_recipe("rl", [*SMALL, "dtype=bfloat16"])
    run = Run(RunFolder(tmp_path), JobStatus("job", "rl", "running", ""))
    settings = trl.GRPOConfig(**arguments(recipe, run, torch.device("cpu")), max_steps=1, num_generations=2)
    assert settings.bf16


def test_too_few_questions_for_a_step_are_said_before_anything_is_measured(tmp_path: Path, tiny_base: Path) -> None:
    pytest.importorskip("trl")
    folder = jobs.create_job(tmp_path, "rl", "", [*SMALL, "questions=1", f"base={tiny_base}"])
    status = jobs.run_job(folder)
    assert (status.state, status.error.split(".")[0]) == (
        "failed", "There are 1 questions, and a step takes 2 (batch × accumulate / group)",
    )  # fmt: skip
    assert not (folder / "before.json").exists()
