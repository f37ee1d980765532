"""All figures of a process reward model over one set of solutions, as an object, as JSON, as Markdown and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core.scoring.prm import AGGREGATIONS, aggregate
from training.evaluation import best_of, steps
from training.evaluation.solutions import PRMBENCH_GROUPS, PRMBENCH_WITHOUT_ERRORS, Solution
from training.metrics import ScoredTrace, auc, auc_interval, judged

KS = (1, 2, 4, 8, 16, 32, 64)
SMALL_SLICE = 20  # judged steps: below, a slice's figures are noise and are not shown
DRIFTS = 0.4  # Zhang et al. 2025: what models trained on Monte-Carlo labels show


@dataclass(frozen=True)
class Report:
    """What `evaluate-prm` prints. Shares in [0, 1]; None where undefined, `notes` say why."""

    scorer: str
    data: str
    solutions: int
    problems: int
    judged_steps: int
    base_rate: float | None  # share of good among the judged steps: what always saying "good" scores in accuracy
    auc: float | None
    auc_ci: tuple[float, float] | None
    ece: float | None
    brier: float | None
    bins: list[steps.Bin]
    first_error: steps.FirstError
    slices: list[steps.SliceScore]
    drift: steps.Drift
    best_of: dict[str, list[best_of.BestOf]]  # an aggregation → its curve
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        row = asdict(self)
        row["first_error"]["f1"] = self.first_error.f1
        for shown, found in zip(row["slices"], self.slices, strict=True):
            shown["prm_score"] = found.prm_score
        return row


def evaluate(
    scores: Sequence[Sequence[float]], data: Sequence[Solution], *, scorer: str, name: str, seed: int = 0,
    ks: Sequence[int] = KS,
) -> Report:  # fmt: skip
    """Every figure from P(good) of each step. `scores[i]` belongs to `data[i]`, one score a step. Raises ValueError."""
    for i, (given, solution) in enumerate(zip(scores, data, strict=True)):
        if len(given) != len(solution.step_texts):
            raise ValueError(f"solution {i} has {len(solution.step_texts)} steps and {len(given)} scores")
    traces = [ScoredTrace(d.problem_id, s, d.labels) for s, d in zip(scores, data, strict=True)]
    flat, labels = judged(traces)
    bins = steps.reliability(flat, labels)
    first = steps.first_error(traces)
    found = steps.drift(scores)
    pools = {how: _pools(scores, data, how) for how in AGGREGATIONS}
    curves = {str(how): best_of.curve(pool, ks, seed) for how, pool in pools.items()}
    notes = []
    if auc(flat, labels) is None:
        notes.append("AUC is undefined: the judged steps are all of one class.")
    if first.f1 is None:
        notes.append("First-error F1 is undefined: it needs solutions with an error and solutions without one.")
    if not any(curves.values()):
        notes.append("Best-of-k is undefined: no solution says whether its final answer is right.")
    if found.at_last is not None and found.by_chance is not None and found.at_last > max(DRIFTS, found.by_chance):
        notes.append(
            f"{found.at_last:.0%} of the least scores stand at the last step (by chance {found.by_chance:.0%}): this model "
            "judges outcomes more than steps."
        )
    return Report(
        scorer, name, len(data), len({d.problem_id for d in data}), len(flat),
        sum(y > 0.5 for y in labels) / len(labels) if labels else None, auc(flat, labels), auc_interval(traces, seed),
        steps.ece(bins), steps.brier(flat, labels), bins, first, _slices(traces, data), found, curves, notes,
    )  # fmt: skip


def _pools(
    scores: Sequence[Sequence[float]], data: Sequence[Solution], how: Any
) -> dict[str, list[tuple[float, bool]]]:
    pools: dict[str, list[tuple[float, bool]]] = {}
    for given, solution in zip(scores, data, strict=True):
        if solution.solved is not None:
            pools.setdefault(solution.problem_id, []).append((aggregate(given, how), solution.solved))
    return pools


def _slices(traces: Sequence[ScoredTrace], data: Sequence[Solution]) -> list[steps.SliceScore]:
    held: dict[str, tuple[list[float], list[float]]] = {}
    for trace, solution in zip(traces, data, strict=True):
        for i, (score, label) in enumerate(zip(trace.scores, trace.labels, strict=True)):
            if math.isnan(label):
                continue
            for name in (*solution.slices, *(solution.step_slices[i] if solution.step_slices else ())):
                pair = held.setdefault(name, ([], []))
                pair[0].append(score)
                pair[1].append(label)
    found = {n: steps.slice_score(n, *held[n]) for n in sorted(held)}
    for name in found:
        kind = name.removeprefix("class:")
        if kind in PRMBENCH_WITHOUT_ERRORS:
            found[name] = replace(found[name], by_f1=True)
    for group in {*PRMBENCH_GROUPS.values()}:
        classes = [
            found[f"class:{k}"].prm_score for k, of in PRMBENCH_GROUPS.items() if of == group and f"class:{k}" in found
        ]
        if f"group:{group}" in found:
            found[f"group:{group}"] = replace(found[f"group:{group}"], mean_of=tuple(classes))
    return [one for one in found.values() if one.steps >= SMALL_SLICE]


# --------------------------------------------------------------------------------------------------------- for people


def _figure(value: float | None, digits: int = 3) -> str:
    return "undefined" if value is None else f"{value:.{digits}f}"


def _between(ci: tuple[float, float] | None) -> str:
    return "" if ci is None else f" ({ci[0]:.3f} to {ci[1]:.3f})"


def markdown(report: Report) -> str:
    """The report to read: one table a question."""
    first, found = report.first_error, report.drift
    lines = [
        f"# {report.scorer} on {report.data}", "",
        f"{report.solutions} solutions of {report.problems} problems, {report.judged_steps} judged steps.", "",
        "| figure | value |", "|---|---|",
        f"| base rate (share of good steps) | {_figure(report.base_rate)} |",
        f"| AUC (95 % over problems) | {_figure(report.auc)}{_between(report.auc_ci)} |",
        f"| calibration error (ECE, 10 bins) | {_figure(report.ece)} |",
        f"| Brier score | {_figure(report.brier)} |",
        f"| first-error F1 | {_figure(first.f1)} |",
        f"| … accuracy on {first.n_erroneous} solutions with an error | {_figure(first.erroneous)} |",
        f"| … accuracy on {first.n_correct} solutions without | {_figure(first.correct)} |",
        f"| least score at the last step (by chance) | {_figure(found.at_last)} ({_figure(found.by_chance)}) |", "",
    ]  # fmt: skip
    shown = {how: points for how, points in report.best_of.items() if points}
    if shown:
        any_curve = next(iter(shown.values()))
        lines += [
            "## Best of k", "", f"| k | problems | {' | '.join(shown)} | pass@k |",
            f"|---|---|{'---|' * len(shown)}---|",
        ]  # fmt: skip
        for i, point in enumerate(any_curve):
            cells = [f"{points[i].best:.3f}{_between(points[i].ci)}" for points in shown.values()]
            lines.append(f"| {point.k} | {point.problems} | {' | '.join(cells)} | {point.ceiling:.3f} |")
        lines.append("")
    if report.slices:
        lines += ["## Slices", "", "| slice | steps | bad | AUC | PRMScore |", "|---|---|---|---|---|"]
        lines += [
            f"| {s.name.replace('|', '/')} | {s.steps} | {s.bad} | {_figure(s.auc)} | {_figure(s.prm_score)} |"
            for s in report.slices
        ]
        lines.append("")
    lines += [f"* {note}" for note in report.notes]
    return "\n".join(lines).rstrip() + "\n"


def write(report: Report, folder: Path) -> list[Path]:
    """`report.json`, `report.md` and `reliability.svg` in `folder`."""
    import json

    from training.evaluation.picture import reliability_svg

    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.json": json.dumps(report.to_json(), indent=2, allow_nan=False) + "\n",
        "report.md": markdown(report),
        "reliability.svg": reliability_svg(report.bins, report.scorer),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]
