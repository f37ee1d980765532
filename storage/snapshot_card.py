"""The README of a snapshot: what its manifest says, for people and for `load_dataset`. Knows no database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storage import cards


def card(manifest: Mapping[str, Any], data: str) -> str:
    """Markdown with the front matter of a dataset card; data: the file that holds the rows."""
    title = f"Worldline snapshot {manifest['name'] or manifest['snapshot_id']}"
    lines = [
        cards.front_matter(title, {"default": {"train": data}}, manifest["counts"]["rows"]),
        f"# {title}\n",
        f"Reasoning traces with ratings of their steps by {manifest['labels']}"
        ", frozen by Worldline. One row is one trace as one rater judged it.\n",
        cards.table(
            {
                key: manifest[key]
                for key in ("snapshot_id", "created_at", "created_by", "worldline_version", "event_seq", "sha256")
            }
        ),
        "\n## Counts\n",
        cards.table(manifest["counts"]),
        "\n## Class balance of steps\n",
        cards.table(manifest["class_balance"]),
        "\n## Corrections of what was inferred\n",
        cards.table(manifest["corrections"]),
        "\n## Raters, models, agreement\n",
        cards.table({key: manifest[key] for key in ("by_rater", "by_model", "rubrics", "agreement")}),
        "\n## What was asked for, what was left out\n",
        cards.table({"spec": manifest["spec"], "excluded": manifest["excluded"]}),
        "\n## Policies\n",
        cards.table(manifest["policies"]),
    ]
    if manifest["warnings"]:
        lines += ["\n## Warnings\n", *(f"- {w}" for w in manifest["warnings"])]
    lines += ["\n## Read it\n", f'```python\nimport polars as pl\n\nrows = pl.read_parquet("{data}")\n```\n']
    return "\n".join(lines)
