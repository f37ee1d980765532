"""Files of traces over HTTP and from the terminal: a look first, then what is new; a broken row costs only itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app import guard
from app.cli import app as cli
from core.formats import parse_response
from storage.store import Store
from tests.app.conftest import Opened
from tests.app.scripted import WALK

pytestmark = pytest.mark.anyio

ROWS: list[Any] = [
    {"prompt": WALK.prompt, "response": WALK.response},
    {"messages": [{"role": "user", "content": "Why?"},
                  {"role": "assistant", "reasoning": "Let me think.", "content": "Because."}]},
    {"prompt": "2 + 2?", "completions": ["Two and two.", "It is 4."], "labels": [True, True, False]},
    {"question": WALK.prompt, "output": WALK.response},
    {"prompt": "2 + 2?", "completions": ["Two and two.", "It is 4."], "labels": [True, True]},
]  # fmt: skip


def as_lines(rows: list[Any]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


async def test_a_look_stores_nothing_and_an_import_stores_what_is_new(workbench: Opened) -> None:
    async with workbench() as bench:
        looked = await bench.post("/api/imports?name=some.jsonl&dry_run=true", content=as_lines(ROWS))
        assert looked.status_code == 201, looked.text
        report = looked.json()
        assert report["dry_run"] is True
        assert (report["rows"], report["traces"], report["twice_in_file"], report["n_errors"]) == (5, 3, 1, 1)
        assert report["families"] == {"prompt-response": 2, "messages": 1, "trl": 1}
        assert report["formats"] == {"steiner": 1, "think": 1, "plain": 1}
        assert report["errors"] == ['some.jsonl:3: "labels" has 3 entries for 2 completions; write one for each.']
        assert (await bench.get("/api/stats")).json()["traces"] == 0
        stored = (await bench.post("/api/imports?name=some.jsonl", content=as_lines(ROWS))).json()
        assert {**stored, "dry_run": True} == report
        for trace_id in stored["trace_ids"]:
            assert (await bench.get(f"/api/traces/{trace_id}")).status_code == 200
        again = (await bench.post("/api/imports?name=other.jsonl", content=as_lines(ROWS))).json()
        assert (again["traces"], again["already_stored"]) == (0, 4)
        assert not list(bench.services.data_dir.glob("upload-*"))


async def test_the_same_text_under_another_id_is_known_and_another_text_under_one_id_is_an_error(
    workbench: Opened,
) -> None:
    async with workbench() as bench:
        row = {"trace_id": "a", "prompt": "q", "response": "r"}
        rows = [row, {**row, "trace_id": "b"}, {**row, "response": "other"}]
        report = (await bench.post("/api/imports", content=as_lines(rows))).json()
        assert (report["traces"], report["twice_in_file"]) == (1, 1)
        assert report["errors"][0].startswith("traces.jsonl:3: \"trace_id\" is 'a', and another text has that id")
        later = (await bench.post("/api/imports", content=as_lines(rows[1:]))).json()
        assert (later["traces"], later["already_stored"], later["n_errors"]) == (0, 1, 1)


@pytest.mark.parametrize(
    ("query", "content", "status", "words"),
    [
        ("name=x.exe", b"{}", 422, "must end in one of .jsonl"),
        ("family=nope", b"{}", 422, "choose one of worldline, prm800k"),
        ("format=nope", b"{}", 422, "choose one of steiner"),
        ("name=a.jsonl", b"", 422, "body is missing"),
        ("dry_run=perhaps", b"{}", 422, '"dry_run"'),
    ],
)
async def test_what_cannot_be_read_is_refused_in_a_sentence(
    workbench: Opened, query: str, content: bytes, status: int, words: str
) -> None:
    async with workbench() as bench:
        answer = await bench.post(f"/api/imports?{query}", content=content)
        assert answer.status_code == status, answer.text
        assert words in answer.json()["error"]


@pytest.mark.parametrize("name", ["a.parquet", "a.json", "a.jsonl", "..%2F..%2Fevil.jsonl", "a.txt"])
async def test_bytes_of_any_kind_are_a_report(workbench: Opened, name: str) -> None:
    async with workbench() as bench:
        answer = await bench.post(f"/api/imports?name={name}", content=b"PAR1\x00\xff[[[{{\n\x00")
        assert answer.status_code == 201, answer.text
        report = answer.json()
        assert report["traces"] == 0 < report["n_errors"]
        assert "/" not in report["name"]
        assert report["errors"][0].startswith(report["name"])


async def test_a_file_that_is_too_large_is_refused_while_it_comes(
    workbench: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "IMPORT_LIMIT", 300_000)
    async with workbench() as bench:

        async def in_pieces():  # no content-length: the size shows only while it comes
            for _ in range(10):
                yield b" " * 65_536

        for content in (b" " * 400_000, in_pieces()):
            answer = await bench.post("/api/imports", content=content)
            assert answer.status_code == 413, answer.text
            assert "too large" in answer.json()["error"]
        assert not list(bench.services.data_dir.glob("upload-*"))


async def test_a_trace_of_a_million_characters(workbench: Opened) -> None:
    text = "<think>" + "So x is 1. Then x + 1 is 2.\n\n" * 35_000 + "</think>done"
    async with workbench() as bench:
        report = (await bench.post("/api/imports", content=as_lines([{"prompt": "q", "response": text}]))).json()
        assert report["traces"] == 1
        assert (await bench.get(f"/api/traces/{report['trace_ids'][0]}")).json()["response"] == text


async def test_numbers_of_any_size_come_back_as_they_were(workbench: Opened) -> None:
    row = {"prompt": "q", "response": "r", "sampling": {"seed": 2**70}}
    async with workbench() as bench:
        (added,) = (await bench.post("/api/traces", json=row)).json()["trace_ids"]
        assert (await bench.get(f"/api/traces/{added}")).json()["sampling"] == {"seed": 2**70}


# ---- the terminal


def test_what_tree_prints_says_where_it_turned_back_and_can_be_imported(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(as_lines(ROWS[:1]))
    done = CliRunner().invoke(cli, ["tree", str(path)])
    assert done.exit_code == 0, done.output
    (row,) = map(json.loads, done.stdout.splitlines())
    _, nodes, _, _ = parse_response(WALK.prompt, WALK.response)
    placed = [(s["kind"], s["parent"], s["is_backtrack"], s["resumes"], s["replaces"]) for s in row["steps"]]
    assert placed == [(n.kind, n.parent, n.is_backtrack, n.resumes, n.replaces) for n in nodes]
    assert any(n.is_backtrack for n in nodes)
    trees = tmp_path / "trees.jsonl"
    trees.write_text(done.stdout, encoding="utf-8")
    done = CliRunner().invoke(cli, ["import", str(trees), "--data", str(tmp_path / "data")])
    assert (done.exit_code, done.stdout) == (0, "1 trace imported from trees.jsonl\n")


def test_dry_run_prints_a_table_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(as_lines(ROWS))
    data = tmp_path / "data"
    done = CliRunner().invoke(cli, ["import", str(path), "--dry-run", "--data", str(data)])
    assert done.exit_code == 1  # a row is broken
    table = {line[:19].strip(): line[19:].strip() for line in done.stdout.splitlines()}
    assert table["rows read"] == "5"
    assert table["new traces"] == "3"
    assert table["twice in the file"] == "1"
    assert table["messages"] == "1"
    assert 'some.jsonl:3: "labels" has 3 entries' in done.stderr
    assert not data.exists()


def test_import_stores_and_twice_is_harmless(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(as_lines([ROWS[0], ROWS[1]]))
    arguments = ["import", str(path), "--data", str(tmp_path / "data")]
    done = CliRunner().invoke(cli, arguments)
    assert (done.exit_code, done.stdout) == (0, "2 traces imported from some.jsonl\n")
    again = CliRunner().invoke(cli, arguments)
    assert again.stdout == "0 traces imported from some.jsonl; 2 known already, not stored twice\n"
    dry = CliRunner().invoke(cli, [*arguments, "--dry-run"])
    assert "already stored" in dry.stdout and dry.exit_code == 0
    with Store.open(tmp_path / "data") as store:
        assert store.stats()["traces"] == 2


def test_a_running_workbench_is_asked_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is owned by a server: the command goes through its API, and counts the same."""
    from fastapi.testclient import TestClient

    import app.workbench
    from app.server import create_app
    from tests.app.scripted import ScriptedEngine

    first = {"trace_id": "a", "prompt": "q", "response": "r"}
    path = tmp_path / "some.jsonl"
    path.write_bytes(
        as_lines(
            [first, {**first, "trace_id": "b"}, {**first, "prompt": "q2"}, {**first, "trace_id": "c", "prompt": "q3"}]
        )
    )
    server = create_app(tmp_path / "data", engines={"scripted": ScriptedEngine()}, ui=False)
    with TestClient(server, base_url="http://127.0.0.1:7860") as client:
        remote = app.workbench._Remote("http://127.0.0.1:7860", {})
        remote.close()
        remote.client = client
        monkeypatch.setattr(remote, "close", lambda: None)
        monkeypatch.setattr(app.workbench, "workbench_at", lambda folder: remote)
        outputs = []
        for options in (["--dry-run"], [], ["--dry-run"]):
            done = CliRunner().invoke(cli, ["import", str(path), "--data", str(tmp_path / "data"), *options])
            assert done.exit_code == 1
            assert [line[:14] for line in done.stderr.splitlines()[:-1]] == ["some.jsonl:3: "]  # another text under "a"
            outputs.append(" ".join(done.stdout.split()))
        assert "new traces 2" in outputs[0] and "twice in the file 1" in outputs[0]
        assert outputs[1].startswith("2 traces imported from some.jsonl; 1 known already")
        assert "new traces 0" in outputs[2] and "already stored 3" in outputs[2]
        assert client.get("/api/stats").json()["traces"] == 2


def test_many_errors_are_counted_and_the_first_twenty_printed(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": 1}\n' * 150)
    done = CliRunner().invoke(cli, ["import", str(path), "--dry-run", "--data", str(tmp_path / "data")])
    assert done.exit_code == 1
    assert len([line for line in done.stderr.splitlines() if line.startswith("bad.jsonl:")]) == 20
    assert "… and 130 more" in done.stderr
    assert "150 rows could not be read" in done.stderr


def test_family_and_format_are_named_when_they_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(as_lines([{"prompt": "q", "response": "r"}]))
    for option in ("--family", "--format"):
        done = CliRunner().invoke(cli, ["import", str(path), option, "nope", "--dry-run", "--data", str(tmp_path)])
        assert done.exit_code == 1
        assert "choose one of" in done.stderr
