"""The training loop that jobs of our own objectives share: plan, step, checkpoint, stop, resume.

What is decided here: the order of the data (a plan drawn from the seed, so that a resumed job sees what it would have
seen); the loss (summed over judged positions and divided by their number in the *whole* step over all processes, so that a
batch of 8 equals 2 × 4 accumulated equals 2 processes); and that a checkpoint counts only when it is complete. AdamW,
linear warm-up and decay, clipped gradients. Knows neither ratings nor what a label means: an `Objective` does.

A loop of our own because no trainer's gives these: transformers' cannot shard on a CPU (accelerate runs DDP instead, without
a word), counts labels a device, and spends a fifth of a small model's step on itself.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from training.flops import multiplied_parameters, peak_of, row_flops
from training.packing import Batch, Objective, batch_of, outputs, packs_cleanly, row_attention
from training.recipe import Recipe
from training.rows import TokenRow
from training.run_folder import JobError, PeerDone, Run, Stopped
from training.sinks import opened
from training.topology import Topology, joined, spread, whole_weights

# Rows of similar length go together (balanced, less padding); they are looked for among this many steps' worth of rows.
BUCKET_STEPS = 8


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
    In a peer process it raises PeerDone at the end. Raises Stopped (after saving a checkpoint) and JobError (the loss is
    not a number; the processes are not those asked for).
    """
    with joined(recipe) as topology:
        model.to(topology.device).train()
        packed = recipe.packing and packs_cleanly(model, rows, objective)
        if recipe.packing and not packed:
            run.say(f"{type(model).__name__} does not keep packed rows apart, so batches are padded")
        if recipe.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        with row_attention(model) if packed else nullcontext():
            loop = _Loop(model, rows, objective, recipe, run, topology, packed)
            loop.resume()
            with opened(recipe.report_to if topology.leads else [], run.folder.path, loop.step) as loop.sinks:
                loop.train()
        if recipe.gradient_checkpointing:
            model.gradient_checkpointing_disable()
        weights = whole_weights(loop.model, topology)
        if not topology.leads:
            raise PeerDone
    if topology.parallel == "fsdp2":
        whole = type(model)(model.config)
        whole.load_state_dict(weights)
        whole.tie_weights()
        return whole.to(topology.device)
    return model


class _Loop:
    """One process's side of a training run."""

    def __init__(
        self, model: Any, rows: Sequence[TokenRow], objective: Objective, recipe: Recipe, run: Run, topology: Topology,
        packed: bool,
    ) -> None:  # fmt: skip
        import torch

        self.objective, self.recipe, self.run, self.topology, self.packed = objective, recipe, run, topology, packed
        a_step = recipe.traces_per_step
        plan = make_plan([len(r.ids) for r in rows], recipe.passes(len(rows)), a_step, recipe.seed)
        self.planned = [rows[i] for i in plan]
        self.epoch_rows = len(rows)
        self.total = math.ceil(len(plan) / a_step)
        self.tokens = [0]  # until the end of each step
        for step in range(self.total):
            self.tokens.append(self.tokens[-1] + sum(len(r.ids) for r in self.planned[step * a_step :][:a_step]))
        shape = getattr(model.config, "num_hidden_layers", 0), getattr(model.config, "hidden_size", 0)
        self.shape = (multiplied_parameters(model), *shape)
        cuda = topology.device.type == "cuda"
        self.peak = peak_of(torch.cuda.get_device_name(topology.device)) if cuda else None
        self.model = spread(model, topology, recipe)
        if topology.world > 1:
            run.say(
                f"{topology.parallel} over {topology.world} processes: each shares every step on {topology.device.type}"
            )
        trained = [p for p in self.model.parameters() if p.requires_grad]
        decayed = [p for p in trained if p.ndim >= 2]
        others = [p for p in trained if p.ndim < 2]  # gains and biases
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=cuda or topology.parallel != "fsdp2")
        self.step = 0
        self.sinks: list[Any] = []

    def train(self) -> None:
        run = self.run
        self.first, self.began = self.step, run.seconds()
        run.publish(replace(run.status, step=self.step, total_steps=self.total))
        run.phase(f"training: step {self.step} of {self.total}" if self.step else f"training: {self.total} steps")
        for step in range(self.step, self.total):
            loss, norm, rate = self._one_step(step)
            self.step = step + 1
            self._say(loss, norm, rate)
            stop = self.topology.summed(float(self.topology.leads and run.stop_wanted()))[0] > 0
            last = self.step == self.total
            if (stop and not last) or last or self.step % self.recipe.checkpoint_every == 0:
                self._save()
            if stop and not last:
                raise Stopped

    def _one_step(self, step: int) -> tuple[float, float, float]:
        """One step of the optimiser: mean loss, norm of the gradient, learning rate."""
        import torch

        recipe, topology = self.recipe, self.topology
        batches = list(self._share(step))
        # Labels of all processes: each multiplies by their number, because they average their gradients.
        labels = topology.summed(sum(len(b.at) for b, counts in batches if counts))[0]
        rate = recipe.learning_rate * self._share_of_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = torch.zeros((), device=topology.device, dtype=torch.float64)
        for i, (batch, counts) in enumerate(batches):
            with self._syncing(i == len(batches) - 1):
                with torch.autocast(topology.device.type, torch.bfloat16, enabled=recipe.dtype == "bfloat16"):
                    outputs_NC = outputs(self.model, batch.to(topology.device), self.objective)
                part = self.objective.loss_sum(outputs_NC, batch.targets.to(topology.device)) * float(counts)
                (part / max(labels, 1.0) * topology.world).backward()
                loss += part.detach()
        clipped: Any = torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.max_grad_norm)
        norm = float(clipped.full_tensor() if topology.parallel == "fsdp2" else clipped)
        mean = topology.summed(float(loss))[0] / max(labels, 1.0)
        if not (math.isfinite(mean) and math.isfinite(norm)):
            what = f"The loss became {mean}" if not math.isfinite(mean) else f"The gradient became {norm}"
            raise JobError(
                f"{what} at step {step + 1} with learning_rate = {recipe.learning_rate:g}. Start a new job with a lower "
                f"one, for example --set learning_rate={_lower(recipe.learning_rate):g}."
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        return mean, norm, rate

    def _share(self, step: int) -> Iterator[tuple[Batch, bool]]:
        """This process's forward passes of a step. All processes make equally many, or the sharded ones would wait for
        each other forever: where rows run out, a batch is repeated and does not count."""
        recipe, topology = self.recipe, self.topology
        rows = self.planned[step * recipe.traces_per_step :][: recipe.traces_per_step]
        batches = [rows[i : i + recipe.batch] for i in range(0, len(rows), recipe.batch)]
        rounds = math.ceil(len(batches) / topology.world)
        for turn in range(rounds):
            i = turn * topology.world + topology.rank
            yield batch_of(batches[min(i, len(batches) - 1)], self.objective, packed=self.packed), i < len(batches)

    def _syncing(self, last: bool) -> Any:
        """Processes exchange gradients once a step, at its last backward pass."""
        if self.topology.parallel == "ddp":
            return nullcontext() if last else self.model.no_sync()
        if self.topology.parallel == "fsdp2":
            self.model.set_requires_gradient_sync(last)
        return nullcontext()

    def _share_of_rate(self, step: int) -> float:
        rising = math.ceil(self.recipe.warmup * self.total)
        return (step + 1) / rising if step < rising else (self.total - step) / max(1, self.total - rising)

    # ------------------------------------------------------------------------------------------------------- telling

    def _say(self, loss: float, norm: float, rate: float) -> None:
        run, step, recipe = self.run, self.step, self.recipe
        done, left = self.tokens[step] - self.tokens[self.first], self.tokens[-1] - self.tokens[step]
        took = max(run.seconds() - self.began, 1e-6)
        run.publish(replace(run.status, step=step, eta_s=round(took / done * left, 1)), now=step == self.total)
        if not self.topology.leads or (step % recipe.log_every and step != self.total):
            return
        row = {
            "step": step, "loss": round(loss, 6), "lr": rate, "grad_norm": round(norm, 5),
            "tokens_per_s": round(done / took), "seconds": round(run.seconds(), 2),
            "epoch": round(step * recipe.traces_per_step / self.epoch_rows, 3),
        }  # fmt: skip
        if self.peak is not None:
            lengths = [
                len(r.ids) for r in self.planned[self.first * recipe.traces_per_step : step * recipe.traces_per_step]
            ]
            row["mfu"] = round(row_flops(*self.shape, lengths) / took / (self.peak * self.topology.world), 4)
        run.folder.add_metrics(row)
        for sink in self.sinks:
            sink.add(row)

    # --------------------------------------------------------------------------------------------------- checkpoints

    def _state(self) -> dict[str, Any]:
        from torch.distributed.checkpoint.state_dict import get_state_dict

        model, optimizer = get_state_dict(self.model, self.optimizer)
        return {"model": model, "optimizer": optimizer}

    def _save(self) -> None:
        import torch
        import torch.distributed.checkpoint as dcp

        topology = self.topology
        folder = self.run.folder.checkpoints / f"checkpoint-{self.step}"
        folder.mkdir(parents=True, exist_ok=True)
        with _alone_is_meant():
            dcp.save(self._state(), checkpoint_id=folder / "state", no_dist=topology.world == 1)
        torch.save(_chance(topology), folder / f"chance-{topology.rank}.pt")
        topology.wait()
        if topology.leads:
            self.run.folder.mark_complete(folder, self.step, self.run.seconds())

    def resume(self) -> None:
        """Back to the newest complete checkpoint; nothing to do without one."""
        import torch
        import torch.distributed.checkpoint as dcp
        from torch.distributed.checkpoint.state_dict import set_state_dict

        run, topology = self.run, self.topology
        newest = run.folder.newest_checkpoint()
        topology.wait()
        if topology.leads:
            run.folder.drop_checkpoints_except(newest[0] if newest else None)
            run.folder.forget_metrics_after(newest[1] if newest else 0)
        if newest is None:
            return
        folder, self.step, seconds = newest
        run.seconds_before = max(run.seconds_before, seconds)
        state = self._state()
        with _alone_is_meant():
            dcp.load(state, checkpoint_id=folder / "state", no_dist=topology.world == 1)
        set_state_dict(self.model, self.optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
        mine = folder / f"chance-{topology.rank}.pt"
        if mine.exists():  # not when there were fewer processes before
            cpu, gpu = torch.load(mine, weights_only=True)
            torch.set_rng_state(cpu)
            if gpu is not None and topology.device.type == "cuda":
                torch.cuda.set_rng_state(gpu, topology.device)


def _chance(topology: Topology) -> tuple[Any, Any]:
    """The states of the random generators: a model with dropout must go on as it would have."""
    import torch

    gpu = torch.cuda.get_rng_state(topology.device) if topology.device.type == "cuda" else None
    return torch.get_rng_state(), gpu


@contextmanager
def _alone_is_meant() -> Iterator[None]:
    """torch warns that a checkpoint of one process is one of one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield


def _lower(rate: float) -> float:
    """A tenth, but never above what small models are fine-tuned with."""
    return min(rate / 10, 1e-4)
