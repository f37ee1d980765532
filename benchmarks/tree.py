"""Reading and tree building for a 5,000-step trace, beside adding as many nodes and edges to a networkx graph."""

from __future__ import annotations

import time

from benchmarks.table import Row

STEPS = 5000
ROUNDS = 5


def long_response(steps: int) -> tuple[str, str]:
    """A synthetic search of at least `steps` steps (walks joined), as (prompt, response)."""
    from core.formats import steiner_tokens as t
    from training.synthesis.countdown import step_text, walks

    parts, count, prompt = [t.REASONING_START], 0, ""
    for walk in walks(1):
        prompt = prompt or walk.prompt
        for step in walk.steps:
            parts.append(step_text(step) + (t.BACKTRACK if step.decision == "backtrack" else t.PROCEED))
            count += 1
        if count >= steps:
            return prompt, "".join(parts)
    raise AssertionError("walks never end")


def measure() -> list[Row]:
    """Best of `ROUNDS`, in steps/s."""
    import networkx as nx

    from core import layout, tree
    from core.formats import parse_response

    prompt, response = long_response(STEPS)
    steps, _, _, _ = parse_response(prompt, response)

    def best(work) -> float:
        times = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
        return len(steps) / min(times)

    def plain_graph() -> None:
        graph = nx.DiGraph()
        for i in range(len(steps)):
            graph.add_edge(i - 1, i)

    base = best(plain_graph)
    nodes = tree.build(prompt, steps)
    name = "networkx add_edge alone"
    return [
        Row(f"tree of {len(steps):,} steps", best(lambda: tree.build(prompt, steps)), "steps/s", base, name),
        Row(
            "parse and tree",
            best(lambda: parse_response(prompt, response)),
            "steps/s",
            base,
            name,
            f"{len(response):,} characters",
        ),
        Row("layout", best(lambda: layout.to_json(nodes)), "steps/s", base, name),
    ]
