"""The gate: foreign pages change nothing, foreign host names get nothing, answers carry their policy."""

from __future__ import annotations

import pytest

from app.guard import Guard
from tests.app.conftest import Opened
from tests.app.scripted import WALK

pytestmark = pytest.mark.anyio

GOOD = {"prompt": WALK.prompt, "model": "scripted"}


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860", "127.0.0.1"])
async def test_our_own_names_are_answered(workbench: Opened, host: str) -> None:
    async with workbench() as bench:
        assert (await bench.get("/api/health", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:7860", "", "192.168.0.9:7860", "[", "a@localhost:x"]
)
@pytest.mark.parametrize("path", ["/api/health", "/static/icon.svg", "/"])
async def test_other_names_are_not(workbench: Opened, host: str, path: str) -> None:
    async with workbench() as bench:
        answer = await bench.get(path, headers={"host": host})
        assert answer.status_code == 403
        assert set(answer.json()) == {"error"}


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:3000"},  # another server of this machine is another origin
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_foreign_pages_change_nothing(workbench: Opened, headers: dict) -> None:
    async with workbench() as bench:
        answer = await bench.post("/api/runs", json=GOOD, headers=headers)
        assert answer.status_code == 403
        assert "another address" in answer.json()["error"]
        assert (await bench.get("/api/runs")).json() == []


@pytest.mark.parametrize("headers", [{}, {"origin": "http://127.0.0.1:7860"}, {"sec-fetch-site": "same-origin"}])
async def test_our_pages_and_scripts_do(workbench: Opened, headers: dict) -> None:
    async with workbench() as bench:
        assert (await bench.post("/api/runs", json=GOOD, headers=headers)).status_code == 201


async def test_every_answer_carries_the_policy(workbench: Opened) -> None:
    async with workbench() as bench:
        for path in ("/api/health", "/nothing", "/static/icon.svg", "/api/docs"):
            headers = (await bench.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert "connect-src 'self'" in headers["content-security-policy"]
            assert "http:" not in headers["content-security-policy"]
        trace_id = await bench.finished()
        graph = (await bench.get(f"/api/traces/{trace_id}/graph")).headers
        assert graph["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
        saved = (await bench.get(f"/api/traces/{trace_id}/graph?download=1")).headers
        assert saved["content-disposition"].startswith('attachment; filename="worldline-')


def test_a_server_open_to_the_network_answers_to_addresses_but_not_to_names() -> None:
    async def app(scope, receive, send) -> None:
        return None

    gate = Guard(app, bound_host="0.0.0.0")
    assert gate._host_is_ours("192.168.0.9:7860")
    assert not gate._host_is_ours("evil.example:7860")
    assert Guard(app, bound_host="lab.example")._host_is_ours("lab.example:7860")
