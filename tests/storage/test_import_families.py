"""Rows of others become traces: every family of rows and every kind of file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.answers.outcome import judged
from core.trace import Trace
from storage.errors import ImportProblem
from storage.imports import prompt_response, read, read_jsonl
from storage.imports.report import Report, fresh
from storage.pairing import under_policy
from storage.pairs import DEFAULT_PAIR_QUEUE, set_up_pairs
from storage.references import add_references, read_reference, set_references
from storage.store import Store
from tests.storage.helpers import make_trace


def one(row: Any, family: str) -> Trace:
    name, (trace,), *_ = read(row, "row")
    assert name == family
    whole(trace)
    return trace


def whole(trace: Trace, exact: bool = False) -> None:
    """Steps are contiguous from the first character on; exact ones leave nothing over."""
    at = 0
    for step, node in zip(trace.steps, trace.nodes, strict=True):
        assert step.start == at <= step.end
        assert node.parent is None or 0 <= node.parent < step.index
        at = step.end
    assert at <= len(trace.response)
    if exact:
        assert at == len(trace.response)


# ---- prompt and response


@pytest.mark.parametrize("asked", prompt_response.PROMPTS)
@pytest.mark.parametrize("said", prompt_response.RESPONSES)
def test_the_names_that_the_field_uses(asked: str, said: str) -> None:
    trace = one({asked: "Why?", said: "<think>\nHm.\n</think>\nBecause.", "model": "m"}, "prompt-response")
    assert (trace.prompt, trace.format, trace.model) == ("Why?", "think", "m")
    assert trace.response == "<think>\nHm.\n</think>\nBecause."


def test_a_reference_is_a_response_only_where_nothing_else_is() -> None:
    row = {"problem": "1+1", "solution": "reference", "answer": "2", "full_cot": "1+1 is 2.</think>2"}
    trace = one(row, "prompt-response")
    assert (trace.response, trace.answer) == (" is 2.</think>2", "2")  # the question in front is not part of it
    del row["full_cot"]
    assert one(row, "prompt-response").response == "reference"


def test_thinking_beside_the_response_goes_in_front() -> None:
    trace = one({"question": "q", "deepseek_thinking_trajectory": "First.", "deepseek_attempt": "2"}, "prompt-response")
    assert trace.response == "<think>\nFirst.\n</think>\n\n2"
    assert (trace.format, trace.answer) == ("think", "2")
    assert one({"question": "q", "reasoning": "Only that."}, "prompt-response").format == "think"


def test_an_instruction_has_an_input() -> None:
    assert one({"instruction": "Add.", "input": "1, 2", "output": "3"}, "prompt-response").prompt == "Add.\n\n1, 2"


def test_steps_as_a_list_are_exact() -> None:
    texts = ["First.\n\nStill first.", "", "  ", "Last."]
    trace = one({"problem": "q", "steps": texts, "label": 1, "final_answer": 7}, "prompt-response")
    whole(trace, exact=True)
    assert trace.response == "\n\n".join(texts)
    assert [s.thought for s in trace.steps] == texts
    assert [trace.step_text(i) for i in range(4)] == [t + "\n\n" for t in texts[:3]] + texts[3:]
    assert (trace.stats, trace.answer, trace.steps[-1].decision) == ({"label": 1}, "7", "finish")


# ---- searches that are written out


SEARCH = {
    "id": "sos-1", "target": 24, "nums": [3, 8, 9], "solution": ["9/3=3", "8*3=24"], "algorithm": "dfs", "goal": True,
    "search_path": "Current State: 24:[3, 8, 9], Operations: []\nExploring Operation: 9/3=3, Resulting Numbers: [8, 3]\n"
    "Generated Node #0,0: 24:[8, 3] Operation: 9/3=3\nMoving to Node #0,0\nCurrent State: 24:[8, 3], Operations: ['9/3=3']\n"
    "Exploring Operation: 8*3=24, Resulting Numbers: [24]\n24,24 equal: Goal Reached",
}  # fmt: skip


def test_a_stream_of_search_is_a_question_of_the_numbers_game_and_its_visits_are_steps() -> None:
    trace = one(SEARCH, "stream-of-search")
    assert (trace.prompt, trace.format, trace.solved) == ("Reach 24 from 3, 8 and 9.", "stream-of-search", True)
    assert [(s.name, n.parent) for s, n in zip(trace.steps, trace.nodes, strict=True)] == [
        ("Node #0", None),
        ("Node #0,0", 0),
    ]
    assert trace.response == SEARCH["search_path"]
    assert trace.stats["algorithm"] == "dfs"
    assert one({**SEARCH, "goal": False}, "stream-of-search").solved is False
    assert one({k: v for k, v in SEARCH.items() if k != "goal"}, "stream-of-search").solved is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("nums", []), ("nums", [3, "8"]), ("nums", [True]), ("target", None), ("target", 2.5), ("search_path", " ")],
)
def test_a_search_without_its_numbers_is_refused_by_the_name_of_the_field(field: str, value: Any) -> None:
    with pytest.raises(ImportProblem, match=f'row: "{field}"'):
        read({**SEARCH, field: value}, "row")


# ---- chat logs


def test_messages() -> None:
    row = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url"}]},
            {"role": "assistant", "content": "A cat.", "reasoning_content": "Whiskers."},
        ],
    }
    trace = one(row, "messages")
    assert trace.prompt == "What is it?\n\n[image_url]"
    assert trace.response == "<think>\nWhiskers.\n</think>\n\nA cat."
    assert (trace.sampling, trace.answer, trace.model) == ({"system": "Be brief."}, "A cat.", "m")


def test_earlier_turns_are_part_of_the_question_and_tools_of_the_response() -> None:
    call = {"function": {"name": "add", "arguments": '{"a": 1}'}}
    chat = [
        {"from": "human", "value": "Hello"},
        {"from": "gpt", "value": "Hi"},
        {"from": "human", "value": "1 + 1?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "It is 2."},
    ]
    trace = one({"conversations": chat}, "messages")
    assert trace.prompt == "user: Hello\n\nassistant: Hi\n\nuser: 1 + 1?"
    assert trace.response == '[tool call: add {"a": 1}]\n\n[tool]\n2\n\nIt is 2.'


def test_a_log_of_request_and_response_is_a_trace_for_each_choice() -> None:
    answers = [
        {"finish_reason": "length", "message": {"role": "assistant", "reasoning": "Hm", "content": None}},
        {"finish_reason": "stop", "message": {"role": "assistant", "content": "B"}},
    ]
    body = {"model": "m", "choices": answers}
    asked = {"messages": [{"role": "user", "content": "q"}]}
    for row in (
        {"request": asked, "response": body},
        {"request": {"body": asked}, "response": {"body": body}},
        {**asked, **body},
        {"prompt": "q", "response": body},
    ):
        name, traces, *_ = read(row, "row")
        assert name == "messages"
        assert [(t.prompt, t.response, t.finish_reason, t.model) for t in traces] == [
            ("q", "<think>\nHm\n</think>\n\n", "length", "m"), ("q", "B", "stop", "m"),
        ]  # fmt: skip


def test_anthropic_blocks() -> None:
    blocks = [
        {"type": "thinking", "thinking": "One.", "signature": "x"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "Done."},
        {"type": "tool_use", "name": "f", "input": {"a": 1}},
    ]
    expected = '<think>\nOne.\n\n[redacted thinking]\n</think>\n\nDone.\n\n[tool call: f {"a": 1}]'
    asked = [{"role": "user", "content": "q"}]
    whole_log = {"messages": [*asked, {"role": "assistant", "content": blocks}], "system": "s"}
    reply = {"type": "message", "role": "assistant", "model": "c", "stop_reason": "max_tokens", "content": blocks}
    assert one(whole_log, "messages").response == expected
    trace = one({"request": {"messages": asked, "system": "s"}, "response": reply}, "messages")
    assert (trace.response, trace.finish_reason, trace.model) == (expected, "length", "c")
    assert trace.sampling == {"system": "s"}
    short = {"role": "assistant", "content": blocks}  # as logs keep it: the message alone
    for row in (
        {"request": {"messages": asked}, "response": short},
        {"messages": asked, "response": {"message": short}},
    ):
        assert one(row, "messages").response == expected


# ---- PRM800K and TRL

STEPS = [
    {
        "completions": [{"text": "A", "rating": 1, "flagged": False}, {"text": "B", "rating": -1}],
        "chosen_completion": 0,
    },
    {"completions": None, "human_completion": {"text": "C", "rating": 0}, "chosen_completion": None},
    {"completions": [{"text": "D", "rating": -1}], "human_completion": None, "chosen_completion": None},
]


def prm(steps: Any = STEPS, **question: Any) -> dict[str, Any]:
    label = {"steps": steps, "finish_reason": "found_error", "total_time": 5}
    return {"labeler": "l", "question": {"problem": "q", **question}, "label": label, "generation": None}


def test_prm800k_takes_the_path_that_was_labelled() -> None:
    trace = one(prm(), "prm800k")
    whole(trace, exact=True)
    assert [s.thought for s in trace.steps] == ["A", "C", "D"]
    assert [n.parent for n in trace.nodes] == [None, 0, 1]
    assert trace.format == "plain"
    assert trace.stats["labels"] == [1, 0, -1]
    assert trace.stats["label_finish_reason"] == "found_error"


def test_prm800k_phase_2_goes_on_after_the_error() -> None:
    trace = one(prm(pre_generated_steps=["A", "C", "D", "E\n\n# Answer\n\n42"]), "prm800k")
    assert [s.thought for s in trace.steps][-1] == "E\n\n# Answer\n\n42"
    assert (trace.stats["labels"], trace.answer) == ([1, 0, -1, None], "42")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (prm([{"completions": [], "chosen_completion": 3}]), '"label.steps[0].chosen_completion" is 3'),
        (prm([{"completions": [{"text": "A", "rating": 2}]}]), 'the rating in "label.steps[0]" is 2'),
        (prm([{"completions": None}]), '"label.steps[0]" has no completion'),
        (prm(["A"]), '"label.steps[0]" is a string'),
        (prm([]), '"label.steps" is empty'),
        ({"prompt": "q", "completions": ["a"], "labels": [True, False]}, '"labels" has 2 entries for 1 completions'),
        ({"prompt": "q", "completions": ["a", 3]}, '"completions[1]" is a number'),
        ({"prompt": "q", "completions": [], "labels": []}, "the list of steps is empty"),
        ({"prompt": 7, "chosen": "a", "rejected": "b"}, '"prompt" is a number'),
        ({"messages": [{"role": "user", "content": "q"}]}, "ends without an answer"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "no message of the user"),
        ({"messages": [{"role": "user", "content": 5}, {"role": "assistant"}]}, '"messages[0].content" is a number'),
        ({"prompt": "q", "chunk": "x"}, '"response" is missing'),
        ({"chunk": "x"}, '"prompt" is missing'),
        ({"prompt": "q", "response": "r", "stats": {"a": float("nan")}}, '"stats" holds what is not plain JSON'),
    ],
)
def test_what_is_wrong_is_named(row: Any, words: str) -> None:
    with pytest.raises(ImportProblem, match=r"^f\.jsonl:3: ") as caught:
        read(row, "f.jsonl:3")
    assert words in str(caught.value)


def test_trl_stepwise_and_preference() -> None:
    trace = one({"prompt": "q", "completions": ["One.", "Two."], "labels": [True, False]}, "trl")
    whole(trace, exact=True)
    assert [s.thought for s in trace.steps] == ["One.", "Two."]
    assert trace.stats == {"labels": [True, False], "labels_from": "trl"}
    game = {
        "prompt": "Reach 24 from 4, 7, 8 and 8.",
        "completions": ["From 4, 7, 8 and 8: 4 + 7 = 11"],
        "labels": [False],
    }
    assert one({**game, "n_steps": 1, "solved": False}, "trl").solved is False
    beginning = one({**game, "n_steps": 5, "solved": True}, "trl")
    assert beginning.solved is None, "only the beginning of it is here"
    assert judged(replace(beginning, prompt="What is 1 + 2?"), "3").solved is None
    user, good, bad = ({"role": r, "content": c} for r, c in (("user", "q"), ("assistant", "A"), ("assistant", "B")))
    for row in (
        {"prompt": "q", "chosen": "A", "rejected": "B"},
        {"prompt": [user], "chosen": [good], "rejected": [bad]},
        {"chosen": [user, good], "rejected": [user, bad]},
        {"prompt": "q", "chosen": [user, good], "rejected": [user, bad]},
    ):
        name, traces, *_ = read(row, "row")
        assert name == "trl"
        assert [(t.prompt, t.response, t.stats["preference"]) for t in traces] == [
            ("q", "A", "chosen"), ("q", "B", "rejected"),
        ]  # fmt: skip
    assert one({"prompt": [user], "completion": [good]}, "trl").response == "A"


@pytest.mark.parametrize("chat", [False, True])
def test_the_label_of_a_kto_row_is_a_verdict_in_either_shape(chat: bool) -> None:
    row: dict[str, Any] = {"prompt": "q", "completion": "A"}
    if chat:
        row = {
            "prompt": [{"role": "user", "content": "q"}],
            "completion": [{"role": "assistant", "content": "A"}],
        }
    family, (trace,), (said,), _ = read({**row, "label": False, "rater_id": "ann"}, "row")
    assert (family, trace.prompt, trace.response, said.rater) == ("kto", "q", "A", "ann")
    assert [(j.dimension, j.value) for j in said.judgements] == [("verdict", -1.0)]


def test_a_family_can_be_named() -> None:
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "prompt": "p",
           "response": "r"}  # fmt: skip
    assert read(row, "row")[1][0].response == "a"
    assert read(row, "row", "worldline")[1][0].response == "r"
    with pytest.raises(ValueError, match="choose one of worldline, prm800k"):
        read(row, "row", "nope")


# ---- files

ROW = {"prompt": "q", "response": "r"}


def _read(path: Path) -> tuple[list[str], list[str]]:
    errors: list[ImportProblem] = []
    return [t.prompt for t in read_jsonl(path, errors=errors)], [str(e) for e in errors]


@pytest.mark.parametrize(
    ("text", "prompts", "errors"),
    [
        (
            json.dumps([ROW, 5, {**ROW, "prompt": "q2"}], indent=1),
            ["q", "q2"],
            ["f.json:6 (row 2): the row is a number"],
        ),
        (json.dumps(ROW, indent=2), ["q"], []),
        (json.dumps(ROW) + "\n{broken\n" + json.dumps(ROW), ["q", "q"], ["f.json:2: the line is not JSON"]),
        (json.dumps([ROW])[:-1] + ",\n nonsense", ["q"], ["f.json:2: this is not JSON"]),
        (json.dumps([ROW])[:-1], ["q"], ['f.json: the list does not end with "]"']),
        ("[", [], ['f.json: the list does not end with "]"']),
        ("[" * 100_000, [], ["f.json:1 (row 1): JSON that is nested too deeply"]),
        ("", [], []),
        ("\ufeff" + json.dumps([ROW]), ["q"], []),
    ],
)
def test_one_json_file(tmp_path: Path, text: str, prompts: list[str], errors: list[str]) -> None:
    path = tmp_path / "f.json"
    path.write_text(text, encoding="utf-8")
    found, problems = _read(path)
    assert found == prompts
    assert len(problems) == len(errors)
    for problem, begins in zip(problems, errors, strict=True):
        assert problem.startswith(begins), problem


def test_parquet(tmp_path: Path) -> None:
    import polars as pl

    path = tmp_path / "f.parquet"
    pl.DataFrame({
        "prompt": ["q", None, "q3"], "completions": [["a", "b"], ["a"], ["c"]], "labels": [[True, False], [True], [True]],
    }).write_parquet(path)  # fmt: skip
    assert _read(path) == (
        ["q", "q3"],
        ['f.parquet: row 2: "prompt" is null; write it as a string or a list of messages.'],
    )
    chat = [
        [{"role": "user", "content": "q", "reasoning": None}, {"role": "assistant", "content": "a", "reasoning": "t"}]
    ]
    pl.DataFrame({"messages": chat}).write_parquet(path)
    assert _read(path) == (["q"], [])
    path.write_bytes(path.read_bytes()[:40])
    prompts, (problem,) = _read(path)
    assert prompts == [] and "not Parquet that can be read" in problem


def test_traces_of_ours_survive_parquet(tmp_path: Path) -> None:
    import polars as pl

    traces = [make_trace((None, 0, 0), prompt=f"q {i}", created_at="2026-11-20T12:00:00.000Z") for i in range(3)]
    drop = ("sampling", "stats", "origin", "earlier")
    pl.DataFrame([{k: v for k, v in t.to_json().items() if k not in drop} for t in traces]).write_parquet(
        tmp_path / "t.parquet"
    )
    assert list(read_jsonl(tmp_path / "t.parquet")) == traces


# ---- what is known already


def test_the_store_knows_content_under_any_id(store: Store, tmp_path: Path) -> None:
    first, other = make_trace(prompt="q"), make_trace(prompt="another question")
    store.add_trace(first).result()
    again = make_trace(prompt="q")
    assert again.trace_id != first.trace_id and again.response == first.response == other.response
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps(t.to_json()) for t in (again, other, other)))
    report = Report(path.name)
    (batch,) = fresh(path, report, store.held)
    assert [t.trace_id for t in batch.traces] == [other.trace_id]
    assert (report.rows, report.traces, report.known, report.repeated) == (3, 1, 1, 1)


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"problem": "2 + 2?", "solution": "It is 4.", "ground_truth": 4}, "4"),
        ({"prompt": "q", "response": "r", "reference_answer": " 4 "}, "4"),
        ({"prompt": "q", "response": "r", "answer": "what the model said"}, ""),
        ({"prompt": "q", "response": "r", "ground_truth": True, "expected_answer": ["4"]}, ""),
        (
            {
                "question": {"problem": "2 + 2?", "ground_truth_answer": "4"},
                "label": {"steps": [{"completions": [{"text": "4", "rating": 1}], "chosen_completion": 0}]},
            },
            "4",
        ),
    ],
)
def test_a_right_answer_that_a_row_brings_along_is_the_problems_reference(
    row: dict[str, Any], answer: str, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(row))
    report = Report(path.name)
    (batch,) = fresh(path, report, store.held)
    (problem,) = {t.problem_id for t in batch.traces}
    assert batch.references == ({problem: answer} if answer else {})
    assert report.references == len(batch.references)
    store.add_trace(batch.traces[0]).result()
    assert store.write(add_references, batch.references).result() == report.references
    assert store.read(lambda con: read_reference(con, problem)) == (answer or None)
    store.write(set_references, (problem, "by hand")).result()
    assert store.write(add_references, {problem: "by file"}).result() == 0
    assert store.read(lambda con: read_reference(con, problem)) == "by hand"


def test_a_right_answer_beside_a_response_says_whether_it_is_solved_when_it_is_stored(
    store: Store, tmp_path: Path
) -> None:
    """Queues, sampling, pairs by outcome and snapshots ask the stored `solved`, as they do of a run that was judged at its end."""
    rows = [
        {"prompt": "1+2?", "response": f"<think>I add.</think>{said}", "reference_answer": "3"} for said in (3, 4)
    ] + [{"prompt": "2+2?", "response": "<think>I add.</think>4"}]
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    (batch,) = fresh(path, Report(path.name), store.held)
    assert [t.solved for t in batch.traces] == [True, False, None]
    for trace in batch.traces:
        store.add_trace(trace).result()
    store.write(add_references, batch.references).result()
    store.write(set_up_pairs, None).result()
    (pair,) = store.read(lambda con: under_policy(con, DEFAULT_PAIR_QUEUE, "outcome"))
    assert {pair.left_trace_id, pair.right_trace_id} == {t.trace_id for t in batch.traces[:2]}
    # What says itself whether it is right is stored as it says.
    path.write_text(json.dumps({**rows[0], "solved": None, "prompt": "3?"}))
    (batch,) = fresh(path, Report(path.name), store.held)
    assert [t.solved for t in batch.traces] == [None]
