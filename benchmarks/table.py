"""How a benchmark reports: a name, what was measured, the baseline of the same run, the ratio."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` is value / baseline; None where there is nothing fair to compare with."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    baseline_name: str = ""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return None if not self.baseline else self.value / self.baseline


def show(rows: list[Row]) -> None:
    """Print rows as an aligned table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column, justify in (
        ("measured", "left"),
        ("value", "right"),
        ("baseline", "right"),
        ("ratio", "right"),
        ("", "left"),
    ):
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for r in rows:
        base = "" if r.baseline is None else f"{r.baseline:,.1f} {r.unit}"
        ratio = "" if r.ratio is None else f"{r.ratio:.2f}x"
        table.add_row(
            r.name,
            f"{r.value:,.1f} {r.unit}",
            base,
            ratio,
            "; ".join(x for x in (r.baseline_name and f"against {r.baseline_name}", r.note) if x),
        )
    Console(width=150).print(table)


def percentile(values: list[float], q: float) -> float:
    """The q-quantile (0..1) by nearest rank; 0 for no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0
