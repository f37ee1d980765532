"""Which strategy a problem of which difficulty gets: a table, its written form, how it is learned, and what it goes by.

After Snell et al. 2024 (section 3.3): difficulty in bins, and in each bin the strategy that did best there. Knows no engine.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, Literal

from core.search import strategies
from core.search.base import State
from core.search.voting import Candidate

Signal = Literal["any", "strong", "weak"]
STOP = "stop"  # the probes are enough
# A scorer whose scores spread less than so much (a standard deviation) says nothing.
NOISE = 0.05

# The shape of Snell et al. 2024, figure 3: few answers where it is easy, search where it is hard, but only by a scorer that tells good
# from bad. No vote is gone on with when it is settled.
DEFAULT = (
    "0.1 any: stop; 0.5 any: best-of-n n=8 early_stop=true; 0.8 strong: beam width=4 branch=4; "
    "0.8 weak: best-of-n n=16 vote=majority early_stop=true; 1 strong: beam width=8 branch=4; "
    "1 weak: best-of-n n=32 vote=majority early_stop=true"
)
_RULE = re.compile(r"\s*([\d.]+)\s+(any|strong|weak)\s*:\s*([a-z-]+)((?:\s+\w+=[^\s;=]+)*)\s*")


@dataclass(frozen=True)
class Rule:
    """Problems of a difficulty up to `up_to` (0 easy, 1 hard), where the scorer's signal is so, get this strategy."""

    up_to: float
    signal: Signal
    strategy: str
    params: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        said = "".join(f" {k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in self.params.items())
        return f"{self.up_to:g} {self.signal}: {self.strategy}{said}"


def written(policy: Sequence[Rule]) -> str:
    """A table as a line, in the form that `read` takes."""
    return "; ".join(map(str, policy))


def read(text: str) -> tuple[Rule, ...]:
    """A table from a line such as "0.5 any: best-of-n n=8; 1 strong: beam width=4". Raises ValueError naming the rule and the mend."""
    rules = []
    for part in text.split(";"):
        if not part.strip():
            continue
        match = _RULE.fullmatch(part)
        if match is None:
            raise ValueError(
                f'policy: "{part.strip()[:100]}" must look like "0.5 any: best-of-n n=8": a difficulty up to 1; any, strong or weak; '
                'a strategy or "stop"; its parameters'
            )
        params = dict(map(_param, match[4].split()))
        rule = Rule(_bound(match[1], part), match[2], match[3], params)  # type: ignore[arg-type]
        if rule.strategy == "compute-optimal":
            raise ValueError("policy: a strategy that chooses strategies cannot choose itself")
        if rule.strategy != STOP:
            strategies.make(rule.strategy, rule.params)
        rules.append(rule)
    if not rules:
        raise ValueError('policy: there is no rule; "1 any: best-of-n n=8" would be one')
    return tuple(rules)


def picked(policy: Sequence[Rule], difficulty: float, signal: Signal, scored: bool) -> Rule:
    """The first rule that holds. Without scores, one whose strategy needs none; stop where none holds."""
    for rule in policy:
        if difficulty > rule.up_to or rule.signal not in ("any", signal):
            continue
        if rule.strategy == STOP or scored or not strategies.known(rule.strategy).NEEDS_SCORER:
            return rule
    return Rule(1.0, "any", STOP)


def predicted_difficulty(probes: Sequence[Candidate], drawn: int) -> float:
    """1 less the mean of two shares: how many of the `drawn` probes give the answer that most give, and, where they are scored, their
    mean score (Snell et al. 2024, section 3.2: the verifier's mean over samples stands for the unknown pass rate). 1 without answers."""
    tally: dict[str, int] = defaultdict(int)
    for c in probes:
        if c.answer:
            tally[c.answer] += c.count
    if not tally or not drawn:
        return 1.0
    agreement = max(tally.values()) / drawn
    if any(c.score is None for c in probes):
        return 1.0 - agreement
    mean = sum((c.score or 0.0) * c.count for c in probes) / drawn
    return 1.0 - (agreement + mean) / 2


def oracle_difficulty(state: State, probes: Sequence[Candidate], drawn: int) -> float | None:
    """1 less the share of right ones among the `drawn` probes, for study; None where nobody knows what is right."""
    rights = [(state.answers.right(state.tree.text(c.node)), c.count) for c in probes]
    if not drawn or any(right is None for right, _ in rights):
        return None
    return 1.0 - sum(count for right, count in rights if right) / drawn


def signal_strength(probes: Sequence[Candidate]) -> float | None:
    """How much of the scores' variance lies between different answers and not within equal ones, in [0, 1]; None without scores.

    A scorer that scores equal answers differently is noise. Scores that hardly differ at all count as noise too (`NOISE`).
    """
    scored = [c for c in probes if c.score is not None and c.answer]
    if not scored:
        return None
    groups: dict[str, list[float]] = defaultdict(list)
    for c in scored:
        groups[c.answer] += [c.score or 0.0] * c.count
    every = [s for scores in groups.values() for s in scores]
    mean = sum(every) / len(every)
    means = {answer: sum(scores) / len(scores) for answer, scores in groups.items()}
    between = sum(len(scores) * (means[answer] - mean) ** 2 for answer, scores in groups.items()) / len(every)
    within = sum((s - means[answer]) ** 2 for answer, scores in groups.items() for s in scores) / len(every)
    return between / (between + within + NOISE**2)


@dataclass(frozen=True)
class Measured:
    """One search of an evaluation. difficulty: of its problem, in [0, 1]. tokens: the scorer's included."""

    problem_id: str
    difficulty: float
    strategy: str
    params: dict[str, Any]
    right: bool
    tokens: int


def policy_from(rows: Sequence[Measured], bins: int = 5) -> tuple[Rule, ...]:
    """The table that an evaluation teaches: problems in `bins` of equal number by difficulty (Snell et al. 2024 take quintiles), and
    for each the cheapest strategy whose accuracy is within one standard error of the best's (Breiman et al. 1984, section 3.4.3).

    Raises ValueError for no rows.
    """
    if not rows:
        raise ValueError("there is nothing to learn a policy from: the evaluation has no finished search")
    of = {r.problem_id: r.difficulty for r in rows}
    order = sorted(of.values())
    edges = sorted(
        {
            order[min(len(order) - 1, len(order) * (i + 1) // bins - 1)]
            for i in range(bins)
            if len(order) * (i + 1) >= bins
        }
    )
    rules, below = [], -1.0
    for edge in edges:
        found: dict[str, list[Measured]] = defaultdict(list)
        for r in rows:
            if below < r.difficulty <= edge:
                found[str(Rule(0, "any", r.strategy, r.params))].append(r)
        below = edge
        best = max(found.values(), key=lambda some: (_accuracy(some), -_tokens(some)))
        least = _accuracy(best) - sqrt(_accuracy(best) * (1 - _accuracy(best)) / len(best))
        cheapest = min((some for some in found.values() if _accuracy(some) >= least), key=_tokens)
        rules.append(Rule(1.0 if edge == edges[-1] else edge, "any", cheapest[0].strategy, cheapest[0].params))
    return tuple(rules)


def _accuracy(rows: Sequence[Measured]) -> float:
    return sum(r.right for r in rows) / len(rows)


def _tokens(rows: Sequence[Measured]) -> float:
    return sum(r.tokens for r in rows) / len(rows)


def _bound(text: str, part: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f'policy: "{part.strip()[:100]}" begins with {text}; a difficulty lies between 0 and 1')
    return value


def _param(text: str) -> tuple[str, Any]:
    """A parameter's value by its looks: true, false, a whole number, a number, or text."""
    name, _, value = text.partition("=")
    if value in ("true", "false"):
        return name, value == "true"
    for read_as in (int, float):
        try:
            return name, read_as(value)
        except ValueError:
            continue
    return name, value
