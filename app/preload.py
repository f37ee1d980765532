"""Tells the browser, with a page itself, what the page will ask for: our style sheets and modules, and the trace that its
address names.

Gradio puts a page up in the browser, and only then are our modules loaded, which import others, and only then is the trace
asked for. Link headers (RFC 8288, `preload` and `modulepreload` of the HTML standard) let all of it travel meanwhile.
Browsers that do not know them lose nothing. Pure ASGI; knows no page but by its module's name.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.pages.shell import SHEETS

STATIC = Path(__file__).parent / "static"
PAGES = {
    "/ui": "solve",
    "/ui/": "solve",
    "/ui/rate": "rate",
    "/ui/compare": "compare",
    "/ui/queues": "queues",
    "/ui/quality": "quality",
    "/ui/data": "data",
    "/ui/train": "train",
    "/ui/evaluate": "evaluate",
    "/ui/accounts": "accounts",
}
_IMPORT = re.compile(r'^import [^;]*?from "\./([\w-]+\.js)";', re.MULTILINE)
_TRACE = re.compile(r"[0-9A-Za-z]{1,64}")  # an id of ours; anything else has no business in a header


@cache
def modules(page: str) -> tuple[str, ...]:
    """The names of the modules that a page's module imports, itself and boot.js included."""
    found: list[str] = []
    wanted = ["boot.js", f"{page}.js"]
    while wanted:
        name = wanted.pop()
        if name not in found:
            found.append(name)
            wanted += _IMPORT.findall((STATIC / name).read_text(encoding="utf-8"))
    return tuple(found)


def links(path: str, query: str) -> str:
    """The Link header of a page; empty where there is nothing to say."""
    page = PAGES.get(path)
    if page is None:
        return ""
    parts = [f"</static/{name}.css>; rel=preload; as=style" for name in SHEETS]
    parts += [f"</static/{name}>; rel=modulepreload" for name in modules(page)]
    asked = parse_qs(query)
    trace = asked.get("trace", [""])[-1]
    if page == "solve" and "run" not in asked and _TRACE.fullmatch(trace):
        # The address and the mode must be those of the page's own request, else it is asked for twice.
        parts.append(f"</api/traces/{trace}?lean=true>; rel=preload; as=fetch; crossorigin=anonymous")
    return ", ".join(parts)


class Preload:
    """Wraps the application: adds the Link header to the pages under /ui."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        header = links(scope["path"], scope["query_string"].decode("latin-1")) if scope["type"] == "http" else ""
        if not header:
            await self.app(scope, receive, send)
            return

        async def with_links(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                MutableHeaders(scope=message).append("link", header)
            await send(message)

        await self.app(scope, receive, with_links)
