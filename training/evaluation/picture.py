"""The reliability diagram as SVG: what a step that scored so much turned out to be. No plotting library needed."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from training.evaluation.steps import Bin

SIDE, LEFT, TOP = 320, 56, 40  # of the square in which scores and shares run from 0 to 1, in pixels
BLUE, GREY = "#0072B2", "#6B7280"


def reliability_svg(bins: Sequence[Bin], title: str) -> str:
    """Bars: share of good steps a bin of scores. Their opacity says how many steps stand behind them; dashed is perfect."""
    name = escape(title[:48], {'"': "&quot;"})
    most = max((b.n for b in bins), default=0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE + LEFT + 24} {SIDE + TOP + 56}" '
        f'font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="Reliability of {name}">',
        f'<rect width="100%" height="100%" fill="#fff"/><text x="{LEFT}" y="22" font-size="14">{name}</text>',
    ]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x, y = LEFT + tick * SIDE, TOP + (1 - tick) * SIDE
        parts.append(
            f'<line x1="{LEFT}" x2="{LEFT + SIDE}" y1="{y:g}" y2="{y:g}" stroke="#e5e7eb"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:g}" text-anchor="end" fill="{GREY}">{tick:g}</text>'
            f'<text x="{x:g}" y="{TOP + SIDE + 18}" text-anchor="middle" fill="{GREY}">{tick:g}</text>'
        )
    for b in bins:
        if b.good is None:
            continue
        x, width, height = LEFT + b.low * SIDE, (b.high - b.low) * SIDE - 2, b.good * SIDE
        parts.append(
            f'<rect x="{x + 1:g}" y="{TOP + SIDE - height:g}" width="{width:g}" height="{height:g}" fill="{BLUE}" '
            f'fill-opacity="{0.25 + 0.75 * b.n / most:.2f}"><title>{b.n} steps scored {b.low:.1f} to {b.high:.1f}: '
            f"{b.good:.0%} are good</title></rect>"
        )
    parts.append(
        f'<line x1="{LEFT}" y1="{TOP + SIDE}" x2="{LEFT + SIDE}" y2="{TOP}" stroke="{GREY}" stroke-dasharray="5 4"/>'
        f'<text x="{LEFT + SIDE / 2:g}" y="{TOP + SIDE + 40}" text-anchor="middle">score, P(good)</text>'
        f'<text x="14" y="{TOP + SIDE / 2:g}" text-anchor="middle" transform="rotate(-90 14 {TOP + SIDE / 2:g})">'
        "share that is good</text></svg>"
    )
    return "\n".join(parts)
