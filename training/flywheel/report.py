"""The flywheel's figures for people: one table, one picture, one file of everything. Knows no model and no store."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.run_folder import write_atomically

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6B7280"
WIDE, HIGH, LEFT, TOP, GAP = 360, 260, 56, 48, 180  # of a panel, and around it, in pixels
# A trace that turns back holds bad steps and may still be right, so the score at its end stands for it. Chosen before
# anything was measured; the table has the other aggregations.
HOW = "last"
ARM_NAMES = {"random": "by chance", "convincing_wrong": "convincing wrong answers", "uncertainty": "where it is unsure"}


def write(figures: Mapping[str, Any], folder: Path) -> list[Path]:
    """`table.md`, `results.json` and `flywheel.svg` in `folder`."""
    texts = {
        "table.md": markdown(figures),
        "results.json": json.dumps(figures, indent=1) + "\n",
        "flywheel.svg": svg(figures),
    }
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in texts]


def _between(row: Mapping[str, Any], name: str = "mean", ci: str = "ci", digits: int = 3) -> str:
    if row[name] is None:
        return "undefined"
    ends = row[ci]
    shown = f"{row[name]:.{digits}f}"
    return f"{shown} ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})" if ends else shown


def markdown(figures: Mapping[str, Any]) -> str:
    """The table: everything measured, with 95 % intervals over questions in brackets."""
    plan, pool, curve = figures["plan"], figures["pool"], figures["curve"]
    k = plan["samples"]
    aggregations = list(curve[0]["prm"]["best"])
    lines = [
        f"Simulated raters: the exact oracle, {plan['error']:.0%} of the judgements turned round; seed {plan['seed']}. "
        f"{plan['held_out']} held-out questions, {k} solutions each, at most {plan['step_limit']} steps. In brackets: 95 % over questions.",
        "",
        f"Best of {k}. One solution: {_between(pool['single'])}; majority: {_between(pool['majority'])}; any right: {_between(pool['ceiling'])}.",
        "",
        f"| rated traces | step labels | {' | '.join(f'PRM, {how}' for how in aggregations)} | ORM | step AUC of the PRM |",
        f"|---|---|{'---|' * len(aggregations)}---|---|",
    ]
    for p in curve:
        cells = [_between(p["prm"]["best"][how]) for how in aggregations]
        lines.append(
            f"| {p['traces']} | {p['labels']} | {' | '.join(cells)} | {_between(p['orm']['best'])} | {_between(p['prm'], 'auc', 'auc_ci')} |"
        )
    equal = figures["equal_auc"]
    lines += [
        "", f"Step AUC by how traces were chosen (base rate {curve[0]['prm']['base_rate']:.3f}).", "",
        "| chosen | rated traces | step labels | AUC | came by |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for arm, points in figures["active"].items():
        for p in points:
            drawn = ", ".join(f"{name} {n}" for name, n in p.get("drawn", {}).items())
            lines.append(
                f"| {ARM_NAMES[arm]} | {p['traces']} | {p['labels']} | {_between(p, 'auc', 'auc_ci')} | {drawn} |"
            )
    if equal["auc"] is not None:
        needed = ", ".join(
            f"{ARM_NAMES[arm]} {'did not reach it' if equal[arm] is None else f'{equal[arm]:.0f} labels'}"
            for arm in figures["active"]
        )
        lines += ["", f"For the AUC that chance has at the end ({equal['auc']:.4f}): {needed}."]
    lines += [
        "", "Rounds: the model fine-tuned on what was approved, one solution a question, on the same questions.", "",
        f"| model | solved | gain | majority of {k} | any of {k} | good steps | steps a solution |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for r in figures["rounds"]:
        gained = _between(r["gain"]) if "gain" in r else ""
        lines.append(
            f"| {r['name']} | {_between(r['single'])} | {gained} | {_between(r['majority'])} | {_between(r['ceiling'])} | {r['good_steps']:.3f} | {r['steps']:.1f} |"
        )
    lines += ["", f"On the solutions of the last: best of {k} by", ""]
    lines += [
        f"* {p['name']}: {_between(p['best'][HOW])} ({HOW}), step AUC {_between(p, 'auc', 'auc_ci')}"
        for p in figures["rounds"][-1]["prms"]
    ]
    spent = sum(figures["seconds"].values())
    lines += ["", f"{spent / 60:.1f} minutes in all, {figures['machine']}."]
    return "\n".join(lines) + "\n"


def svg(figures: Mapping[str, Any]) -> str:
    """Two panels over the number of step labels (logarithmic): best-of-k, and step AUC by how traces were chosen."""
    curve, k = figures["curve"], figures["plan"]["samples"]
    best = [
        ("PRM", BLUE, [(p["labels"], p["prm"]["best"][HOW]["mean"], p["prm"]["best"][HOW]["ci"]) for p in curve]),
        ("ORM", ORANGE, [(p["labels"], p["orm"]["best"]["mean"], p["orm"]["best"]["ci"]) for p in curve]),
    ]
    ends = [p["labels"] for p in curve]
    flat = [
        (name, GREY, [(n, figures["pool"][key]["mean"], None) for n in (ends[0], ends[-1])])
        for name, key in (("majority", "majority"), ("one solution", "single"), ("any right", "ceiling"))
    ]
    colours = {"random": GREY, "convincing_wrong": ORANGE, "uncertainty": GREEN}
    arms = [
        (
            ARM_NAMES[arm],
            colours[arm],
            [(p["labels"], p["auc"], p["auc_ci"]) for p in points if p["auc"] is not None],
        )
        for arm, points in figures["active"].items()
    ]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * (WIDE + LEFT + GAP)} {HIGH + TOP + 60}" '
        'font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="The flywheel, measured">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        *_panel(LEFT, f"Right answers, best of {k}", best, flat),
        *_panel(2 * LEFT + WIDE + GAP, "Step AUC, by how traces were chosen", arms, []),
        "</svg>",
    ]
    return "\n".join(parts)


Line = tuple[str, str, Sequence[tuple[float, float, Sequence[float] | None]]]


def _panel(left: float, title: str, lines: Sequence[Line], dashed: Sequence[Line]) -> list[str]:
    drawn = [line for line in (*lines, *dashed) if line[2]]
    if not drawn:
        return [f'<text x="{left}" y="{TOP}">{title}: undefined</text>']
    xs = [x for _, _, points in drawn for x, _, _ in points]
    ys = [y for _, _, points in drawn for _, mean, ci in points for y in (mean, *(ci or ()))]
    low, high = max(0.0, min(ys) - 0.02), min(1.0, max(ys) + 0.02)
    first, last = math.log(min(xs)), math.log(max(xs) if max(xs) > min(xs) else min(xs) * 2)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (math.log(x) - first) / (last - first) * WIDE, TOP + (high - y) / (high - low) * HIGH

    parts = [f'<text x="{left}" y="24" font-size="14">{title}</text>']
    for tick in range(5):
        value = low + (high - low) * tick / 4
        _, y = at(min(xs), value)
        parts.append(
            f'<line x1="{left}" x2="{left + WIDE}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>'
            f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end" fill="{GREY}">{value:.2f}</text>'
        )
    for x in sorted({p[0] for p in lines[0][2]}) if lines else ():
        parts.append(
            f'<text x="{at(x, low)[0]:.1f}" y="{TOP + HIGH + 20}" text-anchor="middle" fill="{GREY}">{x:,.0f}</text>'
        )
    parts.append(f'<text x="{left + WIDE / 2}" y="{TOP + HIGH + 42}" text-anchor="middle">step labels</text>')
    names: list[tuple[float, str, str]] = []
    for name, colour, points in drawn:
        dash = ' stroke-dasharray="5 4"' if any(name == d[0] for d in dashed) else ""
        path = " ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y, _ in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        for x, y, ci in points if not dash else ():
            px, py = at(x, y)
            if ci:
                parts.append(
                    f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{at(x, ci[0])[1]:.1f}" y2="{at(x, ci[1])[1]:.1f}" stroke="{colour}" opacity="0.5"/>'
                )
            parts.append(
                f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.5" fill="{colour}"><title>{name}, {x:,.0f} labels: {y:.3f}</title></circle>'
            )
        names.append((at(points[-1][0], points[-1][1])[1], name, colour))
    below = -math.inf
    for y, name, colour in sorted(names):  # beside the ends of their lines, none over another
        below = max(y + 4, below + 15)
        parts.append(f'<text x="{left + WIDE + 8}" y="{below:.1f}" fill="{colour}">{name}</text>')
    return parts
