"""Reinforcement learning: GRPO (Shao et al. 2024) with an advantage for every step, on TRL's trainer.

TRL's reward functions give one number a completion, and its completions are decoded without special tokens, so Steiner's
steps would be gone. `compute_loss` however takes advantages of shape (B, T): the subclass here makes the rollouts
(`training/rollouts.py`), cuts the *token ids* into steps, rewards each (`training/rewards/`), and puts each step's advantage
on exactly its tokens. TRL keeps loss, clipping, KL, optimiser and checkpoints. Knows no reward's formula.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from core.scoring.encoding import encode_prompt
from core.tasks import countdown as game
from core.tasks import countdown_text as words
from training.base_model import base_folder, load_tokenizer, load_weights, save_model
from training.kind import Card, Kind, Outcome
from training.recipe import OneProcessRecipe
from training.rewards import dag
from training.rewards.advantages import normalised, step_advantages, token_advantages
from training.rewards.guards import guards
from training.rewards.outcome import solved
from training.rewards.rollout import Rollout, read
from training.rows import RowsError, read_traces
from training.run_folder import JobError, Run, Stopped, write_atomically

INSTALL = "Reinforcement learning and DPO need TRL: pip install 'worldline[rl]'."
ROLLOUTS = "rollouts.pt"  # in a checkpoint
LEARNED = 1.96  # standard errors on each side of a 95 % interval


class RlRecipe(OneProcessRecipe):
    """GRPO with step rewards."""

    kind: ClassVar[str] = "rl"
    questions: Annotated[int, Field(ge=0)]
    numbers: Annotated[int, Field(ge=3, le=4)]
    group: Annotated[int, Field(ge=2)]
    temperature: Annotated[float, Field(gt=0)]
    kl: Annotated[float, Field(ge=0)]
    reuse: Annotated[int, Field(ge=1)]
    dag_reward: Annotated[float, Field(ge=0)]
    outcome_reward: Annotated[float, Field(ge=0)]
    prm_reward: Annotated[float, Field(ge=0)]
    prm: str
    discount: Annotated[float, Field(ge=0, le=1)]
    d_e: float
    e_o: float
    e_i: float
    d_s: float
    decay: Annotated[float, Field(gt=0, lt=1)]
    cost: Annotated[float, Field(ge=0)]
    repeat: Annotated[float, Field(ge=0)]
    held_out: Annotated[int, Field(ge=0)]

    def weights(self) -> dag.DagWeights:
        return dag.DagWeights(**{f.name: getattr(self, f.name) for f in fields(dag.DagWeights)})


# ------------------------------------------------------------------------------------------------------------ questions


def game_questions(count: int, seed: int, numbers: int = 4) -> list[str]:
    """So many questions of the training side, in all wordings; always the same for a seed."""
    rng, kinds = random.Random(seed), len(words.PHRASINGS)
    return [words.ask(game.sample(rng, numbers, held_out=False), rng.randrange(kinds)) for _ in range(count)]


def held_out_questions(count: int, numbers: int = 4) -> list[str]:
    """Questions that are never trained on, always the same; once all have been named, they are named again."""
    every = game.held_out_questions(numbers)
    chosen = random.Random(2026).sample(every, min(count, len(every)))
    asked = [words.ask(q, i % len(words.PHRASINGS)) for i, q in enumerate(chosen)]
    return [asked[i % len(asked)] for i in range(count)]


def questions_of(snapshot: Path | None, recipe: RlRecipe) -> list[str]:
    """The prompts to train on. Raises RowsError where a reward cannot judge them."""
    if recipe.questions:
        return game_questions(recipe.questions, recipe.seed, recipe.numbers)
    assert snapshot is not None
    prompts = list(dict.fromkeys(t.prompt for t in read_traces(snapshot) if t.split == "train"))
    if recipe.dag_reward or recipe.outcome_reward:
        kept = [p for p in prompts if _game(p) is not None]
        if len(kept) < len(prompts):
            raise RowsError(
                f"{len(prompts) - len(kept)} of the {len(prompts)} questions of the snapshot are not the numbers game, so "
                "neither the DAG nor the outcome can be judged. Train on a PRM alone (dag_reward=0, outcome_reward=0, "
                "prm_reward=1), or freeze a snapshot of the game."
            )
        prompts = kept
    prompts = [p for p in prompts if (one := _game(p)) is None or not one.held_out]
    if not prompts:
        raise RowsError("No question of the snapshot may be trained on: all are in the test split or held out.")
    return prompts


def measured_on(snapshot: Path | None, recipe: RlRecipe, prompts: Sequence[str]) -> tuple[list[str], str]:
    """Questions that are not trained on, and what is measured on them: "solved" where all of `prompts` are the numbers game, else "score",
    the reward model's.
    """
    if not recipe.held_out or all(_game(p) is not None for p in prompts):
        return held_out_questions(recipe.held_out, recipe.numbers) if recipe.held_out else [], "solved"
    assert snapshot is not None
    others = list(dict.fromkeys(t.prompt for t in read_traces(snapshot) if t.split == "test"))
    return random.Random(2026).sample(others, min(recipe.held_out, len(others))), "score"


def _game(prompt: str) -> game.Countdown | None:
    try:
        return words.understand(prompt)
    except ValueError:
        return None


# -------------------------------------------------------------------------------------------------------------- rewards


@dataclass(frozen=True)
class Rewards:
    """All rewards of a recipe; `scorer` is a `core.scoring.prm.PrmScorer`, or None."""

    recipe: RlRecipe
    scorer: Any = None

    def steps(self, rollouts: Sequence[Rollout]) -> list[list[float]]:
        """One number a step of each rollout."""
        recipe = self.recipe
        found = [[0.0] * len(r.steps) for r in rollouts]
        if recipe.dag_reward:
            for own, rollout in zip(found, rollouts, strict=True):
                for i, value in enumerate(dag.step_rewards(rollout, recipe.weights())):
                    own[i] += recipe.dag_reward * value
        if self.scorer is not None and recipe.prm_reward:
            scores = self.scorer.score_many([(r.prompt, r.step_texts) for r in rollouts])
            for own, values in zip(found, scores, strict=True):
                for i, value in enumerate(values):
                    own[i] += recipe.prm_reward * (value if value == value else 0.0)  # NaN: it did not fit
        return found

    def wholes(self, rollouts: Sequence[Rollout]) -> list[float]:
        """One number a rollout."""
        return [float(solved(r)) if self.recipe.outcome_reward else 0.0 for r in rollouts]

    def advantages(self, rollouts: Sequence[Rollout]) -> list[list[float]]:
        """One advantage a token, for rollouts of which each `group` in a row answer one question."""
        found: list[list[float]] = []
        size = self.recipe.group
        for start in range(0, len(rollouts), size):
            group = rollouts[start : start + size]
            places = [dag.places(r) for r in group] if self.recipe.dag_reward else None
            by_step = step_advantages(self.steps(group), self.recipe.discount, places)
            whole = [self.recipe.outcome_reward * a for a in normalised(self.wholes(group))]
            found += [token_advantages(r.step_of, steps, w) for r, steps, w in zip(group, by_step, whole, strict=True)]
        return found


# -------------------------------------------------------------------------------------------------------------- trainer


def trainer_class() -> Any:
    """`StepGrpo`, a `trl.GRPOTrainer`. Raises JobError with what to install where TRL is missing."""
    try:
        import trl
    except ImportError as error:
        raise JobError(INSTALL) from error
    import torch

    from training.rollouts import NotNumbers, sample

    class StepGrpo(trl.GRPOTrainer):
        """All that is declared here is set after it is made."""

        player: Any = None  # a copy of the model in another precision that makes the rollouts
        rewards: Rewards
        recipe: RlRecipe
        run: Run

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            recipe = self.recipe
            tokenizer: Any = self.processing_class
            model = self.accelerator.unwrap_model(self.model)
            player = self.player or model
            if self.player is not None:
                self.player.load_state_dict(model.state_dict())
            prompts = [row["prompt"] for row in inputs]
            heads = [encode_prompt(tokenizer, p) for p in prompts]
            try:
                made = sample(
                    player, heads, max_tokens=recipe.max_tokens, temperature=recipe.temperature,
                    # By the step, not by a count of rollouts: a resumed job draws what it would have drawn.
                    seed=(recipe.seed << 24) + self.state.global_step, eos=tokenizer.eos_token_id,
                    vocabulary=len(tokenizer), every_turn=self.run.check_stop,
                )  # fmt: skip
            except Stopped:
                self._keep()
                raise
            except NotNumbers as error:
                raise JobError(
                    f"{str(error).capitalize()} after step {self.state.global_step} with learning_rate = "
                    f"{recipe.learning_rate:g}. Start a new job with a lower one, for example "
                    f"--set learning_rate={recipe.learning_rate / 10:g}."
                ) from error
            rollouts = [read(tokenizer, p, ids) for p, ids in zip(prompts, made, strict=True)]
            batch = tensors(heads, made, self.rewards.advantages(rollouts), tokenizer.pad_token_id)
            batch = {k: v.to(self.accelerator.device) for k, v in batch.items()}
            if self.num_iterations > 1 or self.beta:
                ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
                mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
                kept = batch["completion_ids"].shape[1]
                for key, one in (("old_per_token_logps", model), ("ref_per_token_logps", self.ref_model)):
                    if (self.num_iterations > 1) if one is model else self.beta:
                        with torch.no_grad():
                            batch[key] = self._get_per_token_logps_and_entropies(one, ids, mask, kept, recipe.batch)[0]
            self._tell(rollouts)
            return batch

        def _keep(self) -> None:
            """A checkpoint in the midst of rollouts: nothing of the step has happened yet."""
            if self.state.global_step:
                self._save_checkpoint(self.model, None)
                self.callback_handler.on_save(self.args, self.state, self.control)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            """With the rollouts that have steps to come: drawn again from newer weights, they would be others."""
            super()._save_checkpoint(model, trial)
            args: Any = self.args
            midway = self._step % (args.steps_per_generation * self.num_iterations)
            folder = Path(args.output_dir) / f"checkpoint-{self.state.global_step}"
            torch.save((self._step, self._buffered_inputs if midway else None), folder / ROLLOUTS)

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            self.order: Any = super()._get_train_sampler(dataset)
            return self.order

        def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
            """Where the trainer takes up a checkpoint. Each pass has an order of its own: those that are over are drawn again, so
            that those to come are as in an unbroken run.
            """
            super()._load_optimizer_and_scheduler(checkpoint)
            for _ in range(int((self.state.epoch or 0) + 1e-6) if checkpoint is not None else 0):
                torch.randperm(self.order.num_samples, generator=self.order.generator)
            if checkpoint is not None and (Path(checkpoint) / ROLLOUTS).exists():
                kept = torch.load(Path(checkpoint) / ROLLOUTS, map_location=self.accelerator.device, weights_only=True)
                self._step, self._buffered_inputs = kept

        def create_model_card(self, *_: Any, **__: Any) -> None:
            """The job writes its own; TRL's would lie among the checkpoints."""

        def _tell(self, rollouts: list[Rollout]) -> None:
            log = self._metrics["train"]
            for name, value in guards(rollouts).to_json().items():
                log[name].append(value)
            steps = [r for one in self.rewards.steps(rollouts) for r in one]
            log["step_reward"].append(sum(steps) / max(len(steps), 1))
            # Whatever is rewarded: a reward that rises beside it is what is watched for. Other questions have no such curve.
            if all(_game(r.prompt) is not None for r in rollouts):
                log["solved"].append(sum(map(solved, rollouts)) / len(rollouts))

    return StepGrpo


def tensors(
    heads: Sequence[Sequence[int]], made: Sequence[Sequence[int]], advantages: Sequence[Sequence[float]], pad: int
) -> dict[str, Any]:
    """What TRL's loss reads: prompts padded on the left, completions on the right, (B, T) advantages, 0 where padded."""
    import torch

    rows, before, after = len(heads), max(map(len, heads)), max(map(len, made))
    found = {
        "prompt_ids": torch.full((rows, before), pad), "prompt_mask": torch.zeros((rows, before), dtype=torch.long),
        "completion_ids": torch.full((rows, after), pad), "completion_mask": torch.zeros((rows, after), dtype=torch.long),
        "advantages": torch.zeros((rows, after)),
    }  # fmt: skip
    for i, (head, ids, values) in enumerate(zip(heads, made, advantages, strict=True)):
        found["prompt_ids"][i, before - len(head) :] = torch.tensor(head)
        found["prompt_mask"][i, before - len(head) :] = 1
        found["completion_ids"][i, : len(ids)] = torch.tensor(ids)
        found["completion_mask"][i, : len(ids)] = 1
        found["advantages"][i, : len(ids)] = torch.tensor(values)
    return {**found, "num_items_in_batch": found["completion_mask"].sum()}


# ------------------------------------------------------------------------------------------------------------ measuring


def measure(model: Any, tokenizer: Any, prompts: Sequence[str], recipe: RlRecipe, run: Run) -> list[Rollout]:
    """One rollout a question, with the recipe's budget of tokens and its temperature, always from the same seed."""
    from training.rollouts import sample

    heads = [encode_prompt(tokenizer, p) for p in prompts]
    made = sample(
        model, heads, max_tokens=recipe.max_tokens, temperature=recipe.temperature, seed=recipe.seed,
        eos=tokenizer.eos_token_id, vocabulary=len(tokenizer), every_turn=run.check_stop,
    )  # fmt: skip
    return [read(tokenizer, p, ids) for p, ids in zip(prompts, made, strict=True)]


def values_of(rollouts: Sequence[Rollout], figure: str, scorer: Any) -> list[float]:
    """One number a rollout: solved or not, or the mean of its steps' scores (0 without a step that was scored)."""
    if figure == "solved":
        return [float(solved(r)) for r in rollouts]
    found = []
    for scores in scorer.score_many([(r.prompt, r.step_texts) for r in rollouts]):
        known = [s for s in scores if s == s]  # NaN: it did not fit
        found.append(sum(known) / len(known) if known else 0.0)
    return found


def paired_interval(
    before: Sequence[float], after: Sequence[float], questions: Sequence[str]
) -> tuple[float, tuple[float, float]]:
    """Mean difference of two arms on the same questions, and its 95 % interval over questions (normal, paired): what one question
    was asked twice is no independent evidence.
    """
    by_question: dict[str, list[float]] = {}
    for question, a, b in zip(questions, before, after, strict=True):
        by_question.setdefault(question, []).append(b - a)
    differences = [sum(one) / len(one) for one in by_question.values()]
    n = len(differences)
    mean = sum(differences) / n
    variance = sum((d - mean) ** 2 for d in differences) / max(n - 1, 1)
    half = LEARNED * (variance / n) ** 0.5
    return mean, (mean - half, mean + half)


def train(snapshot: Path | None, recipe: RlRecipe, run: Run) -> Outcome:
    """Train, measure on held-out questions before and after, save to the run's `model/`."""
    step_grpo = trainer_class()
    import torch
    import trl
    from datasets import Dataset

    from training.topology import only_device
    from training.watch import arguments
    from training.watch import train as run_trainer

    device = only_device(recipe)
    a_step = recipe.traces_per_step
    if a_step % recipe.group:
        raise JobError(
            f"batch × accumulate = {a_step} rollouts a step cannot be shared among groups of {recipe.group}: make it a "
            "multiple of group."
        )
    if recipe.prm_reward and not recipe.prm:
        raise JobError('prm_reward needs "prm", the folder of a process reward model: --set prm=DATA/jobs/ID/model.')
    run.phase("reading the questions")
    prompts = questions_of(snapshot, recipe)
    if len(prompts) < a_step // recipe.group:
        raise JobError(
            f"There are {len(prompts)} questions, and a step takes {a_step // recipe.group} (batch × accumulate / group). Lower "
            "batch or accumulate, or freeze a snapshot of more questions."
        )
    base = base_folder(recipe.base)
    tokenizer = load_tokenizer(base)
    model = load_weights("AutoModelForCausalLM", base).to(device)
    scorer = None
    if recipe.prm_reward:
        from core.scoring.prm import PrmScorer, ScorerError

        try:
            scorer = PrmScorer(Path(recipe.prm).expanduser())
        except (ScorerError, OSError) as error:
            raise JobError(f'prm = "{recipe.prm}" cannot score: {error}') from error
    held_out, figure = measured_on(snapshot, recipe, prompts)

    def tried() -> dict[str, Any]:
        rollouts = measure(model, tokenizer, held_out, recipe, run)
        return {figure: values_of(rollouts, figure, scorer), "guards": guards(rollouts).to_json()}

    # Kept in the folder, so that a resumed job does not measure the base model again.
    kept = run.folder.path / "before.json"
    if held_out and not kept.exists():
        run.phase(f"measuring the base model on {len(held_out)} held-out questions")
        write_atomically(kept, json.dumps(tried()))
    steps = recipe.passes(len(prompts) * recipe.group) * len(prompts) * recipe.group // a_step * recipe.reuse
    # A rollout waits for keys and values to be read: in half the bytes it waits for less. Copied before the trainer wraps it.
    player = deepcopy(model).to(torch.bfloat16) if recipe.dtype == "bfloat16" else None
    settings = trl.GRPOConfig(
        **arguments(recipe, run, device), max_steps=max(steps, 1), num_generations=recipe.group, temperature=recipe.temperature,
        max_completion_length=recipe.max_tokens, beta=recipe.kl, num_iterations=recipe.reuse, warmup_steps=recipe.warmup,
        shuffle_dataset=True,
    )  # fmt: skip
    trainer = step_grpo(
        model=model, reward_funcs=[_unused], args=settings, processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
    )  # fmt: skip
    trainer.rewards, trainer.recipe, trainer.run, trainer.player = Rewards(recipe, scorer), recipe, run, player
    run_trainer(trainer, run, recipe)
    figures: dict[str, Any] = {
        "n_questions": len(prompts),
        "n_rollouts": trainer.state.global_step * a_step // recipe.reuse,
    }
    if held_out:
        run.phase(f"measuring on {len(held_out)} held-out questions")
        before, after = json.loads(kept.read_text(encoding="utf-8")), tried()
        n = len(held_out)
        gain, interval = paired_interval(before[figure], after[figure], held_out)
        figures |= {
            f"{figure}_before": round(sum(before[figure]) / n, 4), f"{figure}_after": round(sum(after[figure]) / n, 4),
            "gain": round(gain, 4), "gain_95": [round(x, 4) for x in interval], "n_held_out": n,
            **{f"{k}_before": v for k, v in before["guards"].items()},
            **{f"{k}_after": v for k, v in after["guards"].items()},
        }  # fmt: skip
    elif recipe.held_out:
        figures["gain"] = "undefined: no question is in the test split (a tenth of the questions)"
    run.phase("saving the model")
    save_model(model, tokenizer, run.folder.path / "model")
    return Outcome(figures, {"questions": len(prompts), "held_out_questions": len(held_out)})


def _unused(**_: Any) -> list[float]:
    """TRL wants a reward function; ours are read where the rollouts are made."""
    raise AssertionError("rewards are given in `_generate_and_score_completions`")


KIND = Kind(
    name="rl",
    title="Reinforced reasoner",
    does="lets a language model try questions and reinforces the steps that lead nearer to the answer",
    recipe=RlRecipe,
    train=train,
    used_as="model",
    hint="questions=400\nmin_steps=100\nmax_tokens=480",
    needs_snapshot=lambda recipe: not recipe.questions,
    card=Card(
        tag="text-generation",
        use="""\
An ordinary `*ForCausalLM` with the tokenizer of its base model. Steiner's tokens are ordinary tokens: decode with
`skip_special_tokens=False`.""",
        figures="""\
solved: the share of held-out questions solved within `max_tokens`, one rollout each from the same seed, judged from the
steps alone. score (questions that are not the numbers game): the mean of the steps' scores by the reward model that was
trained on, so a gain may be no more than a way around it. gain_95: over questions, paired. The other figures are guards, before and after: a gain with fewer whole steps,
more repeated steps or no turns back would be a reward that was cheated.""",
        limits="""\
It was reinforced on the numbers game or by a reward model, and at one budget of tokens. The step reward's formula is
Worldline's own; Steiner's was never published.""",
    ),
)
