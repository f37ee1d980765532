"""The model card of a finished job: what it is, what it measured, and where it comes from, both ways. Text only."""

from __future__ import annotations

from typing import Any

from training.recipe import Recipe
from training.run_folder import JobStatus


def model_card(
    job: dict[str, Any], status: JobStatus, recipe: Recipe, lineage: dict[str, Any], counts: dict[str, int]
) -> str:
    """Markdown with a YAML head, as Hugging Face reads it."""
    from training.kinds import KINDS

    kind = KINDS[job["kind"]]
    figures = "\n".join(f"| {key} | {_cell(value)} |" for key, value in status.figures.items())
    data = "\n".join(f"| {key.replace('_', ' ')} | {value} |" for key, value in counts.items())
    origin = "\n".join(f"| {key} | `{value}` |" for key, value in lineage.items() if value)
    return f"""---
pipeline_tag: {kind.card.tag}
library_name: transformers
tags: [worldline, {kind.name}]
---

# {kind.title} {job["job_id"]}

{kind.card.use}

## Figures

| figure | value |
|---|---|
{figures}

{kind.card.figures}

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

{kind.card.limits}
"""


def _cell(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
