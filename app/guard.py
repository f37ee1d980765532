"""The gate in front of everything: who may ask, how much they may send, what a browser may do with the answer.

Who somebody is is no concern of this file (app/login.py). There are two ways in which a foreign web page
could reach us: a form or script that posts to our address (so a write must come from our own origin or from a script),
and a host name that is made to point at this machine (DNS rebinding; so the Host header must be ours). A body is measured
before anything reads it (by `Measured`, which stands behind the login: what comes from nobody is not even measured).
Pure ASGI, because a buffering middleware would break event streams. Knows no route but the few with limits of their own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("worldline.server")

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Za-z_.-]+))(?::[0-9]{1,5})?")
WILDCARDS = ("0.0.0.0", "::", "")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

# A question of 64 KB is at most 384 KB as JSON (\\uXXXX for every character), a batch of ratings far less.
BODY_LIMIT = 512 * 1024
# Imported traces: a thousand long ones.
IMPORT_LIMIT = 64 * 1024 * 1024
# A body that is too large is read to its end up to here, so that the client gets to read the refusal.
DRAIN_LIMIT = 80 * 1024 * 1024

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    # Gradio evaluates its templates (unsafe-eval) and styles inline. What matters is connect-src: nothing leaves this
    # machine.
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
        "media-src 'self' blob: data:; frame-src 'self' blob:; frame-ancestors 'self'; base-uri 'self'; "
        "form-action 'self'; object-src 'none'"
    ),
}


class TooLarge(Exception):
    """The body exceeds its limit."""


class Guard:
    """Wraps the application.

    bound_host: what the server listens on. public_host: one more name under which browsers know it (a reverse proxy's, or
    this machine's in its network). closing: set when the server is told to stop; streams of the pages then
    see their client hang up, and end (those of our own runs end by themselves, with `done`).
    """

    def __init__(
        self, app: ASGIApp, bound_host: str = "127.0.0.1", closing: asyncio.Event | None = None, public_host: str = ""
    ) -> None:
        self.app = app
        self.closing = closing or asyncio.Event()
        self.hosts = set(LOCAL_NAMES)
        self.any_address = bound_host in WILDCARDS
        if self.any_address:
            self.hosts.add(socket.gethostname().lower())
        else:
            self.hosts.add(bound_host.lower().strip("[]"))
        if public_host:
            self.hosts.add(public_host.lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket" and not self._host_is_ours(Headers(scope=scope).get("host", "")):
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
            return
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, send_guarded)
                return
            if scope["method"] == "GET" and not scope["path"].startswith("/api"):
                receive = self._until_closing(receive)
            await self.app(scope, receive, send_guarded)
        except TooLarge as problem:
            await _error(413, str(problem))(scope, receive, send_guarded)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if started:
                raise
            await _error(
                500, "Something went wrong in Worldline itself; the server's log says what. Nothing else was affected."
            )(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._host_is_ours(host):
            return _error(
                403,
                f'This server does not answer to the host name "{host[:100]}"; use http://127.0.0.1 and its port, '
                "or start it with --public-host and that name.",
            )
        if scope["method"] in SAFE_METHODS:
            return None
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if foreign or (origin is None and headers.get("sec-fetch-site") in ("cross-site", "same-site")):
            return _error(
                403, "A page from another address may not change anything here; use Worldline's own pages or a script."
            )
        return None

    def _host_is_ours(self, header: str) -> bool:
        found = _HOST.fullmatch(header)
        if found is None:
            return False
        name = (found[1] or found[2]).lower()
        return name in self.hosts or (self.any_address and _is_address(name))

    def _until_closing(self, receive: Receive) -> Receive:
        async def receive_or_end() -> Message:
            message = asyncio.ensure_future(receive())
            closing = asyncio.ensure_future(self.closing.wait())
            try:
                await asyncio.wait({message, closing}, return_when=asyncio.FIRST_COMPLETED)
                return message.result() if message.done() else {"type": "http.disconnect"}
            finally:
                message.cancel()
                closing.cancel()

        return receive_or_end


class Measured:
    """Wraps the application, inside Guard, which answers for TooLarge."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS and scope["path"].startswith("/api"):
            receive = await self._measured(scope, receive)
        await self.app(scope, receive, send)

    async def _measured(self, scope: Scope, receive: Receive) -> Receive:
        """Read the body up to its limit, then hand it on. Raises TooLarge before anything has looked into it."""
        path = scope["path"].rstrip("/")
        limit = IMPORT_LIMIT if path in ("/api/traces", "/api/imports", "/api/evals/problems") else BODY_LIMIT
        declared = Headers(scope=scope).get("content-length", "")
        size = int(declared) if declared.isdigit() else 0
        if size > DRAIN_LIMIT:
            raise TooLarge(_too_large(path, limit))
        if path == "/api/imports" and size <= limit:
            return _counted(receive, path, limit)
        body = bytearray()
        read = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return _replay([message])
            read += len(message.get("body", b""))
            if max(size, read) <= limit:
                body += message.get("body", b"")
            if read > DRAIN_LIMIT or (read > limit and not message.get("more_body")):
                raise TooLarge(_too_large(path, limit))
            if not message.get("more_body"):
                break
        if size > limit:
            raise TooLarge(_too_large(path, limit))
        return _replay([{"type": "http.request", "body": bytes(body), "more_body": False}], receive)


def _replay(messages: list[Message], then: Receive | None = None) -> Receive:
    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        return await then() if then is not None else {"type": "http.disconnect"}

    return receive


def _counted(receive: Receive, path: str, limit: int) -> Receive:
    """Hand a body on in pieces, for a route that writes it to a file; beyond the limit TooLarge comes up through it."""
    read = 0

    async def receive_counted() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read <= limit:
            return message
        while message.get("more_body") and read <= DRAIN_LIMIT:  # so that the client gets to read the refusal
            message = await receive()
            read += len(message.get("body", b""))
        raise TooLarge(_too_large(path, limit))

    return receive_counted


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _too_large(path: str, limit: int) -> str:
    if path == "/api/runs":
        return "The question is too large; at most 64 KB are accepted."
    return f"The body is too large; at most {limit // 1024:,} KB are accepted here."


def _error(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status)
