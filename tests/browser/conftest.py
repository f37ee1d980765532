"""A real server on a free port with a folder of its own, and a real Chromium that may talk to nobody else.

Skipped, with the reason, where there is no Chromium or no playwright. WORLDLINE_CHROMIUM names another executable.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
START_S = 120  # importing torch and gradio on a busy machine takes a while
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
# Harmless lines of Gradio and of lost connections, which are part of the tests.
EXPECTED_CONSOLE = ("svelte-i18n", "Failed to load resource", "ERR_CONNECTION", "ERR_INTERNET_DISCONNECTED", "manifest")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder drives a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass
class Bench:
    """A running workbench and how to ask its API."""

    url: str
    folder: Path

    def get(self, path: str) -> Any:
        return self.ask("GET", path, None)

    def post(self, path: str, body: Any = None) -> Any:
        return self.ask("POST", path, {} if body is None else body)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"content-type": "application/json", "accept": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path} answered {error.code}: {error.read().decode()[:500]}") from None


@pytest.fixture(scope="package")
def bench(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[Bench]:
    """The workbench as a person starts it, in a process of its own."""
    with workbench(tmp_path_factory.mktemp("workbench")) as running:
        yield running


@contextmanager
def workbench(folder: Path, *arguments: str) -> Iterator[Bench]:
    """A workbench with its log and its data in `folder`."""
    log = folder / "server.log"
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "PYTHONUNBUFFERED": "1"}
    environment["PYTHONFAULTHANDLER"] = "1"
    command = [sys.executable, "-m", "app.cli", "--port", "0", "--data", str(folder / "data"), "--no-browser"]
    command += arguments
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield Bench(_wait_for_url(process, log), folder / "data")
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGABRT)  # faulthandler writes what every thread is doing
                process.wait()
                raise AssertionError(f"the server did not stop:\n{log.read_text()[-12000:]}") from None


def _wait_for_url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            if line.startswith("Worldline is at "):
                return line.split()[3]
        if process.poll() is not None:
            raise AssertionError(f"the server ended with {process.returncode}:\n{log.read_text()[-3000:]}")
        time.sleep(0.2)
    raise AssertionError(f"the server was not up after {START_S} s:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="package")
def chromium() -> str:
    """The browser's executable; skips where there is none."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
    wanted = os.environ.get("WORLDLINE_CHROMIUM")
    found = wanted or next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None or not Path(found).exists():
        pytest.skip(
            "no Chromium on this machine: install it (apt-get install chromium), or name one in WORLDLINE_CHROMIUM"
        )
    return found


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Any]:
    # For this folder only: an open Playwright keeps an event loop running in this thread, where later tests start their own.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


@dataclass
class Tab:
    """A page with what went wrong on it."""

    page: Any
    context: Any
    errors: list[str]
    strangers: list[str]


@pytest.fixture
def open_tab(browser: Any, bench: Bench) -> Iterator[Callable[..., Tab]]:
    """Open a tab in a browser profile of its own. At the end: no request left this machine, no script failed."""
    tabs: list[Tab] = []
    with ExitStack() as stack:

        def open_one(path: str | None = None, *, width: int = 1440, height: int = 900) -> Tab:
            context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
            stack.callback(context.close)
            page = context.new_page()
            tab = Tab(page, context, [], [])
            tabs.append(tab)
            context.on("request", lambda request: _watch(tab, request.url, bench.url))
            page.on("pageerror", lambda error: tab.errors.append(str(error)))
            page.on("console", lambda message: _listen(tab, message))
            if path is not None:
                visit(page, bench.url + path)
            return tab

        yield open_one
        for tab in tabs:
            assert not tab.strangers, f"requests left the machine: {tab.strangers}"
            assert not tab.errors, f"scripts failed: {tab.errors}"


def _watch(tab: Tab, url: str, home: str) -> None:
    if not url.startswith((home + "/", "data:", "blob:", "file:", "about:")):
        tab.strangers.append(url)


def _listen(tab: Tab, message: Any) -> None:
    if message.type == "error" and not any(known in message.text for known in EXPECTED_CONSOLE):
        tab.errors.append(message.text)


def visit(page: Any, url: str) -> None:
    """Go to one of our pages and wait until its module has started."""
    page.goto(url)
    page.wait_for_selector("[data-wl-ready=yes]", timeout=60_000)


@pytest.fixture(scope="package")
def screenshots() -> Path:
    """Where the pictures go: WORLDLINE_SCREENSHOTS, else ./screenshots."""
    folder = Path(os.environ.get("WORLDLINE_SCREENSHOTS", ROOT / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
