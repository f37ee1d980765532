"""Accounts, logins and invitations, as rows. A secret that somebody carries (a password, a login's cookie, an
invitation's link) is never here: only its hash is, and what makes the hash is not known here.

A rater without a password is a name in the ratings, not an account. Nobody is ever removed, because ratings name
them: an account is switched off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from storage.errors import StoreError
from storage.ratings import utc_now

ID_CHARS = 12  # of an invitation's hash: enough to name it, useless to whoever wants to take it


class AccountError(StoreError):
    """An account or an invitation cannot be made, changed or taken as asked; nothing was changed."""


@dataclass(frozen=True)
class Account:
    """Somebody who may log in (or could: `active` false is switched off). Times are UTC."""

    rater_id: str
    display_name: str
    role: str
    active: bool
    created_at: datetime
    password_hash: str


@dataclass(frozen=True)
class NewAccount:
    """What makes an account. adopt: whether it may take over a name that already stands in ratings."""

    rater_id: str
    display_name: str
    role: str
    password_hash: str
    adopt: bool = False


@dataclass(frozen=True)
class Change:
    """What of an account becomes something else; None: stays. keep_login: the hash of the one login that goes on."""

    rater_id: str
    role: str | None = None
    active: bool | None = None
    password_hash: str | None = None
    keep_login: str = ""


@dataclass(frozen=True)
class Login:
    """A login: who, and until when (UTC)."""

    token_sha256: str
    rater_id: str
    expires_at: datetime


@dataclass(frozen=True)
class Invite:
    """A link that makes one account. `used_by` is None until it did."""

    token_sha256: str
    role: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    used_by: str | None
    used_at: datetime | None

    @property
    def invite_id(self) -> str:
        """Names it without giving it away."""
        return self.token_sha256[:ID_CHARS]

    @property
    def open(self) -> bool:
        """Whether it can still be taken."""
        return self.used_by is None and self.expires_at > utc_now()


@dataclass(frozen=True)
class Joining:
    """Somebody takes an invitation; the role is the invitation's."""

    token_sha256: str
    rater_id: str
    display_name: str
    password_hash: str


_ACCOUNT = (
    "select rater_id, display_name, role, active, created_at, password_hash from rater where password_hash is not null"
)
_INVITE = "select token_sha256, role, created_by, created_at, expires_at, used_by, used_at from invite"


# ---- reading


def accounts(con: duckdb.DuckDBPyConnection) -> list[Account]:
    """All accounts, the oldest first."""
    return [Account(*row) for row in con.execute(f"{_ACCOUNT} order by created_at, rater_id").fetchall()]


def accounts_exist(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether anybody has to log in. An account that is switched off counts: switching off the last opens no door."""
    return con.execute("select 1 from rater where password_hash is not null limit 1").fetchone() is not None


def account(con: duckdb.DuckDBPyConnection, rater_id: str) -> Account | None:
    row = con.execute(f"{_ACCOUNT} and rater_id = ?", [rater_id]).fetchone()
    return None if row is None else Account(*row)


def login(con: duckdb.DuckDBPyConnection, token_sha256: str) -> tuple[Login, Account] | None:
    """The login of that hash, if it has not ended and its account is switched on."""
    row = con.execute(
        "select token_sha256, rater_id, expires_at from login where token_sha256 = ? and expires_at > ? limit 1",
        [token_sha256, utc_now()],
    ).fetchone()
    if row is None:
        return None
    whose = account(con, row[1])
    return None if whose is None or not whose.active else (Login(*row), whose)


def open_logins(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """How many logins of each account hold now; an account without one is absent."""
    found = con.execute("select rater_id, count(*) from login where expires_at > ? group by rater_id", [utc_now()])
    return dict(found.fetchall())


def invites(con: duckdb.DuckDBPyConnection) -> list[Invite]:
    """All invitations, the newest first."""
    return [Invite(*row) for row in con.execute(f"{_INVITE} order by created_at desc, token_sha256").fetchall()]


# ---- writer's operations: each takes what has gathered, and gives one result for each


def add_accounts(con: duckdb.DuckDBPyConnection, new: Sequence[NewAccount]) -> list[Account]:
    """Make accounts. Raises AccountError where the name is taken, and where a first account is not an admin's."""
    return [_add(con, one) for one in new]


def _add(con: duckdb.DuckDBPyConnection, new: NewAccount) -> Account:
    # Names that differ in case alone would be taken for each other by people.
    near = con.execute(
        "select rater_id, password_hash is not null from rater where lower(rater_id) = lower(?)", [new.rater_id]
    ).fetchall()
    for name, has_account in near:
        if has_account:
            raise AccountError(f'There is already an account "{name}"; choose another name.')
        if not new.adopt:
            raise AccountError(f'The name "{name}" already stands under ratings; choose another name.')
    if new.role != "admin" and not accounts_exist(con):
        raise AccountError("The first account must have the role admin: without one nobody could make the others.")
    if any(name == new.rater_id for name, _ in near):
        con.execute(
            "update rater set display_name = ?, role = ?, password_hash = ?, active = true where rater_id = ?",
            [new.display_name, new.role, new.password_hash, new.rater_id],
        )
    else:
        con.execute(
            "insert into rater (rater_id, display_name, role, created_at, password_hash, active) "
            "values (?, ?, ?, ?, ?, true)",
            [new.rater_id, new.display_name, new.role, utc_now(), new.password_hash],
        )
    return _known(con, new.rater_id)


def change_accounts(con: duckdb.DuckDBPyConnection, changes: Sequence[Change]) -> list[Account]:
    """Change accounts; whoever is switched off, or has another password, is logged out.

    Raises AccountError: no such account, or no admin would be left.
    """
    return [_change(con, one) for one in changes]


def _change(con: duckdb.DuckDBPyConnection, change: Change) -> Account:
    before = _known(con, change.rater_id)
    role = change.role or before.role
    active = before.active if change.active is None else change.active
    if before.role == "admin" and before.active and (role != "admin" or not active):
        admins = [a for a in accounts(con) if a.role == "admin" and a.active]
        if len(admins) == 1:
            raise AccountError(
                f'"{before.rater_id}" is the only admin; make another one first, or nobody could change anything.'
            )
    con.execute(
        "update rater set role = ?, active = ?, password_hash = ? where rater_id = ?",
        [role, active, change.password_hash or before.password_hash, change.rater_id],
    )
    if not active or change.password_hash is not None:
        con.execute("delete from login where rater_id = ? and token_sha256 <> ?", [change.rater_id, change.keep_login])
    return _known(con, change.rater_id)


def _known(con: duckdb.DuckDBPyConnection, rater_id: str) -> Account:
    found = account(con, rater_id)
    if found is None:
        raise AccountError(f'There is no account "{rater_id[:60]}"; `worldline users list` shows those there are.')
    return found


def begin_logins(con: duckdb.DuckDBPyConnection, logins: Sequence[Login]) -> list[None]:
    """Keep logins, and forget those that have ended."""
    now = utc_now()
    con.execute("delete from login where expires_at <= ?", [now])
    for one in logins:
        con.execute(
            "insert into login (token_sha256, rater_id, created_at, expires_at) values (?, ?, ?, ?)",
            [one.token_sha256, one.rater_id, now, one.expires_at],
        )
    return [None] * len(logins)


def end_logins_of(con: duckdb.DuckDBPyConnection, rater_ids: Sequence[str]) -> list[None]:
    """Forget every login of these accounts. Raises AccountError: there is no such account."""
    for rater_id in rater_ids:
        con.execute("delete from login where rater_id = ?", [_known(con, rater_id).rater_id])
    return [None] * len(rater_ids)


def end_all_logins(con: duckdb.DuckDBPyConnection, times: Sequence[None]) -> list[None]:
    """Writer's operation: nobody is logged in any more."""
    con.execute("delete from login")
    return [None] * len(times)


def end_logins(con: duckdb.DuckDBPyConnection, hashes: Sequence[str]) -> list[None]:
    """Forget logins, by the hash of their token."""
    con.execute("delete from login where token_sha256 in (select unnest(?::varchar[]))", [list(hashes)])
    return [None] * len(hashes)


def add_invites(con: duckdb.DuckDBPyConnection, new: Sequence[tuple[str, str, str, timedelta]]) -> list[Invite]:
    """(token's hash, role, who invites, how long it holds)."""
    now = utc_now()
    made = [Invite(sha, role, by, now, now + holds, None, None) for sha, role, by, holds in new]
    for one in made:
        con.execute(
            "insert into invite (token_sha256, role, created_by, created_at, expires_at) values (?, ?, ?, ?, ?)",
            [one.token_sha256, one.role, one.created_by, one.created_at, one.expires_at],
        )
    return made


def withdraw_invites(con: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> list[None]:
    """End invitations now, by `Invite.invite_id`. Raises AccountError where there is none that could still be taken."""
    for invite_id in ids:
        ended = con.execute(
            f"update invite set expires_at = ? where token_sha256[:{ID_CHARS}] = ? and used_by is null and "
            "expires_at > ? returning 1",
            [utc_now(), invite_id, utc_now()],
        ).fetchall()
        if not ended:
            raise AccountError(f'There is no invitation "{invite_id[:60]}" that could still be taken.')
    return [None] * len(ids)


def join(con: duckdb.DuckDBPyConnection, joining: Sequence[Joining]) -> list[Account]:
    """Take invitations: each makes one account. Raises AccountError: it was taken, has ended, or the name is taken."""
    made = []
    for one in joining:
        row = con.execute(f"{_INVITE} where token_sha256 = ? limit 1", [one.token_sha256]).fetchone()
        invite = None if row is None else Invite(*row)
        if invite is None or not invite.open:
            raise AccountError(
                "This invitation was already taken, has ended or never was; ask whoever sent it for a new one."
            )
        made.append(_add(con, NewAccount(one.rater_id, one.display_name, invite.role, one.password_hash)))
        con.execute(
            "update invite set used_by = ?, used_at = ? where token_sha256 = ?",
            [one.rater_id, utc_now(), one.token_sha256],
        )
    return made
