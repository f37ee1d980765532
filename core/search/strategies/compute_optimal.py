"""Compute-optimal search: a few probes say how hard a problem is and whether the scorer can be trusted, a table says what to spend.

After Snell et al. 2024 (arXiv 2408.03314, section 3). The probes count: they are votes, and the strategy that is picked goes on in the same
tree, with a memo of its own. How difficulty and signal are estimated, and the table: `core/search/policy.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

from core.search import policy, strategies
from core.search.base import Choice, Expand, State, Strategy, param
from core.search.tree import ROOT
from core.search.voting import candidates, decide

Difficulty = Literal["predicted", "oracle"]
PROBE = "probe"


@dataclass(frozen=True)
class ComputeOptimal:
    """memo: `difficulty`, `signal`, `rule` (the rule that held, as it is written), `given`, the probes that are answers by their nodes and
    how often each came, and `inner`, the memo of the strategy that the rule names."""

    NAME: ClassVar[str] = "compute-optimal"
    TITLE: ClassVar[str] = "Compute-optimal"
    HELP: ClassVar[str] = "A few probes estimate the difficulty; a table then picks the strategy and its width."
    NEEDS_SCORER: ClassVar[bool] = False

    probes: int = param(
        4, "Whole answers by which the difficulty is estimated; they count among the rest.", least=1, most=64
    )
    difficulty: Difficulty = param(
        "predicted",
        "By the probes' agreement and scores, or by the reference answer (for study alone).",
        one_of=get_args(Difficulty),
    )
    strong: float = param(
        0.5,
        "From this share of the scores' variance between different answers on, the scorer's signal is strong.",
        least=0,
        most=1,
    )
    policy: str = param(
        policy.DEFAULT, 'The table: rules such as "0.5 any: best-of-n n=8", parted by semicolons, the first that holds.'
    )

    def __post_init__(self) -> None:
        policy.read(self.policy)  # raises ValueError with a sentence

    def ask(self, state: State) -> list[Expand]:
        memo = state.memo
        if not memo:
            memo["rule"] = ""
            return [Expand(ROOT, self.probes, label=PROBE)]
        inner = self._inner(state)
        return inner.ask(_below(state)) if inner is not None else []

    def tell(self, state: State, asked: Expand, nodes: list[int]) -> None:
        if asked.label != PROBE:
            inner = self._inner(state)
            assert inner is not None
            inner.tell(_below(state), asked, nodes)
            return
        memo = state.memo
        found, drawn = candidates(state, nodes), len(nodes)
        known = policy.oracle_difficulty(state, found, drawn) if self.difficulty == "oracle" else None
        memo["difficulty"] = policy.predicted_difficulty(found, drawn) if known is None else known
        memo["signal"] = policy.signal_strength(found)
        strong = memo["signal"] is not None and memo["signal"] >= self.strong
        rule = policy.picked(
            policy.read(self.policy), memo["difficulty"], "strong" if strong else "weak", memo["signal"] is not None
        )
        if drawn < self.probes:  # the budget has ended
            rule = policy.Rule(1.0, "any", policy.STOP)
        memo["rule"], memo["given"] = str(rule), {c.node: c.count for c in found}
        # Best-of-N counts what it has asked for: the probes are the first of its answers.
        memo["inner"] = {"asked": drawn} if rule.strategy == "best-of-n" else {}

    def choose(self, state: State) -> Choice:
        inner = self._inner(state)
        choice = inner.choose(_below(state)) if inner is not None else decide(candidates(state), "weighted")
        if "difficulty" in state.memo:
            choice.why = (
                f"{choice.why}; difficulty {state.memo['difficulty']:.2f}: {state.memo['rule'].partition(': ')[2]}"
            )
        return choice

    def _inner(self, state: State) -> Strategy | None:
        """The strategy that was picked; None before that, and where the probes were enough."""
        if not state.memo.get("rule"):
            return None
        (rule,) = policy.read(state.memo["rule"])
        return None if rule.strategy == policy.STOP else strategies.make(rule.strategy, rule.params)


def _below(state: State) -> State:
    """The same search as the inner strategy sees it: its own memo, which is a part of ours, and the probes, which vote in it."""
    return replace(state, memo=state.memo["inner"], given=state.memo["given"])
