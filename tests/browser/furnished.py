"""A workbench in which everybody has been: long questions, pairs, raters who differ, decisions, known items, snapshots.

Every text that somebody can write has a word of its own, so that a test can tell whether it was shown, and whatever the test
adds to it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.browser.conftest import Bench
from tests.storage.helpers import make_trace

LONG = (
    "Let N be the number of ordered triples of positive integers (a, b, c) with a + b + c = 60 for which the three numbers are the "
    "side lengths of a triangle with positive area. "
) * 4  # some 700 characters: an ordinary problem of a competition
UNBROKEN = "Rindfleischetikettierungsueberwachungsaufgabenuebertragungsgesetz"
RATERS = ("ann", "bob", "cyd")


@dataclass
class Furnished:
    """Ids of what is there, and the words by which each text is known."""

    trace: str = ""
    other: str = ""
    queue: str = ""
    pairs: str = ""
    snapshot: str = ""
    submitted: str = ""
    open: str = ""
    rater: str = ""
    words: dict[str, str] = field(default_factory=dict)


def furnish(bench: Bench, more: Callable[[str, int], str] = lambda name, most: "") -> Furnished:
    """Through the API, as people do it. more(name, most): what is added to a text, of so many characters at most."""
    here = Furnished()

    def text(name: str, before: str = "", most: int = 2000) -> str:
        word = f"word-{name}"
        here.words[name] = word
        return f"{word} {before}{more(name, most - len(word) - len(before) - 1)}".rstrip()

    def event(work: dict[str, Any], seq: int, action: str = "set", **fields: Any) -> dict[str, Any]:
        start = work["assignment"]
        return {
            "event_id": str(uuid.uuid4()), "assignment_id": start["assignment_id"], "rater_id": start["rater_id"], "seq": seq,
            "action": action, **fields,
        }  # fmt: skip

    def send(work: dict[str, Any], events: list[dict[str, Any]]) -> None:
        answer = bench.post("/api/ratings", {"events": events})
        assert answer["rejected"] == [], answer
        assert len(answer["committed"]) == len(events)

    prompt = text("prompt", LONG)
    made = [
        make_trace(
            (None, 0, 1, 0),
            prompt=prompt,
            names=[text("step-name"), "second", last, "fourth"],
            model=text(f"model-{n}"),
        )
        for n, last in enumerate(("third one", "third two"))
    ]
    here.trace, here.other = bench.post("/api/traces", [trace.to_json() for trace in made])["trace_ids"]
    rubric = {
        "guidelines": text("guidelines", LONG),
        "error_types": [text("kind", most=80)],
        "tags": [text("tag", most=60)],
    }
    asked = {"title": text("queue", most=150), "overlap": 5, "config": {"reference": "shown"}}
    here.queue = bench.post("/api/queues", asked)["queue_id"]
    bench.post(f"/api/queues/{here.queue}/guidelines", rubric)
    problem = bench.get(f"/api/traces/{here.trace}")["problem_id"]
    bench.ask("PUT", f"/api/problems/{problem}/reference", {"answer": text("reference", LONG)})

    here.rater = text("rater", most=60)
    for n, rater in enumerate((*RATERS, here.rater)):
        work = bench.post("/api/assignments", {"trace_id": here.trace, "rater": rater, "queue": here.queue})
        values = [(1, -1, 0, 1), (1, 1, -1, 1), (1, -1, -1, 1), (1, -1, 1, 1)][n]
        said = [{"target": "step", "dimension": "correctness", "step_idx": i, "value": v} for i, v in enumerate(values)]
        bad = {"target": "step", "step_idx": values.index(-1)}
        said += [
            {**bad, "dimension": "rationale", "value_text": text("rationale")},
            {**bad, "dimension": "error_type", "value_text": text("kind", most=80)},
            {**bad, "dimension": "better", "value_text": text("better")},
            {**bad, "action": "comment", "value_text": text("comment")},
            {"target": "trace", "dimension": "note", "value_text": text("note")},
            {"target": "trace", "dimension": "tags", "value_text": text("own-tag", most=60)},
            {"target": "trace", "dimension": "verdict", "value": 1 - 2 * (n % 2)},
        ]
        events = [event(work, i, **one) for i, one in enumerate(said)]
        if rater == here.rater:
            here.open = work["assignment"]["assignment_id"]
        else:
            here.submitted = work["assignment"]["assignment_id"]
            events.append(event(work, 99, "submit", target="trace"))
        send(work, events)

    bench.post("/api/pairs", {"policy": "by_hand", "pairs": [[here.trace, here.other]]})
    paired = {"title": text("pair-queue", most=150), "unit": "pair", "overlap": 5, "config": {"reference": "shown"}}
    here.pairs = bench.post("/api/queues", paired)["queue_id"]
    criteria = [{"name": "clarity", "words": f"{text('criterion', most=80)}"}, {"name": "long", "words": UNBROKEN}]
    bench.post(
        f"/api/queues/{here.pairs}/guidelines", {"guidelines": text("pair-guidelines", LONG), "criteria": criteria}
    )
    bench.post("/api/pairs", {"policy": "by_hand", "pairs": [[here.trace, here.other]], "queue_id": here.pairs})
    for rater, value in zip(RATERS, (-3, 2, 0), strict=True):
        work = bench.post("/api/pairs/next", {"rater": rater, "queue_id": here.pairs})
        said = [
            {"target": "pair", "dimension": "preference", "value": value},
            {"target": "pair", "dimension": "note", "value_text": text("pair-note")},
        ]
        send(work, [*(event(work, i, **one) for i, one in enumerate(said)), event(work, 9, "submit", target="pair")])

    right = [{"target": "step", "step_idx": 0, "dimension": "correctness", "value": 1}]
    known = {"queue": here.queue, "item": here.other, "answers": right, "feedback": text("feedback")}
    bench.post("/api/quality/gold", known)
    decided = {
        "queue": here.queue,
        "item": here.trace,
        "step": 2,
        "dimension": "correctness",
        "value": 1,
        "guideline_gap": True,
    }
    bench.post("/api/quality/adjudications", {**decided, "reason": text("reason")})
    bench.post(
        "/api/quality/standing", {"queue": here.queue, "rater": "cyd", "state": "paused", "reason": text("pause")}
    )
    here.snapshot = bench.post("/api/snapshots", {"name": text("snapshot", most=80)})["snapshot_id"]
    return here
