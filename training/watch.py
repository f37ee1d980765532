"""For kinds that run a trainer of TRL or transformers: its progress, metrics, checkpoints and stop, as our jobs have them.

`arguments` are the training arguments that a recipe, a run folder and a device decide; `train` adds what watches to the
trainer, and goes on from the newest complete checkpoint. Knows no objective.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from training.recipe import Recipe
from training.run_folder import JobError, Run
from training.sinks import Sink, opened


def arguments(recipe: Recipe, run: Run, device: Any) -> dict[str, Any]:
    """Keyword arguments for `transformers.TrainingArguments` and its descendants in TRL; `device` by `topology.only_device`."""
    return {
        "output_dir": str(run.folder.checkpoints), "seed": recipe.seed, "learning_rate": recipe.learning_rate,
        "per_device_train_batch_size": recipe.batch, "gradient_accumulation_steps": recipe.accumulate,
        "lr_scheduler_type": "linear", "weight_decay": recipe.weight_decay, "max_grad_norm": recipe.max_grad_norm,
        "bf16": recipe.dtype == "bfloat16", "gradient_checkpointing": recipe.gradient_checkpointing,
        # Said outright: without a GPU the trainer refuses bfloat16 unless it is told that the CPU is meant.
        "use_cpu": device.type == "cpu", "logging_steps": recipe.log_every, "logging_nan_inf_filter": False,
        # `mark_complete` removes old checkpoints: the trainer would do so before the new one counts.
        "save_strategy": "steps", "save_steps": recipe.checkpoint_every, "save_total_limit": None, "eval_strategy": "no",
        # `sinks.py` reports: transformers' own integrations would write among the checkpoints, and upload.
        "disable_tqdm": True, "report_to": "none", "dataloader_pin_memory": False,
    }  # fmt: skip


def watching(run: Run, recipe: Recipe, sinks: Sequence[Sink] = ()) -> Any:
    """A `TrainerCallback` that tells the run folder and the sinks what happens, and the trainer when to stop."""
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
            row: dict[str, Any] = {
                k.replace("/", "_"): round(v, 6) for k, v in (logs or {}).items() if isinstance(v, int | float)
            }
            if "loss" not in row:
                return
            if not math.isfinite(row["loss"]):
                raise JobError(
                    f"The loss became {row['loss']} at step {state.global_step} with learning_rate = "
                    f"{recipe.learning_rate:g}. Start a new job with a lower one, for example "
                    f"--set learning_rate={recipe.learning_rate / 10:g}."
                )
            row = {
                "step": state.global_step, "seconds": round(run.seconds(), 2), **row, "lr": row.get("learning_rate"),
            }  # fmt: skip
            run.folder.add_metrics(row)
            for sink in sinks:
                sink.add({name: value for name, value in row.items() if value is not None})

        def on_save(self, args, state, control, **kwargs):
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            run.folder.mark_complete(checkpoint, state.global_step, run.seconds())

    return Watch()


def train(trainer: Any, run: Run, recipe: Recipe) -> None:
    """`trainer.train()`, from the newest complete checkpoint if there is one. Raises Stopped and JobError."""
    import transformers

    if trainer.args.n_gpu > 1:
        raise JobError(f"The trainer would spread the model over {trainer.args.n_gpu} GPUs, and one was asked for.")

    newest = run.folder.newest_checkpoint()
    run.folder.drop_checkpoints_except(newest[0] if newest else None)
    run.folder.forget_metrics_after(newest[1] if newest else 0)
    run.seconds_before = max(run.seconds_before, newest[2] if newest else 0.0)
    trainer.remove_callback(transformers.PrinterCallback)
    with opened(recipe.report_to, run.folder.path, newest[1] if newest else 0) as sinks:
        trainer.add_callback(watching(run, recipe, sinks))
        trainer.train(resume_from_checkpoint=str(newest[0]) if newest else None)
    if trainer.state.global_step < trainer.state.max_steps:
        run.check_stop()
        raise JobError(
            f"The training ended at step {trainer.state.global_step} of {trainer.state.max_steps}. See log.txt."
        )
