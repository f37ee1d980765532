"""The nodes of a search as a table to keep: what each says, where it hangs, what became of it and what it cost. Knows no HTTP."""

from __future__ import annotations

import io
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from core.search.ledger import Spent

if TYPE_CHECKING:
    from core.search.search import Search


def rows(search: Search) -> list[dict[str, Any]]:
    """A row a node, the question first; `spent_…` is a node's own share, and all rows together are what the search has spent.

    FLOPs are None where a model's size is unknown. Not for another thread while the search goes on.
    """
    return [_row(search, node) for node in range(len(search.state.tree))]


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """The same as a file."""
    import polars as pl

    text, whole, real, yes = pl.String(), pl.Int64(), pl.Float64(), pl.Boolean()
    schema = {
        "search_id": text, "id": whole, "parent": whole, "path": text, "text": text, "end": text, "label": text, "prompt": text,
        "count": whole, "tokens": whole, "score": real, "value": real, "visits": whole, "pruned": yes, "chosen": yes,
        "answer": text, "right": yes,
        **{f"spent_{f.name}": real if "flops" in f.name or f.name == "seconds" else whole for f in fields(Spent)},
    }  # fmt: skip
    out = io.BytesIO()
    pl.DataFrame(rows, schema=schema).write_parquet(out)
    return out.getvalue()


def _row(search: Search, node: int) -> dict[str, Any]:
    found = search.node_json(node)
    spent = search.node_spent.get(node, Spent())
    told = {key: value for key, value in found.items() if key != "ledger"}
    # Half of a character is text to a model and none to Parquet.
    clean = {k: v.encode("utf-8", "replace").decode() if isinstance(v, str) else v for k, v in told.items()}
    return {"search_id": search.search_id, **clean, **{f"spent_{name}": value for name, value in vars(spent).items()}}
