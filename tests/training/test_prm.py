"""The loss, and that a reward model learns: AUC on held-out questions against the exact oracle, with its base rate."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from core.scoring.encoding import separator_id
from core.scoring.prm import PrmScorer, ScorerError, ScoringStopped, aggregate
from tests.training.synthetic import Labelled, examples, snapshot_rows, write_snapshot
from training.kinds.prm import PrmObjective, held_out_figures, new_prm, score_rows, step_loss, train
from training.packing import batch_of, outputs
from training.recipe import resolve_recipe
from training.rows import TokenRow, prm_rows, read_traces
from training.run_folder import JobStatus, Run, RunFolder

NAN = math.nan


def a_run(folder: Path) -> Run:
    folder.mkdir(parents=True)
    return Run(RunFolder(folder), JobStatus("job", "prm", "running", "snap"))


def some_rows(data_dir: Path, tokenizer: Any) -> list[TokenRow]:
    return list(
        prm_rows(read_traces(data_dir / "snapshots" / "snap"), tokenizer, resolve_recipe("prm", [], "snap")).train
    )


def test_the_loss_is_softmax_cross_entropy_for_hard_labels() -> None:
    import torch

    logits = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0))
    hard = torch.tensor([[1.0, NAN, 0.0, NAN, NAN], [NAN, 0.0, NAN, NAN, 1.0]])
    known = ~hard.isnan()
    expected = torch.nn.functional.cross_entropy(logits[known], hard[known].long(), reduction="sum")
    assert step_loss(logits[known], hard[known]).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_soft_label_is_the_mean_of_the_hard_ones() -> None:
    import torch

    logits = torch.tensor([[0.3, -0.7]])
    losses = [step_loss(logits, torch.tensor([y])).item() for y in (0.0, 0.25, 1.0)]
    assert losses[1] == pytest.approx(0.75 * losses[0] + 0.25 * losses[2], rel=1e-6)


def test_only_labelled_positions_are_judged_however_the_rows_lie() -> None:
    objective = PrmObjective()
    rows = [TokenRow([5, 6, 7], [NAN, 1.0, 0.0], "a", "p"), TokenRow([8, 9], [NAN, 0.25], "b", "p")]
    packed, padded = (batch_of(rows, objective, packed=p) for p in (True, False))
    assert packed.ids.tolist() == [[5, 6, 7, 8, 9]]
    assert packed.at.tolist() == [1, 2, 4]
    assert padded.ids.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert padded.at.tolist() == [1, 2, 4]  # in the flattened batch
    assert packed.targets.tolist() == padded.targets.tolist() == [1.0, 0.0, 0.25]


def test_padding_and_neighbours_in_a_batch_change_nothing(data_dir: Path, tiny_base: Path, tokenizer: Any) -> None:
    import torch

    rows = sorted(some_rows(data_dir, tokenizer), key=lambda r: len(r.ids))
    short, long = rows[0], rows[-1]
    assert len(short.ids) < len(long.ids)
    objective = PrmObjective()
    model = new_prm(tiny_base, tokenizer, seed=1)
    with torch.no_grad():
        together, *alone = (
            outputs(model, batch_of(some, objective, packed=False), objective)
            for some in ([short, long], [short], [long])
        )
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_no_dropout_in_the_head(tiny_base: Path, tokenizer: Any) -> None:
    """The default of `*ForTokenClassification` drops a tenth of what the head sees, while training only."""
    import torch

    model = new_prm(tiny_base, tokenizer, seed=1).train()
    ids = torch.tensor([tokenizer("Reach 24 from 4, 7, 8 and 8.").input_ids])
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_undefined_figures_are_said_and_not_numbered(data_dir: Path, tiny_base: Path, tokenizer: Any) -> None:
    assert held_out_figures([])["auc"].startswith("undefined: no rated step is in the test split")
    model = new_prm(tiny_base, tokenizer, seed=1)
    rows = [
        TokenRow(r.ids, [1.0 if y == y else y for y in r.labels], r.trace_id, r.problem_id)
        for r in some_rows(data_dir, tokenizer)
    ]
    figures = held_out_figures(score_rows(model, rows, separator_id(tokenizer)))
    assert figures["auc"] == "undefined: all rated steps of the test split carry the same label"
    assert figures["base_rate"] == 1.0


def balanced(n: int, seed: int, longest: int) -> list[Labelled]:
    """Searches that hold both good and bad steps."""
    found = [e for e in examples(4 * n, seed=seed, longest=longest) if len(set(e.ratings)) == 2]
    return found[:n]


@pytest.mark.slow
def test_a_reward_model_learns_which_steps_can_still_reach_the_target(
    tmp_path: Path, learned_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels come from the exact oracle, questions of the test split are never trained on.

    Measured with three seeds: 0.995 to 0.998 from the pocket model, 0.992 to 0.999 from the small one of the fixture.
    Without skill the AUC is 0.5 whatever the base rate.
    """
    folder = write_snapshot(tmp_path, snapshot_rows(balanced(120, seed=21, longest=8), test_every=3))
    recipe = resolve_recipe("prm", ["epochs=2", "threads=1", f"base={learned_base}"], "snap")
    run = a_run(tmp_path / "jobs" / "one")
    figures = train(folder, recipe, run).figures
    with capsys.disabled():
        print(
            f"\n    held-out AUC {figures['auc']} (95 %: {figures['auc_95']}), base rate {figures['base_rate']}, "
            f"{figures['n_test_steps']} steps of {figures['n_test_traces']} traces"
        )
    assert figures["n_test_steps"] > 100
    assert 0.1 < figures["base_rate"] < 0.9
    assert figures["auc"] > 0.8
    assert figures["auc_95"][0] > 0.7

    # What was saved scores as what was measured, and reads the raw pieces of a trace.
    scorer = PrmScorer(run.folder.path / "model")
    held_out = [tr for tr in read_traces(folder) if tr.split == "test"]
    found = scorer.score_many([(tr.prompt, tr.step_texts) for tr in held_out])
    scores = [s for row in found for s in row]
    labels = [float(r > 0) for tr in held_out for r in tr.judgements[0].ratings]
    from training.metrics import auc

    assert auc(scores, labels) == pytest.approx(figures["auc"], abs=2e-3)
    assert len(scorer.version) == 12


# -------------------------------------------------------------------------------------------------------------- scorer


@pytest.fixture(scope="module")
def scorer_folder(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, tokenizer: Any) -> Path:
    from training.base_model import save_model

    folder = tmp_path_factory.mktemp("scorer") / "model"
    save_model(new_prm(tiny_base, tokenizer, seed=4), tokenizer, folder)
    return folder


def test_scores_do_not_depend_on_what_else_is_in_the_batch(scorer_folder: Path) -> None:
    scorer = PrmScorer(scorer_folder, batch_tokens=600)
    traces = [(e.walk.prompt, e.step_texts) for e in examples(9, longest=8)]
    together = scorer.score_many(traces)
    for (prompt, texts), scores in zip(traces, together, strict=True):
        assert len(scores) == len(texts)
        assert scores == pytest.approx(scorer.score(prompt, texts), abs=1e-5)
        assert all(0.0 < s < 1.0 for s in scores)
    assert scorer.score("Reach 24 from 4, 7, 8 and 8.", []) == []


def test_scoring_stops_between_two_passes(scorer_folder: Path) -> None:
    scorer = PrmScorer(scorer_folder, batch_tokens=600)
    asked: list[int] = []
    with pytest.raises(ScoringStopped):
        scorer.score_many(
            [(e.walk.prompt, e.step_texts) for e in examples(9, longest=8)],
            stopped=lambda: bool(asked) or asked.append(1),  # type: ignore[func-returns-value]
        )
    assert asked == [1]


def test_a_trace_longer_than_the_model_reads_is_scored_whole(scorer_folder: Path) -> None:
    scorer = PrmScorer(scorer_folder)
    example = max(examples(60), key=lambda e: len(e.step_texts))
    assert len(example.step_texts) > 20
    whole = scorer.score(example.walk.prompt, example.step_texts)
    scorer.max_tokens = 250
    windows = scorer.score(example.walk.prompt, example.step_texts)
    assert len(windows) == len(whole)
    assert not any(map(math.isnan, windows))
    assert windows[:3] == pytest.approx(whole[:3], abs=1e-5)  # the first window sees the same


def test_a_folder_that_cannot_score_is_a_sentence(tmp_path: Path, tiny_base: Path) -> None:
    with pytest.raises(ScorerError, match=r"config\.json is missing"):
        PrmScorer(tmp_path)


def test_aggregations() -> None:
    scores = [0.9, 0.5, 0.8]
    assert aggregate(scores, "prod") == pytest.approx(0.36)
    assert aggregate(scores, "min") == 0.5
    assert aggregate(scores, "last") == 0.8
    assert aggregate(scores, "mean") == pytest.approx(2.2 / 3)
    with pytest.raises(ValueError, match="no scored step"):
        aggregate([], "min")
    with pytest.raises(ValueError, match="prod, min, last, mean"):
        aggregate(scores, "median")  # type: ignore[arg-type]
