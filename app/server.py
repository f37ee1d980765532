"""The server: one process that owns a data folder, answers /api, and shows the pages under /ui.

`create_app` builds it (tests use it without a network), `serve` runs it. Knows how the parts are joined, not what they
do.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

from app import api
from app.api import errors
from app.commands.common import VERSION
from app.guard import WILDCARDS, Guard, Measured
from app.login import Login, Proxy
from app.preload import Preload
from app.runs import MAX_RUNNING
from app.searches import MAX_SEARCHES
from app.services import Services
from core.engines.base import Engine

if TYPE_CHECKING:
    from storage.store import Store

log = logging.getLogger("worldline.server")

STATIC = Path(__file__).parent / "static"
# Open pages hold streams that would otherwise keep a stopping server alive; runs end by themselves before this.
GRACE_S = 2
# A rater reads for longer than uvicorn's 5 s between two answers: with those, every other rating would open a
# connection anew, and a request sent in the moment the server closes is lost on its way.
KEEP_ALIVE_S = 75
# Threads that wait for the disk or for the writer. Of Python's own number (cores + 4) six raters who were waiting for their next item
# held all, and nobody could read anything.
WAITING = 32
# Set before gradio or huggingface_hub is imported: no request leaves the machine.
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
ABOUT = """Ask a reasoning model, watch its search tree grow, rate every step, freeze what was rated, train on it, ask
again.

Everything the pages do goes through these routes, and a script can do the same:

1. `POST /api/runs` starts a run, `GET /api/runs/{run_id}/events` follows, `GET /api/traces/{trace_id}` reads the result.
2. `POST /api/assignments/next` takes a trace to rate, `POST /api/ratings` keeps the judgements.
3. `POST /api/snapshots` freezes them, `POST /api/snapshots/{snapshot_id}/exports` writes files for other trainers.
4. `POST /api/jobs` trains, `GET /api/jobs/{job_id}/metrics` watches, `POST /api/jobs/{job_id}/use` uses the result.

Every error is `{"error": "a sentence"}`. Without accounts the server answers on this machine only; with them, everyone
logs in (`POST /api/login`), and a route that needs a higher role than one's own answers 403. Nothing is changed for pages
of other addresses."""
DOOR_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class CannotServe(ValueError):
    """The server cannot start; the message is a sentence with the mend."""


def create_app(
    data_dir: Path,
    *,
    engines: Mapping[str, Engine] | None = None,
    ui: bool = True,
    host: str = "127.0.0.1",
    port: int = 7860,
    store: Store | None = None,
    max_running: int = MAX_RUNNING,
    max_searches: int = MAX_SEARCHES,
    proxy: Proxy | None = None,
    public_host: str = "",
) -> FastAPI:
    """The application. The store opens when it starts and closes when it ends.

    engines: models by id instead of the shipped one. ui: False leaves out Gradio (seconds of import). store: an open
    store of `data_dir` to take over. proxy: a reverse proxy in front. public_host: another name that browsers use. Starting raises StoreError when the folder cannot be had.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        def open_store(folder: Path) -> Store:
            from storage.store import Store

            return store if store is not None else Store.open(folder)

        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(WAITING, thread_name_prefix="waiting"))
        services = await Services.open(
            data_dir, engines=engines, open_store=open_store, url=url_of(host, port), max_running=max_running,
            max_searches=max_searches,
        )  # fmt: skip
        app.state.services = services
        services.models.warm()
        try:
            yield
        finally:
            await services.close()

    app = FastAPI(
        title="Worldline",
        version=VERSION,
        description=ABOUT,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    errors.install(app)
    app.state.closing = asyncio.Event()
    app.add_middleware(Preload)
    app.add_middleware(Measured)
    app.add_middleware(Login, proxy=proxy)
    app.add_middleware(Guard, bound_host=host, public_host=public_host, closing=app.state.closing)
    app.include_router(api.router())
    app.mount("/static", _Static(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    async def home() -> Response:
        return RedirectResponse("/ui/")

    for name in ("login", "join"):
        app.add_api_route(f"/{name}", _door(name), include_in_schema=False)

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")

    if ui:
        from app.pages import mount_ui

        mount_ui(app)
    return app


def _door(name: str) -> Callable[[], Awaitable[Response]]:
    """The page of the login, or of an invitation: ours alone, because nobody who opens it has logged in yet."""

    async def page() -> Response:
        headers = {"content-security-policy": DOOR_POLICY, "cache-control": "no-cache"}
        return FileResponse(STATIC / f"{name}.html", media_type="text/html", headers=headers)

    return page


class _Static(StaticFiles):
    """Our own files: asked for again on every load (cheap, by ETag), so that an update is never half old."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


def url_of(host: str, port: int) -> str:
    """Where a browser on this machine finds the server."""
    name = "127.0.0.1" if host in WILDCARDS else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def serve(
    host: str,
    port: int,
    data_dir: Path,
    open_browser: bool = False,
    *,
    engines: Mapping[str, Engine] | None = None,
    ui: bool = True,
    proxy: Proxy | None = None,
    public_host: str = "",
) -> None:
    """Run until stopped (Ctrl-C, SIGTERM); `engines`, `ui`, `proxy` and `public_host` as in `create_app`.

    Raises CannotServe and StoreError before anything heavy is loaded.
    """
    import uvicorn

    from storage.people import accounts_exist
    from storage.store import Store

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("worldline").setLevel(logging.INFO)
    with _listen(host, port) as listening:
        port = listening.getsockname()[1]
        url = url_of(host, port)
        store = Store.open(data_dir)
        try:
            # A public name or a trusted proxy means that others come through something on this machine.
            seen_as = public_host or (
                host if not _only_this_machine(listening) else "the proxy" if proxy and proxy.trusted else ""
            )
            if seen_as and not store.read(accounts_exist):
                raise CannotServe(
                    f"There are no accounts yet, so whoever reaches {seen_as} could do everything. Make an admin with "
                    "`worldline users add NAME --role admin`, or leave --host, --public-host and --trusted-proxy out to "
                    "serve this machine alone."
                )
            print(f"Worldline opens {data_dir} …", flush=True)
            app = create_app(
                data_dir,
                engines=engines,
                ui=ui,
                host=host,
                port=port,
                store=store,
                proxy=proxy,
                public_host=public_host,
            )
            config = uvicorn.Config(
                app,
                log_level="warning",
                timeout_graceful_shutdown=GRACE_S,
                timeout_keep_alive=KEEP_ALIVE_S,
                lifespan="on",
                proxy_headers=False,
            )
            _Server(config, app, url, open_browser).run(sockets=[listening])
        finally:
            store.close()
    if any(thread.name.startswith("engine-") for thread in threading.enumerate()):
        # An engine in the midst of loading cannot be ended, and the interpreter's own exit aborts on such a thread (a
        # C++ terminate, seen with torch). All is stored and closed by now.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


class _Server:
    """uvicorn, with two additions: it says where it is once it answers, and a signal ends the runs first."""

    def __init__(self, config: Any, app: FastAPI, url: str, open_browser: bool) -> None:
        import uvicorn

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                if self.started:
                    app.state.loop = asyncio.get_running_loop()
                    # What the imports left lives as long as the server. Walking over it again (200,000 objects, 0.1 s) would hold
                    # up every answer and every stream whenever the collector looks at all that is alive.
                    gc.collect()
                    gc.freeze()
                    print(f"Worldline is at {url} (Ctrl-C stops it)", flush=True)
                    if open_browser:
                        threading.Thread(target=_open, args=(url,), daemon=True).start()

            def handle_exit(self, sig: int, frame: FrameType | None) -> None:
                if self.started:
                    app.state.loop.call_soon_threadsafe(_begin_to_end, app)
                super().handle_exit(sig, frame)

        self._server = Server(config)

    def run(self, sockets: list[socket.socket]) -> None:
        # uvicorn raises the signal again when it has ended; it was obeyed.
        with contextlib.suppress(KeyboardInterrupt), _sigterm_is_an_end():
            self._server.run(sockets)
        if not self._server.started:
            raise CannotServe("The server could not start; the lines above say why.")


def _begin_to_end(app: FastAPI) -> None:
    """End what would keep connections open: runs (their viewers then get `done`) and the streams of pages."""
    services: Services = app.state.services
    services.runs.interrupt_all()
    services.searches.interrupt_all()
    app.state.closing.set()


@contextlib.contextmanager
def _sigterm_is_an_end() -> Iterator[None]:
    """uvicorn gives SIGTERM back to the process after its clean end: it would kill us before the folder is let go."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _open(url: str) -> None:
    try:
        webbrowser.open(url)
    except Exception as error:
        log.info("no browser could be opened: %s", error)


@contextlib.contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """The listening socket, had before anything else, so that a port in use is known at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only where the protocol is said; with it every answer in two pieces waits 40 ms
    # for the acknowledgement of the first.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere this option would let two servers share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen(128)
        except (OSError, OverflowError) as error:
            raise CannotServe(_why_not(host, port, error)) from None
        yield listening
    finally:
        listening.close()


def _only_this_machine(listening: socket.socket) -> bool:
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def _why_not(host: str, port: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        other = f"choose another with --port {port + 1}, or --port 0 for a free one"
        return f"Port {port} on {host} is in use, perhaps by another Worldline; {other}."
    if number == errno.EACCES:
        return f"Port {port} may not be used by this account; choose one above 1023 with --port 7860."
    if number == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return f"This machine has no address {host}; leave --host out, or give one of its own."
    return f"The server cannot listen on {host}:{port}: {error}. Choose another with --host and --port."
