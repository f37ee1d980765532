"""Behind the gate: who a request comes from, and whether somebody has to log in first.

Without accounts everything passes, and routes find the one person there is. With accounts a request is somebody's by the
cookie of a login, by the token of the data folder's owner (commands in a terminal), or by the name that a trusted reverse
proxy puts into a header; nobody gets no further than the login page and what it needs. A page that needs a higher role
leads to the first one that does not. Pure ASGI, because a buffering middleware would break event streams.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from http.cookies import CookieError, SimpleCookie
from typing import Any, cast
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.pages import UI_PATH, least_role, open_to
from app.people import LOGIN_HOLDS, OWNER, People, Person

COOKIE = "worldline_login"
# What the login page and the page of an invitation are made of; static files hold no data.
OPEN = ("/login", "/join", "/api/login", "/api/join", "/favicon.ico")
OPEN_BELOW = "/static/"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
REFUSED = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
    'initial-scale=1"><title>Worldline</title><link rel="stylesheet" href="/static/theme.css"><link rel="stylesheet" '
    'href="/static/door.css"><main class="wl-page wl-door"><h1>Worldline</h1><p>{}</p></main></html>'
)
NOT_LOGGED_IN = "You are not logged in (any more); log in at /login."


@dataclass(frozen=True)
class Proxy:
    """A reverse proxy in front. trusted: its addresses or networks, whose X-Forwarded-For and -Proto are believed.
    header: where it says who is logged in; empty: people log in here."""

    trusted: Sequence[str] = ()
    header: str = ""

    @classmethod
    def of(cls, header: str, trusted: Sequence[str]) -> Proxy:
        """As it was typed. Raises ValueError."""
        for address in trusted:
            try:
                ipaddress.ip_network(address, strict=False)
            except ValueError:
                raise ValueError(
                    f'--trusted-proxy is "{address}"; it must be an address such as 10.0.0.2, or a network such as 10.0.0.0/24.'
                ) from None
        if header and not re.fullmatch(r"[A-Za-z0-9-]+", header):
            raise ValueError(
                f'--login-header is "{header}"; it must be the name of a header, such as X-Forwarded-User.'
            )
        return cls(tuple(trusted) or (("127.0.0.1", "::1") if header else ()), header)


class _NoLongerWelcome(Exception):
    """Ends an answer from within; nobody is told, for it was ended properly."""


class Login:
    """Wraps the application. Needs `app.state.services.people`."""

    def __init__(self, app: ASGIApp, proxy: Proxy | None = None) -> None:
        self.app = app
        self.proxy = proxy or Proxy()
        # uvicorn's own, applied here and not by uvicorn: the header of a login is believed by who really connected.
        forwarding = ProxyHeadersMiddleware(cast(Any, self._identified), list(self.proxy.trusted))
        self._trusted = forwarding.trusted_hosts
        self._forwarding = cast(ASGIApp, forwarding)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        scope.setdefault("state", {})["peer"] = (scope.get("client") or ("", 0))[0]
        await self._forwarding(scope, receive, send)

    async def _identified(self, scope: Scope, receive: Receive, send: Send) -> None:
        people: People = scope["app"].state.services.people
        if not self.proxy.header and not await people.exist():
            await self.app(scope, receive, send)
            return
        scope["state"]["accounts"] = True
        headers = Headers(scope=scope)
        person, why_not = await self._person(people, headers, scope["state"]["peer"])
        if person is not None:
            scope["state"]["person"] = person
        refusal = _refusal(scope, headers, person, why_not)
        if refusal is None and person is not None and scope["type"] == "http":
            await self._while_welcome(scope, receive, send, person)
        elif refusal is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, send)

    async def _while_welcome(self, scope: Scope, receive: Receive, send: Send, person: Person) -> None:
        """An answer that is still being sent (a run's events last for hours) ends when its login does: before each piece that
        follows a change of any account it is asked again who this is.
        """
        people: People = scope["app"].state.services.people
        seen, ended = people.changes, False

        async def send_to_the_welcome(message: Message) -> None:
            nonlocal seen, ended
            if message["type"] == "http.response.body" and message.get("more_body") and people.changes != seen:
                seen = people.changes
                now, _ = await self._person(people, Headers(scope=scope), scope["state"]["peer"])
                if now is None or now.role != person.role:
                    ended = True
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    raise _NoLongerWelcome
            await send(message)

        try:
            await self.app(scope, receive, send_to_the_welcome)
        except Exception:
            if not ended:
                raise

    async def _person(self, people: People, headers: Headers, peer: str) -> tuple[Person | None, str]:
        """Whoever asks, or why that is not known."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and people.is_owner(token.strip()):
            return OWNER, ""
        if self.proxy.header and peer in self._trusted:
            names = [name.strip() for name in headers.getlist(self.proxy.header)]
            if (
                len(names) > 1
            ):  # a proxy that adds its header instead of replacing the one that came lets anybody be anybody
                return None, f"The proxy sent {self.proxy.header} twice; it must replace the header that comes to it."
            if names and names[0]:
                person = await people.named(names[0])
                return person, f'There is no account "{names[0][:60]}" here; ask an admin of this workbench.'
        token = cookie_of(headers)
        return (await people.with_token(token) if token else None), NOT_LOGGED_IN


def _refusal(scope: Scope, headers: Headers, person: Person | None, why_not: str) -> Response | None:
    path = scope["path"]
    if path in OPEN or path.startswith(OPEN_BELOW):
        return None
    is_page = scope["type"] == "http" and scope["method"] == "GET" and not path.startswith("/api/")
    if person is None:
        if is_page and "text/html" in headers.get("accept", ""):
            if why_not != NOT_LOGGED_IN:  # the proxy's name is no account: a password would not help
                return HTMLResponse(REFUSED.format(escape(why_not)), 401)
            asked = path + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
            return RedirectResponse(f"/login?next={quote(asked, safe='')}", 303)
        return JSONResponse({"error": why_not}, 401)
    if path == "/" or path.startswith(UI_PATH):
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS:
            # Gradio takes uploads and events; no page of ours has any, so nobody needs them.
            return JSONResponse({"error": "Nothing is sent to the pages; the routes are listed at /api/docs."}, 403)
        role = least_role(path if path != "/" else UI_PATH)
        if role is not None and not person.may(role):
            return RedirectResponse(open_to(person)[0], 303)
    return None


def cookie_of(headers: Headers) -> str:
    """The token of the login that a browser sent; empty when there is none."""
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""


def give_cookie(response: Response, token: str, *, https: bool) -> None:
    """The browser carries the login from here on: no script can read it, no other site's form sends it."""
    response.set_cookie(
        COOKIE, token, max_age=round(LOGIN_HOLDS.total_seconds()), httponly=True, samesite="lax", secure=https, path="/"
    )


def take_cookie(response: Response) -> None:
    """The browser forgets it."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
