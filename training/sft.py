"""Supervised fine-tuning on the traces that people approved: next-token loss on the response, never on the question.

Which traces and which of their tokens is decided in `rows.py`. Reports the mean loss per token on held-out traces
before and after. Knows rows and a run; knows no snapshot format and no process. Simplified: logits are materialised for
every position, which is nothing for the pocket vocabulary and a lot for a large one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.base_model import fit_vocabulary, load_tokenizer, save_model
from training.loop import fit
from training.recipe import SftRecipe
from training.rows import IGNORE, JudgedTrace, Rows, TokenRow, sft_rows
from training.run_folder import Run

EVAL_TRACES = 4


@dataclass(frozen=True)
class SftObjective:
    """See `training.loop.Objective`."""

    pad_id: int

    def collate(self, rows: Sequence[TokenRow]) -> dict[str, Any]:
        """Labels are int64 (B, T), not shifted: `labels[t]` is the token at t, IGNORE where there is no loss."""
        import torch

        longest = max(len(r.ids) for r in rows)
        ids_BT = torch.full((len(rows), longest), self.pad_id)
        labels_BT = torch.full((len(rows), longest), IGNORE)
        for i, row in enumerate(rows):
            ids_BT[i, : len(row.ids)] = torch.tensor(row.ids)
            labels_BT[i, : len(row.labels)] = torch.tensor(row.labels)
        return {"ids": ids_BT, "labels": labels_BT}

    def count(self, batch: dict[str, Any]) -> Any:
        return (batch["labels"][:, 1:] != IGNORE).sum()  # nothing predicts the first token

    def loss_sum(self, model: Any, batch: dict[str, Any]) -> Any:
        from torch.nn.functional import cross_entropy

        # No attention mask: padding is on the right of a causal model and has no labels.
        logits_BTV = model(input_ids=batch["ids"]).logits[:, :-1]
        next_BT = batch["labels"][:, 1:]
        known_BT = next_BT != IGNORE
        return cross_entropy(logits_BTV[known_BT], next_BT[known_BT], reduction="sum")


def held_out_loss(
    model: Any, rows: Sequence[TokenRow], objective: SftObjective, run: Run | None = None
) -> float | None:
    """Mean loss per labelled token; None without rows."""
    import torch

    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    total, n = 0.0, 0
    ordered = sorted(rows, key=lambda r: len(r.ids))
    with torch.inference_mode():
        for start in range(0, len(ordered), EVAL_TRACES):
            if run is not None:
                run.check_stop()
            batch = {k: v.to(device) for k, v in objective.collate(ordered[start : start + EVAL_TRACES]).items()}
            total += objective.loss_sum(model, batch).item()
            n += int(objective.count(batch))
    model.train(was_training)
    return total / n if n else None


def train(traces: Sequence[JudgedTrace], base: Path, recipe: SftRecipe, run: Run) -> tuple[dict[str, Any], Rows]:
    """Train on the train split, measure on the test split, save to the run's `model/`. Returns figures and rows."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(base)
    rows = sft_rows(traces, tokenizer, recipe)
    run.folder.say(f"{len(rows.train)} traces to train on, {len(rows.test)} held out: {rows.counts}")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    fit_vocabulary(model, tokenizer)
    objective = SftObjective(tokenizer.pad_token_id)
    run.phase("measuring the base model on held-out traces")
    before = held_out_loss(model, rows.test, objective, run)
    model = fit(model, rows.train, objective, recipe, run)
    run.phase("measuring on held-out traces")
    after = held_out_loss(model, rows.test, objective, run)
    undefined = "undefined: no chosen trace is in the test split (a tenth of the questions)"
    figures = {
        "loss_before": undefined if before is None else round(before, 5),
        "loss_after": undefined if after is None else round(after, 5),
        "n_test_traces": len(rows.test), "n_train_traces": len(rows.train),
        "n_train_tokens": sum(y != IGNORE for row in rows.train for y in row.labels),
    }  # fmt: skip
    run.phase("saving the model")
    save_model(model, tokenizer, run.folder.path / "model")
    return figures, rows
