"""Events are checked one by one, and refused in sentences that name the field."""

from __future__ import annotations

import uuid

import pytest

from storage.events import EventError, RatingEvent

GOOD = {
    "event_id": str(uuid.uuid4()), "assignment_id": "a", "rater_id": "ann", "seq": 3,
    "ts_client": "2026-11-20T12:00:00.5Z",
    "action": "set", "target": "step", "step_idx": 2, "dimension": "correctness", "value": -1, "value_text": None,
    "input_method": "key", "dwell_ms": 120, "prelabel_visible": False, "ui_build": "1",
}  # fmt: skip


def test_an_event_survives_json() -> None:
    event = RatingEvent.from_json(GOOD)
    assert RatingEvent.from_json(event.to_json()) == event
    assert RatingEvent.from_json({**GOOD, "a key of a newer page": 1}) == event


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"event_id": "7"}, "event_id"),
        ({"event_id": None}, "event_id"),
        ({"assignment_id": ""}, "assignment_id"),
        ({"rater_id": None}, "rater_id"),
        ({"seq": -1}, "seq"),
        ({"seq": True}, "seq"),
        ({"seq": 1.5}, "seq"),
        ({"action": "delete"}, "action"),
        ({"target": "page"}, "target"),
        ({"target": None}, "target"),
        ({"dimension": "verdict"}, "dimension"),
        ({"step_idx": None}, "step_idx"),
        ({"target": "trace", "dimension": "verdict"}, "step_idx"),
        ({"value": 2}, "value"),
        ({"value": 0.5}, "value"),
        ({"value": "1"}, "value"),
        ({"value": float("nan")}, "value"),
        ({"value": 10**400}, "value"),
        ({"value": None}, "value"),
        ({"value": None, "value_text": "perhaps"}, "value"),
        ({"dimension": "first_error", "value": None, "value_text": "unsure"}, "value"),
        ({"target": "decision", "dimension": "left_in_time", "value": -1}, "value"),
        ({"target": "trace", "step_idx": None, "dimension": "note", "value": None}, "value_text"),
        ({"action": "skip", "value_text": "bored"}, "value_text"),
        ({"ts_client": "yesterday"}, "ts_client"),
        ({"ts_client": 5}, "ts_client"),
        ({"dwell_ms": -5}, "dwell_ms"),
        ({"prelabel_visible": "no"}, "prelabel_visible"),
        ({"input_method": "voice"}, "input_method"),
        ({"value_text": "x" * 20_001}, "value_text"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(change: dict[str, object], field: str) -> None:
    with pytest.raises(EventError, match=f'"{field}"'):
        RatingEvent.from_json({**GOOD, **change})


@pytest.mark.parametrize("row", [None, [], "set", 7])
def test_an_event_must_be_an_object(row: object) -> None:
    with pytest.raises(EventError, match="JSON object"):
        RatingEvent.from_json(row)


def test_unsure_is_a_value_of_its_own_and_neutral_is_zero() -> None:
    assert RatingEvent.from_json({**GOOD, "value": None, "value_text": "unsure"}).value is None
    assert RatingEvent.from_json({**GOOD, "value": 0}).value == 0.0


def test_half_an_emoji_in_a_note_does_not_block_the_queue_of_a_page() -> None:
    note = {**GOOD, "target": "trace", "step_idx": None, "dimension": "note", "value": None, "value_text": "ok \ud83d"}
    assert RatingEvent.from_json(note).value_text == "ok \ufffd"
