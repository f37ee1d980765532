"""How continuations ended: judged by the problem's reference answer, whenever that was set, and else counted by what they answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from core.answers.outcome import CHECKED_BY, final_text, named, outcome
from core.engines.base import Chunk, EngineError, GenerateRequest
from core.trace import problem_id_of
from tests.app.client import Bench, check_whole
from tests.app.conftest import Opened

pytestmark = pytest.mark.anyio

QUESTION = "What is 17 times 23?"
FIRST = "17 times 23 is 17 times 20 and 17 times 3, so I add the two products that come of that."
SECOND = "Wait, 17 times 20 is 340 and 17 times 3 is 51, which are both easy to see without any paper."
THINKS = f"<think>\n{FIRST}\n\n{SECOND}\n</think>\n\n"
RIGHT = THINKS + "It is \\boxed{391}."


class Free:
    """A model that thinks in free text. With a beginning it writes the next of `rests`, else `text`, cut off after `most` pieces."""

    model = "free"

    def __init__(self, text: str = RIGHT, rests: tuple[str, ...] = ()) -> None:
        self.text, self.rests, self.most = text, list(rests), 10_000
        self.asked: list[GenerateRequest] = []

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        self.asked.append(request)
        text = self.text
        if request.prefix:
            text = self.text.removeprefix(request.prefix) if self.text.startswith(request.prefix) else self.text
            text = self.rests.pop(0) if self.rests else text
        for at in range(0, min(len(text), 5 * self.most), 5):
            await asyncio.sleep(0)
            yield Chunk(text[at : at + 5], 1)
        if len(text) > 5 * self.most:
            raise EngineError("The server broke off.")
        yield Chunk("", 0, finish_reason="stop")

    async def close(self) -> None:
        return None


async def forks(bench: Bench, trace_id: str, **body: Any) -> list[dict[str, Any]]:
    answer = await bench.post(f"/api/traces/{trace_id}/forks", json=body)
    assert answer.status_code == 201, answer.text
    for started in answer.json():
        await bench.events(started["run_id"])
    return [(await bench.get(f"/api/traces/{s['trace_id']}")).json() for s in answer.json()]


async def set_reference(bench: Bench, answer: str) -> None:
    done = await bench.put(f"/api/problems/{problem_id_of(QUESTION)}/reference", json={"answer": answer})
    assert done.status_code == 200, done.text


async def test_without_a_reference_continuations_are_told_apart_by_their_answers() -> None:
    found = [
        outcome(QUESTION, None, text).answer for text in ("So \\boxed{391}", "The answer is 391.", "It is 391", "")
    ]
    assert found == ["391", "391", "391", ""]


async def test_the_family_says_what_each_line_answers(workbench: Opened) -> None:
    ends = ("so \\boxed{391}", "so it is 391.", "so \\boxed{381}", "")
    rests = tuple(f"340 and 51.\n</think>\n\n{end}" for end in ends)
    async with workbench(Free(rests=rests)) as bench:
        first = await bench.finished(prompt=QUESTION)
        await forks(bench, first, step=0, n=4)
        family = (await bench.get(f"/api/traces/{first}/family")).json()
        assert sorted(line["answer"] for line in family) == ["", "381", "391", "391", "391"]
        assert {line["solved"] for line in family} == {None}
        # The reference comes later: all of them are judged, and it is stored for whoever asks for right and wrong ones.
        await set_reference(bench, "The product is found so:\n#### 391")
        family = (await bench.get(f"/api/traces/{first}/family")).json()
        assert sorted((line["answer"], line["solved"]) for line in family) == [
            ("", False), ("381", False), ("391", True), ("391", True), ("391", True),
        ]  # fmt: skip
        assert bench.services.store.trace(first).solved is True
        assert (await bench.get(f"/api/traces/{first}")).json()["solved"] is True
        listed = (await bench.get("/api/traces")).json()["traces"]
        assert sorted(row["solved"] for row in listed) == [False, False, True, True, True]
        # A reference that was wrong and is mended judges anew; one that is taken away judges no more.
        await set_reference(bench, "381")
        assert (await bench.get(f"/api/traces/{first}")).json()["solved"] is False
        await set_reference(bench, "")
        assert (await bench.get(f"/api/traces/{first}")).json()["solved"] is None


async def test_a_run_is_judged_by_the_reference_that_is_there_when_it_ends(workbench: Opened) -> None:
    async with workbench(Free()) as bench:
        await bench.finished(prompt=QUESTION)  # so that there is the problem
        await set_reference(bench, "391")
        run = await bench.ask(QUESTION)
        events = await bench.events(run)
        assert events[-1]["solved"] is True
        stored = bench.services.store.trace(run)
        assert stored.solved is True
        assert stored.stats[CHECKED_BY] == "reference"
        (made,) = await forks(bench, run, step=0)
        assert made["solved"] is True
        await set_reference(bench, "17")
        assert (await bench.get(f"/api/traces/{run}")).json()["solved"] is False


async def test_what_a_rule_or_a_file_decided_stays(workbench: Opened) -> None:
    async with workbench(Free()) as bench:
        row = {"trace_id": "given", "prompt": QUESTION, "response": RIGHT, "solved": False, "steps": []}
        assert (await bench.post("/api/traces", json=row)).status_code == 201
        await set_reference(bench, "391")
        assert (await bench.get("/api/traces/given")).json()["solved"] is False


@pytest.mark.parametrize(
    ("reference", "gives"),
    [
        ("391", "391"),
        ("so \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("A long way.\n#### 42", "42"),
        ("A text\nof two lines", None),
        ("x" * 600, None),
    ],
)
async def test_what_a_reference_gives(reference: str, gives: str | None) -> None:
    assert named(reference) == gives


async def test_words_are_wrong_only_where_they_are_meant_as_the_answer() -> None:
    said = {"**Paris**": True, "The capital is Paris.": None, "\\boxed{Rome}": False, "": False}
    for text, right in said.items():
        assert outcome("What is the capital of France?", "Paris", text).right is right
    assert outcome("Which?\nA) one\nB) two", "B", "The answer is (B).").right is True


async def test_what_was_cut_off_answers_only_what_it_names() -> None:
    assert final_text("plain", "length", "", "It may be 39") == ""
    assert final_text("plain", "stop", "", "It is 391") == "It is 391"
    assert final_text("think", "error", "so \\boxed{391} which", "…") == "so \\boxed{391} which"
    assert final_text("think", "length", "", "<think>It may be") == ""


# ------------------------------------------------------------------------------------------------- resume, format, limits
@pytest.mark.parametrize("pieces", [20, 21, 42, 43])  # in a thought, in a word, in the answer
async def test_what_broke_off_is_gone_on_with_from_exactly_there(workbench: Opened, pieces: int) -> None:
    engine = Free()
    async with workbench(engine) as bench:
        engine.most = pieces
        first = await bench.finished(prompt=QUESTION)
        cut = (await bench.get(f"/api/traces/{first}")).json()
        assert cut["finish_reason"] == "error"
        assert cut["response"] == RIGHT[: 5 * pieces]
        engine.most = 10_000
        (made,) = (await bench.post(f"/api/traces/{first}/forks", json={"action": "resume"})).json()
        events = await bench.events(made["run_id"])
        trace = (await bench.get(f"/api/traces/{made['trace_id']}")).json()
        check_whole(events, trace)
        assert engine.asked[-1].prefix == cut["response"]
        assert trace["response"] == RIGHT
        assert [s["thought"] for s in trace["steps"]] == [FIRST, SECOND]
        assert trace["answer"] == "It is \\boxed{391}."
        assert trace["origin"] == {
            "root": first, "trace_id": first, "kept": len(cut["response"]), "action": "resume",
            "step": len(cut["steps"]) - (1 if cut["answer"] else 2),
        }  # fmt: skip


async def test_what_is_written_anew_stands_in_no_shared_step(workbench: Opened) -> None:
    engine = Free(rests=("and so it goes on.\n</think>\n\n391",) * 2)
    async with workbench(engine) as bench:
        first = await bench.finished(prompt=QUESTION)
        (made,) = (await bench.post(f"/api/traces/{first}/forks", json={"step": 0})).json()
        events = await bench.events(made["run_id"])
        trace = (await bench.get(f"/api/traces/{made['trace_id']}")).json()
        check_whole(events, trace)
        assert [s["thought"] for s in trace["steps"]] == [FIRST, "and so it goes on."]
        assert trace["steps"][0]["end"] == trace["origin"]["kept"]


async def test_a_fork_that_a_dead_server_cut_is_read_with_the_same_borders(workbench: Opened) -> None:
    from app.journal import Recorded
    from app.runs import recovered_trace

    async with workbench(Free(rests=("and so it goes on.",))) as bench:
        first = await bench.finished(prompt=QUESTION)
        (made,) = await forks(bench, first, step=0)
        path = bench.services.data_dir / "runs" / f"{made['trace_id']}.jsonl"
        from app import journal

        recorded = journal.read(path)
        assert isinstance(recorded, Recorded)
        assert [s.thought for s in recovered_trace(recorded).steps] == [FIRST, "and so it goes on."]


async def test_a_format_by_name_is_kept_by_forks(workbench: Opened) -> None:
    async with workbench(Free(rests=("more of it.",))) as bench:
        first = await bench.finished(prompt=QUESTION, format="plain")
        trace = (await bench.get(f"/api/traces/{first}")).json()
        assert (trace["format"], trace["answer"], trace["sampling"]["format"]) == ("plain", "", "plain")
        assert trace["steps"][0]["thought"].startswith("<think>")
        (made,) = await forks(bench, first, step=0)
        assert (made["format"], made["sampling"]["format"]) == ("plain", "plain")
        refused = await bench.post("/api/runs", json={"prompt": QUESTION, "model": "free", "format": "klingon"})
        assert refused.status_code == 422
        assert "choose one of steiner" in refused.json()["error"]


async def test_a_reference_that_comes_later_is_known_to_queues_and_pairs_until_it_is_changed(workbench: Opened) -> None:
    """They ask what is stored."""

    def stored(bench: Bench) -> set[tuple[str, bool | None, str | None]]:
        rows = bench.services.store.query(
            "select right(response, 4), solved, json_extract_string(stats, '$.checked_by') from trace"
        )
        return {(str(end), solved, by) for end, solved, by in rows}

    async with workbench(Free()) as bench:
        for text in (RIGHT, RIGHT.replace("391", "381")):
            bench.engine.text = text  # type: ignore[union-attr]
            await bench.finished(prompt=QUESTION)
        assert {solved for _, solved, _ in stored(bench)} == {None}
        await set_reference(bench, "391")
        assert stored(bench) == {("91}.", True, "reference"), ("81}.", False, "reference")}
        await set_reference(bench, "381")
        assert stored(bench) == {("91}.", False, "reference"), ("81}.", True, "reference")}
        await set_reference(bench, "")
        assert stored(bench) == {("91}.", None, None), ("81}.", None, None)}
        file = json.dumps({"prompt": QUESTION, "response": "It is 7.", "reference_answer": "391"})
        done = await bench.post("/api/imports?name=more.jsonl", content=file)
        assert done.status_code == 201, done.text
        assert stored(bench) == {
            ("91}.", True, "reference"), ("81}.", False, "reference"), ("s 7.", False, "reference"),
        }  # fmt: skip
