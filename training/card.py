"""The model card of a finished job: what it is, what it measured, and where it comes from, both ways. Text only."""

from __future__ import annotations

from typing import Any

from training.recipe import Recipe
from training.run_folder import JobStatus

_TITLES = {"prm": "Process reward model", "sft": "Fine-tuned reasoner"}
_TAGS = {"prm": "token-classification", "sft": "text-generation"}
_USES = {
    "prm": """\
Scores each step of a reasoning trace with P(good), read at `<|step_score|>` after the step (`*ForTokenClassification`,
label 0 bad, 1 good). In Python:

    from core.scoring.prm import PrmScorer, aggregate
    scores = PrmScorer("model").score(prompt, step_texts)   # step_texts: the raw pieces response[start:end]
    aggregate(scores, "min")

vLLM serves the folder as a pooling model:
`PoolerConfig(tok_pooling_type="STEP", step_tag_id=<id of <|step_score|>>)`.""",
    "sft": """\
An ordinary `*ForCausalLM` with the tokenizer of its base model. Steiner's tokens are ordinary tokens: decode with
`skip_special_tokens=False`.""",
}
_LIMITS = {
    "prm": """\
It imitates the people whose ratings it saw, on traces like those they rated. The held-out figures are from other
questions of the same snapshot: they say nothing of other tasks, and with few held-out steps the interval is wide.""",
    "sft": """\
A lower held-out loss means that it writes more like the approved traces; it does not mean that it solves more.""",
}


def model_card(
    job: dict[str, Any], status: JobStatus, recipe: Recipe, lineage: dict[str, Any], counts: dict[str, int]
) -> str:
    """Markdown with a YAML head, as Hugging Face reads it."""
    kind = job["kind"]
    figures = "\n".join(f"| {key} | {_cell(value)} |" for key, value in status.figures.items())
    data = "\n".join(f"| {key.replace('_', ' ')} | {value} |" for key, value in counts.items())
    origin = "\n".join(f"| {key} | `{value}` |" for key, value in lineage.items() if value)
    return f"""---
pipeline_tag: {_TAGS[kind]}
library_name: transformers
tags: [worldline, {kind}]
---

# {_TITLES[kind]} {job["job_id"]}

{_USES[kind]}

## Figures

| figure | value |
|---|---|
{figures}

{_explain(kind)}

## Data

| what | count |
|---|---|
{data}

## Lineage

| what | which |
|---|---|
{origin}

Trained in {status.seconds:.0f} s, {status.total_steps} steps. The recipe as it was used:

```toml
{recipe.to_toml().strip()}
```

## Limits

{_LIMITS[kind]}
"""


def _explain(kind: str) -> str:
    if kind == "prm":
        return (
            "auc: the chance that a good held-out step scores above a bad one (0.5: no skill). base_rate: the share of "
            "good steps; guessing the commoner kind every time would be right as often as that kind is common. auc_95: "
            "resampled over questions. first_error_f1: as in ProcessBench."
        )
    return "loss: mean negative log-likelihood a token of the response, on held-out traces, before and after."


def _cell(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
