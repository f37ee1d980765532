"""Every strategy over a scripted model: the whole tree that it must draw, line by line, and what it must answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from core.search.base import Choice
from tests.core.search.scripted import AtSigns, Says, Scripted, drawing, run, search

# The first step that looks best leads nowhere good; the second leads to 7.
WAYS = {
    "": ["left@.9", "right@.6", "up@.3", "down@.1"],
    "left@.9": ["a@.2", "b@.3"],
    "right@.6": ["c@.9", "d@.8"],
    "up@.3": ["e@.9", "= 3"],
    "a@.2": ["= 1"],
    "b@.3": ["= 1", "= 2"],
    "c@.9": ["= 7", "f@.5"],
    "d@.8": ["= 7", "= 8"],
    "f@.5": ["= 9"],
}
THINKS = {
    "": ["think@.9"],
    "think@.9": ["</think>"],
    "Wait": ["again@.7"],
    "again@.7": ["</think>"],
    "</think>": ["= 7"],
}
LONG = "a long step that never comes to its end@.9"
# One step that can be gone on from, and after it none: 40 tokens are not enough for what follows.
STUCK = {"": ["", LONG, "ok@.2", ""], "ok@.2": [LONG], LONG: ["= 5"]}
# What a model writes: by a table, or by the question and what was written.
Writes = Mapping[str, Sequence[str]] | Says


def chosen(choice: Choice | None) -> tuple[str, dict[str, float]]:
    assert choice is not None
    return choice.answer, {a: round(v, 2) for a, v in choice.votes.items()}


Case = tuple[str, dict[str, Any], Writes, bool, str, dict[str, float]]
CASES: list[Case] = []


def case(
    name: str, params: dict[str, Any], expected: str, votes: dict[str, float], table: Writes = WAYS, drawn: bool = False
) -> None:  # fmt: skip
    """votes: the first is the answer. drawn: the seed draws the pieces, so that equal requests differ."""
    CASES.append((name, params, table, drawn, expected.strip("\n"), votes))


case(
    "linear",
    {},
    """
* ?
  * left@.9 a@.2 = 1 0.18
""",
    {"= 1": 1.0},
)
case(
    "linear",
    {"waits": 2},
    """
* ?
  * think@.9 0.90 [thought]
    * Wait again@.7 0.63 [thought]
      * Wait again@.7 0.44 [thought]
        * </think> = 7 0.44 [answer]
""",
    {"= 7": 1.0},
    THINKS,
)
case(
    "linear",
    {"thinking": 4},
    """
* ?
  * thin 1.00 (length) [thought]
    * </think> = ? 1.00 [answer]
""",
    {"= ?": 1.0},
    THINKS,
)
case(
    "best-of-n",
    {"n": 6},
    """
* ?
  - left@.9 a@.2 = 1 0.18
  * right@.6 c@.9 = 7 0.54
  - up@.3 e@.9 = ? 0.27
  - down@.1 = ? 0.10
  - left@.9 b@.3 = 1 0.27
  - right@.6 d@.8 = 7 0.48
""",
    {"= 7": 0.55, "= 1": 0.24, "= ?": 0.2},
)
case(
    "beam",
    {"width": 2, "branch": 2},
    """
* ?
  - left@.9 0.90
    x a@.2 0.18
    x b@.3 0.27
  * right@.6 0.60
    * c@.9 0.54
      * = 7 0.54
      x f@.5 0.27
    - d@.8 0.48
      - = 7 0.48
      - = 8 0.48
  x up@.3 0.30
  x down@.1 0.10
""",
    {"= 7": 0.68, "= 8": 0.32},
)
case(
    "beam",
    {"width": 2, "branch": 2, "max_depth": 1},
    """
* ?
  - left@.9 0.90
    - a@.2 = 1 0.18 [ending]
  * right@.6 0.60
    * c@.9 = 7 0.54 [ending]
  x up@.3 0.30
  x down@.1 0.10
""",
    {"= 7": 0.75, "= 1": 0.25},
)
case(
    "beam",
    {"width": 2, "branch": 2},
    """
* ?
  x · ×2 (empty)
  x a long step that never comes to its end@ 1.00 (length)
  * ok@.2 0.20
    x a long step that never comes to its end@ 0.20 ×4 (length)
    * a long step that never comes to its end@.9 = 5 0.18 [ending]
""",
    {"= 5": 1.0},
    STUCK,
)
case(
    "dvts",
    {"subtrees": 3, "branch": 2},
    """
* ?
  - up@.3 0.30 ×2
    - e@.9 0.27 ×2
      - = ? 0.27 ×2
  - right@.6 0.60
    - c@.9 0.54
      - f@.5 0.27 ×2
        - = 9 0.27 ×2
    x d@.8 0.48
  * left@.9 0.90 ×2
    x a@.2 0.18
    * b@.3 0.27
      * = 2 0.27 ×2
  x down@.1 0.10
""",
    {"= 2": 0.33, "= ?": 0.33, "= 9": 0.33},
    drawn=True,
)
case(
    "dvts",
    {"subtrees": 1, "branch": 4},
    """
* ?
  x · ×2 (empty)
  x a long step that never comes to its end@ 1.00 (length)
  * ok@.2 0.20
    x a long step that never comes to its end@ 0.20 ×4 (length)
    * a long step that never comes to its end@.9 = 5 0.18 [ending]
""",
    {"= 5": 1.0},
    STUCK,
)
case(
    "lookahead",
    {"width": 2, "branch": 2, "ahead": 1},
    """
* ?
  x left@.9 0.90 v0.18
    - a@.2 0.18 [ahead]
  * right@.6 0.60 v0.54
    * c@.9 0.54 v0.54 ×2 [ahead]
      * = 7 0.54 ×2 [ahead]
      x f@.5 0.27 v0.27
        - = 9 0.27 [ahead]
    - d@.8 0.48 v0.48
      - = 7 0.48 ×2 [ahead]
      - = 8 0.48
  - up@.3 0.30 v0.27
    x e@.9 0.27 v0.27 ×2 [ahead]
      - = ? 0.27 [ahead]
    - = 3 0.30
  x down@.1 0.10 v0.10
    - = ? 0.10 [ahead]
""",
    {"= 7": 0.59, "= 8": 0.14, "= ?": 0.11, "= 3": 0.09, "= 9": 0.08},
)
case(
    "lookahead",
    {"width": 1, "branch": 4, "ahead": 2},
    """
* ?
  x left@.9 0.90 v0.18
    - a@.2 0.18 [ahead]
      - = 1 0.18 [ahead]
  * right@.6 0.60 v0.54
    * c@.9 0.54 v0.54 ×3 [ahead]
      * = 7 0.54 ×3 [ahead]
      x f@.5 0.27 v0.27 ×2
        - = 9 0.27 [ahead]
    x d@.8 0.48 v0.48 ×2
      - = 7 0.48 [ahead]
  x up@.3 0.30 v0.27
    - e@.9 0.27 [ahead]
      - = ? 0.27 [ahead]
  x down@.1 0.10 v0.10
    - = ? 0.10 [ahead]
""",
    {"= 7": 0.72, "= ?": 0.13, "= 9": 0.09, "= 1": 0.06},
)
case(
    "rebase",
    {"n": 6},
    """
* ?
  - left@.9 0.90 ×2
    - a@.2 0.18 ×3
      - = 1 0.18
    - b@.3 0.27 ×2
      - = 1 0.27
  * right@.6 0.60 ×2
    * c@.9 0.54
      * = 7 0.54 ×2
      - f@.5 0.27 ×2
        - = 9 0.27 ×2
  x up@.3 0.30
  x down@.1 0.10
""",
    {"= 7": 0.52, "= 9": 0.26, "= 1": 0.22},
)
case(
    "rebase",
    {"n": 4},
    """
* ?
  x · ×2 (empty)
  x a long step that never comes to its end@ 1.00 (length)
  * ok@.2 0.20
    x a long step that never comes to its end@ 0.20 ×4 (length)
    * a long step that never comes to its end@.9 = 5 0.18 ×4 [ending]
""",
    {"= 5": 1.0},
    STUCK,
)
case(
    "mcts",
    {"simulations": 8, "branch": 2, "parallel": 1},
    """
* ? v0.39 n8
  * left@.9 0.90 v0.24 n4
    - a@.2 0.18 v0.18 n1
      - = 1 0.18 ×2
    * b@.3 0.27 v0.27 n2
      * = 1 0.27 v0.27 n1
      - = 2 0.27
  - right@.6 0.60 v0.49 n3
    - c@.9 0.54 v0.47 n2
      - = 7 0.54 v0.54 n1
      - f@.5 0.27
    - d@.8 0.48
""",
    {"= 1": 0.44, "= 7": 0.38, "= 2": 0.19},
)
case(
    "mcts",
    {"simulations": 8, "branch": 2, "parallel": 3},
    """
* ? v0.36 n8
  * left@.9 0.90 v0.24 n5
    - a@.2 0.18 v0.18 n1
      - = 1 0.18 ×2
    * b@.3 0.27 v0.27 n3
      * = 1 0.27 v0.27 n1
      - = 2 0.27 v0.27 n1
  - right@.6 0.60 v0.46 n2
    - c@.9 0.54 v0.41 n1
      - = 7 0.54
      - f@.5 0.27
    - d@.8 0.48
""",
    {"= 1": 0.44, "= 7": 0.38, "= 2": 0.19},
)
case(
    "mcts",
    {"simulations": 2, "branch": 2, "parallel": 1},
    """
* ? v0.49 n2
  * left@.9 0.90 v0.23 n1
    - a@.2 0.18
    * b@.3 0.27
      * = 1 0.27 [ending]
  - right@.6 0.60
""",
    {"= 1": 1.0},
)
case(
    "particles",
    {"n": 6},
    """
* ?
  x up@.3 0.30 ×2
  - left@.9 0.90 ×2
    - b@.3 0.27 ×5
      - = 1 0.27
      - = 2 0.27 ×3
  * right@.6 0.60
    * d@.8 0.48
      * = 7 0.48 ×2
  x down@.1 0.10
""",
    {"= 7": 0.47, "= 1": 0.26, "= 2": 0.26},
    drawn=True,
)
case(
    "particles",
    {"n": 4},
    """
* ?
  x · ×2 (empty)
  x a long step that never comes to its end@ 1.00 (length)
  * ok@.2 0.20
    x a long step that never comes to its end@ 0.20 ×4 (length)
    * a long step that never comes to its end@.9 = 5 0.18 [ending]
""",
    {"= 5": 1.0},
    STUCK,
)


def draws(case: Case) -> None:
    """The tree, the votes and the bill of one case."""
    name, params, table, drawn, expected, votes = case
    model, scorer = Scripted(table, drawn=drawn), AtSigns()
    one = run(search(name, **params), model, scorer)
    assert drawing(one) == expected
    assert chosen(one.choice) == (next(iter(votes)), votes)
    assert one.reason == "finished"
    # Charged: what the engine wrote, what the scorer read; nothing else, and all of it to some node.
    read = sum(len("".join(item.steps)) for item in scorer.items)
    assert (one.spent.generated, one.spent.scorer) == (model.wrote, read)
    assert sum(n.tokens for n in one.state.tree.nodes) == model.wrote
    assert sum(s.scorer for s in one.node_spent.values()) == read


@pytest.mark.parametrize("case", CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_the_tree_is_this_one(case: Case) -> None:
    draws(case)
