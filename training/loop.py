"""The training loop that PRM and SFT jobs share: `transformers.Trainer` over our rows, our loss, our checkpoints.

What is ours: the order of the data (a plan drawn from the seed, so that a resumed job sees what it would have seen),
the loss (summed over labelled positions and divided by their number in the *whole* step, so that a batch of 8 equals
2 × 4 accumulated), and that a checkpoint counts only when it is complete. Knows neither ratings nor what a label
means: an `Objective` does.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from training.recipe import Recipe
from training.rows import TokenRow
from training.run_folder import JobError, Run

# Traces of similar length go together (less padding); they are looked for among this many steps' worth of traces.
BUCKET_STEPS = 8


class Objective(Protocol):
    """What is minimised. A batch is a dict of tensors that `collate` made."""

    def collate(self, rows: Sequence[TokenRow]) -> dict[str, Any]:
        """Pad on the right: {"ids": (B, T), "labels": (B, T)}."""
        ...

    def count(self, batch: dict[str, Any]) -> Any:
        """Number of labelled positions, as a tensor."""
        ...

    def loss_sum(self, model: Any, batch: dict[str, Any]) -> Any:
        """Loss summed over the labelled positions."""
        ...


def make_plan(lengths: Sequence[int], passes: int, traces_per_step: int, seed: int) -> list[int]:
    """The order in which rows are read, over all passes: shuffled, then similar lengths together, step by step."""
    rng = random.Random(seed)
    order: list[int] = []
    for _ in range(passes):
        once = list(range(len(lengths)))
        rng.shuffle(once)
        order += once
    plan: list[int] = []
    window = traces_per_step * BUCKET_STEPS
    for start in range(0, len(order), window):
        rows = sorted(order[start : start + window], key=lambda i: lengths[i])
        steps = [rows[i : i + traces_per_step] for i in range(0, len(rows), traces_per_step)]
        partial = [steps.pop()] if len(steps[-1]) < traces_per_step else []  # stays last, or later steps would shift
        rng.shuffle(steps)
        plan += [i for step in steps + partial for i in step]
    return plan


def fit(model: Any, rows: Sequence[TokenRow], objective: Objective, recipe: Recipe, run: Run) -> Any:
    """Train `model`, going on from the newest complete checkpoint if there is one; returns the trained model.

    The same recipe and rows give bitwise the same weights on the same machine, however often the run is interrupted.
    Raises Stopped (after saving a checkpoint) and JobError (the loss is not a number).
    """
    import torch
    import transformers

    plan = make_plan([len(r.ids) for r in rows], recipe.passes(len(rows)), recipe.traces_per_step, recipe.seed)
    total = math.ceil(len(plan) / recipe.traces_per_step)
    tokens = [0]  # real tokens until the end of each step
    for step in range(total):
        tokens.append(
            tokens[-1] + sum(len(rows[i].ids) for i in plan[step * recipe.traces_per_step :][: recipe.traces_per_step])
        )

    planned = [rows[i] for i in plan]

    class StepTrainer(transformers.Trainer):
        loss_is_scaled_for_ga = True  # ours is divided by the count over all accumulated batches

        def _get_train_sampler(self, train_dataset=None):
            return torch.utils.data.SequentialSampler(planned)  # the plan is the order

        def get_batch_samples(self, epoch_iterator, num_batches, device):
            batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
            n = torch.stack([objective.count(batch) for batch in batches]).sum().to(device)
            if self.args.world_size > 1:
                n = self.accelerator.gather(n).sum()
            return batches, n

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            # Processes average their gradients, so each multiplies by their number to make it a sum again.
            loss = objective.loss_sum(model, inputs) / num_items_in_batch * self.args.world_size
            if not torch.isfinite(loss):
                raise JobError(
                    f"The loss became {loss.item()} at step {self.state.global_step + 1} with learning_rate = "
                    f"{recipe.learning_rate:g}. Start a new job with a lower one, for example "
                    f"--set learning_rate={_lower(recipe.learning_rate):g}."
                )
            return loss

    class Watch(transformers.TrainerCallback):
        """Tells the run folder what happens, and the trainer when to stop."""

        def on_step_end(self, args, state, control, **kwargs):  # the signature is transformers'
            done, left = tokens[state.global_step] - first_token, tokens[total] - tokens[state.global_step]
            eta = (run.seconds() - began) / done * left if done else None
            status = replace(run.status, step=state.global_step, eta_s=None if eta is None else round(eta, 1))
            run.publish(status, now=state.global_step == total)
            if run.stop_wanted() and state.global_step < total:
                control.should_save = control.should_training_stop = True
            return control

        def on_log(self, args, state, control, logs=None, **kwargs):
            if logs and "loss" in logs:
                row = {
                    "step": state.global_step, "loss": round(float(logs["loss"]), 6), "lr": logs["learning_rate"],
                    "tokens_per_s": round((tokens[state.global_step] - first_token) / max(run.seconds() - began, 1e-6)),
                    "seconds": round(run.seconds(), 2), "grad_norm": round(float(logs.get("grad_norm", 0.0)), 5),
                    "epoch": round(state.global_step * recipe.traces_per_step / len(rows), 3),
                }  # fmt: skip
                run.folder.add_metrics(row)

        def on_save(self, args, state, control, **kwargs):
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            run.folder.mark_complete(checkpoint, state.global_step, run.seconds())

    newest = run.folder.newest_checkpoint()
    run.folder.drop_checkpoints_except(newest[0] if newest else None)
    start = newest[1] if newest else 0
    run.folder.forget_metrics_after(start)
    run.seconds_before = max(run.seconds_before, newest[2] if newest else 0.0)
    first_token, began = tokens[start], run.seconds()
    run.publish(replace(run.status, step=start, total_steps=total))
    run.phase(f"training: step {start} of {total}" if start else f"training: {total} steps")

    arguments = transformers.TrainingArguments(
        output_dir=str(run.folder.checkpoints), max_steps=total, seed=recipe.seed, data_seed=recipe.seed,
        per_device_train_batch_size=recipe.batch, gradient_accumulation_steps=recipe.accumulate,
        learning_rate=recipe.learning_rate, lr_scheduler_type="linear", warmup_steps=math.ceil(recipe.warmup * total),
        weight_decay=recipe.weight_decay, max_grad_norm=recipe.max_grad_norm, optim="adamw_torch",
        use_cpu=not torch.cuda.is_available(), bf16=False, fp16=False, gradient_checkpointing=False,
        logging_steps=recipe.log_every, logging_nan_inf_filter=False, disable_tqdm=True, report_to="none",
        # `mark_complete` removes old checkpoints: the Trainer would do so before the new one counts.
        save_strategy="steps", save_steps=recipe.checkpoint_every, save_total_limit=None,
        eval_strategy="no", remove_unused_columns=False, dataloader_num_workers=0, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = StepTrainer(
        model=model,
        args=arguments,
        train_dataset=planned,
        data_collator=objective.collate,
        callbacks=[Watch()],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    model.config.use_cache = False
    trainer.train(resume_from_checkpoint=str(newest[0]) if newest else None)
    model.config.use_cache = True
    if trainer.state.global_step < total:
        run.check_stop()
        raise JobError(
            f"The training ended at step {trainer.state.global_step} of {total} without a reason. See log.txt."
        )
    return trainer.model


def _lower(rate: float) -> float:
    """A tenth, but never above what small models are fine-tuned with."""
    return min(rate / 10, 1e-4)
