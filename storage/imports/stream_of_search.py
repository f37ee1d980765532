"""Stream of Search (Gandhi et al. 2024): one written-out search a row, `search_path`, with its numbers `nums` and their `target`.

The rows hold no question in words; it is put as the numbers game asks it. Whether the search came through is what the row says in
`goal`.
"""

from __future__ import annotations

from dataclasses import replace

from core.tasks.countdown import Countdown
from core.tasks.countdown_text import ask
from core.trace import Trace
from storage.imports.making import Row, Unusable, cut, kept, kind, short

MOST = 2**53  # as a whole number in JSON, whoever reads it
_KEPT = ("id", "algorithm", "search_type", "heuristic", "beam", "solution", "optimal_path", "rating", "goal", "moves")


def fits(row: Row) -> bool:
    """A search, and numbers to begin with."""
    return "search_path" in row and "nums" in row


def to_traces(row: Row) -> list[Trace]:
    """One trace. Raises Unusable."""
    path, nums, target = row.get("search_path"), row.get("nums"), row.get("target")
    if not isinstance(path, str) or not path.strip():
        raise Unusable('"search_path" is missing or empty; write the search as a string.')
    if not isinstance(nums, list) or not nums or not all(map(_whole, nums)):
        raise Unusable('"nums" is no list of whole numbers; write, for example, [3, 8, 9].')
    if not _whole(target):
        raise Unusable(f'"target" is {kind(target)}; write it as a whole number.')
    assert isinstance(target, int)
    trace = cut(ask(Countdown(tuple(nums), target)), path, model=short(row, "model"), stats=kept(row, *_KEPT))
    goal = row.get("goal")
    return [replace(trace, solved=goal if isinstance(goal, bool) else None)]


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST
