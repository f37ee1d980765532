"""An outcome reward model: one label for the whole response, learned at every token of it, read at its end.

After Cobbe et al. 2021 (token-level verifier) and Lightman et al. 2023 (appendix F): pointwise, not the pairwise
Bradley–Terry loss that libraries call a reward model. The same two-label head as a PRM's. The response is closed with the
PRM's separator, so that its last score is read as a step's: `PrmScorer(model).score(prompt, [response])`, or vLLM's STEP
pooling. Knows which traces have an outcome; knows no loss of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from core.scoring.encoding import encode_prompt, separator_id
from training.base_model import base_folder, load_tokenizer
from training.kind import Card, Kind, Outcome
from training.kinds.prm import train_scorer
from training.recipe import Recipe
from training.rows import NAN, JudgedTrace, Rows, RowsError, TokenRow, read_traces
from training.run_folder import Run


class OrmRecipe(Recipe):
    """An outcome reward model from solved flags or verdicts."""

    kind: ClassVar[str] = "orm"
    outcome: Literal["solved", "verdict", "either"]


def outcome_of(trace: JudgedTrace, outcome: str) -> float | None:
    """1 right, 0 wrong, the share of good verdicts where raters disagree, None unknown. "either": checked before judged."""
    verdicts = [v for j in trace.judgements if (v := j.verdict) is not None and v != 0]
    judged = sum(v > 0 for v in verdicts) / len(verdicts) if verdicts else None
    checked = None if trace.solved is None else float(trace.solved)
    if outcome == "solved":
        return checked
    return judged if outcome == "verdict" or checked is None else checked


def orm_rows(traces: Sequence[JudgedTrace], tokenizer: Any, recipe: OrmRecipe) -> Rows:
    """One row a trace with a known outcome; longer ones are left out whole, for their end is what is scored.

    Raises RowsError when nothing is left to train on.
    """
    separator = separator_id(tokenizer)
    sides: dict[str, list[TokenRow]] = {"train": [], "test": []}
    counts = {
        "traces": len(traces),
        "traces_without_outcome": 0,
        "traces_over_max_tokens": 0,
        "right": 0,
        "wrong": 0,
        "soft": 0,
    }
    seen: set[str] = set()
    for trace in traces:
        label = outcome_of(trace, recipe.outcome)
        if label is None or trace.trace_id in seen:
            counts["traces_without_outcome"] += label is None
            continue
        seen.add(trace.trace_id)
        head, body = (
            [i for i in ids if i != separator]
            for ids in (
                encode_prompt(tokenizer, trace.prompt),
                tokenizer(trace.response, add_special_tokens=False).input_ids,
            )
        )
        ids = [*head, *body, separator]
        if len(ids) > recipe.max_tokens:
            counts["traces_over_max_tokens"] += 1
            continue
        counts["right" if label == 1 else "wrong" if label == 0 else "soft"] += 1
        labels = [NAN] * len(head) + [label] * (len(body) + 1)
        sides[trace.split].append(TokenRow(ids, labels, trace.trace_id, trace.problem_id))
    if not sides["train"]:
        raise RowsError(
            f"None of the {len(traces)} traces in the snapshot that may be trained on and fit into max_tokens has an "
            f'outcome by outcome = "{recipe.outcome}". Give verdicts or ask checkable questions, freeze a new snapshot, '
            "and start the job on that."
        )
    return Rows(tuple(sides["train"]), tuple(sides["test"]), counts)


def rows_of(snapshot: Path | None, recipe: OrmRecipe, most: int | None = None) -> tuple[Rows, Any]:
    """See `training.kind.Kind`."""
    assert snapshot is not None
    tokenizer = load_tokenizer(base_folder(recipe.base))
    return orm_rows(read_traces(snapshot, most), tokenizer, recipe), tokenizer


def train(snapshot: Path | None, recipe: OrmRecipe, run: Run) -> Outcome:
    """Train on the train split, measure at the end of held-out responses, save to the run's `model/`."""
    run.phase("reading the snapshot")
    rows, tokenizer = rows_of(snapshot, recipe)
    made = train_scorer(rows, base_folder(recipe.base), tokenizer, separator_id(tokenizer), recipe, run)
    # A response is one "step" here: what is called a step in a PRM's figures is a response, and a label a token.
    names = {"n_test_steps": "n_test_responses", "n_train_steps": "n_train_tokens"}
    figures = {names.get(k, k): v for k, v in made.figures.items() if k not in ("first_error_f1", "n_test_traces")}
    return Outcome(figures, made.counts)


KIND = Kind(
    name="orm",
    title="Outcome reward model",
    does="learns to score whole responses from whether they were right",
    recipe=OrmRecipe,
    train=train,
    rows=rows_of,
    used_as="file",
    hint="outcome=either\nepochs=2",
    card=Card(
        tag="token-classification",
        use="""\
Scores a whole response with P(right), read at `<|step_score|>` after its end (`*ForTokenClassification`, label 0 bad, 1
good). In Python:

    from core.scoring.prm import PrmScorer
    [score] = PrmScorer("model").score(prompt, [response])

It ranks answers (best-of-N). It is not a scorer of steps: it has never seen a separator before the end.""",
        figures=(
            "auc: the chance that a right held-out response scores above a wrong one (0.5: no skill). base_rate: the share "
            "of right ones. auc_95: resampled over questions."
        ),
        limits="""\
It judges by what right answers of the training traces looked like, not by whether each step holds. The held-out figures
are from other questions of the same snapshot.""",
    ),
)
