"""Logging in: what lets somebody in, what does not, how fast one may guess, and when it ends."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from starlette.testclient import TestClient
from typer.testing import CliRunner

from app import people
from app.cli import app as cli
from app.login import COOKIE, Proxy
from app.paths import token_file
from app.people import People
from app.server import CannotServe, serve
from app.workbench import _owner_token, _Remote
from storage import people as rows
from storage.store import Store
from tests.app.client import ORIGIN
from tests.app.people import PASSWORD, Door, door
from tests.app.scripted import ScriptedEngine

HASHER = people._hasher  # as it is in earnest


@pytest.fixture(scope="module")
def _quick_hashes() -> Iterator[None]:
    """The same hash with less work, because these tests try a hundred passwords."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "_hasher", lambda: PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        people._nobodys_hash.cache_clear()
        yield
    people._nobodys_hash.cache_clear()


@pytest.fixture(scope="module")
def bench(_quick_hashes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with door(tmp_path_factory.mktemp("people") / "data") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _fresh_count(bench: Door) -> None:
    """Wrong tries of one test are no concern of the next."""
    services(bench).people._limiter.storage.reset()


def services(bench: Door) -> Any:
    return bench.client.app.state.services  # type: ignore[attr-defined]


def who(bench: Door, token: str) -> int:
    return bench.ask("GET", "/api/me", token=token).status_code


def token_of(answer: Any) -> str:
    return str(answer.cookies[COOKIE])


def test_passwords_are_hashed_as_rfc_9106_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "_hasher", HASHER)
    assert people.hashed(PASSWORD).startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_the_cookie_is_kept_from_scripts_and_other_sites(bench: Door) -> None:
    answer = bench.log_in("rater")
    assert answer.json() == {
        "rater_id": "rater", "display_name": "rater", "role": "rater", "accounts": True, "pages": ["/ui/rate", "/ui/compare"],
    }  # fmt: skip
    attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/", "max-age=604800"} <= attributes
    assert "secure" not in attributes  # this page came over http
    assert who(bench, token_of(answer)) == 200
    stored = bench.store.query("select token_sha256 from login") + bench.store.query("select password_hash from rater")
    assert token_of(answer) not in str(stored) and PASSWORD not in str(stored)


def test_a_login_that_was_planted_is_worth_nothing_after_logging_in(bench: Door) -> None:
    planted = bench.logged_in("rater")  # somebody else's, who knows it, put into this browser
    answer = bench.log_in("admin", token=planted)
    assert token_of(answer) != planted
    assert who(bench, planted) == 401
    assert bench.log_in("admin", token="made up").cookies[COOKIE] != "made up"
    assert who(bench, "made up") == 401


def test_a_login_ends_by_logging_out_by_time_and_by_an_admin(bench: Door) -> None:
    token = token_of(bench.log_in("rater"))
    out = bench.ask("POST", "/api/logout", token=token)
    assert out.status_code == 204 and "Max-Age=0" in out.headers["set-cookie"]
    assert who(bench, token) == 401
    assert who(bench, bench.logged_in("rater", timedelta(seconds=-1))) == 401

    token = bench.logged_in("rater")
    assert who(bench, token) == 200
    change = lambda **fields: bench.ask("PATCH", "/api/users/rater", "admin", json=fields)  # noqa: E731
    assert change(role="adjudicator").status_code == 200
    assert bench.ask("GET", "/api/me", token=token).json()["role"] == "adjudicator"  # at once, not at the next login
    assert change(role="rater", active=False).json()["active"] is False
    assert who(bench, token) == 401
    refused = bench.log_in("rater")
    assert refused.status_code == 401 and "switched off" in refused.json()["error"]
    assert bench.log_in("rater", "wrong wrong").json()["error"] == people.WRONG  # only who knows the password is told
    assert change(active=True).status_code == 200
    assert who(bench, token) == 401  # a login that ended does not come back


def test_ones_own_password_takes_the_old_one_and_ends_other_logins(bench: Door) -> None:
    here, elsewhere = bench.logged_in("researcher"), bench.logged_in("researcher")
    change = lambda old, new: bench.ask("POST", "/api/me/password", token=here, json={"old": old, "new": new})  # noqa: E731
    assert change("not it at all", "another good one").status_code == 401
    assert change(PASSWORD, "short").status_code == 422
    assert change(PASSWORD, "another good one").status_code == 204
    assert (who(bench, here), who(bench, elsewhere)) == (200, 401)
    assert bench.log_in("researcher").status_code == 401
    assert bench.log_in("researcher", "another good one").status_code == 200
    bench.ask("PATCH", "/api/users/researcher", "admin", json={"password": PASSWORD})
    assert who(bench, here) == 401
    bench.tokens["researcher"] = bench.logged_in("researcher")


def test_guessing_is_slowed_by_name_and_by_address_and_tells_nobody_which_names_exist(
    bench: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    real = people._fits
    monkeypatch.setattr(people, "_fits", lambda password, stored: (looked_at.append(stored), real(password, stored))[1])
    for name in ("rater", "nobody of that name"):
        answers = [bench.log_in(name, "wrong wrong") for _ in range(11)]
        assert [a.status_code for a in answers] == [401] * 10 + [429]
        assert {a.json()["error"] for a in answers[:10]} == {people.WRONG}
        assert 0 < int(answers[10].headers["retry-after"]) <= 600
        assert "wait 10 minutes" in answers[10].json()["error"]
    assert len(looked_at) == 20 and all(
        stored.startswith("$argon2id$") for stored in looked_at
    )  # the same work for both
    assert bench.log_in("RATER").status_code == 429  # even the right password, and however it is written
    assert bench.log_in("admin").status_code == 200  # who is somebody else is not kept waiting,
    for i in range(30):
        bench.log_in(f"name {i}", "wrong wrong")
    assert bench.log_in("admin").status_code == 429  # until the address has tried too much
    assert who(bench, bench.tokens["admin"]) == 200  # a login that is there goes on


def test_many_guesses_at_once_are_no_way_around_the_count(bench: Door) -> None:
    async def all_at_once() -> list[int]:
        fresh = People(bench.store)
        tries = [fresh.log_in("rater", f"wrong {i}", "10.0.0.1") for i in range(14)]
        done = await asyncio.gather(*tries, return_exceptions=True)
        return [0 if isinstance(e, people.LoginRefused) and e.wait_s is None else 1 for e in done]

    assert 10 <= asyncio.run(all_at_once()).count(0) <= 10 + people.HASHING_AT_ONCE


def test_a_password_that_is_reset_while_it_is_looked_at_opens_nothing(
    bench: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, old = "reset meanwhile", "the old password"
    assert bench.ask("POST", "/api/users", "admin", json={"name": name, "password": old}).status_code == 201
    real = people._fits

    def fits(password: str, stored: str) -> bool:
        right = real(password, stored)
        bench.store.write(rows.change_accounts, rows.Change(name, password_hash="another")).result()
        return right

    monkeypatch.setattr(people, "_fits", fits)
    assert bench.log_in(name, old).status_code == 401
    assert bench.store.query("select count(*) from login where rater_id = ?", [name]) == [(0,)]


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}]
)
def test_another_sites_page_does_nothing_with_ones_cookie(bench: Door, headers: dict[str, str]) -> None:
    before = bench.store.query("select count(*) from rater"), bench.store.query("select count(*) from invite")
    for method, path, body in (
        ("POST", "/api/users", {"name": "mallory", "password": PASSWORD, "role": "admin"}),
        ("PATCH", "/api/users/rater", {"role": "admin"}),
        ("POST", "/api/invites", {"role": "admin"}),
        ("POST", "/api/logout", {}),
    ):
        answer = bench.ask(method, path, "admin", json=body, headers=headers)
        assert answer.status_code == 403 and "another address" in answer.json()["error"]
    assert bench.log_in("admin", headers=headers).status_code == 403
    assert who(bench, bench.tokens["admin"]) == 200
    assert (bench.store.query("select count(*) from rater"), bench.store.query("select count(*) from invite")) == before


def test_an_invitation_makes_one_account_of_its_role(bench: Door) -> None:
    made = bench.ask("POST", "/api/invites", "admin", json={"role": "adjudicator"}).json()
    token = made["link"].partition("#")[2]
    assert made["link"] == f"{ORIGIN}/join#{token}" and len(token) > 40
    join: Callable[..., Any] = lambda name="cleo", password=PASSWORD, token=token: bench.ask(  # noqa: E731
        "POST", "/api/join", json={"name": name, "password": password, "token": token}
    )
    assert join(token="made up").status_code == 409
    assert '"password" is too short' in join(password="short").json()["error"]
    assert '"name" must be' in join(name=" \n").json()["error"]
    for taken in ("admin", "Admin"):
        assert "already an account" in join(name=taken).json()["error"]
    bench.store.add_rater("mia", "mia").result()  # a name under ratings, which a stranger must not take over
    assert "already stands under ratings" in join(name="mia").json()["error"]
    joined = join()
    assert joined.status_code == 201 and joined.json()["role"] == "adjudicator"
    assert who(bench, token_of(joined)) == 200
    assert "already taken" in join(name="dora").json()["error"]

    other = bench.ask("POST", "/api/invites", "admin", json={}).json()
    assert bench.ask("DELETE", f"/api/invites/{other['invite_id']}", "admin").status_code == 204
    assert join(name="dora", token=other["link"].partition("#")[2]).status_code == 409
    listed = bench.ask("GET", "/api/invites", "admin")
    assert [one["used_by"] for one in listed.json() if one["invite_id"] == made["invite_id"]] == ["cleo"]
    assert token not in listed.text


def test_the_last_admin_stays(bench: Door) -> None:
    for fields in ({"active": False}, {"role": "researcher"}):
        answer = bench.ask("PATCH", "/api/users/admin", "admin", json=fields)
        assert answer.status_code == 409 and "only admin" in answer.json()["error"]


def test_a_command_of_the_folders_owner_needs_no_login(bench: Door) -> None:
    folder = services(bench).data_dir
    assert stat.S_IMODE(token_file(folder).stat().st_mode) == 0o600
    remote = _Remote(ORIGIN, {})
    remote.client = TestClient(bench.client.app, base_url=ORIGIN)  # not entered: the application is open already
    with pytest.raises(ValueError, match="refused: You are not logged in"):
        remote.users()
    remote.client = TestClient(bench.client.app, base_url=ORIGIN, headers=_owner_token(folder))
    assert remote.add_user("tom", "rater", PASSWORD)["role"] == "rater"
    assert "tom" in {user["name"] for user in remote.users()}
    assert remote.change_user("tom", active=False)["active"] is False
    assert remote.invite("rater", 3).startswith(f"{ORIGIN}/join#")
    assert bench.ask("GET", "/api/users", headers={"authorization": "Bearer made up"}).status_code == 401


def test_a_proxys_header_counts_only_from_the_proxy(tmp_path: Path) -> None:
    proxy = Proxy.of("X-Forwarded-User", ["10.0.0.2"])
    with door(tmp_path / "data", client=("10.0.0.2", 1), proxy=proxy, public_host="rate.example.org") as bench:
        there = {"host": "rate.example.org", "x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}
        asked = bench.ask("GET", "/api/me", headers={**there, "x-forwarded-user": "rater"})
        assert asked.json()["rater_id"] == "rater"
        stranger = bench.ask("GET", "/api/me", headers={**there, "x-forwarded-user": "mallory"})
        assert stranger.status_code == 401 and 'no account "mallory"' in stranger.json()["error"]
        hostile = {**there, "accept": "text/html", "x-forwarded-user": "<script>alert(1)</script>"}
        page = bench.ask("GET", "/ui/", headers=hostile)
        assert page.status_code == 401 and "&lt;script&gt;" in page.text and "<script" not in page.text
        assert bench.ask("GET", "/api/me", headers=there).status_code == 401
        twice = bench.client.get(
            "/api/me", headers=[*there.items(), ("x-forwarded-user", "rater"), ("x-forwarded-user", "admin")]
        )
        assert twice.status_code == 401 and "twice" in twice.json()["error"]
        in_by_hand = bench.log_in("admin", headers={**there, "origin": "https://rate.example.org"})
        assert "secure" in in_by_hand.headers["set-cookie"].lower()
        for client in (("10.0.0.3", 1), ("203.0.113.9", 1)):  # whoever else connects, and says that the proxy did
            direct = TestClient(bench.client.app, base_url=ORIGIN, client=client)
            forged = {"x-forwarded-user": "admin", "x-forwarded-for": "10.0.0.2"}
            assert direct.get("/api/me", headers=forged).status_code == 401


def test_what_was_typed_for_a_proxy_is_checked() -> None:
    with pytest.raises(ValueError, match="--trusted-proxy"):
        Proxy.of("", ["somewhere"])
    with pytest.raises(ValueError, match="--login-header"):
        Proxy.of("X User", [])
    assert Proxy.of("X-User", []).trusted == ("127.0.0.1", "::1")
    assert Proxy.of("", []).trusted == ()


@pytest.mark.parametrize(
    ("host", "others"),
    [
        ("0.0.0.0", {}),
        ("::", {}),
        ("127.0.0.1", {"public_host": "rate.example.org"}),
        ("127.0.0.1", {"proxy": Proxy.of("", ["127.0.0.1"])}),
    ],
)
def test_others_are_not_served_without_accounts(tmp_path: Path, host: str, others: dict[str, Any]) -> None:
    with pytest.raises(CannotServe, match=r"no accounts yet.*worldline users add NAME --role admin"):
        serve(host, 0, tmp_path / "data", ui=False, **others)
    Store.open(tmp_path / "data").close()  # it was let go


@pytest.mark.parametrize("name", ["ann/ben", "..", "a\\b", "Import:ann"])
def test_a_name_can_stand_in_an_address_and_is_no_imported_raters(bench: Door, name: str) -> None:
    """An admin's page could not switch off the first three; the last would be whoever a file names so."""
    answer = bench.ask("POST", "/api/users", "admin", json={"name": name, "password": PASSWORD})
    assert (answer.status_code, '"name"' in answer.json()["error"]) == (422, True)


def test_accounts_from_the_terminal(tmp_path: Path) -> None:
    def users(*arguments: str, typed: str | None = None) -> Any:
        return CliRunner().invoke(cli, ["users", *arguments, "--data", str(tmp_path / "data")], input=typed)

    assert "no accounts" in users("list").stdout
    first = users("add", "ben", typed=f"{PASSWORD}\n")
    assert first.exit_code == 1 and "first account must have the role admin" in first.stderr
    assert users("add", "ada", "--role", "admin", typed="short\n").exit_code == 1
    assert users("invite").exit_code == 1
    assert users("add", "ada", "--role", "admin", typed=f"{PASSWORD}\n").exit_code == 0
    made = users("add", "ben", "--generate")
    password = made.stdout.rpartition("Password: ")[2].strip()
    assert len(password) >= 16
    assert users("add", "ben", "--generate").exit_code == 1
    assert users("add", "cleo", "--role", "king", "--generate").exit_code == 2
    assert users("role", "ben", "adjudicator").exit_code == 0
    assert users("disable", "ben").exit_code == 0
    assert users("disable", "ada").exit_code == 1
    assert users("reset", "ada", "--generate").exit_code == 0
    assert "/join#" in users("invite", "--days", "3").stdout
    listed = users("list").stdout
    assert (
        "ada  admin" in listed and "ben  adjudicator" in listed and "switched off" in listed and "invitation" in listed
    )
    with Store.open(tmp_path / "data") as store:
        with pytest.raises(people.LoginRefused, match="switched off"):
            asyncio.run(People(store).log_in("ben", password, "-"))
        with pytest.raises(people.LoginRefused, match="not right"):
            asyncio.run(People(store).log_in("ada", PASSWORD, "-"))


def test_a_stream_that_is_open_ends_with_its_login(tmp_path: Path) -> None:
    with door(tmp_path / "data") as bench:
        engine: ScriptedEngine = services(bench).models.get("scripted").engine
        engine.gate = asyncio.Semaphore(0)
        people_here: People = services(bench).people
        run = bench.ask(
            "POST", "/api/runs", "researcher", json={"prompt": "Reach 24 from 4, 7, 8 and 8.", "model": "scripted"}
        ).json()["run_id"]

        async def watch() -> list[bytes]:
            pieces, came = list[bytes](), asyncio.Event()

            async def receive() -> Any:
                await asyncio.Event().wait()

            async def send(message: Any) -> None:
                if message["type"] == "http.response.body":
                    pieces.append(message["body"])
                    came.set()

            async def after(change: Callable[[], Any]) -> None:
                await change()
                came.clear()
                engine.release(60)

            scope = {
                "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "method": "GET", "scheme": "http",
                "path": f"/api/runs/{run}/events", "raw_path": b"", "query_string": b"", "root_path": "",
                "headers": [(b"host", b"127.0.0.1"), (b"cookie", f'{COOKIE}="{bench.tokens["researcher"]}"'.encode())],
                "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "http_version": "1.1",
            }  # fmt: skip
            watching = asyncio.create_task(bench.client.app(scope, receive, send))
            await asyncio.wait_for(came.wait(), 30)
            await after(lambda: people_here.change("rater", active=False))  # another's account: this one goes on
            await asyncio.wait_for(came.wait(), 30)
            assert not watching.done() and pieces[-1]
            await after(lambda: people_here.change("researcher", active=False))
            await asyncio.wait_for(watching, 30)
            return pieces

        pieces = bench.client.portal.call(watch)
        assert pieces[-1] == b""
        assert not any(b'"type":"done"' in piece for piece in pieces), "the run itself goes on"
        engine.release(10_000)
