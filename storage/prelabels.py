"""When a rater may see what a reward model thinks of the steps, and whether they changed their mind once they saw it.

A score that is seen first leads the judgement (anchoring). So the scores of an assignment stay hidden until the rater has
judged every step once (up to the first error, where one is marked) or has submitted; in a queue in verify mode they are
there from the start. The log of events decides, never the page: what was seen cannot be unseen, so undoing a rating or
reopening the trace does not hide them again. Knows no model and no screen.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import duckdb


@dataclass(frozen=True)
class Pass:
    """How far the first own pass is. missing: steps still to be judged before the scores may be seen."""

    missing: int
    visible: bool


def first_pass(con: duckdb.DuckDBPyConnection, assignment_id: str) -> Pass | None:
    """None: there is no such assignment."""
    found = con.execute(
        "select g.n_steps, coalesce(q.verify_mode, false) from assignment a join segmentation g using (segmentation_id) "
        "left join queue q using (queue_id) where a.assignment_id = ? limit 1",
        [assignment_id],
    ).fetchone()
    if found is None:
        return None
    n_steps, verify_mode = found
    rows = con.execute(
        "select distinct action, dimension, step_idx from rating_event where assignment_id = ? and (action = 'submit' or "
        "(action = 'set' and target = 'step' and dimension in ('correctness', 'first_error')))",
        [assignment_id],
    ).fetchall()
    judged = {step for action, dimension, step in rows if action == "set" and dimension == "correctness"}
    errors = [step for action, dimension, step in rows if action == "set" and dimension == "first_error"]
    # Whatever was once marked as the first error ended a pass there.
    missing = min(end - sum(step < end for step in judged) for end in (n_steps, *(step + 1 for step in errors)))
    submitted = any(action == "submit" for action, _, _ in rows)
    return Pass(missing, bool(verify_mode or submitted or missing == 0))


@dataclass(frozen=True)
class ChangesOfMind:
    """Of the steps that a rater judged before the scores were shown: how many they judged otherwise afterwards.

    towards: of those, how many came nearer to the newest score of the trace; away: how many went further from it.
    """

    rater_id: str
    judged: int
    changed: int
    towards: int
    away: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


# What was judged last without the scores in view, and last of all; a score of 0..1 is compared on the scale -1..1.
_CHANGES = """
with own as (
    select assignment_id, rater_id, step_idx,
           arg_max(value, seq) filter (not prelabel_visible) as before,
           arg_max(value, seq) as after,
           count(*) filter (not prelabel_visible) as blind, count(*) filter (prelabel_visible) as seen
    from rating_event
    where action = 'set' and target = 'step' and dimension = 'correctness' and value is not null
    group by all),
scored as (
    select trace_id, segmentation_id, arg_max(step_values, created_at) as scores from model_score group by all)
select rater_id, count(*) filter (blind > 0),
       count(*) filter (blind > 0 and seen > 0 and before <> after),
       count(*) filter (blind > 0 and seen > 0 and abs(after - p) < abs(before - p)),
       count(*) filter (blind > 0 and seen > 0 and abs(after - p) > abs(before - p))
from (
    select own.*, 2 * scores[step_idx + 1] - 1 as p
    from own join assignment a using (assignment_id) left join scored using (trace_id, segmentation_id))
group by rater_id order by rater_id
"""


def changes_of_mind(con: duckdb.DuckDBPyConnection) -> list[ChangesOfMind]:
    """One row a rater who has judged a step, by name."""
    return [ChangesOfMind(*row) for row in con.execute(_CHANGES).fetchall()]
