"""What makes a database file of one schema version into one of the next: SQL, run in one transaction when it is opened.

Knows no Python type of ours, and not the newest schema: an old file must open the same way for ever. So what a migration
makes is written out, here or in `schemas/`, where every version since 4 is kept as it was; the newest is schema.sql, word for
word. tests/storage/test_folders.py sees to that, and compares what comes out with a new database.
"""

from __future__ import annotations

from importlib import resources

SCHEMA_VERSION = 5


def created(version: int, name: str, what: str = "table") -> str:
    """How the schema of that version makes a table or view."""
    text = resources.files("storage").joinpath(f"schemas/{version}.sql").read_text(encoding="utf-8")
    start = text.index(f"create {what} {name}" + ("(" if what == "table" else " "))
    return text[start : text.index("\n\n", start)] + "\n"


def _made_anew(version: int, name: str, columns: str) -> str:
    """A table with other columns or checks; `columns` says what each is in terms of the old ones."""
    made = created(version, name)
    return f"alter table {name} rename to old_{name}; {made}insert into {name} select {columns} from old_{name}; drop table old_{name};"


# What version 4 keeps ready of finished work, made from the events: storage/settled.py as it was then.
_SETTLED_4 = """delete from settled;
delete from tally;
insert into settled by name select * from rating_latest semi join (select assignment_id from assignment where status in ('submitted', 'skipped')) using (assignment_id) order by server_seq;
insert into tally by name 
select a.assignment_id, any_value(a.trace_id) as trace_id, any_value(a.rater_id) as rater_id,
    count(*) filter (r.dimension = 'correctness' and value > 0) as good,
    count(*) filter (r.dimension = 'correctness' and value = 0) as neutral,
    count(*) filter (r.dimension = 'correctness' and value < 0) as bad,
    count(*) filter (r.dimension = 'correctness' and value is null) as unsure, count(r.assignment_id) as judgements
from assignment a left join settled r using (assignment_id) where status in ('submitted', 'skipped') group by a.assignment_id;
"""

MIGRATIONS = {
    1: "alter table tree_edge add column kind varchar; alter table trace add column origin varchar; "
    "alter table trace add column origin_root varchar",
    2: "alter table trace add column earlier varchar; create table refinement(refinement_id varchar not null, "
    "trace_id varchar not null, segmentation_id varchar not null, model varchar not null, steps varchar not null, "
    "stats varchar not null, created_at timestamp not null)",
    3: "".join(
        [
            "drop view step_consensus; drop view rating_current; ",
            _made_anew(4, "rater", "*, null, true"),
            _made_anew(4, "rubric", "*, '{}', ''"),
            _made_anew(
                4,
                "queue",
                "queue_id, queue_id, 'trace', rubric_id, rubric_version, overlap, lease_minutes, verify_mode, true, "
                "'least_rated', 0, '{}', false, now()::timestamp",
            ),
            _made_anew(4, "slot", "*"),
            _made_anew(4, "assignment", "*, null, null, false, null, ''"),
            _made_anew(4, "rating_event", "*"),
            *(
                created(4, name)
                for name in ("login", "invite", "pair", "gold", "standing", "adjudication", "settled", "tally")
            ),
            *(
                created(4, name, "view")
                for name in (
                    "rating_latest",
                    "rating_in_hand",
                    "rating_current",
                    "step_consensus",
                    "adjudication_current",
                )
            ),
            _SETTLED_4,
        ]
    ),
    4: created(5, "search"),
}
