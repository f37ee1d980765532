"""Whatever a fuzzer thinks of: every family reads a row or refuses it in a sentence, and no character is lost."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.trace import Trace
from storage.errors import ImportProblem
from storage.imports import FAMILIES, messages, prompt_response, read
from storage.imports.keeping import Wanted, wanted
from storage.imports.making import Unusable
from storage.imports.reading import rows
from storage.imports.report import Report, fresh
from storage.traces import Held
from tests.storage.helpers import HOSTILE, make_trace
from tests.storage.test_import_families import prm, whole

FUZZ = int(os.environ.get("WORLDLINE_FUZZ", "2000"))  # rows

KEYS = sorted({
    *prompt_response.PROMPTS, *prompt_response.RESPONSES, *prompt_response.REASONINGS, *prompt_response.STEPS,
    *messages.LISTS, "completions", "labels", "chosen", "rejected", "label", "question", "role", "content", "from", "value",
    "choices", "message", "request", "body", "type", "text", "thinking", "tool_calls", "function", "name", "arguments",
    "chosen_completion", "human_completion", "rating", "problem", "pre_generated_steps", "steps", "start",
    "end", "thought", "summary", "reflection", "trace_id", "created_at", "finish_reason", "solved", "stats", "sampling",
    "origin", "earlier", "model", "system", "stop_reason", "parent", "kind", "decision", "confidence", "nums", "target",
    "search_path", "goal", "how", "raters", "source", "step_start", "step_end", "step_text", "rater_id", "preference",
})  # fmt: skip
WORDS = [
    *HOSTILE, "q", "a", "user", "assistant", "system", "tool", "gpt", "text", "thinking", "redacted_thinking", "message",
    "tool_use", "stop", "length", "<think>", "</think>", "<|reasoning_start|>", "<|reasoning_step_start|>",
    "<|channel|>analysis<|message|>", "[THINK]", "# Answer\n\n4", "\ud800", "  ", "wait, no.\n\nAlternatively, 3.",
]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 1.5, float("nan"), float("inf"), 10**400, True, False, None]


def value(rng: random.Random, depth: int) -> Any:
    """Something JSON-like, mostly of our own words, so that it nearly fits."""
    pick = rng.random()
    if depth <= 0 or pick < 0.45:
        return rng.choice(WORDS) if rng.random() < 0.75 else rng.choice(NUMBERS)
    if pick < 0.7:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(KEYS): value(rng, depth - 1) for _ in range(rng.randrange(6))}


def chat(rng: random.Random) -> list[Any]:
    return [
        {"role": rng.choice(("user", "assistant", "assistant", "tool", "system")), "content": value(rng, 2),
         **({rng.choice(KEYS): value(rng, 2)} if rng.random() < 0.3 else {})}
        for _ in range(rng.randrange(1, 5))
    ]  # fmt: skip


def nearly(rng: random.Random) -> dict[str, Any]:
    """A row that is right but for a place or two."""
    row = json.loads(json.dumps(rng.choice((
        {"prompt": "q", "response": "r", "stats": {"n": 1}}, make_trace((None, 0, 0)).to_json(), prm(),
        {"prompt": "q", "completions": ["a", "b"], "labels": [True, False]},
        {"prompt": "q", "chosen": "a", "rejected": "b", "margin": 2}, {"prompt": "q", "completion": "c", "label": True},
        {"prompt": "q", "step": "s", "trace_id": "t", "step_index": 0, "correctness.responses": ["bad"],
         "correctness.responses.users": ["ann"], "correctness.responses.status": ["submitted"]},
        {"data": {"prompt": "q", "steps": [{"text": "a"}]}, "annotations": [{"completed_by": {"email": "ann"}, "result": [
            {"from_name": "correctness", "value": {"start": "0", "paragraphlabels": ["good"]}},
            {"from_name": "note", "value": {"text": ["n"]}}]}]}, {"problem": "q", "steps": ["a", "", "c"]},
        {"nums": [2, 3], "target": 5, "search_path": "Current State: 5:[2, 3], Operations: []", "goal": True},
        {"prompt": "q", "completion": "c", "how": "approved", "raters": ["ann"]},
        {"question": "q", "prompt": "q before", "chosen": "a", "rejected": "b", "source": "branch", "raters": ["ann"]},
        {"prompt": "q", "response": "a b", "step_text": ["a ", "b"], "step_start": [0, 2], "step_end": [2, 3], "rating": [1, -1],
         "rater_id": "ann", "kind": ["plan", "derive"], "parent": [None, 0], "is_backtrack": [False, True], "severity": [1, 2]},
        {"prompt": "q", "left_response": "a", "right_response": "b", "preference": 1, "rater_id": "ann"},
    ))))  # fmt: skip
    if rng.random() < 0.4:
        row = {rng.choice(("messages", "conversations", "chosen", "prompt")): chat(rng), "rejected": value(rng, 2)}
    for _ in range(rng.randrange(3)):
        spot: Any = row
        while isinstance(spot, dict | list) and spot:
            key = rng.choice(list(spot)) if isinstance(spot, dict) else rng.randrange(len(spot))
            if rng.random() < 0.4 or not isinstance(spot[key], dict | list):
                spot[key] = value(rng, 3)
                break
            spot = spot[key]
    return row


def check(row: Any) -> int:
    """Every family reads the row or refuses it in a sentence; how many traces there were."""
    count = 0
    for family in FAMILIES.values():
        if isinstance(row, dict):
            assert family.fits(row) in (True, False)
    for chosen in (None, *FAMILIES):
        traces, refusal = list[Trace](), ""
        try:
            _, traces, said, _ = read(row, "f.jsonl:1", chosen)
            for one in wanted(said, "f.jsonl"):
                assert Wanted.from_json(json.loads(json.dumps(one.to_json()))) == one
        except ImportProblem as problem:
            refusal = str(problem)
        assert bool(refusal) != bool(traces)
        assert not refusal or (refusal.startswith("f.jsonl:1: ") and len(refusal) > 20)
        for trace in traces:
            whole(trace)
            json.dumps(trace.to_json(), allow_nan=False, ensure_ascii=False).encode()
            count += 1
    return count


def test_any_row_through_every_family() -> None:
    """`.ci/run` sets WORLDLINE_FUZZ to 100,000 rows; the seed of the row that failed is in the message."""
    made = 0
    for seed in range(FUZZ):
        rng = random.Random(seed)
        row = nearly(rng) if seed % 2 else value(rng, 4)
        try:
            made += check(row)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {row!r}") from error
    assert made > FUZZ / 4  # the rows are near enough for the checks to mean something


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=8))
def test_exact_steps_hold_every_character(texts: Sequence[str]) -> None:
    row = {"prompt": "q", "completions": list(texts)}
    try:
        _, (trace,), *_ = read(row, "row")
    except ImportProblem:
        assert not "".join(texts).strip() or any("\ud800" <= c <= "\udfff" for t in texts for c in t)
        return
    whole(trace, exact=True)
    assert [s.thought for s in trace.steps] == list(texts)
    assert "".join(trace.step_text(i) for i in range(len(trace.steps))) == trace.response == "\n\n".join(texts)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300), suffix=st.sampled_from([".jsonl", ".json", ".parquet"]))
def test_any_bytes_are_read_to_their_end(tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    for content in (data, b"[" + data, b'{"prompt":"q","response":"r"}\n' + data, b"PAR1" + data + b"PAR1"):
        path.write_bytes(content)
        for found in rows(path):
            assert found.where.startswith(path.name)
        report = Report(path.name)
        assert sum(len(b.traces) for b in fresh(path, report, lambda _: Held())) == report.traces


def test_families_refuse_with_their_own_error_only() -> None:
    """`read` turns Unusable into an ImportProblem; a family alone raises nothing else for a row without any field."""
    makers: list[Callable[[Any], list[Trace]]] = [f.to_traces for f in FAMILIES.values()]
    for to_traces in makers:
        with pytest.raises(Unusable):
            to_traces({})
