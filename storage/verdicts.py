"""What raters think of pairs: one row a pair, votes in canonical order, and how much the side of the screen weighed.

Only submitted comparisons count, as everywhere. Unsure is no vote; "both bad" is one, and never a preference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import duckdb

LEFT, RIGHT, TIE, BOTH_BAD, SPLIT, NONE = "left", "right", "tie", "both_bad", "split", "none"
_Z = 1.96  # of a 95 % interval


@dataclass(frozen=True)
class PairVerdict:
    """A pair with its votes. left and right in the pair's own order, whatever was shown on which side.

    outcome: left, right, tie or both_bad, whichever has the most votes; split where two have as many; none without a vote.
    chosen and rejected: only for the outcomes left and right. strength: mean of those votes for the outcome, 1 to 3.
    agreement: the share of all votes that the outcome has. shared_chars: where the first step that differs begins; up to
    there both responses are the same, byte for byte. criteria: mean strength (−3 left to 3 right) of each criterion that was judged.
    """

    pair_id: str
    queue_id: str
    problem_id: str
    left_trace_id: str
    right_trace_id: str
    shared_steps: int
    shared_chars: int
    source: str
    n_left: int
    n_right: int
    n_tie: int
    n_both_bad: int
    n_unsure: int
    mean: float | None
    outcome: str
    chosen_trace_id: str | None
    rejected_trace_id: str | None
    strength: float | None
    agreement: float | None
    criteria: dict[str, float]
    raters: tuple[str, ...]
    names_seen: bool

    @property
    def n_votes(self) -> int:
        return self.n_left + self.n_right + self.n_tie + self.n_both_bad

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "raters": list(self.raters), "n_votes": self.n_votes}


# What counts now, of submitted comparisons (`settled.py` keeps it ready).
_VOTES = """
with votes as (
    select a.pair_id, a.rater_id, a.swapped, s.dimension, s.value, s.value_text, s.prelabel_visible
    from settled s join assignment a using (assignment_id)
    where a.pair_id is not null and a.status = 'submitted' and s.target = 'pair'
      and ($queue::varchar is null or a.queue_id = $queue)
      and ($pairs::varchar[] is null or a.pair_id in (select unnest($pairs::varchar[]))))
"""


def pair_rows(
    con: duckdb.DuckDBPyConnection, *, queue_id: str | None = None, pair_ids: Sequence[str] | None = None
) -> list[PairVerdict]:
    """Every pair that a submitted comparison says something of (of one queue, of these, or of all), ordered by pair_id."""
    rows = con.execute(
        _VOTES
        + """,
    counted as (
        select pair_id,
            count(*) filter (dimension = 'preference' and value < 0) as n_left,
            count(*) filter (dimension = 'preference' and value > 0) as n_right,
            count(*) filter (dimension = 'preference' and value = 0) as n_tie,
            count(*) filter (dimension = 'preference' and value_text = 'both_bad') as n_both_bad,
            count(*) filter (dimension = 'preference' and value_text = 'unsure') as n_unsure,
            avg(value) filter (dimension = 'preference') as mean,
            -avg(value) filter (dimension = 'preference' and value < 0) as left_strength,
            avg(value) filter (dimension = 'preference' and value > 0) as right_strength,
            list(distinct rater_id order by rater_id) as raters, bool_or(prelabel_visible) as names_seen
        from votes where dimension = 'preference' or starts_with(dimension, 'preference.') group by pair_id),
    by_criterion as (
        select pair_id, list((name, mean) order by name) as criteria from (
            select pair_id, dimension[12:] as name, avg(value) as mean from votes
            where starts_with(dimension, 'preference.') and value is not null group by all)
        group by pair_id)
    select p.pair_id, p.queue_id, p.problem_id, p.left_trace_id, p.right_trace_id, p.shared_steps,
        coalesce(s.char_end, 0), p.source, c.* exclude (pair_id), by_criterion.criteria
    from counted c join pair p using (pair_id) left join by_criterion using (pair_id)
    left join segmentation g on g.trace_id = p.left_trace_id and p.shared_steps > 0
    left join step s on s.segmentation_id = g.segmentation_id and s.step_idx = p.shared_steps - 1
    order by p.pair_id""",
        {"queue": queue_id, "pairs": None if pair_ids is None else list(pair_ids)},
    ).fetchall()
    return [_verdict(row) for row in rows]


def _verdict(row: Sequence[Any]) -> PairVerdict:
    n_left, n_right, n_tie, n_both_bad, n_unsure, mean, left_strength, right_strength, raters, seen, criteria = row[8:]
    counts = {LEFT: n_left, RIGHT: n_right, TIE: n_tie, BOTH_BAD: n_both_bad}
    most = max(counts.values())
    winners = [name for name, n in counts.items() if n == most]
    outcome = NONE if most == 0 else winners[0] if len(winners) == 1 else SPLIT
    sides = {LEFT: (row[3], row[4], left_strength), RIGHT: (row[4], row[3], right_strength)}
    chosen, rejected, strength = sides.get(outcome, (None, None, None))
    votes = sum(counts.values())
    found = (n_left, n_right, n_tie, n_both_bad, n_unsure, mean, outcome, chosen, rejected, strength)
    agreement = most / votes if votes else None
    return PairVerdict(*(*row[:8], *found, agreement, dict(criteria or ()), tuple(raters), seen))


def position_bias(con: duckdb.DuckDBPyConnection, *, queue_id: str | None = None) -> dict[str, Any]:
    """P(left): how often raters prefer what stands on the left of their screen, of all preferences for a side.

    {n, left, p_left, low, high, verdict}: a 95 % interval after Wilson (1927). Without a preference p_left, low and high are
    None, and the sentence says so. With sides drawn at random, a fair rater is at one half, whatever the traces are like.
    """
    row = con.execute(
        _VOTES + "select count(*), count(*) filter ((value < 0) <> swapped) from votes "
        "where dimension = 'preference' and value <> 0 and swapped is not null",
        {"queue": queue_id, "pairs": None},
    ).fetchone()
    n, left = row or (0, 0)
    if not n:
        sentence = "undefined: nobody has preferred a side yet"
        return {"n": 0, "left": 0, "p_left": None, "low": None, "high": None, "verdict": sentence}
    low, high = wilson(left, n)
    sentence = (
        "Raters lean to the left side." if low > 0.5 else "Raters lean to the right side." if high < 0.5
        else "No leaning to a side is to be seen."
    )  # fmt: skip
    figures = {"p_left": left / n, "low": low, "high": high}
    return {"n": n, "left": left, **{k: round(v, 4) for k, v in figures.items()}, "verdict": sentence}


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927), for n ≥ 1."""
    p, z2 = successes / n, _Z * _Z
    middle, half = p + z2 / (2 * n), _Z * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z2 / n)), min(1.0, (middle + half) / (1 + z2 / n))
