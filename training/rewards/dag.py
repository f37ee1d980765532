"""A reward for every step from its place in the question's DAG: in-degree e_i, out-degree e_o, distance from the question
d_s, distance to the answer d_e.

Steiner (Ji 2024) names these four and publishes no formula. **This formula is ours.** It is a potential
(after Ng, Harada and Russell 1999, whose guarantee holds for undiscounted sums, not for `discount` below 1):

    Φ(v) =  d_e · decay^(d_e of v)                   if the answer can still be reached from v: the nearer, the more
          + e_o · log(1 + e_o of v) / log(1 + E)     and: the more ways on, the more can still be tried
          + e_i · 1 / (e_i of v)                     and: a place that few steps lead to was hard to find
    Φ(v) = −d_s · (d_s of v) / D                     if it cannot: the deeper into a dead end, the worse

    r(step) = Φ(where the search goes on) − Φ(where the step began) − cost − repeat · [the same step was taken before]

E and D are the question's own out-degree and depth. "Where the search goes on" is the state that a backtrack returns to,
so turning back from a dead end is paid, and paid the more the earlier it comes. A step that breaks a rule has −1 in the place of
the difference, one that cannot be read −1, one that the budget cut 0. A
weight of 0 leaves its part out (an ablation). The numbers game gives the DAG exactly. Knows no trainer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from core.tasks import countdown as game
from core.tasks import countdown_text as words
from training.rewards.rollout import Rollout
from training.synthesis.countdown_dags import build

BROKEN = -1.0


@dataclass(frozen=True)
class DagWeights:
    """The parts of the formula; `decay` in (0, 1)."""

    d_e: float = 1.0
    e_o: float = 0.1
    e_i: float = 0.0
    d_s: float = 0.1
    decay: float = 0.8
    cost: float = 0.02
    repeat: float = 0.5


@dataclass(frozen=True)
class Node:
    """A state's place: `d_e` is None where the answer cannot be reached."""

    e_i: int
    e_o: int
    d_s: int
    d_e: int | None


def potential(node: Node, root: Node, depth: int, weights: DagWeights) -> float:
    """Φ of a node; `depth` is the longest distance from the question in its DAG."""
    if node.d_e is None:
        return -weights.d_s * node.d_s / max(depth, 1)
    widest = math.log1p(max(root.e_o, 1))
    return (
        weights.d_e * weights.decay**node.d_e
        + weights.e_o * math.log1p(node.e_o) / widest
        + weights.e_i / max(node.e_i, 1)
    )


@lru_cache(maxsize=512)
def nodes_of(problem: game.Countdown) -> Mapping[game.State, Node]:
    """Every state of a question with its place. Each move takes one number away, so all ways to a state are as long."""
    dag = build(problem)
    into: dict[game.State, int] = dict.fromkeys(dag.edges, 0)
    for children in dag.edges.values():
        for child in children:
            into[child] += 1
    return {
        state: Node(into[state], len(children), len(problem.numbers) - len(state), len(state) - 1 if state in dag.alive else None)
        for state, children in dag.edges.items()
    }  # fmt: skip


def step_rewards(rollout: Rollout, weights: DagWeights) -> list[float]:
    """One reward a step. Raises ValueError for a question that is not the numbers game."""
    problem = words.understand(rollout.prompt)
    nodes = nodes_of(problem)
    depth = len(problem.numbers) - 1
    root = nodes[tuple(sorted(problem.numbers))]
    checked = words.check(problem, list(rollout.steps), forced_end=not rollout.finished)
    rewards: list[float] = []
    taken: set[tuple[game.State, game.Move]] = set()
    for step, claim in zip(rollout.steps, checked.steps, strict=True):
        if claim.move is None or claim.start is None or claim.left is None or not step.complete:
            rewards.append(BROKEN if step.complete else 0.0)  # a step that the budget cut has broken no rule
            continue
        goes_on = claim.left
        if step.decision == "backtrack" and claim.back_to is not None and claim.back_to in nodes:
            goes_on = claim.back_to
        reward = potential(nodes[goes_on], root, depth, weights) - potential(nodes[claim.start], root, depth, weights)
        done = (claim.start, claim.move)
        rewards.append((reward if claim.ok else BROKEN) - weights.cost - weights.repeat * (done in taken))
        taken.add(done)
    return rewards


def places(rollout: Rollout) -> list[tuple[int, bool] | None]:
    """Where each step began: how far from the question, and whether the answer could be reached. None: nowhere that is, or the
    budget cut the step, which has no reward: beside steps that cost something it would look good.
    """
    problem = words.understand(rollout.prompt)
    nodes = nodes_of(problem)
    checked = words.check(problem, list(rollout.steps), forced_end=not rollout.finished)
    begun = [
        nodes.get(claim.start) if claim.start is not None and step.complete else None
        for step, claim in zip(rollout.steps, checked.steps, strict=True)
    ]
    return [(node.d_s, node.d_e is not None) if node is not None else None for node in begun]
