"""Accuracy against cost, and curves over k, as SVG that any viewer shows: no plotting library and no display. Knows only points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 400, 64, 44, 24, 56
GREY, GRID = "#6B7280", "#e5e7eb"
# Okabe and Ito's colours that are told apart by colour-blind eyes; marks and dashes tell them apart without colour.
LOOKS = (
    ("#0072B2", "", "circle"), ("#D55E00", "7 4", "square"), ("#009E73", "2 3", "diamond"),
    ("#CC79A7", "9 3 2 3", "triangle"), ("#56B4E9", "4 4", "circle"), ("#E69F00", "12 4", "square"),
)  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """x, y and y's interval; `words` is what a pointer is told."""

    x: float
    y: float
    low: float
    high: float
    words: str


@dataclass(frozen=True)
class Line:
    """Marks that belong together, joined in the order of x."""

    name: str
    marks: Sequence[Mark]


def lines_svg(lines: Sequence[Line], title: str, x_words: str, y_words: str = "solved") -> str:
    """x on a logarithmic scale, y from 0 to 1, intervals as bars. A legend names the lines."""
    drawn = [line for line in lines if any(m.x > 0 for m in line.marks)]
    xs = [m.x for line in drawn for m in line.marks if m.x > 0]
    low, high = (math.log10(min(xs)), math.log10(max(xs))) if xs else (0.0, 1.0)
    low, high = (low - 0.3, high + 0.3) if high - low < 0.2 else (low - 0.05, high + 0.05)
    height = TOP + HEIGHT + BOTTOM + 18 * len(drawn)

    def px(x: float) -> float:
        return LEFT + (math.log10(x) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def py(y: float) -> float:
        return TOP + (1 - y) * HEIGHT

    name = escape(title, {'"': "&quot;"})
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" '
        f'font-size="12" role="img" aria-label="{name}"><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{LEFT}" y="24" font-size="14">{name}</text>',
    ]
    for y in (0, 0.25, 0.5, 0.75, 1):
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py(y):g}" y2="{py(y):g}" stroke="{GRID}"/>'
            f'<text x="{LEFT - 8}" y="{py(y) + 4:g}" text-anchor="end" fill="{GREY}">{y:g}</text>'
        )
    for x in ticks(10**low, 10**high):
        parts.append(
            f'<text x="{px(x):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle" fill="{GREY}">{short(x)}</text>'
            f'<line x1="{px(x):.1f}" x2="{px(x):.1f}" y1="{TOP}" y2="{TOP + HEIGHT}" stroke="{GRID}"/>'
        )
    for i, line in enumerate(drawn):
        colour, dashes, shape = LOOKS[i % len(LOOKS)]
        marks = sorted((m for m in line.marks if m.x > 0), key=lambda m: m.x)
        way = " ".join(f"{'L' if j else 'M'}{px(m.x):.1f} {py(m.y):.1f}" for j, m in enumerate(marks))
        parts.append(f'<path d="{way}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>')
        for m in marks:
            x = px(m.x)
            parts.append(
                f'<g stroke="{colour}" fill="{colour}"><line x1="{x:.1f}" x2="{x:.1f}" y1="{py(m.low):.1f}" y2="{py(m.high):.1f}" '
                f'stroke-opacity="0.55"/>{_shape(shape, x, py(m.y))}<title>{escape(m.words)}</title></g>'
            )
        y = TOP + HEIGHT + BOTTOM + 18 * i
        parts.append(
            f'<path d="M{LEFT} {y}H{LEFT + 34}" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
            f'<g fill="{colour}" stroke="{colour}">{_shape(shape, LEFT + 17, y)}</g>'
            f'<text x="{LEFT + 44}" y="{y + 4}">{escape(line.name)}</text>'
        )
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:g}" y="{TOP + HEIGHT + 38}" text-anchor="middle">{escape(x_words)}</text>'
        f'<text x="16" y="{TOP + HEIGHT / 2:g}" text-anchor="middle" transform="rotate(-90 16 {TOP + HEIGHT / 2:g})">{escape(y_words)}</text></svg>'
    )
    return "\n".join(parts) + "\n"


def ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten where that is few enough, else the powers alone."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        found = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]
        if len(found) <= 9:
            return found
    return found[:: math.ceil(len(found) / 9)]


def short(x: float) -> str:
    """2000 -> 2k, 3e9 -> 3G."""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if x >= size:
            return f"{x / size:.3g}{letter}"
    return f"{x:.3g}"


def _shape(shape: str, x: float, y: float) -> str:
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    corners = {
        "square": ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        "diamond": ((0, -5), (5, 0), (0, 5), (-5, 0)),
        "triangle": ((0, -5), (5, 4), (-5, 4)),
    }[shape]
    return f'<polygon points="{" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)}"/>'
