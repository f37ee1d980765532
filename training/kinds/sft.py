"""Supervised fine-tuning on the traces that people approved: next-token loss on the response, never on the question.

Of the whole model, or (`lora_rank`) of low-rank pairs beside it (`training/lora.py`); with new tokens (`training/new_tokens.py`)
the saved tables are compared with the first ones, and the job fails when another row moved than may have.
Which traces and which of their tokens is decided in `rows.py`. Reports the mean loss per token on held-out traces
before and after. Knows rows and a run; knows no snapshot format and no process. Simplified: the logits of all labelled
tokens of a forward pass are there at once, so with a large vocabulary `batch` is what memory allows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from training.base_model import base_folder, load_tokenizer, load_weights, save_model
from training.conversations import GivenAs
from training.kind import Card, Kind, Outcome, in_words
from training.loop import fit
from training.lora import add_lora, merge, save_adapter
from training.new_tokens import (
    add_to_tokenizer,
    first_tables,
    place,
    prove,
    read_descriptions,
    saved_tables,
    token_files,
    train_rows_alone,
)
from training.packing import batch_of, outputs
from training.recipe import Recipe
from training.rows import IGNORE, Rows, TokenRow, read_traces, sft_rows
from training.run_folder import Run, write_atomically
from training.topology import device_of, local_rank

EVAL_TRACES = 4


class LanguageRecipe(Recipe):
    """What next-token training has in common."""

    new_tokens: list[str]
    lora_rank: Annotated[int, Field(ge=0, le=1024)]
    pause_token: str

    @model_validator(mode="after")
    def _low_rank_leaves_the_rest_alone(self) -> Self:
        if self.lora_rank and self.processes > 1 and self.parallel == "fsdp2":
            raise PydanticCustomError("lora", 'pairs (lora_rank) are not sharded; use parallel = "ddp" with lora_rank')
        if self.lora_rank and self.new_tokens and self.weight_decay:
            raise PydanticCustomError(
                "lora",
                "weight_decay would move the rows of old tokens too; set weight_decay = 0 with lora_rank and new_tokens",
            )
        return self


class SftRecipe(LanguageRecipe):
    """Supervised fine-tuning on traces that people approved, or on a file of traces that nobody judged."""

    kind: ClassVar[str] = "sft"
    traces: str
    pauses: Annotated[int, Field(ge=0, le=1000)]
    turns: GivenAs
    choose: Literal["approved", "solved", "either", "all"]
    backtracks: Literal["keep", "mask", "cut"]

    @model_validator(mode="after")
    def _nobody_judged_a_file(self) -> Self:
        if self.traces and self.choose in ("approved", "either"):
            raise PydanticCustomError(
                "traces",
                'a file of traces holds no verdicts; choose = "all" takes every trace, "solved" those checked to be right',
            )
        return self


@dataclass(frozen=True)
class NextToken:
    """See `training.packing.Objective`. Outputs (N, V) where the next token is a label, targets (N,) that token."""

    causal_lm: ClassVar[bool] = True

    def targets(self, row: TokenRow) -> tuple[list[int], list[float]]:
        # `labels[t]` is the token at t, predicted at t − 1; nothing predicts the first one.
        at = [t - 1 for t in range(1, len(row.labels)) if row.labels[t] != IGNORE]
        return at, [row.labels[t + 1] for t in at]

    def loss_sum(self, outputs_NC: Any, targets_N: Any) -> Any:
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs_NC, targets_N, reduction="sum")


def held_out_loss(model: Any, rows: Sequence[TokenRow], run: Run | None = None) -> float | None:
    """Mean loss per labelled token; None without rows."""
    import torch

    objective = NextToken()
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    total, n = 0.0, 0
    ordered = sorted(rows, key=lambda r: len(r.ids))
    with torch.inference_mode():
        for start in range(0, len(ordered), EVAL_TRACES):
            if run is not None:
                run.check_stop()
            batch = batch_of(ordered[start : start + EVAL_TRACES], objective, packed=False).to(device)
            if len(batch.at):
                total += objective.loss_sum(outputs(model, batch, objective), batch.targets).item()
                n += len(batch.at)
    model.train(was_training)
    return total / n if n else None


def language_tokenizer(recipe: LanguageRecipe) -> tuple[Any, dict[int, str]]:
    """The base model's tokenizer with the recipe's new tokens, and which ids are new: id → description."""
    tokenizer = load_tokenizer(base_folder(recipe.base))
    return tokenizer, add_to_tokenizer(tokenizer, read_descriptions(recipe.new_tokens))


def rows_of(snapshot: Path | None, recipe: SftRecipe, most: int | None = None) -> tuple[Rows, Any]:
    """See `training.kind.Kind`."""
    tokenizer, _ = language_tokenizer(recipe)
    if recipe.traces:
        from training.trace_files import unjudged

        return sft_rows(unjudged(Path(recipe.traces).expanduser(), most), tokenizer, recipe), tokenizer
    assert snapshot is not None
    return sft_rows(read_traces(snapshot, most), tokenizer, recipe), tokenizer


def train(snapshot: Path | None, recipe: SftRecipe, run: Run) -> Outcome:
    """Train on the train split, measure on the test split, save to the run's `model/`."""
    run.phase("reading the traces" if recipe.traces else "reading the snapshot")
    rows, _ = rows_of(snapshot, recipe)
    return train_language_model(rows, recipe, run)


def train_language_model(rows: Rows, recipe: LanguageRecipe, run: Run) -> Outcome:
    """Next-token training on rows; reports the held-out loss before and after, and proves which rows of the tables moved."""
    base = base_folder(recipe.base)
    tokenizer, new = language_tokenizer(recipe)
    run.say(f"{len(rows.train)} rows to train on, {len(rows.test)} held out ({in_words(rows.counts)})")
    run.phase("loading the base model")
    model = load_weights("AutoModelForCausalLM", base)
    unsaid = place(model, tokenizer, new)
    if unsaid:
        run.say(f"the base model knows no word of what these tokens mean, so they begin as the mean of all: {unsaid}")
    proving = bool(new or recipe.lora_rank) and run.leads
    first = first_tables(model) if proving else None
    pairs = add_lora(model, recipe.lora_rank, recipe.seed) if recipe.lora_rank else []
    if pairs and new:
        train_rows_alone(model, new)
    before = None
    if run.leads:
        kept = run.folder.path / "before.json"  # so that a resumed job does not measure the base model again
        if not kept.exists():
            run.phase("measuring the base model on held-out rows")
            model.to(device_of(recipe, local_rank()))
            write_atomically(kept, json.dumps(held_out_loss(model, rows.test, run)))
        before = json.loads(kept.read_text(encoding="utf-8"))
    model = fit(model, rows.train, NextToken(), recipe, run)
    run.phase("measuring on held-out rows")
    after = held_out_loss(model, rows.test, run)
    undefined = "undefined: nothing of what was chosen is in the test split (a tenth of the questions)"
    figures = {
        "loss_before": undefined if before is None else round(before, 5),
        "loss_after": undefined if after is None else round(after, 5),
        "n_test_traces": len(rows.test), "n_train_traces": len(rows.train),
        "n_train_tokens": sum(y != IGNORE for row in rows.train for y in row.labels),
    }  # fmt: skip
    run.phase("saving the model")
    if pairs:
        if not new:  # an adapter has no room for new rows: servers take them in the merged model alone
            save_adapter(model, str(base), run.folder.path / "adapter")
        merge(model, pairs)
    model.requires_grad_(True)
    save_model(model, tokenizer, run.folder.path / "model")
    if first is not None:
        run.phase("comparing the saved tables with the first ones")
        figures |= prove(
            first, saved_tables(model, run.folder.path / "model"), rows.train, new, alone=bool(pairs),
            decays=recipe.weight_decay > 0, padding=model.get_input_embeddings().padding_idx,
        )  # fmt: skip
    return Outcome(figures, rows.counts)


KIND = Kind(
    name="sft",
    title="Fine-tuned reasoner",
    does="goes on training a language model on rated traces",
    recipe=SftRecipe,
    train=train,
    used_as="model",
    rows=rows_of,
    needs_snapshot=lambda recipe: not recipe.traces,
    files=lambda recipe: [
        *([Path(recipe.traces).expanduser()] if recipe.traces else []),
        *token_files(recipe.new_tokens),
    ],
    hint="epochs=2\nchoose=approved\nbacktracks=keep",
    card=Card(
        tag="text-generation",
        use="""\
An ordinary `*ForCausalLM` with the tokenizer of its base model. Steiner's tokens are ordinary tokens: decode with
`skip_special_tokens=False`.""",
        figures="loss: mean negative log-likelihood a token of the response, on held-out traces, before and after.",
        limits="A lower held-out loss means that it writes more like the approved traces; it does not mean that it solves more.",
    ),
)
