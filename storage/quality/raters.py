"""Each rater of a queue: how much, how fast, how often unsure, how right on gold. Knows no HTTP."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from storage.events import format_utc
from storage.gold import scores, standings
from storage.quality.aggregate import Aggregated, of_frame
from storage.quality.votes import VOTE, Judged, params


@dataclass(frozen=True)
class RaterQuality:
    """median_s: seconds over one step, idle time not counted (null: never measured). bad_share, unsure_share: of their
    judgements of steps, 0 to 1. gold: share of right judgements on their gold and screening items, over `n_gold` of them.
    state: open, paused, passed or empty.
    """

    rater_id: str
    submitted: int
    skipped: int
    steps: int
    median_s: float | None
    bad_share: float | None
    unsure_share: float | None
    n_gold: int
    gold: float | None
    state: str
    reason: str
    state_at: str


def raters(con: duckdb.DuckDBPyConnection, queue_id: str) -> list[RaterQuality]:
    """Whoever has had work of a queue, the busiest first."""
    rows = con.execute(
        """
with mine as (select * from assignment where queue_id = $queue and status in ('submitted', 'skipped', 'leased')),
work as (
    select rater_id, count(*) filter (status = 'submitted') as submitted, count(*) filter (status = 'skipped') as skipped
    from mine group by all),
judged as (
    select s.rater_id, count(*) as steps, median(dwell_ms) / 1000 as median_s,
        count(*) filter (value < 0) / count(*) as bad, count(*) filter (value is null) / count(*) as unsure
    from settled s semi join mine using (assignment_id) where target = 'step' and dimension = 'correctness' group by all)
select rater_id, submitted, skipped, coalesce(steps, 0), median_s, bad, unsure from work left join judged using (rater_id)
order by submitted desc, rater_id""",
        {"queue": queue_id},
    ).fetchall()
    gold: dict[str, list[float]] = {}
    for score in scores(con, queue_id):
        gold.setdefault(score.rater_id, []).append(score.share)
    known = {standing.rater_id: standing for standing in standings(con, queue_id)}
    found = []
    for rater_id, *figures in rows:
        shares, standing = gold.get(rater_id, []), known.get(rater_id)
        share = sum(shares) / len(shares) if shares else None
        said = (standing.state, standing.reason, format_utc(standing.set_at)) if standing else ("", "", "")
        submitted, skipped, steps, median_s, bad, unsure = figures
        found.append(
            RaterQuality(rater_id, submitted, skipped, steps, median_s, bad, unsure, len(shares), share, *said)
        )
    return found


def competence(con: duckdb.DuckDBPyConnection, queue_id: str, judged: Judged, method: str) -> Aggregated:
    """What the votes of a queue come to under a method, and how far each rater can be relied on. Its units
    are numbered: which is which is of no interest here. Units with one vote say nothing of anybody, and are left out.
    """
    frame = con.execute(
        f"{VOTE} select dense_rank() over (order by item, step_idx) as task, rater_id as worker, value as label "
        "from vote where value is not null qualify count(*) over (partition by item, step_idx) > 1",
        params(queue_id, judged),
    ).df()
    return of_frame(frame, method)
