"""What raters think of pairs: one row a pair, votes in canonical order, and how much the side of the screen weighed.

Only submitted comparisons count, as everywhere. Unsure is no vote; "both bad" is one, and never a preference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from math import sqrt
from operator import itemgetter
from typing import Any

import duckdb

LEFT, RIGHT, TIE, BOTH_BAD, SPLIT, NONE = "left", "right", "tie", "both_bad", "split", "none"
_PREFERENCE = "preference"  # and preference.NAME of each criterion
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
        + """
    select pair_id, dimension, count(*) filter (value < 0), count(*) filter (value > 0), count(*) filter (value = 0),
        count(*) filter (value_text = 'both_bad'), count(*) filter (value_text = 'unsure'), avg(value),
        -avg(value) filter (value < 0), avg(value) filter (value > 0), list(distinct rater_id), bool_or(prelabel_visible)
    from votes group by pair_id, dimension order by pair_id, dimension""",
        {"queue": queue_id, "pairs": None if pair_ids is None else list(pair_ids)},
    ).fetchall()
    judged = {
        pair_id: {row[1]: row[2:] for row in of_pair if row[1].startswith(_PREFERENCE)}
        for pair_id, of_pair in groupby(rows, key=itemgetter(0))
    }
    pairs = con.execute(
        "select pair_id, queue_id, problem_id, left_trace_id, right_trace_id, shared_steps, source from pair "
        "where pair_id in (select unnest(?::varchar[])) order by pair_id",
        [list(judged)],
    ).fetchall()
    ends = _ends(con, [pair[3] for pair in pairs if pair[5]])
    return [_verdict(pair, ends.get((pair[3], pair[5] - 1), 0), judged[pair[0]]) for pair in pairs if judged[pair[0]]]


def _ends(con: duckdb.DuckDBPyConnection, trace_ids: Sequence[str]) -> dict[tuple[str, int], int]:
    """Where each step of these traces ends. Two plain passes: joined to the pairs in one statement, a table of a million
    steps was hashed whole, for 50 rows.
    """
    found = con.execute(
        "select segmentation_id, trace_id from segmentation where trace_id in (select unnest(?::varchar[]))",
        [trace_ids],
    ).fetchall()
    traces = dict(found)
    steps = con.execute(
        "select segmentation_id, step_idx, char_end from step where segmentation_id in (select unnest(?::varchar[]))",
        [list(traces)],
    ).fetchall()
    return {(traces[segmentation_id], at): end for segmentation_id, at, end in steps}


_NOBODY = (0, 0, 0, 0, 0, None, None, None)


def _verdict(pair: Sequence[Any], shared_chars: int, judged: Mapping[str, Sequence[Any]]) -> PairVerdict:
    """judged: by dimension, the figures of `pair_rows`."""
    n_left, n_right, n_tie, n_both_bad, n_unsure, mean, left, right = judged.get(_PREFERENCE, _NOBODY)[:8]
    counts = {LEFT: n_left, RIGHT: n_right, TIE: n_tie, BOTH_BAD: n_both_bad}
    votes, most = sum(counts.values()), max(counts.values())
    winners = [name for name, n in counts.items() if n == most]
    outcome = NONE if most == 0 else winners[0] if len(winners) == 1 else SPLIT
    sides = {LEFT: (pair[3], pair[4], left), RIGHT: (pair[4], pair[3], right)}
    chosen, rejected, strength = sides.get(outcome, (None, None, None))
    criteria = {name.removeprefix(f"{_PREFERENCE}."): row[5] for name, row in judged.items() if name != _PREFERENCE}
    counted = (n_left, n_right, n_tie, n_both_bad, n_unsure, mean, outcome, chosen, rejected, strength)
    rest = (
        most / votes if votes else None,
        {name: value for name, value in criteria.items() if value is not None},
        tuple(sorted({rater for row in judged.values() for rater in row[8]})),
        any(row[9] for row in judged.values()),
    )
    return PairVerdict(*(*pair[:6], shared_chars, pair[6], *counted, *rest))


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
