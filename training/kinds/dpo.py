"""Direct preference optimisation (Rafailov et al. 2023) from compared traces, from verdicts, and from branches of one trace.

Which rows are pairs is decided where they are exported (`storage/exports/preference.py`, `step_dpo.py`), so that a job
learns from what an export shows. The loop and the loss are TRL's; rows are tokenised here, because TRL would append an end
token to a step that has none, cut long pairs without a word, and read the reference model again from wherever the model's
configuration says it came from. Knows no rating.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from core.scoring.encoding import encode_messages
from training.base_model import base_folder, fit_vocabulary, load_tokenizer, load_weights, save_model
from training.kind import Card, Kind, Outcome, in_words
from training.kinds.rl import INSTALL
from training.recipe import OneProcessRecipe
from training.rows import RowsError
from training.run_folder import JobError, Run


class DpoRecipe(OneProcessRecipe):
    """Direct preference optimisation."""

    kind: ClassVar[str] = "dpo"
    pairs: Literal["all", "compared", "verdict", "branch", "better"]
    beta: Annotated[float, Field(gt=0)]
    min_raters: Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class PairRow:
    """Token ids of one preference. Both sides continue `prompt`; `source` says where it comes from."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    source: str

    def to_trl(self) -> dict[str, list[int]]:
        return {"prompt_ids": self.prompt, "chosen_ids": self.chosen, "rejected_ids": self.rejected}


@dataclass(frozen=True)
class Pairs:
    """Both sides of the split, and what became of the pairs."""

    train: tuple[PairRow, ...]
    test: tuple[PairRow, ...]
    counts: dict[str, int]


# What the exports call a source, and what a job says of it.
SOURCES = {"pair": "compared", "verdict": "verdict", "branch": "branch", "better": "better_step"}


def exported(snapshot: Path, recipe: DpoRecipe) -> Iterator[dict[str, Any]]:
    """The pairs of a snapshot as the exports make them."""
    from storage.exports import preference, step_dpo
    from storage.snapshots import load_snapshot

    frozen = load_snapshot(snapshot.parent, snapshot.name)
    left: Counter[str] = Counter()
    if recipe.pairs != "better":
        name = {"compared": "pair"}.get(recipe.pairs, recipe.pairs)
        wanted = preference.PreferenceOptions(source=name, min_raters=recipe.min_raters)
        for batch in preference.rows(frozen, wanted, left):
            yield from batch.to_pylist()
    if recipe.pairs in ("all", "better"):
        options = step_dpo.StepDpoOptions(source="better", min_raters=recipe.min_raters)
        for batch in step_dpo.rows(frozen, options, left):
            yield from batch.to_pylist()


def pair_rows(rows: Iterator[dict[str, Any]], tokenizer: Any, recipe: DpoRecipe) -> Pairs:
    """Tokenised pairs; those longer than `max_tokens` are left out whole. Raises RowsError when none is left to train on.

    A pair of whole responses ends with the end token on both sides; a pair of steps does not, for a step is not the end.
    """
    sides: dict[str, list[PairRow]] = {"train": [], "test": []}
    counts: Counter[str] = Counter({"pairs": 0, "pairs_over_max_tokens": 0})

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False).input_ids

    for row in rows:
        counts["pairs"] += 1
        counts[f"{SOURCES[row['source']]}_pairs"] += 1
        whole = row["source"] in ("pair", "verdict")
        end = [tokenizer.eos_token_id] if whole and tokenizer.eos_token_id is not None else []
        asked = [*row["history"], {"role": "user", "content": row["question"]}]
        prompt = encode_messages(tokenizer, asked) + ids(row["prompt"][len(row["question"]) :])
        one = PairRow(prompt, ids(row["chosen"]) + end, ids(row["rejected"]) + end, row["source"])
        if len(prompt) + max(len(one.chosen), len(one.rejected)) > recipe.max_tokens:
            counts["pairs_over_max_tokens"] += 1
        else:
            sides[row["split"]].append(one)
    if not sides["train"]:
        raise RowsError(
            f'None of the {counts["pairs"]} pairs that pairs = "{recipe.pairs}" finds in the snapshot is on the training '
            f"side and fits into max_tokens = {recipe.max_tokens}. Compare traces on the Compare page, rate the branches of "
            "a trace, or give verdicts to several traces of one question; then freeze a new snapshot."
        )
    return Pairs(tuple(sides["train"]), tuple(sides["test"]), dict(counts))


def trainer_class() -> Any:
    """`PairsAsTheyAre`, a `trl.DPOTrainer` that takes tokenised pairs. Raises JobError where TRL is missing."""
    try:
        import trl
    except ImportError as error:
        raise JobError(INSTALL) from error

    class PairsAsTheyAre(trl.DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def create_model_card(self, *_: Any, **__: Any) -> None:
            """The job writes its own; TRL's would lie among the checkpoints."""

    return PairsAsTheyAre


def log_ratios(model: Any, reference: Any, rows: Sequence[PairRow]) -> list[tuple[float, float]]:
    """log π(y|x) − log π_ref(y|x), summed over tokens, of the chosen and of the rejected side of each pair."""
    import torch

    def log_p(of: Any, prompt: list[int], ids: list[int]) -> float:
        whole = torch.tensor([prompt + ids], device=of.device)
        logits = of(input_ids=whole, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
        return float(logits.log_softmax(-1).gather(1, whole[0, len(prompt) :, None]).sum())

    was_training = model.training
    model.eval()
    with torch.inference_mode():
        found = [
            (
                log_p(model, row.prompt, row.chosen) - log_p(reference, row.prompt, row.chosen),
                log_p(model, row.prompt, row.rejected) - log_p(reference, row.prompt, row.rejected),
            )
            for row in rows
        ]
    model.train(was_training)
    return found


def train(snapshot: Path | None, recipe: DpoRecipe, run: Run) -> Outcome:
    """Train on pairs of the train split, measure on those of the test split, save to the run's `model/`."""
    pairs_as_they_are = trainer_class()
    assert snapshot is not None
    import trl
    from datasets import Dataset

    from storage.errors import SnapshotError
    from training.topology import only_device
    from training.watch import arguments
    from training.watch import train as run_trainer

    device = only_device(recipe)
    run.phase("reading the pairs")
    base = base_folder(recipe.base)
    tokenizer = load_tokenizer(base)
    try:
        pairs = pair_rows(exported(snapshot, recipe), tokenizer, recipe)
    except SnapshotError as error:
        raise RowsError(str(error)) from error
    run.say(f"{len(pairs.train)} pairs to train on, {len(pairs.test)} held out ({in_words(pairs.counts)})")
    run.phase("loading the base model, twice: the reference stays as it is")
    model, reference = (load_weights("AutoModelForCausalLM", base) for _ in range(2))
    for one in (model, reference):
        fit_vocabulary(one, tokenizer)
    steps = -(-recipe.passes(len(pairs.train)) * len(pairs.train) // recipe.traces_per_step)
    settings = trl.DPOConfig(
        **arguments(recipe, run, device), max_steps=steps, beta=recipe.beta, max_length=None, warmup_steps=recipe.warmup
    )
    trainer = pairs_as_they_are(
        model=model, ref_model=reference, args=settings, processing_class=tokenizer,
        train_dataset=Dataset.from_list([row.to_trl() for row in pairs.train]),
    )  # fmt: skip
    run_trainer(trainer, run, recipe)
    run.phase("measuring on held-out pairs")
    held_out = log_ratios(model, reference.to(model.device), pairs.test)
    figures: dict[str, Any] = {"n_train_pairs": len(pairs.train), "n_test_pairs": len(pairs.test)}
    if held_out:
        figures |= {
            "pairs_right": round(sum(c > r for c, r in held_out) / len(held_out), 4),
            "margin": round(recipe.beta * sum(c - r for c, r in held_out) / len(held_out), 4),
            "chosen_log_ratio": round(sum(c for c, _ in held_out) / len(held_out), 4),
        }
    else:
        figures["pairs_right"] = "undefined: no pair is in the test split (a tenth of the questions)"
    run.phase("saving the model")
    save_model(model, tokenizer, run.folder.path / "model")
    return Outcome(figures, pairs.counts, _comparisons(snapshot, recipe))


def _comparisons(snapshot: Path, recipe: DpoRecipe) -> dict[str, str]:
    """The snapshot's file of comparisons, where pairs come from it, with its sha256."""
    from storage.snapshots import PAIRS, load_snapshot

    frozen = load_snapshot(snapshot.parent, snapshot.name, anew=False).manifest.get("pairs")
    return {PAIRS: frozen["sha256"]} if frozen and recipe.pairs in ("all", "compared") else {}


KIND = Kind(
    name="dpo",
    title="Preference-tuned reasoner",
    does="teaches a language model the better of two answers, or of two branches",
    recipe=DpoRecipe,
    train=train,
    used_as="model",
    hint="pairs=branch\nbeta=0.1\nepochs=2",
    card=Card(
        tag="text-generation",
        use="""\
An ordinary `*ForCausalLM` with the tokenizer of its base model. Steiner's tokens are ordinary tokens: decode with
`skip_special_tokens=False`.""",
        figures="""\
On held-out pairs. pairs_right: the share in which the chosen side gained more than the rejected one, against the base model
(0.5: no skill). margin: beta times the mean difference of the two gains. chosen_log_ratio: what the chosen side gained; where
it is far below 0, both became less likely, and the model may write neither.""",
        limits="It prefers what raters preferred in the pairs; whether it solves more has to be measured.",
    ),
)
