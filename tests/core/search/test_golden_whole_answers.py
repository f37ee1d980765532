"""Every strategy over whole answers, and the ones that choose or change them, over a scripted model: the whole tree, line by line.

The others, and what is held against each tree: `test_golden_trees.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from core.search import strategies
from tests.core.search import test_golden_trees as steps
from tests.core.search.test_golden_trees import WAYS, Case, Writes, draws

CASES: list[Case] = []


def case(name: str, params: dict[str, Any], writes: Writes, expected: str, votes: dict[str, float]) -> None:
    CASES.append((name, params, writes, False, expected.strip("\n"), votes))


def paused(prompt: str, written: str) -> Sequence[str]:
    """Three pause tokens before the first step make it a calm one."""
    if "Wait" in written:
        return (("again@.7",), ("</think>",), ("= 7",))[written.partition("Wait\n")[2].count("\n")]
    first = ("calm@.9",) if written.startswith(" . . .") else ("hasty@.9",)
    return (first, ("</think>",), ("= 7",))[written.count("\n")]


def mends(prompt: str, written: str) -> Sequence[str]:
    """The first answers are 5 and 6; each revision finds one more."""
    if "attempt:" not in prompt:
        return (("guess@.3",), ("= 5", "= 6"))[written.count("\n")]
    last = prompt.partition("attempt:\n\n")[2].partition("\n\n")[0]
    return (
        ("look@.6" if "guess" in last else "look@.9",),
        ("= 6" if "= 5" in last else "= 7",),
    )[written.count("\n")]


def ideas(prompt: str, written: str) -> Sequence[str]:
    """Two observations. Only the mended plan of both leads to 7; a wrong answer is the length of its plan."""
    plan = prompt.partition("plan:\n\n")[2].partition("\n\n")[0].removeprefix("= ")
    if "List up to" in prompt:
        return (("- small",), ("- even",), ("= noted",))[written.count("\n")]
    if "somewhere" in prompt:
        return (f"= {plan}, mended",)
    if "Write no solution yet" in prompt:
        return (f"= by {' and '.join(line[2:] for line in prompt.splitlines() if line.startswith('- '))}",)
    good = plan == "by small and even, mended"
    return (("sure@.9" if good else "try@.4",), ("= 7" if good else f"= {len(plan)}",))[written.count("\n")]


def plans(prompt: str, written: str) -> Sequence[str]:
    """Two plans, of which one leads to 1 and the other to 7 and 8."""
    if "somebody who works exactly" in prompt:
        return ("= left way", "= right way")
    if "left way" in prompt:
        return (("go@.2",), ("= 1",))[written.count("\n")]
    return (("go@.8",), ("= 7", "= 8"))[written.count("\n")]


case(
    "linear",
    {"pauses": 3},
    paused,
    """
* ?
  * . . .calm@.9 </think> = 7 0.90
""",
    {"= 7": 1.0},
)
case(
    "linear",
    {"pauses": 3, "waits": 1},
    paused,
    """
* ?
  * . . .calm@.9 0.90 [thought]
    * Wait again@.7 0.63 [thought]
      * </think> = 7 0.63 [answer]
""",
    {"= 7": 1.0},
)
case(
    "revision",
    {"rounds": 2, "chains": 2},
    mends,
    """
* ?
  * guess@.3 = 5 0.30 [attempt]
    * look@.6 = 6 0.60 [revision]
      * look@.9 = 7 0.90 [revision]
  - guess@.3 = 6 0.30 [attempt]
    - look@.6 = 7 0.60 [revision]
      - look@.9 = 7 0.90 [revision]
""",
    {"= 7": 0.5, "= 6": 0.33, "= 5": 0.17},
)
case(
    "revision",
    {"rounds": 1, "chains": 3, "pick": "last"},
    mends,
    """
* ?
  * guess@.3 = 5 0.30 ×2 [attempt]
    * look@.6 = 6 0.60 [revision]
  - guess@.3 = 6 0.30 [attempt]
    - look@.6 = 7 0.60 [revision]
""",
    {"= 6": 0.5, "= 7": 0.5},
)
case(
    "plan-search",
    {"plans": 3},
    ideas,
    """
* ?
  * - small - even = noted [observations]
    - = by small [plan]
      - try@.4 = 8 0.40 [solution]
      - = by small, mended [mended plan]
        - try@.4 = 16 0.40 [solution]
    - = by even [plan]
      - try@.4 = 7 0.40 [solution]
      - = by even, mended [mended plan]
        - try@.4 = 15 0.40 [solution]
    * = by small and even [plan]
      - try@.4 = 17 0.40 [solution]
      * = by small and even, mended [mended plan]
        * sure@.9 = 7 0.90 [solution]
""",
    {"= 7": 0.36, "= 8": 0.16, "= 17": 0.16, "= 16": 0.16, "= 15": 0.16},
)
case(
    "plan-search",
    {"plans": 2, "mend": False, "solutions": 2},
    ideas,
    """
* ?
  * - small - even = noted [observations]
    * = by even [plan]
      * try@.4 = 7 0.40 ×2 [solution]
    - = by small and even [plan]
      - try@.4 = 17 0.40 ×2 [solution]
""",
    {"= 7": 0.5, "= 17": 0.5},
)
case(
    "planner",
    {"plans": 3, "executions": 2},
    plans,
    """
* ?
  * = left way ×2 [plan]
    * go@.2 = 1 0.20 ×4 [execution]
  - = right way [plan]
    - go@.8 = 7 0.80 [execution]
    - go@.8 = 8 0.80 [execution]
""",
    {"= 1": 0.33, "= 7": 0.33, "= 8": 0.33},
)
case(
    "compute-optimal",
    {"probes": 2, "policy": "1 any: stop"},
    WAYS,
    """
* ?
  - left@.9 a@.2 = 1 0.18 [probe]
  * right@.6 c@.9 = 7 0.54 [probe]
""",
    {"= 7": 0.75, "= 1": 0.25},
)
case(
    "compute-optimal",
    {"probes": 2, "policy": "1 any: best-of-n n=6"},
    WAYS,
    """
* ?
  - left@.9 a@.2 = 1 0.18 ×2 [probe]
  * right@.6 c@.9 = 7 0.54 ×2 [probe]
  - up@.3 e@.9 = ? 0.27
  - down@.1 = ? 0.10
""",
    {"= 7": 0.6, "= ?": 0.2, "= 1": 0.2},
)
case(
    "compute-optimal",
    {"probes": 2, "policy": "1 any: beam width=2 branch=2"},
    WAYS,
    """
* ?
  - left@.9 a@.2 = 1 0.18 [probe]
  * right@.6 c@.9 = 7 0.54 [probe]
  - left@.9 0.90
    x a@.2 0.18
    x b@.3 0.27
  - right@.6 0.60
    - c@.9 0.54
      - = 7 0.54
      x f@.5 0.27
    - d@.8 0.48
      - = 7 0.48
      - = 8 0.48
  x up@.3 0.30
  x down@.1 0.10
""",
    {"= 7": 0.7, "= 8": 0.22, "= 1": 0.08},
)
case(
    "compute-optimal",
    {"probes": 2, "policy": "1 any: particles n=3"},
    WAYS,
    """
* ?
  - left@.9 a@.2 = 1 0.18 [probe]
  * right@.6 c@.9 = 7 0.54 [probe]
  - left@.9 0.90
    - a@.2 0.18 ×2
      - = 1 0.18
    - b@.3 0.27
      - = 1 0.27
      - = 2 0.27
  x right@.6 0.60
  x up@.3 0.30
""",
    {"= 7": 0.5, "= 1": 0.25, "= 2": 0.25},
)
case(
    "compute-optimal",
    {"probes": 2, "policy": "1 any: rebase n=4"},
    WAYS,
    """
* ?
  - left@.9 a@.2 = 1 0.18 [probe]
  * right@.6 c@.9 = 7 0.54 [probe]
  - left@.9 0.90
    x a@.2 0.18 ×2
    - b@.3 0.27
      - = 1 0.27
  - right@.6 0.60
    - c@.9 0.54
      - = 7 0.54 ×2
      - f@.5 0.27
        - = 9 0.27
  x up@.3 0.30
  x down@.1 0.10
""",
    {"= 7": 0.69, "= 1": 0.19, "= 9": 0.12},
)
case(
    "compute-optimal",
    {"probes": 2, "policy": "1 any: mcts simulations=4 branch=2 parallel=1"},
    WAYS,
    """
* ? v0.38 n4
  - left@.9 a@.2 = 1 0.18 [probe]
  * right@.6 c@.9 = 7 0.54 [probe]
  - left@.9 0.90 v0.26 n3
    - a@.2 0.18
    - b@.3 0.27 v0.27 n2
      - = 1 0.27 v0.27 n1
      - = 2 0.27
  - right@.6 0.60
""",
    {"= 7": 0.43, "= 1": 0.36, "= 2": 0.21},
)
case(
    "compute-optimal",
    {"probes": 2, "policy": "1 any: revision rounds=1 chains=2 pick=last"},
    mends,
    """
* ?
  * guess@.3 = 5 0.30 ×2 [probe]
    * look@.6 = 6 0.60 [revision]
  - guess@.3 = 6 0.30 ×2 [probe]
    - look@.6 = 7 0.60 [revision]
""",
    {"= 6": 0.5, "= 5": 0.25, "= 7": 0.25},
)
case(
    "compute-optimal",
    {"probes": 2, "policy": "1 any: planner plans=2"},
    plans,
    """
* ?
  * go@.8 = 7 0.80 [probe]
  - go@.8 = 8 0.80 [probe]
  - = left way [plan]
    - go@.2 = 1 0.20 [execution]
  - = right way [plan]
    - go@.8 = 7 0.80 [execution]
""",
    {"= 7": 0.62, "= 8": 0.31, "= 1": 0.08},
)
case(
    "compute-optimal",
    {"probes": 2, "policy": "1 any: plan-search plans=1 observations=2"},
    ideas,
    """
* ?
  - try@.4 = 0 0.40 ×2 [probe]
  * - small - even = noted [observations]
    * = by small and even [plan]
      - try@.4 = 17 0.40 [solution]
      * = by small and even, mended [mended plan]
        * sure@.9 = 7 0.90 [solution]
""",
    {"= 7": 0.53, "= 0": 0.24, "= 17": 0.24},
)


@pytest.mark.parametrize("case", CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_the_tree_is_this_one(case: Case) -> None:
    draws(case)


def test_every_strategy_has_a_tree() -> None:
    assert {c[0] for c in [*steps.CASES, *CASES]} == set(strategies.STRATEGIES)
