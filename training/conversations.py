"""What was said before a later turn, out of a snapshot: the traces of the earlier turns, as `core.turns` gives them to a model.

Knows the rows of a snapshot; knows no tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from core.trace import Problem
from core.turns import Turn, Turns
from training.rows import JudgedTrace

GivenAs = Literal["as_given", "summaries", "full", "alone"]


def turns_before(trace: JudgedTrace, by_id: Mapping[str, JudgedTrace], given_as: GivenAs) -> Turns | None:
    """The turns before a trace's question; None where one of them is not in the snapshot, or is held out while the trace is
    trained on.

    given_as: "as_given" as they were when it was asked, "summaries" or "full" instead, "alone" none of them.
    """
    if trace.earlier is None or given_as == "alone":
        return Turns()
    found = [by_id.get(trace_id) for trace_id in trace.earlier.trace_ids]
    if None in found or (trace.split == "train" and any(one.split == "test" for one in found if one)):
        return None
    how = trace.earlier.given_as if given_as == "as_given" else given_as
    return Turns(tuple(_turn(earlier) for earlier in found if earlier is not None), how)


def _turn(trace: JudgedTrace) -> Turn:
    """A snapshot has the steps' texts but not their names and summaries, so the response is read once more."""
    from core.run import TraceReader

    reader = TraceReader(Problem.ask(trace.prompt), "", trace.trace_id, trace.format)
    reader.feed(trace.response)
    reader.close()
    return Turn.of(reader.trace(trace.finish_reason, sampling={}, stats={}))
