"""An answer of a search as a trace: it can then be read, rated and exported like any other, and says what it cost.

Its id follows from the search and the node, so keeping the same answer twice is harmless. Knows no store and no screen.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from typing import Any

from core.run import TraceReader
from core.search.search import Search
from core.search.tree import NodeEnd
from core.trace import Trace

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_CHARS = 10  # of an id; the rest tells what was made in one millisecond apart
# How a trace ends that a search cut short: at a step only because nobody went on from there.
_REASONS: dict[NodeEnd, str] = {"eos": "stop"}


def trace_id_of(search_id: str, node: int) -> str:
    """26 characters as of `core.trace.new_id`: the time of the search, and what belongs to this node alone."""
    digest = hashlib.sha256(f"{search_id} {node}".encode()).digest()
    value = int.from_bytes(digest[:10], "big")
    return search_id[:_TIME_CHARS] + "".join(_ALPHABET[(value >> shift) & 31] for shift in range(75, -1, -5))


def trace_of(search: Search, node: int, about: dict[str, Any]) -> Trace:
    """The response that ends in `node`. about: the search's first line, which knows the model, the scorer and the limits.

    `sampling["search"]` says how it was found, `stats["ledger"]` what the whole search cost until now, its scorer included.
    """
    reader, at, line = read_line(search, node, about["model"]), search.state.tree[node], search.state.tree.line(node)
    spent = search.ledger()
    limits = about.get("limits", {})
    sampling = {
        "temperature": limits.get("temperature"), "top_p": limits.get("top_p"), "seed": search.seed,
        "max_tokens": limits.get("max_tokens"), "min_steps": 0, "max_steps": limits.get("max_steps"),
        "search": {
            "search_id": search.search_id, "strategy": search.strategy.NAME, "params": asdict(search.strategy),  # type: ignore[call-overload]
            "node": node, "path": at.path, "seed": search.seed, "scorer": about.get("scorer", ""),
            "scorer_version": about.get("scorer_version", ""), "aggregation": search.aggregation, "score": at.score,
            "executor": about.get("executor", ""), "prompt": search.state.tree.prompt(node),
            "evaluation": about.get("evaluation", ""),
        },
    }  # fmt: skip
    stats = {
        "steps": len(reader.tree.nodes), "backtracks": reader.backtracks, "prompt_tokens": spent["prompt"],
        "generated_tokens": sum(len(n.ids) or n.tokens for n in line), "seconds": None, "first_token_s": None,
        "tokens_per_s": None, "ledger": spent,
    }  # fmt: skip
    trace = reader.trace(
        "cancelled" if search.reason == "cancelled" and at.end == "step" else _REASONS.get(at.end, "length"),
        sampling=sampling, stats=stats,
    )  # fmt: skip
    right = search.state.answers.right(search.state.tree.text(node))
    return replace(trace, solved=right, created_at=about["created_at"])


def read_line(search: Search, node: int, model: str) -> TraceReader:
    """The response up to `node`, cut into steps."""
    reader = TraceReader(search.state.problem, model, trace_id_of(search.search_id, node))
    reader.feed(search.state.tree.text(node))
    reader.close()
    return reader
