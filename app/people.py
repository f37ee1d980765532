"""Who is asking, and what they may do: accounts, passwords, logins, invitations. Knows no route and no page.

Without accounts there is one person, who may do everything: the server then answers on this machine only. With accounts
everyone logs in, and what a route needs is said beside it (`needs` in app/api/common.py).

Passwords are hashed with argon2id at the parameters of RFC 9106 (argon2-cffi's own defaults). A login is 256 random bits
that the browser carries; the store holds their hash. Guessing is limited by the name that is tried and by the address that
tries, and a name that does not exist costs the same time and gets the same words as a wrong password.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from storage import people as rows
from storage.people import Account, AccountError, Change, Invite, Joining, Login, NewAccount
from storage.ratings import utc_now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from argon2 import PasswordHasher

    from storage.store import Store

log = logging.getLogger("worldline.server")

# Each may do what those before it may: raters rate and compare; adjudicators also see and settle where raters differ;
# researchers see, run, freeze, export and train; admins also keep the accounts.
ROLES = ("rater", "adjudicator", "researcher", "admin")

LOGIN_HOLDS = timedelta(days=7)  # a rater logs in once a working week
INVITE_HOLDS = timedelta(days=7)
# Wrong guesses. An office shares one address, so that limit is wider; a person who mistypes stays far below both.
PER_NAME = "10/10 minutes"
PER_ADDRESS = "50/10 minutes"
HASHING_AT_ONCE = 2  # one hash takes 64 MiB and 0.2 s of a core
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 256
LONGEST_NAME = 60
REMEMBERED = 10_000  # logins; what is beyond is read again
WRONG = "The name or the password is not right."


@dataclass(frozen=True)
class Person:
    """Whoever a request comes from. alone: there are no accounts, and the name is whatever the page says it is."""

    rater_id: str
    display_name: str
    role: str
    alone: bool = False

    def may(self, role: str) -> bool:
        """Whether this person may do what needs `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)


# A command of whoever owns the data folder, which holds everything anyway.
OWNER = Person("local", "the terminal", "admin")


class LoginRefused(Exception):
    """`str` is the sentence; wait_s: not before so many seconds, None where another try may come at once."""

    def __init__(self, sentence: str, wait_s: int | None = None) -> None:
        super().__init__(sentence)
        self.wait_s = wait_s


class Unusable(AccountError):
    """A name or a password that no account may have; the sentence names the field."""


class LoggedIn(NamedTuple):
    """A person with the token that proves it from now on."""

    person: Person
    token: str


def sha256(token: str) -> str:
    """What the store keeps of a token. 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def usable_name(name: str) -> str:
    """The name of an account, trimmed. Raises Unusable."""
    from storage.imports.judged import PREFIX

    name = unicodedata.normalize("NFC", name).strip()
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise Unusable(f'"name" must be 1 to {LONGEST_NAME} printable characters.')
    if set(name) & set("/\\") or name in (".", ".."):  # it stands in addresses
        raise Unusable('"name" must not hold / or \\, nor be only dots.')
    if name.casefold().startswith(PREFIX):
        raise Unusable(f'"name" must not begin with {PREFIX} (so are raters called whom an imported file names).')
    return name


def check_password(password: str, name: str) -> None:
    """Raises Unusable for what is guessed first. Length is all that is asked (NIST SP 800-63B, 3.1.1.2)."""
    if len(password) < SHORTEST_PASSWORD:
        raise Unusable(f'"password" is too short; it must have at least {SHORTEST_PASSWORD} characters.')
    if len(password) > LONGEST_PASSWORD:
        raise Unusable(f'"password" is too long; it may have at most {LONGEST_PASSWORD} characters.')
    if password.casefold() in (name.casefold(), name.casefold()[::-1]) or len(set(password)) < 4:
        raise Unusable('"password" is too easy to guess; a few unrelated words make a good one.')


def random_password() -> str:
    """A password for somebody else, to be read out and changed."""
    return "-".join("".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(4)) for _ in range(4))


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher()


def hashed(password: str) -> str:
    """argon2id, with a salt of its own: 64 MiB, and 0.2 s of a core on purpose."""
    return _hasher().hash(unicodedata.normalize("NFKC", password))


@cache
def _nobodys_hash() -> str:
    return hashed(secrets.token_urlsafe())


def _fits(password: str, password_hash: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _hasher().verify(password_hash, unicodedata.normalize("NFKC", password))
    except (VerificationError, InvalidHashError):
        return False


class People:
    """The accounts of an open store. All changes of accounts go through here, which is why it may remember logins."""

    def __init__(self, store: Store) -> None:
        from limits import parse
        from limits.storage import MemoryStorage
        from limits.strategies import MovingWindowRateLimiter

        self._store = store
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._per_name, self._per_address = parse(PER_NAME), parse(PER_ADDRESS)
        self._hashing = asyncio.Semaphore(HASHING_AT_ONCE)
        self._logins: dict[str, tuple[Person, datetime]] = {}
        self._exist: bool | None = None
        self._changes = 0  # what was read before a change is not remembered after it
        # For commands in another terminal: whoever can read the data folder owns what is in it.
        self.owner_token = secrets.token_urlsafe(32)

    @property
    def changes(self) -> int:
        """Another number than before: who somebody is must be asked again."""
        return self._changes

    async def exist(self) -> bool:
        """Whether there are accounts, so that everyone has to log in."""
        if self._exist is not None:
            return self._exist
        changes = self._changes
        exist: bool = await self._read(rows.accounts_exist)
        if changes == self._changes:
            self._exist = exist
        return exist

    # ---- who is it

    async def with_token(self, token: str) -> Person | None:
        """Whoever logged in with this token, while that holds."""
        key = sha256(token)
        known = self._logins.get(key)
        if known is not None and known[1] > utc_now():
            return known[0]
        changes = self._changes
        found = await self._read(lambda con: rows.login(con, key))
        if found is None:
            self._logins.pop(key, None)
            return None
        login, account = found
        person = _person(account)
        if changes == self._changes:
            if len(self._logins) >= REMEMBERED:
                self._logins.clear()
            self._logins[key] = (person, login.expires_at)
        return person

    async def named(self, name: str) -> Person | None:
        """The account of this name, for a proxy that has seen to the password."""
        account = await self._read(lambda con: rows.account(con, name))
        return _person(account) if account is not None and account.active else None

    def is_owner(self, token: str) -> bool:
        """Whether this is the token of the data folder's owner."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.owner_token.encode())

    # ---- logging in and out

    async def log_in(self, name: str, password: str, address: str) -> LoggedIn:
        """A new login. Raises LoginRefused, in the same words and after the same time whether the name exists or not."""
        name = unicodedata.normalize("NFC", name).strip()
        async with self._guessing(name, address) as guess:
            account = await self._read(lambda con: rows.account(con, name))
            nobodys = await asyncio.to_thread(_nobodys_hash)
            stored = account.password_hash if account is not None else nobodys
            fits = await asyncio.to_thread(_fits, password[: LONGEST_PASSWORD + 1], stored)
            if not fits or account is None:
                guess.wrong()
                log.warning("a wrong try to log in as %r from %s", name[:LONGEST_NAME], address)
                raise LoginRefused(WRONG)
            guess.right()
        if not account.active:
            raise LoginRefused("This account is switched off; ask an admin of this workbench.")
        begun = await self._begin(account)
        # An admin may have given it another password, and ended its logins, while this one was looked at.
        if await self._read(lambda con: rows.account(con, account.rater_id)) != account:
            await self.log_out(begun.token)
            raise LoginRefused(WRONG)
        return begun

    async def join(self, token: str, name: str, password: str, address: str) -> LoggedIn:
        """Take an invitation: an account, and a login of it. Raises AccountError, LoginRefused."""
        name = usable_name(name)
        check_password(password, name)
        async with self._guessing(None, address) as guess:
            made = Joining(sha256(token), name, name, await asyncio.to_thread(hashed, password))
            try:
                account: Account = await self._write(rows.join, made)
            except AccountError:
                guess.wrong()
                raise
        return await self._begin(account)

    async def log_out(self, token: str) -> None:
        """The token is worth nothing from here on."""
        await self._write(rows.end_logins, sha256(token))

    async def change_own_password(self, person: Person, old: str, new: str, token: str, address: str) -> None:
        """Ends all other logins of this person. Raises LoginRefused, AccountError."""
        check_password(new, person.rater_id)
        async with self._guessing(person.rater_id, address) as guess:
            account = await self._read(lambda con: rows.account(con, person.rater_id))
            if account is None or not await asyncio.to_thread(_fits, old, account.password_hash):
                guess.wrong()
                raise LoginRefused('"old" is not your password.')
            guess.right()
            fresh = await asyncio.to_thread(hashed, new)
        await self._write(rows.change_accounts, Change(person.rater_id, password_hash=fresh, keep_login=sha256(token)))

    async def _begin(self, account: Account) -> LoggedIn:
        token = secrets.token_urlsafe(32)
        await self._write(rows.begin_logins, Login(sha256(token), account.rater_id, utc_now() + LOGIN_HOLDS))
        return LoggedIn(_person(account), token)

    def _guessing(self, name: str | None, address: str) -> _Guess:
        keys = [(self._per_address, "address", address)]
        if name is not None:
            keys.append((self._per_name, "name", name.casefold()[:LONGEST_NAME]))
        return _Guess(self._limiter, keys, self._hashing)

    # ---- the accounts

    async def accounts(self) -> Sequence[Account]:
        return await self._read(rows.accounts)

    async def add(self, name: str, role: str, password: str) -> Account:
        """Make an account; a name that stands in ratings already becomes one. Raises AccountError."""
        name = usable_name(name)
        check_password(password, name)
        async with self._hashing:
            made = NewAccount(name, name, role, await asyncio.to_thread(hashed, password), adopt=True)
        account: Account = await self._write(rows.add_accounts, made)
        return account

    async def change(
        self, name: str, *, role: str | None = None, active: bool | None = None, password: str | None = None
    ) -> Account:
        """Raises AccountError: no such account, or no admin would be left."""
        fresh = None
        if password is not None:
            check_password(password, name)
            async with self._hashing:
                fresh = await asyncio.to_thread(hashed, password)
        account: Account = await self._write(rows.change_accounts, Change(name, role, active, fresh))
        return account

    async def open_logins(self) -> dict[str, int]:
        """How many logins each account has now."""
        found: dict[str, int] = await self._read(rows.open_logins)
        return found

    async def log_out_everywhere(self, name: str) -> None:
        """End all logins of an account. Raises AccountError: there is none of that name."""
        await self._write(rows.end_logins_of, name)

    async def invites(self) -> Sequence[Invite]:
        return await self._read(rows.invites)

    async def invite(self, role: str, by: str, holds: timedelta = INVITE_HOLDS) -> tuple[Invite, str]:
        """An invitation and its token, which is told once. Raises AccountError."""
        if not await self.exist():
            raise AccountError("Make an account with the role admin first; then others can be invited.")
        token = secrets.token_urlsafe(32)
        invite: Invite = await self._write(rows.add_invites, (sha256(token), role, by, holds))
        return invite, token

    async def withdraw(self, invite_id: str) -> None:
        """Raises AccountError where it cannot be taken any more anyway."""
        await self._write(rows.withdraw_invites, invite_id)

    # ---- the store

    async def _read(self, read: Any) -> Any:
        return await asyncio.to_thread(self._store.read, read)

    async def _write(self, operation: Any, payload: Any) -> Any:
        try:
            return await asyncio.wrap_future(self._store.write(operation, payload))
        finally:
            self._changes += 1
            self._logins.clear()
            self._exist = None


class _Guess:
    """One guess of a secret: refused where too many were wrong lately, and few at once, so that none slips past the
    count while others are being looked at."""

    def __init__(self, limiter: Any, keys: list[tuple[Any, str, str]], turn: asyncio.Semaphore) -> None:
        self._limiter, self._keys, self._turn = limiter, keys, turn

    async def __aenter__(self) -> _Guess:
        self._refuse_if_too_many()  # before the queue for a turn, so that a flood of guesses cannot fill it
        await self._turn.acquire()
        try:
            self._refuse_if_too_many()
        except LoginRefused:
            self._turn.release()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._turn.release()

    def _refuse_if_too_many(self) -> None:
        for limit, *key in self._keys:
            if not self._limiter.test(limit, *key):
                wait_s = max(1, round(self._limiter.get_window_stats(limit, *key).reset_time - _now()))
                raise LoginRefused(f"Too many wrong tries; wait {_minutes(wait_s)}, then try again.", wait_s)

    def wrong(self) -> None:
        """Counts."""
        for limit, *key in self._keys:
            self._limiter.hit(limit, *key)

    def right(self) -> None:
        """The person knows the password: earlier slips under this name no longer count."""
        for limit, *key in self._keys:
            if key[0] == "name":
                self._limiter.clear(limit, *key)


def _now() -> float:
    import time

    return time.time()


def _minutes(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 90 else f"{round(seconds / 60)} minutes"


def _person(account: Account) -> Person:
    return Person(account.rater_id, account.display_name, account.role)
