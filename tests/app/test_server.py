"""Starting: sentences for what can go wrong, the pages in front, nothing that asks outside."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import httpx
import pytest

from app.paths import default_data_dir
from app.server import CannotServe, create_app, serve, url_of
from storage.errors import ForeignFolder
from tests.app.client import ORIGIN
from tests.app.scripted import ScriptedEngine


def test_a_port_in_use_is_a_sentence_and_leaves_the_folder_alone(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CannotServe, match=f"Port {port} .* is in use.*--port"):
            serve("127.0.0.1", port, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_foreign_address_and_a_foreign_folder_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(CannotServe, match="no address"):
        serve("203.0.113.7", 0, tmp_path / "data")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("not yours")
    with pytest.raises(ForeignFolder):
        serve("127.0.0.1", 0, tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_the_command_ends_with_the_sentence_and_exit_code_1(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from app.cli import app

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        result = CliRunner().invoke(app, ["--no-browser", "--port", port, "--data", str(tmp_path / "data")])
    assert result.exit_code == 1
    assert "is in use" in result.output


def test_the_data_folder_is_where_each_system_keeps_such_things(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLDLINE_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/var/x")
    monkeypatch.setattr("sys.platform", "linux")
    assert default_data_dir() == Path("/var/x/worldline")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_data_dir() == Path.home() / ".local/share/worldline"
    monkeypatch.setattr("sys.platform", "darwin")
    assert default_data_dir() == Path.home() / "Library/Application Support/worldline"
    monkeypatch.setenv("WORLDLINE_DATA", "/elsewhere")
    assert default_data_dir() == Path("/elsewhere")


def test_addresses_as_a_browser_writes_them() -> None:
    assert url_of("127.0.0.1", 7860) == "http://127.0.0.1:7860"
    assert url_of("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert url_of("::1", 80) == "http://[::1]:80"


@pytest.mark.anyio
async def test_the_pages_are_mounted_behind_the_same_gate(tmp_path: Path) -> None:
    app = create_app(tmp_path, engines={"scripted": ScriptedEngine()})
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
            home = await client.get("/", follow_redirects=True)
            assert home.status_code == 200
            assert "Worldline" in home.text
            assert "default-src 'self'" in home.headers["content-security-policy"]
            for page in ("/ui/rate", "/ui/data", "/ui/train"):
                assert (await client.get(page, follow_redirects=True)).status_code == 200
            assert (await client.get("/ui/", headers={"host": "evil.example"})).status_code == 403
            assert (
                await client.post("/ui/gradio_api/queue/join", headers={"origin": "http://evil.example"})
            ).status_code == 403
            assert (await client.get("/api/health")).status_code == 200
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] in ("1", "True")


def test_the_pages_do_not_keep_an_idle_processor_awake() -> None:
    """Gradio's own pace is a thousand looks a second for events that our pages do not have."""
    import warnings

    from fastapi import FastAPI

    from app.pages import mount_ui

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # what it warns of would be the first line in a user's terminal
        mounted = mount_ui(FastAPI())
    (gradio,) = [route.app for route in mounted.routes if getattr(route, "path", "") == "/ui"]
    queue = gradio.get_blocks()._queue
    assert queue.sleep_when_free >= 0.5 and queue.progress_update_sleep_when_free >= 0.5


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """asyncio leaves Nagle's algorithm on where a socket's protocol is unsaid: 40 ms for every request."""
    from app.server import _listen

    async def nodelay() -> int:
        taken: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            taken.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with _listen("127.0.0.1", 0) as listening:
            async with await asyncio.start_server(take, sock=listening):
                _, writer = await asyncio.open_connection(*listening.getsockname())
                writer.close()
                return await taken

    assert asyncio.run(nodelay())
