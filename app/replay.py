"""The events that lead from what was already shown to a finished trace.

One function serves three cases: a run whose end was lost (the server was killed), a run whose text had no steps, and a
trace that was never a run of this server (nothing shown yet). Knows no file and no network.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from core.run import done_event
from core.trace import Trace, step_json

Event = dict[str, Any]
FIELDS = ("name", "thought", "summary", "reflection")
SAMPLING = ("temperature", "top_p", "seed", "max_tokens")
BOUNDS = ("min_steps", "max_steps")


def missing_events(trace: Trace, shown: Iterable[Event] = ()) -> list[Event]:
    """What a viewer who has seen `shown` still needs to have all of `trace`; the last event is `done`. Not numbered."""
    started = False
    opened: set[int] = set()
    closed: set[int] = set()
    decided: set[int] = set()
    text: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
    for event in shown:
        match event["type"]:
            case "start":
                started = True
            case "step_open":
                opened.add(event["index"])
            case "step_delta":
                text[event["index"], event["field"]].append(event["text"])
            case "step_close":
                closed.add(event["step"]["index"])
            case "decision":
                decided.add(event["index"])
            case "answer_delta":
                text[-1, "answer"].append(event["text"])
            case "done":
                return []
    out: list[Event] = [] if started else [start_event(trace)]
    for step, node in zip(trace.steps, trace.nodes, strict=True):
        if step.index not in opened:
            out.append({"type": "step_open", "index": step.index, **asdict(node)})
        # What closed came whole: a free-form step's name is only then known, and was in no piece.
        for field in () if step.index in closed else FIELDS:
            rest = _rest(getattr(step, field), "".join(text[step.index, field]))
            if rest:
                out.append({"type": "step_delta", "index": step.index, "field": field, "text": rest})
        if step.index not in closed:
            out.append({"type": "step_close", "step": {**step_json(step, node), "decision": None}})
        if step.decision is not None and step.index not in decided:
            out.append({"type": "decision", "index": step.index, "decision": step.decision})
    # The answer of a trace is stripped, its pieces as shown are not.
    rest = _rest(trace.answer, "".join(text[-1, "answer"]).lstrip())
    if rest:
        out.append({"type": "answer_delta", "text": rest})
    return [*out, done_event(trace)]


def start_event(trace: Trace) -> Event:
    """The first event of a run, made from the trace it became."""
    return {
        "type": "start", "trace_id": trace.trace_id, "run_id": trace.trace_id, "prompt": trace.prompt,
        "model": trace.model,
        "sampling": {k: trace.sampling[k] for k in SAMPLING if k in trace.sampling},
        "bounds": {k: trace.sampling[k] for k in BOUNDS if k in trace.sampling},
        "earlier": trace.earlier.to_json() if trace.earlier else None,
    }  # fmt: skip


def _rest(whole: str, seen: str) -> str:
    return whole[len(seen) :] if whole.startswith(seen) else ""
