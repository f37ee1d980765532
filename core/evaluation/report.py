"""An evaluation written down: report.md to read, pictures beside it, results.parquet to keep and to reckon with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.evaluation.figures import CellFigures, Curves, Figures
from core.evaluation.folder import Evaluation, Result
from core.evaluation.plots import Line, Mark, lines_svg, short

REPORT, PARQUET = "report.md", "results.parquet"
METHOD_WORDS = {"pass": "pass@k", "majority": "majority@k", "weighted": "weighted@k", "best": "best@k"}


def percent(value: float | None, ci: tuple[float, float] | None = None) -> str:
    """`62.5 % (47.5 to 77.5)`"""
    if value is None:
        return "unknown"
    return f"{100 * value:.1f} %" + ("" if ci is None else f" ({100 * ci[0]:.1f} to {100 * ci[1]:.1f})")


def flops(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2e}"


def markdown(evaluation: Evaluation, found: Figures) -> str:
    """The report: what was run, a table a question, what must be known to read it."""
    plan = evaluation.plan
    lines = [
        f"# {_cell(evaluation.name)}", "",
        f"{len(evaluation.problems)} problems ({_cell(plan.problems)}), seeds {', '.join(map(str, plan.seeds))}, begun {evaluation.created_at}.",
        "Accuracy with its 95 % interval over problems (bootstrap); costs are means a search, the scorer's included.", "",
        "| cell | what | solved | tokens | of the scorer | FLOPs | of the scorer | seconds | ended by budget |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for c in found.cells:
        lines.append(
            f"| {c.cell_id} | {_cell(c.label)} | {percent(c.accuracy, c.ci)} | {c.tokens:,.0f} | {c.scorer_tokens:,.0f} | {flops(c.flops)} | "
            f"{flops(c.scorer_flops)} | {c.seconds:.1f} | {c.over_budget:.0%} |"
        )
    lines += ["", "![accuracy against tokens](tokens.svg)", ""]
    if any(c.flops for c in found.cells):
        lines += ["![accuracy against FLOPs](flops.svg)", ""]
    for curves in found.curves:
        shown = {m: points for m, points in curves.methods.items() if points}
        if not shown:
            continue
        costs = curves.costs()
        lines += [
            f"## From one pool of {curves.n} answers: {_cell(curves.label)}", "",
            f"| k | {' | '.join([*costs, *(METHOD_WORDS[m] for m in shown)])} |", f"|---|{'---|' * len([*costs, *shown])}",
        ]  # fmt: skip
        for i, point in enumerate(next(iter(shown.values()))):
            cells = [percent(p[i].value, p[i].ci) + ("" if p[i].exact else " (rounded)") for p in shown.values()]
            lines.append(f"| {point.k} | {' | '.join([*(f'{c[i]:,.0f}' for c in costs.values()), *cells])} |")
        lines += ["", f"![curves over k](k-{curves.cell_id}.svg)", ""]
    names = {c.cell_id: c.label for c in found.cells}
    for d in found.difficulty:
        lines += [
            f"## By {d.by} difficulty, from {_cell(d.label)}", "",
            f"| what | {' | '.join(f'{b.level}: {b.low:.2f} to {b.high:.2f}' for b in d.bins)} |", f"|---|{'---|' * len(d.bins)}",
        ]  # fmt: skip
        for cell_id in dict.fromkeys(c for b in d.bins for c in b.accuracy):
            row = [percent(b.accuracy[cell_id][0]) if cell_id in b.accuracy else "–" for b in d.bins]
            lines.append(f"| {_cell(names[cell_id])} | {' | '.join(row)} |")
        lines += ["", f"{', '.join(f'{b.level}: {b.problems}' for b in d.bins)} problems; 1 is the easiest.", ""]
    lines += [f"* {note}" for note in found.notes]
    return "\n".join(lines).rstrip() + "\n"


def pictures(found: Figures) -> dict[str, str]:
    """SVG by file name."""
    out = {
        "tokens.svg": lines_svg(
            _against(found.cells, "tokens"), "Accuracy against tokens", "tokens a problem, the scorer's included"
        )
    }
    if any(c.flops for c in found.cells):
        out["flops.svg"] = lines_svg(
            _against(found.cells, "flops"), "Accuracy against FLOPs", "FLOPs a problem, the scorer's included"
        )
    for curves in found.curves:
        out[f"k-{curves.cell_id}.svg"] = lines_svg(_over_k(curves), f"From one pool of {curves.n} answers", "k")
    return out


def table(results: Sequence[Result], evaluation: Evaluation) -> Any:
    """A polars DataFrame, a row a search."""
    import polars as pl

    cells = {c.cell_id: c for c in evaluation.plan.cells}
    prompts = {p.key: p.problem.prompt for p in evaluation.problems}
    rows = []
    for r in results:
        cell = cells[r.cell]
        spent = r.spent.to_json()
        rows.append({
            "eval_id": evaluation.eval_id, "search_id": r.search_id, "cell": r.cell, "model": cell.model, "strategy": str(cell.strategy),
            "scorer": cell.scorer, "pool": cell.pool, "budget_tokens": cell.budget.tokens, "budget_flops": cell.budget.flops,
            "budget_seconds": cell.budget.seconds, "index": r.index, "problem": r.problem, "prompt": prompts[r.problem], "seed": r.seed,
            "reason": r.reason, "answer": r.answer, "right": r.right, "score": r.score, "nodes": r.nodes,
            **{f"spent_{name}": value for name, value in spent.items()}, "elapsed": r.elapsed,
            "pool_answers": [d.answer for d in r.pool], "pool_right": [d.right for d in r.pool], "pool_scores": [d.score for d in r.pool],
        })  # fmt: skip
    text, whole, real, yes = pl.String(), pl.Int64(), pl.Float64(), pl.Boolean()
    schema = {
        **dict.fromkeys(("eval_id", "search_id", "cell", "model", "strategy", "scorer"), text), "pool": yes, "budget_tokens": whole,
        "budget_flops": real, "budget_seconds": real, "index": whole, "problem": text, "prompt": text, "seed": whole, "reason": text,
        "answer": text, "right": yes, "score": real, "nodes": whole,
        **dict.fromkeys(("spent_prompt", "spent_cached", "spent_generated", "spent_scorer"), whole),
        **dict.fromkeys(("spent_solver_flops", "spent_scorer_flops", "spent_seconds"), real), "spent_calls": whole, "spent_uncounted": whole,
        "spent_tokens": whole, "elapsed": real,
        "spent_flops": real, "pool_answers": pl.List(text), "pool_right": pl.List(yes), "pool_scores": pl.List(real),
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema)


def write(evaluation: Evaluation, found: Figures, results: Sequence[Result]) -> list[Path]:
    """report.md, the pictures and results.parquet in the evaluation's folder, each whole or not at all."""
    texts = {REPORT: markdown(evaluation, found), **pictures(found)}
    paths = []
    for name, text in texts.items():
        fresh = evaluation.path / f".{name}.new"
        fresh.write_text(text, encoding="utf-8", errors="replace")
        paths.append(fresh.replace(evaluation.path / name))
    fresh = evaluation.path / f".{PARQUET}.new"
    table(results, evaluation).write_parquet(fresh)
    return [*paths, fresh.replace(evaluation.path / PARQUET)]


def _against(cells: Sequence[CellFigures], cost: str) -> list[Line]:
    lines: dict[str, list[Mark]] = {}
    for c in cells:
        x = getattr(c, cost)
        if c.accuracy is None or not x:
            continue
        low, high = c.ci or (c.accuracy, c.accuracy)
        words = f"{c.label}: {percent(c.accuracy, c.ci)} at {short(x)} {cost}"
        name = c.label if c.pool else c.series
        lines.setdefault(name, []).append(Mark(x, c.accuracy, low, high, words))
    return [Line(name, marks) for name, marks in lines.items()]


def _over_k(curves: Curves) -> list[Line]:
    out = []
    for method, points in curves.methods.items():
        marks = [
            Mark(p.k, p.value, *(p.ci or (p.value, p.value)), f"{METHOD_WORDS[method]}, k = {p.k}: {percent(p.value, p.ci)}")
            for p in points
        ]  # fmt: skip
        out.append(Line(METHOD_WORDS[method], marks))
    return out


def _cell(text: str) -> str:
    """A name inside a line of Markdown: no line break, nothing that ends a table's cell or begins markup."""
    flat = " ".join(text.split())
    return "".join(f"\\{c}" if c in "|<>`[]\\*_" else c for c in flat)
