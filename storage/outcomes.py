"""What is needed to say how traces ended: what each answers at its end, and the reference answer of its problem. Knows no judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from core.answers.outcome import CHECKED_BY, MOST_CHARS, final_text


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
    # Which ones first, by narrow columns; then the texts of those alone.
    rows = con.execute(
        "select t.rowid, p.answer from trace t left join problem p using (problem_id) "
        "where t.trace_id in (select unnest(?::varchar[]))",
        [list(trace_ids)],
    ).fetchall()
    references = dict(rows)
    if not references:
        return []
    found = con.execute(
        "select rowid, trace_id, prompt, format, finish_reason, right(answer, $most), "
        "if(answer = '' and format = 'plain', right(response, $most), ''), solved, "
        "coalesce(json_extract_string(stats, $path) = 'reference', false) "
        f"from trace where rowid in ({', '.join(str(rowid) for rowid in references)})",
        {"most": MOST_CHARS, "path": f"$.{CHECKED_BY}"},
    ).fetchall()
    return [
        Ending(trace_id, prompt, references[rowid], final_text(form, reason, answer, response), solved, by_reference)
        for rowid, trace_id, prompt, form, reason, answer, response, solved, by_reference in found
        if all_of_them or by_reference or (solved is None and references[rowid] is not None)
    ]
