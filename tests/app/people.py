"""A workbench with an account of every role, and requests as each of them. One client, because one event loop serves all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from starlette.testclient import TestClient

from app.login import COOKIE
from app.people import ROLES, hashed, sha256
from app.server import create_app
from storage import people
from storage.people import Login, NewAccount
from storage.ratings import utc_now
from storage.store import Store
from tests.app.client import ORIGIN
from tests.app.scripted import ScriptedEngine

PASSWORD = "four unrelated words"


class Door:
    """The application with accounts, each named like its role."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.tokens = {role: self.logged_in(role) for role in ROLES}

    @property
    def store(self) -> Store:
        store: Store = self.client.app.state.services.store  # type: ignore[attr-defined]
        return store

    def logged_in(self, name: str, holds: timedelta = timedelta(hours=1)) -> str:
        """The token of a new login, without the second that a password takes."""
        token = f"token of {name} {utc_now()}"
        self.store.write(people.begin_logins, Login(sha256(token), name, utc_now() + holds)).result()
        return token

    def ask(self, method: str, path: str, role: str | None = None, token: str = "", **request: Any) -> httpx.Response:
        """A request with the login of a role, with this token, or as nobody."""
        token = token or (self.tokens[role] if role else "")
        headers = {**({"cookie": f'{COOKIE}="{token}"'} if token else {}), **request.pop("headers", {})}
        self.client.cookies.clear()
        return self.client.request(method, path, headers=headers, follow_redirects=False, **request)

    def log_in(self, name: str, password: str = PASSWORD, **request: Any) -> httpx.Response:
        return self.ask("POST", "/api/login", json={"name": name, "password": password}, **request)


@contextmanager
def door(folder: Path, client: tuple[str, int] = ("127.0.0.1", 50000), **options: Any) -> Iterator[Door]:
    """Open it, with the four accounts."""
    store = Store.open(folder)
    password_hash = hashed(PASSWORD)
    for role in reversed(ROLES):  # the admin first, as it must be
        store.write(people.add_accounts, NewAccount(role, role, role, password_hash)).result()
    engine = ScriptedEngine()
    app = create_app(folder, engines={engine.model: engine}, ui=False, store=store, **options)
    with TestClient(app, base_url=ORIGIN, client=client) as asking:
        yield Door(asking)
