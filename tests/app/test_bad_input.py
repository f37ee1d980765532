"""Whatever is sent: a sentence in return, nothing stored, the server still up."""

from __future__ import annotations

import json

import pytest

from app.server import create_app
from tests.app.client import Bench
from tests.app.conftest import Opened
from tests.app.scripted import WALK, ScriptedEngine

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}
GOOD = {"prompt": WALK.prompt, "model": "pocket"}


async def refused(bench: Bench, status: int, *words: str, path: str = "/api/runs", **request) -> str:
    answer = await bench.post(path, **request)
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error"}
    sentence = body["error"]
    assert sentence[-1] in ".?", sentence
    assert "\n" not in sentence
    assert len(sentence) < 400
    for word in words:
        assert word in sentence, sentence
    return sentence


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"prompt": ""}, 422, ["empty"]),
        ({"prompt": " \n\t"}, 422, ["empty"]),
        ({"prompt": "é" * 40_000}, 413, ["64 KB"]),
        ({"prompt": 7}, 422, ['"prompt"', "text"]),
        ({"prompt": "half \ud83d"}, 422, ['"prompt"', "half of a character"]),
        ({"prompt": "What is love?"}, 422, ["numbers game"]),
        ({"prompt": "Reach 24 from 4, 7, 8 and 99."}, 422, ["99", "1 to 13"]),
        ({"prompt": "Reach 500 from 4, 7, 8 and 8."}, 422, ["500", "10 to 99"]),
        ({"prompt": "Reach 24 from 4."}, 422, ["3 or 4 numbers"]),
        ({"prompt": "Reach 24 from 1, 2, 3, 4, 5 and 6."}, 422, ["3 or 4 numbers"]),
        ({"model": "gpt-9"}, 422, ["gpt-9", "pocket"]),
        ({"model": None}, 422, ['"model"']),
        ({"temperature": -1}, 422, ['"temperature" is -1', "at least 0"]),
        ({"temperature": 9}, 422, ['"temperature" is 9', "at most 5"]),
        ({"temperature": "hot"}, 422, ['"temperature" is "hot"', "a number"]),
        ({"top_p": 0}, 422, ['"top_p" is 0', "above 0"]),
        ({"seed": 2**70}, 422, ['"seed"']),
        ({"seed": 1.5}, 422, ['"seed" is 1.5', "whole number"]),
        ({"max_tokens": 0}, 422, ['"max_tokens"', "at least 1"]),
        ({"max_steps": 0}, 422, ['"max_steps"', "at least 1"]),
        ({"min_steps": 9, "max_steps": 3}, 422, ['"min_steps" is 9', "3"]),
        ({"temprature": 1}, 422, ['"temprature"', "not a field"]),
    ],
)
async def test_a_wrong_value_is_named_in_a_sentence(workbench: Opened, fields: dict, status: int, words: list) -> None:
    async with workbench(ScriptedEngine(model="pocket")) as bench:
        body = json.dumps({**GOOD, **fields})
        await refused(bench, status, *words, content=body, headers={"content-type": "application/json"})
        assert (await bench.get("/api/runs")).json() == []


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"{bad", 400, ["not valid JSON"]),
        (b"", 422, ["body is missing"]),
        (b"\xff\xfe\x00", 400, ["JSON"]),
        (b"[1, 2]", 422, ["body"]),
        (b'{"prompt": "x", "temperature": NaN, "model": "pocket"}', 422, ['"temperature"', "finite"]),
        (b"[" * 100_000, 400, ["JSON"]),
    ],
)
async def test_what_is_not_json_is_refused(workbench: Opened, content: bytes, status: int, words: list) -> None:
    async with workbench(ScriptedEngine(model="pocket")) as bench:
        await refused(bench, status, *words, content=content, headers={"content-type": "application/json"})
        assert (await bench.get("/api/health")).json()["ok"]


async def test_a_body_without_its_type_is_told_to_name_it(workbench: Opened) -> None:
    async with workbench(ScriptedEngine(model="pocket")) as bench:
        await refused(bench, 400, "content-type: application/json", content=json.dumps(GOOD).encode())


async def test_a_question_of_a_megabyte_is_refused_before_anything_reads_it(
    workbench: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with workbench(ScriptedEngine(model="pocket")) as bench:
        parsed: list[int] = []
        real = json.loads
        monkeypatch.setattr("json.loads", lambda text, **options: (parsed.append(len(text)), real(text, **options))[1])
        body = b'{"prompt": "' + b"x" * 1_000_000 + b'"}'
        kind = {"content-type": "application/json"}
        await refused(bench, 413, "64 KB", content=body, headers=kind)

        async def in_pieces():  # no content-length: the size shows only while it comes
            for at in range(0, len(body), 65_536):
                yield body[at : at + 65_536]

        await refused(bench, 413, "64 KB", content=in_pieces(), headers=kind)
        assert max(parsed, default=0) < 1000
        assert (await bench.post("/api/runs", json=GOOD)).status_code == 201


async def test_a_lie_about_the_length_does_not_get_through(workbench: Opened) -> None:
    async with workbench() as bench:
        headers = {"content-type": "application/json", "content-length": "10"}
        await refused(bench, 413, "64 KB", content=b" " * 600_000, headers=headers)


async def test_hostile_text_is_kept_as_it_is(workbench: Opened) -> None:
    hostile = "Reach 24 from 4, 7, 8 and 8. <img src=x onerror=alert(1)> ${7*7} \\frac{1}{2} \u202e</script>\"'\x00"
    async with workbench() as bench:
        run_id = await bench.finished(prompt=hostile)
        trace = await bench.get(f"/api/traces/{run_id}")
        assert trace.json()["prompt"] == hostile
        assert trace.headers["content-type"] == "application/json"
        assert (await bench.get("/api/traces")).json()["traces"][0]["prompt"] == hostile
        page = await bench.get(f"/api/traces/{run_id}/graph")
        assert "<img src=x" not in page.text


@pytest.mark.parametrize(
    ("rows", "status", "words"),
    [
        ([], 422, ["empty"]),
        ("text", 422, ["object"]),
        ([{"prompt": "p", "response": "r"}, {"prompt": "p"}], 422, ["Row 1", '"response"']),
        ({"prompt": "p", "response": "r", "finish_reason": "tired"}, 422, ['"finish_reason"', "tired"]),
        ({"prompt": "p", "response": "r", "steps": [{"start": 0, "end": 9}]}, 422, ['"steps[0]"']),
        ({"prompt": "p", "response": "r", "steps": 5}, 422, ['"steps"']),
        (
            {
                "prompt": "p",
                "response": "a b",
                "steps": [
                    {"start": 0, "end": 1, "thought": "a", "summary": "", "reflection": ""},
                    {"start": 2, "end": 3, "thought": "b", "summary": "", "reflection": ""},
                ],
            },
            422,
            ['"steps[1].start" is 2, but the step before ends at 1'],
        ),
        ({"prompt": "p", "response": "r", "created_at": "yesterday"}, 422, ['"created_at"']),
    ],
)
async def test_traces_that_cannot_be_read_are_not_stored(workbench: Opened, rows, status: int, words: list) -> None:
    async with workbench() as bench:
        await refused(bench, status, *words, path="/api/traces", json=rows)
        assert (await bench.get("/api/traces")).json() == {"traces": [], "next": None}


async def test_another_text_under_a_known_id_is_refused_and_the_same_is_harmless(workbench: Opened) -> None:
    async with workbench() as bench:
        row = {"trace_id": "t1", "prompt": "p", "response": WALK.response}
        for _ in range(2):
            assert (await bench.post("/api/traces", json=row)).status_code == 201
        await refused(bench, 409, "t1", path="/api/traces", json={**row, "response": "other"})
        assert len((await bench.get("/api/traces")).json()["traces"]) == 1


async def test_unknown_things_are_404_with_a_sentence(workbench: Opened) -> None:
    async with workbench() as bench:
        for path in (
            "/api/traces/x", "/api/traces/x/scores", "/api/traces/x/graph", "/api/assignments/x", "/api/snapshots/x",
            "/api/jobs/x",
            "/api/jobs/..", "/api/jobs/x/log", "/api/jobs/x/metrics", "/api/snapshots/x/exports/stepwise/data.jsonl",
            "/api/nothing",
            "/nothing", "/static/nothing.js", "/static/../server.py",
        ):  # fmt: skip
            answer = await bench.get(path)
            assert answer.status_code == 404, path
            assert set(answer.json()) == {"error"}, path
        assert (await bench.put("/api/runs", json={})).status_code == 405


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/api/snapshots", {}, 422, ["Nothing to freeze"]),
        ("/api/snapshots", {"spec": {"colour": 1}}, 422, ['"colour"']),
        ("/api/traces", {"prompt": "\ud83d", "response": "r"}, 422, ["half of a surrogate"]),
        ("/api/assignments/next", {"rater": "\ud83d"}, 422, ['"rater"']),
        ("/api/snapshots/preview", {"spec": {"solved": "yes"}}, 422, ['"solved"']),
        ("/api/snapshots/x/exports", {"format": "stepwise"}, 404, ["x"]),
        ("/api/jobs", {"kind": "prm", "snapshot_id": "nope"}, 422, ["nope"]),
        ("/api/jobs", {"kind": "prm", "snapshot_id": "../.."}, 422, ["id of a snapshot"]),
        ("/api/jobs", {"kind": "ppo", "snapshot_id": "x"}, 422, ["kind", "ppo", "prm"]),
        ("/api/jobs", {"kind": "prm", "snapshot_id": "x", "set": ["epochs"]}, 422, ["epochs"]),
        ("/api/jobs/x/use", None, 404, ["x"]),
        ("/api/traces/x/scores", {}, 404, ["x"]),
        ("/api/assignments", {"trace_id": "x"}, 404, ["x"]),
        ("/api/assignments/next", {"rater": "r" * 200}, 422, ['"rater"']),
        ("/api/ratings", {"events": []}, 422, ['"events"']),
        ("/api/ratings", {"events": [{}] * 1001}, 422, ['"events"', "1,000"]),
    ],
)
async def test_every_noun_refuses_in_a_sentence(workbench: Opened, path: str, body, status: int, words: list) -> None:
    async with workbench() as bench:
        await refused(bench, status, *words, path=path, content=json.dumps(body), headers=JSON)


async def test_a_bug_of_ours_is_a_500_with_a_sentence_and_the_server_stays_up(
    workbench: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with workbench() as bench:
        monkeypatch.setattr(bench.services.store, "stats", lambda: 1 // 0)
        answer = await bench.get("/api/stats")
        assert answer.status_code == 500
        assert "server's log" in answer.json()["error"]
        assert "ZeroDivisionError" in caplog.text
        assert (await bench.get("/api/health")).json()["ok"]


async def test_a_corrupt_folder_and_one_in_use_are_sentences(tmp_path) -> None:
    from storage.errors import CorruptFolder, FolderInUse
    from storage.store import Store

    async def start(folder) -> None:
        app = create_app(folder, engines={"scripted": ScriptedEngine()}, ui=False)
        async with app.router.lifespan_context(app):
            pass

    (tmp_path / "corrupt").mkdir()
    (tmp_path / "corrupt" / "worldline.duckdb").write_bytes(b"not a database" * 100)
    with pytest.raises(CorruptFolder, match=r"worldline\.duckdb"):
        await start(tmp_path / "corrupt")
    with Store.open(tmp_path / "used"):
        with pytest.raises(FolderInUse, match="used"):
            await start(tmp_path / "used")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/api/traces?limti=2", '"limti" is not a parameter of /api/traces; it has limit, after, model, q.'),
        ("/api/stats?queue=default", '"queue" is not a parameter of /api/stats; it has none.'),
    ],
)
async def test_a_parameter_that_a_route_does_not_have_is_refused(workbench: Opened, path: str, sentence: str) -> None:
    """A misspelt filter would else be no filter."""
    async with workbench() as bench:
        answer = await bench.get(path)
        assert (answer.status_code, answer.json()) == (422, {"error": sentence})


async def test_an_import_may_be_larger_than_a_question(workbench: Opened) -> None:
    async with workbench() as bench:
        rows = [{"prompt": f"Question {i}", "response": WALK.response + "x" * 100_000} for i in range(12)]
        answer = await bench.post("/api/traces", json=rows)
        assert answer.status_code == 201
        page = (await bench.get("/api/traces?limit=5")).json()
        found = [row["trace_id"] for row in page["traces"]]
        while page["next"]:
            page = (await bench.get(f"/api/traces?limit=5&after={page['next']}")).json()
            found += [row["trace_id"] for row in page["traces"]]
        assert sorted(found) == sorted(answer.json()["trace_ids"])
        (row,) = (await bench.get("/api/traces?q=question 7")).json()["traces"]
        assert row["prompt"] == "Question 7"
