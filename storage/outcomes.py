"""What is needed to say how traces ended: what each answers at its end, and the reference answer of its problem; and what was found
of it, for queues, orders, pairs and snapshots. Knows no judge.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from core.answers.outcome import BEGINNING, CHECKED_BY, MOST_CHARS, final_text


@dataclass(frozen=True)
class Ending:
    """text: see `core.answers.outcome.final_text`. solved: as stored; by_reference: a reference answer decided it then."""

    trace_id: str
    prompt: str
    reference: str | None
    text: str
    solved: bool | None
    by_reference: bool


def read_endings(
    con: duckdb.DuckDBPyConnection, trace_ids: Sequence[str], *, all_of_them: bool = False
) -> list[Ending]:
    """Of those of these traces whose `solved` a reference answer decides, or decided; or of all."""
    # Which ones first, by narrow columns: of a text, whatever stands near it in the file is unpacked too.
    rows = con.execute(
        "select t.rowid, t.trace_id, p.answer, t.solved, coalesce(json_extract_string(t.stats, $path) = 'reference', false), "
        "coalesce(json_extract_string(t.stats, $part) = 'true', false) "
        "from trace t left join problem p using (problem_id) where t.trace_id in (select unnest($ids::varchar[]))",
        {"path": f"$.{CHECKED_BY}", "part": f"$.{BEGINNING}", "ids": list(trace_ids)},
    ).fetchall()
    wanted = {
        rowid: (trace_id, reference, solved, by_reference)
        for rowid, trace_id, reference, solved, by_reference, part in rows
        if all_of_them or by_reference or (solved is None and reference is not None and not part)
    }
    texts = _columns(con, "prompt, format, finish_reason, right(answer, $most)", wanted)
    alone = [rowid for rowid, (_, form, _, answer) in texts.items() if form == "plain" and not answer]
    responses = _columns(con, "right(response, $most)", alone)
    found = []
    for rowid, (trace_id, reference, solved, by_reference) in wanted.items():
        prompt, form, reason, answer = texts[rowid]
        (response,) = responses.get(rowid, ("",))
        text = final_text(form, reason, answer, response)
        found.append(Ending(trace_id, prompt, reference, text, solved, by_reference))
    return found


def traces_of(con: duckdb.DuckDBPyConnection, problem_ids: Collection[str], *, undecided: bool) -> list[str]:
    """The traces of these problems, or those alone of which nobody has said whether they are right."""
    rows = con.execute(
        "select trace_id from trace where problem_id in (select unnest($ids::varchar[])) "
        "and (solved is null or not $undecided)",
        {"ids": list(problem_ids), "undecided": undecided},
    ).fetchall()
    return [trace_id for (trace_id,) in rows]


def keep_solved(con: duckdb.DuckDBPyConnection, calls: Sequence[Mapping[str, bool | None]]) -> list[int]:
    """Writer's operation, for each {trace_id: solved} that a reference answer has decided, or None where it no longer does:
    how many it changes. What an exact rule decided, or the file that a trace came from, stays.
    """
    found = []
    for solved in calls:
        rows = con.execute(
            "update trace set solved = new.solved, stats = json_merge_patch(stats, json_object($key, "
            "if(new.solved is null, null, 'reference')))::varchar from "
            "(select unnest($ids::varchar[]) as trace_id, unnest($solved::boolean[]) as solved) new "
            "where trace.trace_id = new.trace_id and trace.solved is distinct from new.solved and "
            "(trace.solved is null or json_extract_string(stats, $path) = 'reference') returning 1",
            {"ids": list(solved), "solved": list(solved.values()), "key": CHECKED_BY, "path": f"$.{CHECKED_BY}"},
        ).fetchall()
        found.append(len(rows))
    return found


def _columns(con: duckdb.DuckDBPyConnection, columns: str, rowids: Collection[int]) -> dict[int, tuple[Any, ...]]:
    """Columns of some traces. `$most` is how much of a text is looked at."""
    if not rowids:
        return {}
    which = ", ".join(map(str, rowids))
    found = con.execute(f"select rowid, {columns} from trace where rowid in ({which})", {"most": MOST_CHARS}).fetchall()
    return {rowid: tuple(values) for rowid, *values in found}
