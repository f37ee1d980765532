"""Many DAGs of the numbers game and the paths sampled from them, written as JSONL by several processes.

The DAG of a question is exact (states and moves), so nothing is clustered and nothing generated; the walks are
`countdown.walk`'s. Output is the same for a seed whatever the number of processes: every question draws from a seed of its own.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any

from core.formats import steiner_tokens as t
from core.tasks import countdown as game
from core.tasks import countdown_text as words
from core.trace import problem_id_of
from core.workers import processes
from training.synthesis.countdown import SHARE_OF_THREE, STEP_LIMIT, Walk, step_text, walk
from training.synthesis.lengths import Lengths

CHUNK = 100  # questions a task: half a second of work
INSIGHTS = (0.0, 0.15, 0.4, 0.8)


@dataclass(frozen=True)
class Dag:
    """The exact DAG of a question: every state that moves reach, its moves, and which states are alive."""

    problem: game.Countdown
    edges: dict[game.State, tuple[game.State, ...]]
    alive: frozenset[game.State]

    @property
    def n_edges(self) -> int:
        return sum(map(len, self.edges.values()))


def build(problem: game.Countdown) -> Dag:
    """All states reachable from the question (sorted, so that different orders of moves meet)."""
    root = tuple(sorted(problem.numbers))
    edges: dict[game.State, tuple[game.State, ...]] = {}
    todo = [root]
    while todo:
        state = todo.pop()
        if state not in edges:
            edges[state] = _children(state)
            todo += edges[state]
    return Dag(problem, edges, frozenset(s for s in edges if game.alive(s, problem.target)))


@lru_cache(maxsize=1 << 17)
def _children(state: game.State) -> tuple[game.State, ...]:
    return tuple({tuple(sorted(game.after(state, move))): None for move in game.moves(state)})


def questions(count: int, seed: int) -> list[game.Countdown]:
    """So many different training questions (none is held out), always the same for a seed."""
    rng = random.Random(seed)
    found: dict[Any, game.Countdown] = {}
    while len(found) < count:
        problem = game.sample(rng, 3 if rng.random() < SHARE_OF_THREE else 4, held_out=False)
        found.setdefault(problem.key, problem)
    return list(found.values())


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from training.synthesis.pocket_tokenizer import build as build_tokenizer

    return build_tokenizer()


@lru_cache(maxsize=1 << 16)
def _tokens(text: str) -> int:
    """Tokens of one step. Steiner's markers stand at every seam, so a text has as many tokens as its pieces."""
    return len(_tokenizer()(text, add_special_tokens=False).input_ids)


def _lengths(one: Walk) -> tuple[int, int]:
    """(reasoning, total) tokens of a walk, the question counted in the total."""
    steps = sum(_tokens(step_text(s)) for s in one.steps)
    reasoning = steps + len(one.steps) + 1  # a marker before each step, one at the end
    return reasoning, reasoning + _tokens(one.answer) + _tokens(one.prompt)


def _chunk(problems: list[game.Countdown], first: int, paths: int, seed: int) -> tuple[str, Lengths, dict[str, int]]:
    lines: list[str] = []
    lengths, counts = Lengths(), {"nodes": 0, "edges": 0, "backtracks": 0, "repeated": 0, "unsolved": 0}
    for offset, problem in enumerate(problems):
        dag = build(problem)
        counts["nodes"] += len(dag.edges)
        counts["edges"] += dag.n_edges
        rng = random.Random(f"{seed}/{first + offset}")
        seen: set[tuple[Any, ...]] = set()
        tries = 0
        while len(seen) < paths and tries < 4 * paths:
            tries += 1
            one = walk(problem, rng, step_limit=STEP_LIMIT, insight=rng.choice(INSIGHTS))
            if one.path is None:
                counts["unsolved"] += 1
                continue
            moves = tuple((s.thought, s.decision) for s in one.steps)
            if moves in seen:
                counts["repeated"] += 1
                continue
            seen.add(moves)
            if lengths.keep(*_lengths(one)):
                counts["backtracks"] += sum(s.decision == "backtrack" for s in one.steps)
                lines.append(json.dumps(_row(one), ensure_ascii=False))
    return "".join(f"{line}\n" for line in lines), lengths, counts


def _row(one: Walk) -> dict[str, Any]:
    response = one.response
    assert response.startswith(t.REASONING_START)
    # A question has one id, in whichever words it is put: else it would stand on both sides of a split.
    return {"problem_id": problem_id_of(words.ask(one.problem)), "prompt": one.prompt, "response": response, "answer": one.answer, "solved": True, "finish_reason": "stop",
            "model": "synthesis", "format": "steiner"}  # fmt: skip


def write(
    out: Path, *, dags: int, paths: int, seed: int = 1, workers: int = 2, progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Write up to `paths` walks for each of `dags` questions to `out` (JSONL) and return what was made."""
    problems = questions(dags, seed)
    starts = range(0, dags, CHUNK)
    lengths, totals = Lengths(), {"nodes": 0, "edges": 0, "backtracks": 0, "repeated": 0, "unsolved": 0}
    part = out.with_name(f".{out.name}.part")
    with processes(workers) as pool, part.open("w", encoding="utf-8") as file:
        chunks = [problems[s : s + CHUNK] for s in starts]
        for done, (text, found, counts) in enumerate(pool.map(_chunk, chunks, starts, repeat(paths), repeat(seed)), 1):
            file.write(text)
            lengths.add(found)
            for name, count in counts.items():
                totals[name] += count
            if progress is not None:
                progress(min(dags, done * CHUNK))
    part.replace(out)
    return {"dags": dags, "paths": len(lengths.total), **totals, "seed": seed, "lengths": lengths.report()}
