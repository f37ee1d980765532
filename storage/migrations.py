"""What makes a database file of one schema version into one of the next: SQL, run in one transaction when it is opened.

Knows no Python type of ours: an old file must open the same way for ever. tests/storage/test_folders.py compares what
comes out with a new database.
"""

from __future__ import annotations

from importlib import resources

from storage.settled import REBUILD

SCHEMA_VERSION = 4


def created(name: str, what: str = "table") -> str:
    """How the newest schema makes a table or view. One that a later version changes must be written out here instead."""
    text = resources.files("storage").joinpath("schema.sql").read_text(encoding="utf-8")
    start = text.index(f"create {what} {name}" + ("(" if what == "table" else " "))
    return text[start : text.index("\n\n", start)] + "\n"


def _made_anew(name: str, columns: str) -> str:
    """A table with other columns or checks; `columns` says what each is in terms of the old ones."""
    return f"alter table {name} rename to old_{name}; {created(name)}insert into {name} select {columns} from old_{name}; drop table old_{name};"


MIGRATIONS = {
    1: "alter table tree_edge add column kind varchar; alter table trace add column origin varchar; "
    "alter table trace add column origin_root varchar",
    2: "alter table trace add column earlier varchar; create table refinement(refinement_id varchar not null, "
    "trace_id varchar not null, segmentation_id varchar not null, model varchar not null, steps varchar not null, "
    "stats varchar not null, created_at timestamp not null)",
    3: "".join(
        [
            "drop view step_consensus; drop view rating_current; ",
            _made_anew("rater", "*, null, true"),
            _made_anew("rubric", "*, '{}', ''"),
            _made_anew(
                "queue",
                "queue_id, queue_id, 'trace', rubric_id, rubric_version, overlap, lease_minutes, verify_mode, true, "
                "'least_rated', 0, '{}', false, now()::timestamp",
            ),
            _made_anew("slot", "*"),
            _made_anew("assignment", "*, null, null, false, null, ''"),
            _made_anew("rating_event", "*"),
            *(
                created(name)
                for name in ("login", "invite", "pair", "gold", "standing", "adjudication", "settled", "tally")
            ),
            *(
                created(name, "view")
                for name in (
                    "rating_latest",
                    "rating_in_hand",
                    "rating_current",
                    "step_consensus",
                    "adjudication_current",
                )
            ),
            REBUILD,
        ]
    ),
}
