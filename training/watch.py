"""For kinds that run a trainer of TRL or transformers: its progress, metrics, checkpoints and stop, as our jobs have them.

`watching(run)` goes among the trainer's callbacks; `arguments(recipe, run)` are the training arguments that a recipe and
a run folder decide; `train` goes on from the newest complete checkpoint. Knows no objective.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from training.recipe import Recipe
from training.run_folder import JobError, Run


def arguments(recipe: Recipe, run: Run) -> dict[str, Any]:
    """Keyword arguments for `transformers.TrainingArguments` and its descendants in TRL."""
    import torch

    # Said outright: without a GPU the trainer refuses bfloat16 unless it is told that the CPU is meant.
    device = "cpu" if recipe.device == "cpu" or not torch.cuda.is_available() else recipe.device
    return {
        "output_dir": str(run.folder.checkpoints), "seed": recipe.seed, "learning_rate": recipe.learning_rate,
        "per_device_train_batch_size": recipe.batch, "gradient_accumulation_steps": recipe.accumulate,
        "lr_scheduler_type": "linear", "weight_decay": recipe.weight_decay, "max_grad_norm": recipe.max_grad_norm,
        "bf16": recipe.dtype == "bfloat16", "gradient_checkpointing": recipe.gradient_checkpointing,
        "use_cpu": device == "cpu", "logging_steps": recipe.log_every, "logging_nan_inf_filter": False,
        # `mark_complete` removes old checkpoints: the trainer would do so before the new one counts.
        "save_strategy": "steps", "save_steps": recipe.checkpoint_every, "save_total_limit": None, "eval_strategy": "no",
        "disable_tqdm": True, "report_to": list(recipe.report_to) or "none", "dataloader_pin_memory": False,
    }  # fmt: skip


def watching(run: Run, recipe: Recipe) -> Any:
    """A `TrainerCallback` that tells the run folder what happens, and the trainer when to stop."""
    import transformers

    class Watch(transformers.TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):  # the signatures are transformers'
            self.first, self.began = state.global_step, run.seconds()
            run.publish(replace(run.status, step=state.global_step, total_steps=state.max_steps))
            run.phase(
                f"training: step {self.first} of {state.max_steps}"
                if self.first
                else f"training: {state.max_steps} steps"
            )

        def on_step_end(self, args, state, control, **kwargs):
            done, left = state.global_step - self.first, state.max_steps - state.global_step
            eta = (run.seconds() - self.began) / done * left
            run.publish(replace(run.status, step=state.global_step, eta_s=round(eta, 1)), now=left == 0)
            if run.stop_wanted() and left:
                control.should_save = control.should_training_stop = True
            return control

        def on_log(self, args, state, control, logs=None, **kwargs):
            # Keys change from trainer to trainer; what is a number is kept under its name.
            row = {k.replace("/", "_"): round(v, 6) for k, v in (logs or {}).items() if isinstance(v, int | float)}
            if "loss" not in row:
                return
            if not math.isfinite(row["loss"]):
                raise JobError(
                    f"The loss became {row['loss']} at step {state.global_step} with learning_rate = "
                    f"{recipe.learning_rate:g}. Start a new job with a lower one, for example "
                    f"--set learning_rate={recipe.learning_rate / 10:g}."
                )
            run.folder.add_metrics(
                {"step": state.global_step, "seconds": round(run.seconds(), 2), **row, "lr": row.get("learning_rate")}
            )

        def on_save(self, args, state, control, **kwargs):
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            run.folder.mark_complete(checkpoint, state.global_step, run.seconds())

    return Watch()


def train(trainer: Any, run: Run) -> None:
    """`trainer.train()`, from the newest complete checkpoint if there is one. Raises Stopped and JobError."""
    import transformers

    newest = run.folder.newest_checkpoint()
    run.folder.drop_checkpoints_except(newest[0] if newest else None)
    run.folder.forget_metrics_after(newest[1] if newest else 0)
    run.seconds_before = max(run.seconds_before, newest[2] if newest else 0.0)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train(resume_from_checkpoint=str(newest[0]) if newest else None)
    if trainer.state.global_step < trainer.state.max_steps:
        run.check_stop()
        raise JobError(
            f"The training ended at step {trainer.state.global_step} of {trainer.state.max_steps}. See log.txt."
        )
