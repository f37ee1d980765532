"""What the flywheel is measured by, on held-out questions whose steps and answers the exact oracle knows.

Everything is over one pool of n solutions a question with k = n, so best-of-k is the best-scored of the pool, ties shared.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from core.scoring.prm import AGGREGATIONS, aggregate
from core.tasks.countdown_text import SOLVED
from core.trace import Trace
from training.evaluation.best_of import best_of_k, interval, pass_at_k
from training.labels import oracle
from training.metrics import ScoredTrace, auc, auc_interval, first_error_f1, judged

Curve = Sequence[tuple[float, float]]  # (labels, figure), the labels ascending


def by_question(traces: Sequence[Trace]) -> dict[str, list[int]]:
    """Indices of the traces of each question."""
    groups: dict[str, list[int]] = {}
    for i, trace in enumerate(traces):
        groups.setdefault(trace.problem_id, []).append(i)
    return groups


def share(each: Sequence[float]) -> dict[str, Any]:
    """A mean over questions with its 95 % interval, resampling questions."""
    return {"mean": sum(each) / len(each), "ci": interval(each), "each": list(each)}


def pool_figures(traces: Sequence[Trace]) -> dict[str, Any]:
    """One solution drawn by chance, the majority of all, and whether any is right (the ceiling)."""
    groups = by_question(traces).values()
    right = [trace.solved is True for trace in traces]
    return {
        "samples": {"least": min(map(len, groups)), "most": max(map(len, groups))},
        "single": share([sum(right[i] for i in g) / len(g) for g in groups]),
        "majority": share([majority([traces[i].answer for i in g], [right[i] for i in g]) for g in groups]),
        "ceiling": share([pass_at_k([right[i] for i in g], len(g)) for g in groups]),
        "steps": sum(len(t.steps) for t in traces) / len(traces),
        "good_steps": sum(map(sum, labels(traces))) / sum(len(t.steps) for t in traces),
        "tokens": sum(t.stats["generated_tokens"] for t in traces),
    }


def majority(answers: Sequence[str], right: Sequence[bool]) -> float:
    """P(the commonest answer is right), ties broken evenly (Wang et al. 2022, self-consistency). Who gave up has no vote."""
    votes = Counter(a.strip() for a in answers if a.startswith(SOLVED))
    if not votes:
        return 0.0
    most = max(votes.values())
    # Of equal words one may be right and another wrong: whether a solution is right is decided from its steps.
    means = [
        sum(r for a, r in zip(answers, right, strict=True) if a.strip() == word) / most
        for word, count in votes.items()
        if count == most
    ]
    return sum(means) / len(means)


def best_of(traces: Sequence[Trace], scores: Sequence[float]) -> dict[str, Any]:
    """Best-of-n by one score a solution."""
    found = by_question(traces).values()
    return share([best_of_k([scores[i] for i in g], [traces[i].solved is True for i in g], len(g)) for g in found])


def labels(traces: Sequence[Trace]) -> list[list[float]]:
    """The oracle's labels of every step."""
    return [oracle.label(trace) for trace in traces]


def step_figures(traces: Sequence[Trace], scores: Sequence[Sequence[float]]) -> dict[str, Any]:
    """AUC and first-error F1 of step scores, base rate beside them."""
    scored = [ScoredTrace(t.problem_id, s, y) for t, s, y in zip(traces, scores, labels(traces), strict=True)]
    flat, truth = judged(scored)
    return {
        "auc": auc(flat, truth), "auc_ci": auc_interval(scored), "base_rate": sum(truth) / len(truth),
        "first_error_f1": first_error_f1(scored),
    }  # fmt: skip


def prm_figures(traces: Sequence[Trace], scores: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Of step scores: AUC, and best-of-n under every aggregation."""
    best = {str(how): best_of(traces, [aggregate(s, how) for s in scores]) for how in AGGREGATIONS}
    return {**step_figures(traces, scores), "best": best}


def orm_figures(traces: Sequence[Trace], scores: Sequence[float]) -> dict[str, Any]:
    """Of one score a solution: AUC over solutions, and best-of-n."""
    truth = [float(t.solved is True) for t in traces]
    return {
        "auc": auc(scores, truth),
        "auc_ci": auc_interval([ScoredTrace(t.problem_id, [s], [y]) for t, s, y in zip(traces, scores, truth, strict=True)]),
        "base_rate": sum(truth) / len(truth), "best": best_of(traces, scores),
    }  # fmt: skip


def gain(after: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The difference of two shares over the same questions, with its paired 95 % interval."""
    each = [a - b for a, b in zip(after["each"], before["each"], strict=True)]
    return {"mean": sum(each) / len(each), "ci": interval(each)}


def labels_needed(curve: Curve, figure: float) -> float | None:
    """The number of labels at which a curve first reaches a figure, between two points linear over the logarithm of the
    labels; None where it never does. A curve that begins above gives its first point."""
    before: tuple[float, float] | None = None
    for n, value in curve:
        if value >= figure:
            if before is None or value == before[1]:
                return n
            part = (figure - before[1]) / (value - before[1])
            return math.exp(math.log(before[0]) + part * (math.log(n) - math.log(before[0])))
        before = (n, value)
    return None
