"""How stored traces ended, by the reference answers that there are now: what is right may be found out later.

What an exact rule decided, or the file that a trace came from, stays. For a thread: comparing answers may take long.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from core.answers.extract import key_of
from core.answers.outcome import Outcome, outcome
from core.trace import Trace
from storage.outcomes import Ending, keep_solved, read_endings, traces_of

if TYPE_CHECKING:
    from storage.store import Store

_KEPT = 20_000  # judgements that lists need again and again
_right: OrderedDict[bytes, bool | None] = OrderedDict()


def solved_now(store: Store, trace_ids: Sequence[str], patience_s: float | None = None) -> dict[str, bool | None]:
    """`solved` of those of these traces for which it is not as stored. What is not compared within `patience_s` is left out, and
    known when it is asked for again.
    """
    began = time.monotonic()
    endings = store.read(lambda con: read_endings(con, trace_ids))
    found = dict[str, bool | None]()
    for ending in endings:
        key = key_of("\0".join((ending.prompt, ending.reference or "", ending.text)))
        if key not in _right:
            if patience_s is not None and time.monotonic() - began > patience_s:
                continue
            _right[key] = _judge(ending).right
            while len(_right) > _KEPT:
                _right.popitem(last=False)
        found[ending.trace_id] = _right[key]
    return found


def judge_anew(store: Store, problem_ids: Collection[str], *, undecided: bool = False) -> None:
    """What the reference answers of these problems say now is stored with their traces, where queues, orders, pairs and snapshots
    look for it. `undecided`: there was no reference before, so what is decided need not be compared once more.
    """
    known = solved_now(store, store.read(lambda con: traces_of(con, problem_ids, undecided=undecided)))
    if known:
        store.write(keep_solved, known).result()


def judged_now(store: Store, trace: Trace) -> Trace:
    """The trace with `solved` as it is known now."""
    return replace(trace, solved=solved_now(store, [trace.trace_id]).get(trace.trace_id, trace.solved))


def outcomes(store: Store, trace_ids: Sequence[str]) -> dict[str, Outcome]:
    """Of each trace, what it answers and whether that is right."""
    endings = store.read(lambda con: read_endings(con, trace_ids, all_of_them=True))
    return {e.trace_id: _judge(e) for e in endings}


def _judge(ending: Ending) -> Outcome:
    found = outcome(ending.prompt, ending.reference, ending.text)
    stays = ending.solved is not None and not ending.by_reference
    return replace(found, right=ending.solved) if stays else found
