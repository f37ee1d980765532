"""Hand-made traces and events: small, exact, and with trees that are given rather than inferred."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core.formats import steiner_tokens as t
from core.trace import Placed, Step, Trace, new_id, problem_id_of
from storage.events import RatingEvent
from storage.queues.assignments import Assignment
from storage.store import Store

HOSTILE = [
    "<script>alert(1)</script>",
    "${document.title} {{7*7}} `rm -rf`",
    r"\frac{1}{2} \times \underline{x} \u0041 \\",
    "'; drop table trace; --",
    "quotes \" and ' and , and ;",
    "nul \x00 in the middle",
    "line\nbreak\r\nand\ttab\x85\u2028\u2029end",
    "right-to-left \u202e and 😀👩‍👩‍👧‍👦 e\u0301 ﷺ",
    "\ufeffbyte order mark, \ufffd, \U0010ffff",
    "",
]


def step_text(name: str, thought: str = "") -> str:
    return (
        f"{t.STEP_START}{t.NAME_START}{name}{t.NAME_END}{t.THOUGHT_START}{thought}{t.THOUGHT_END}"
        f"{t.SUMMARY_START}{t.SUMMARY_END}{t.REFLECTION_START}{t.REFLECTION_END}{t.STEP_END}"
    )


def make_trace(
    parents: Sequence[int | None] = (None, 0, 1),
    *,
    prompt: str = "Reach 24 from 4, 7, 8 and 8.",
    names: Sequence[str] | None = None,
    **changes: Any,
) -> Trace:
    """A trace with one step for each parent; a step whose parent is not the step before is entered by a backtrack."""
    names = names or [f"step {i}" for i in range(len(parents))]
    response, steps, nodes = "", [], []
    for i, (parent, name) in enumerate(zip(parents, names, strict=True)):
        back = i > 0 and parent != i - 1
        lead = t.REASONING_START if i == 0 else t.BACKTRACK if back else t.PROCEED
        start = len(response)
        response += lead + step_text(name, f"thought of {name}")
        follows = None if i + 1 == len(parents) else "backtrack" if parents[i + 1] != i else "proceed"
        steps.append(Step(i, start, len(response), name, f"thought of {name}", "", "", follows or "finish"))
        nodes.append(Placed(parent, back, parent if back else None, i - 1 if back else None, 0.9 if back else None))
    response += t.REASONING_END + "the answer"
    row: dict[str, Any] = {"trace_id": new_id(), "answer": "the answer", "model": "pocket", **changes}
    return Trace(
        problem_id=problem_id_of(prompt),
        prompt=prompt,
        response=response,
        steps=tuple(steps),
        nodes=tuple(nodes),
        **row,
    )


def rows_of(folder: Path) -> list[Any]:
    """What an export wrote: tasks, lines, or the rows of all tables."""
    if (folder / "tasks.json").exists():
        return json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    if (folder / "data.jsonl").exists():
        return [json.loads(line) for line in (folder / "data.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for file in folder.glob("*.parquet") for row in pq.read_table(file).to_pylist()]


class Rater:
    """Writes events of one assignment with a growing seq, as the page does."""

    def __init__(self, store: Store, assignment: Assignment) -> None:
        self.store, self.assignment, self.seq = store, assignment, assignment.events_seq

    def event(self, action: str, **fields: Any) -> RatingEvent:
        self.seq = max(self.seq, fields.pop("seq", self.seq + 1))
        row = {
            "event_id": str(uuid.uuid4()), "assignment_id": self.assignment.assignment_id,
            "rater_id": self.assignment.rater_id, "seq": self.seq, "action": action, **fields,
        }  # fmt: skip
        return RatingEvent.from_json(row)

    def send(self, action: str, **fields: Any) -> RatingEvent:
        event = self.event(action, **fields)
        assert self.store.add_rating_events([event]).result() == [event.event_id]
        return event

    def step(self, step: int, value: int | None) -> RatingEvent:
        """value None: unsure."""
        more = {"value": value} if value is not None else {"value_text": "unsure"}
        return self.send("set", target="step", step_idx=step, dimension="correctness", **more)

    def first_error(self, step: int) -> None:
        """What the page sends for the key `x`."""
        self.step(step, -1)
        self.send("set", target="step", step_idx=step, dimension="first_error", value=1)

    def verdict(self, value: int) -> None:
        self.send("set", target="trace", dimension="verdict", value=value)

    def submit(self) -> None:
        self.send("submit")


def rate(
    store: Store, trace: Trace, rater: str, values: Sequence[int | str | None], verdict: int | None = None
) -> Rater:
    """Store a trace, rate its steps (None: leave unrated, "unsure") and submit."""
    store.add_trace(trace).result()
    hand = Rater(store, store.open_assignment(rater, trace.trace_id))
    for i, value in enumerate(values):
        if value is not None:
            hand.step(i, None if value == "unsure" else int(value))
    if verdict is not None:
        hand.verdict(verdict)
    hand.submit()
    return hand
