"""A process reward model from step ratings: a language model with two labels, read at a separator after each step.

Loss: binary cross-entropy on the difference of the two logits. For hard labels this *is* the softmax cross-entropy, so
the checkpoint stays an ordinary `*ForTokenClassification` that Hugging Face and vLLM (`STEP` pooling) read; soft labels
(raters who disagree) fit in as they are. NaN means no loss. Warm-started from the language model, because a small
scorer with random weights learns little from a few hundred traces. Setup after Lightman et al. 2023 and TRL's former
PRMTrainer.

Knows rows and a run; knows no snapshot format and no process.

A batch is padded only to be measured; in training rows lie end to end (`packing.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from core.pretrained import library
from training.base_model import base_folder, fit_vocabulary, load_tokenizer, load_weights, save_model
from training.kind import Card, Kind, Outcome, in_words
from training.loop import fit
from training.metrics import ScoredTrace, auc, auc_interval, first_error_f1, judged
from training.recipe import Recipe
from training.rows import Rows, TokenRow, prm_rows, read_traces
from training.run_folder import Run

# Padded tokens in one forward pass of the evaluation.
EVAL_TOKENS = 8192


class PrmRecipe(Recipe):
    """A process reward model from step ratings."""

    kind: ClassVar[str] = "prm"
    neutral_as: Literal["good", "bad", "ignore"]
    stop_at_first_error: bool
    disagreement: Literal["soft", "drop"]
    shares: Literal["soft", "hard", "any"]


@dataclass(frozen=True)
class PrmObjective:
    """See `training.packing.Objective`. Outputs (N, 2) at the labelled positions, targets (N,) in [0, 1]."""

    causal_lm: ClassVar[bool] = False

    def targets(self, row: TokenRow) -> tuple[list[int], list[float]]:
        at = [i for i, y in enumerate(row.labels) if not math.isnan(y)]
        return at, [row.labels[i] for i in at]

    def loss_sum(self, outputs_NC: Any, targets_N: Any) -> Any:
        return step_loss(outputs_NC, targets_N)


def step_loss(logits_N2: Any, labels_N: Any) -> Any:
    """Summed cross-entropy of P(good) = sigmoid(logit 1 − logit 0) with hard or soft labels."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(logits_N2[:, 1] - logits_N2[:, 0], labels_N, reduction="sum")


def new_prm(base: Path, tokenizer: Any, seed: int) -> Any:
    """The base model with a fresh head."""
    import torch

    torch.manual_seed(seed)
    config = library().AutoConfig.from_pretrained(
        base, num_labels=2, id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1}
    )
    # It must be said, and as an attribute (not every configuration knows the key): the default drops 10 % of what the
    # head sees.
    config.classifier_dropout = 0.0
    model = load_weights("AutoModelForTokenClassification", base, fresh_head=True, config=config)
    fit_vocabulary(model, tokenizer)
    return model


def score_rows(model: Any, rows: Sequence[TokenRow], separator: int, run: Run | None = None) -> list[ScoredTrace]:
    """P(good) at each separator of each row, in the order of the rows."""
    import torch

    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    out: dict[int, ScoredTrace] = {}
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    batch: list[int] = []

    def flush() -> None:
        if run is not None:
            run.check_stop()
        longest = max(len(rows[i].ids) for i in batch)
        ids_BT = torch.zeros((len(batch), longest), dtype=torch.long)
        for row, i in enumerate(batch):
            ids_BT[row, : len(rows[i].ids)] = torch.tensor(rows[i].ids)
        with torch.inference_mode():
            logits_BT2 = model(input_ids=ids_BT.to(device), use_cache=False).logits
        good_BT = torch.sigmoid(logits_BT2[..., 1] - logits_BT2[..., 0]).cpu()
        for row, i in enumerate(batch):
            at = [p for p, token in enumerate(rows[i].ids) if token == separator]
            out[i] = ScoredTrace(
                rows[i].problem_id, [float(good_BT[row, p]) for p in at], [rows[i].labels[p] for p in at]
            )
        batch.clear()

    for i in order:
        if batch and (len(batch) + 1) * len(rows[i].ids) > EVAL_TOKENS:
            flush()
        batch.append(i)
    if batch:
        flush()
    model.train(was_training)
    return [out[i] for i in range(len(rows))]


def held_out_figures(scored: Sequence[ScoredTrace]) -> dict[str, Any]:
    """What `status.figures` says: AUC never without the base rate, and a sentence where a number would mean nothing."""
    scores, labels = judged(scored)
    figures: dict[str, Any] = {"n_test_traces": len(scored), "n_test_steps": len(labels)}
    area = auc(scores, labels)
    if not labels:
        figures["auc"] = "undefined: no rated step is in the test split (a tenth of the questions; rate more of them)"
        figures["base_rate"] = None
    else:
        figures["base_rate"] = round(sum(labels) / len(labels), 4)
        figures["auc"] = (
            "undefined: all rated steps of the test split carry the same label" if area is None else round(area, 4)
        )
    interval = auc_interval(scored)
    if interval is not None:
        figures["auc_95"] = [round(end, 4) for end in interval]
    f1 = first_error_f1(scored)
    if labels:
        figures["first_error_f1"] = (
            "undefined: it needs held-out traces with a bad step and held-out traces without one"
            if f1 is None
            else round(f1, 4)
        )
    return figures


def rows_of(snapshot: Path | None, recipe: PrmRecipe, most: int | None = None) -> tuple[Rows, Any]:
    """See `training.kind.Kind`."""
    assert snapshot is not None
    tokenizer = load_tokenizer(base_folder(recipe.base))
    return prm_rows(read_traces(snapshot, most), tokenizer, recipe), tokenizer


def train(snapshot: Path | None, recipe: PrmRecipe, run: Run) -> Outcome:
    """Train on the train split, measure on the test split, save to the run's `model/`."""
    from core.scoring.encoding import separator_id

    run.phase("reading the snapshot")
    rows, tokenizer = rows_of(snapshot, recipe)
    return train_scorer(rows, base_folder(recipe.base), tokenizer, separator_id(tokenizer), recipe, run)


def train_scorer(rows: Rows, base: Path, tokenizer: Any, separator: int, recipe: Recipe, run: Run) -> Outcome:
    """Train a two-label head on rows, and measure it at the separators of the held-out ones."""
    run.say(f"{len(rows.train)} traces to train on, {len(rows.test)} held out ({in_words(rows.counts)})")
    labels = [y for row in rows.train for y in row.labels if not math.isnan(y)]
    warnings = warn(rows, labels, tokenizer)
    for warning in warnings:
        run.say(f"warning: {warning}")
    run.phase("loading the base model")
    model = new_prm(base, tokenizer, recipe.seed)
    model = fit(model, rows.train, PrmObjective(), recipe, run)
    run.phase("measuring on held-out steps")
    figures = held_out_figures(score_rows(model, rows.test, separator, run))
    figures |= {
        "n_train_traces": len(rows.train),
        "n_train_steps": len(labels),
        "train_base_rate": round(sum(labels) / len(labels), 4),
    }
    if warnings:
        figures["warnings"] = warnings
    run.phase("saving the model")
    save_model(model, tokenizer, run.folder.path / "model")
    return Outcome(figures, rows.counts)


def warn(rows: Rows, labels: Sequence[float], tokenizer: Any) -> list[str]:
    """What a person should know before trusting the result."""
    found = []
    if len(set(labels)) == 1:
        word = "good" if labels[0] > 0.5 else "bad"
        found.append(
            f"All {len(labels)} training labels are {word}: the scorer can learn nothing but that. Rate both kinds."
        )
    if rows.counts.get("steps_over_max_tokens"):
        found.append(f"{rows.counts['steps_over_max_tokens']} steps lie beyond max_tokens and were left out.")
    unknown = tokenizer.unk_token_id
    if unknown is not None:
        share = sum(row.ids.count(unknown) for row in rows.train) / sum(len(row.ids) for row in rows.train)
        if share > 0.02:
            found.append(f"{share:.0%} of the tokens are unknown to the base model: it was not made for these traces.")
    return found


KIND = Kind(
    name="prm",
    title="Process reward model",
    does="learns to score each step from the ratings",
    recipe=PrmRecipe,
    train=train,
    rows=rows_of,
    used_as="scorer",
    hint="epochs=2\nlearning_rate=1e-3\nneutral_as=good",
    card=Card(
        tag="token-classification",
        use="""\
Scores each step of a reasoning trace with P(good), read at `<|step_score|>` after the step (`*ForTokenClassification`,
label 0 bad, 1 good). In Python:

    from core.scoring.prm import PrmScorer, aggregate
    scores = PrmScorer("model").score(prompt, step_texts)   # step_texts: the raw pieces response[start:end]
    aggregate(scores, "min")

vLLM serves the folder as a pooling model:
`PoolerConfig(tok_pooling_type="STEP", step_tag_id=<id of <|step_score|>>)`.""",
        figures=(
            "auc: the chance that a good held-out step scores above a bad one (0.5: no skill). base_rate: the share of "
            "good steps; guessing the commoner kind every time would be right as often as that kind is common. auc_95: "
            "resampled over questions. first_error_f1: as in ProcessBench."
        ),
        limits="""\
It imitates whoever judged the steps that it saw ("labels by" above), on traces like those. The held-out figures are from
other questions of the same snapshot: they say nothing of other tasks, and with few held-out steps the interval is wide.""",
    ),
)
