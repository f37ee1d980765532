"""Reference answers: what the right answer to a problem is, where somebody knows. Raters see it as their queue's policy says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from storage.errors import WrongValue

MOST_CHARS = 20_000  # a worked solution; it travels with every trace of the problem


def read_reference(con: duckdb.DuckDBPyConnection, problem_id: str) -> str | None:
    """None: there is none, or no such problem."""
    row = con.execute("select answer from problem where problem_id = ? limit 1", [problem_id]).fetchone()
    return row[0] if row else None


def add_references(con: duckdb.DuckDBPyConnection, calls: Sequence[Mapping[str, str]]) -> list[int]:
    """Writer's operation, for each {problem_id: answer} that a file brought along: how many are new. What somebody set is
    left as it is.
    """
    found = []
    for references in calls:
        rows = con.execute(
            "update problem set answer = new.answer from "
            "(select unnest(?::varchar[]) as problem_id, unnest(?::varchar[]) as answer) new "
            "where problem.problem_id = new.problem_id and problem.answer is null returning 1",
            [list(references), list(references.values())],
        ).fetchall()
        found.append(len(rows))
    return found


def set_references(con: duckdb.DuckDBPyConnection, references: Sequence[tuple[str, str]]) -> list[bool]:
    """Writer's operation, for each (problem_id, answer): kept, or taken away where the answer is empty. False: there is no
    such problem. Raises WrongValue.
    """
    found = []
    for problem_id, answer in references:
        if len(answer) > MOST_CHARS:
            raise WrongValue(f'"answer" has {len(answer)} characters; at most {MOST_CHARS} are kept.')
        row = con.execute(
            "update problem set answer = ? where problem_id = ? returning 1", [answer or None, problem_id]
        ).fetchone()
        found.append(row is not None)
    return found
