"""Traces from JSONL: what is broken is named by file, line and field, and costs only its own line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage.errors import ImportProblem
from storage.imports import read_jsonl, trace_from_row
from storage.store import Store
from tests.storage.helpers import HOSTILE, make_trace


def _write(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_canonical_traces_come_back_as_they_were(tmp_path: Path) -> None:
    traces = [make_trace((None, 0, 0), names=[text, "b", text], prompt=f"q {text}") for text in HOSTILE]
    path = _write(tmp_path / "t.jsonl", [trace.to_json() for trace in traces])
    assert list(read_jsonl(path)) == traces


def test_prompt_and_response_are_enough_and_importing_twice_changes_nothing(store: Store, tmp_path: Path) -> None:
    trace = make_trace((None, 0, 1))
    path = _write(
        tmp_path / "t.jsonl",
        [{"prompt": trace.prompt, "response": trace.response}, {"prompt": "q", "response": "plain"}],
    )
    first, second = list(read_jsonl(path)), list(read_jsonl(path))
    assert [t.trace_id for t in first] == [t.trace_id for t in second]
    assert [len(t.steps) for t in first] == [3, 1]
    assert first[0].answer == "the answer"
    for found in first + second:
        store.add_trace(found, source="import").result()
    assert store.stats()["traces"] == 2
    assert {row.source for row in store.traces()} == {"import"}


def test_steps_without_their_texts_are_cut_again(tmp_path: Path) -> None:
    """What `worldline tree` prints can be imported: its steps name offsets, not thoughts."""
    trace = make_trace((None, 0))
    short = [{k: s[k] for k in ("start", "end", "name", "decision", "parent")} for s in trace.to_json()["steps"]]
    path = _write(tmp_path / "t.jsonl", [{"prompt": trace.prompt, "response": trace.response, "steps": short}])
    (found,) = read_jsonl(path)
    assert [s.thought for s in found.steps] == ["thought of step 0", "thought of step 1"]


BROKEN = [
    ('{"prompt": "q"}', '"response" is missing'),
    ('{"response": "r"}', '"prompt" is missing'),
    ('{"prompt": 7, "response": "r"}', '"prompt" is a number; write it as a string'),
    ('{"prompt": null, "response": "r"}', '"prompt" is null'),
    ('{"prompt": "  ", "response": "r"}', '"prompt" is empty'),
    ('{"prompt": "q", "response": "r"', "is not JSON at character"),
    ('["prompt"]', "the row is a list"),
    ("[", "the file looks like one JSON array"),
    ('"text"', "the row is a string"),
    (
        '{"prompt": "q", "response": "r", "finish_reason": "tired"}',
        "\"finish_reason\" is 'tired'; it must be one of stop",
    ),
    ('{"prompt": "q", "response": "r", "created_at": "soon"}', "\"created_at\" is 'soon'; write a time"),
    ('{"prompt": "q", "response": "r", "solved": "yes"}', '"solved" must be true, false or null'),
    ('{"prompt": "q", "response": "\\ud800"}', "half of a surrogate pair"),
    ('{"prompt": "q", "response": "r", "n": ' + "[" * 100_000 + "}", "nested too deeply"),
]


@pytest.mark.parametrize(("line", "words"), BROKEN)
def test_a_broken_line_is_named_and_the_others_are_kept(tmp_path: Path, line: str, words: str) -> None:
    good = {"prompt": "q", "response": "r"}
    path = _write(tmp_path / "file.jsonl", [good, "", line, {**good, "prompt": "q2"}])
    errors: list[ImportProblem] = []
    assert [t.prompt for t in read_jsonl(path, errors=errors)] == ["q", "q2"]
    (problem,) = errors
    assert str(problem).startswith("file.jsonl:3: ")
    assert words in str(problem)
    with pytest.raises(ImportProblem, match=r"file\.jsonl:3"):
        list(read_jsonl(path))


def test_steps_that_leave_a_hole_are_refused() -> None:
    row = make_trace((None, 0)).to_json()
    row["steps"][1]["start"] += 1
    with pytest.raises(ImportProblem, match=r'row 7: "steps\[1\].start" is \d+, but the step before ends at'):
        trace_from_row(row, "row 7")


def test_bytes_that_are_no_text_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"prompt": "a", "response": "r"}\r\n\xff\xfe\r\n{"prompt": "b", "response": "r"}\r\n'
    )
    errors: list[ImportProblem] = []
    assert [t.prompt for t in read_jsonl(path, errors=errors)] == ["a", "b"]
    assert str(errors[0]) == "file.jsonl:2: byte 1 of the line is not UTF-8; save the file as UTF-8."


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImportProblem, match="there is no such file"):
        list(read_jsonl(tmp_path / "nowhere.jsonl"))
    with pytest.raises(ImportProblem, match="cannot be read"):
        list(read_jsonl(tmp_path))


def test_lines_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = _write(tmp_path / "t.jsonl", [{"prompt": "q", "response": "r"}] * 3 + ["broken"])
    reader = read_jsonl(path)
    assert next(reader).prompt == "q"  # the broken line further down has not been met yet


def test_an_imported_game_is_checked_from_its_steps(tmp_path: Path) -> None:
    from training.synthesis.countdown import walks

    walk = next(w for w in walks(3) if w.path)
    rows = [{"prompt": walk.prompt, "response": walk.response}, {"prompt": "Why?", "response": walk.response}]
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert [t.solved for t in read_jsonl(path)] == [True, None]
