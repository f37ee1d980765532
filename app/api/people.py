"""Logging in and out, accounts, invitations. Passwords come in here and never go out."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, SecretStr

from app.api.common import Bench, In, Me, needs, refusals
from app.api.errors import Refused
from app.login import cookie_of, give_cookie, take_cookie
from app.pages import open_to
from app.people import LONGEST_PASSWORD, Person, random_password
from storage.events import format_utc
from storage.people import Account, Invite

router = APIRouter(tags=["people"])
ADMIN = [needs("admin")]

Role = Literal["rater", "adjudicator", "researcher", "admin"]
Name = Annotated[str, Field(max_length=200, description="The name to log in with.", examples=["ada"])]
Password = Annotated[
    SecretStr,
    Field(max_length=LONGEST_PASSWORD, description="At least 10 characters.", examples=["four unrelated words"]),
]
LONGEST_INVITE_DAYS = 90


class LoginIn(In):
    """Who, and the proof."""

    name: Name
    password: Password


class JoinIn(LoginIn):
    """The name and password that the new account will have."""

    token: str = Field(max_length=200, description="What stands behind `#` in the link of the invitation.")


class PasswordIn(In):
    """One's own password."""

    old: Password
    new: Password


class MeOut(BaseModel):
    """Who you are here."""

    rater_id: str = Field(examples=["ada"])
    display_name: str
    role: Role
    accounts: bool = Field(description="Whether people log in here; false: one person, on this machine.")
    pages: list[str] = Field(description="The pages you may open.", examples=[["/ui/rate"]])


class UserIn(In):
    """A new account."""

    name: Name
    password: Password | None = Field(None, description="Absent: one is made, and told in the answer.")
    role: Role = Field(
        "rater", description="rater, adjudicator, researcher or admin: each may do what those before may."
    )


class ChangeIn(In):
    """What becomes something else; what is left out stays."""

    role: Role | None = Field(None, description="Another role.")
    active: bool | None = Field(None, description="false: nobody can log in with it any more; nothing is removed.")
    password: Password | None = Field(None, description="A new password; ends the logins there are.")


class UserOut(BaseModel):
    """An account."""

    name: str = Field(examples=["ada"])
    role: Role
    active: bool
    created_at: str
    logins: int = Field(0, description="How many logins of it hold now.")


class UserMade(UserOut):
    """A new account."""

    made_password: str | None = Field(
        None, description="The password that was made, told this once; null: yours counts."
    )


class PasswordMade(BaseModel):
    """A new password, told this once."""

    name: str
    password: str = Field(examples=["k7pm-x2qd-9hfr-wn4e"])


class InviteIn(In):
    """Whom to invite."""

    role: Role = Field("rater", description="The role of the account that the link makes.")
    days: int = Field(7, ge=1, le=LONGEST_INVITE_DAYS, description="How long the link holds.")


class InviteOut(BaseModel):
    """An invitation. Its link is told once, to whoever makes it."""

    invite_id: str
    role: Role
    created_by: str
    expires_at: str
    used_by: str | None = Field(description="The account it made; null: none yet.")
    open: bool = Field(description="Whether it can still be taken.")


class InviteMade(InviteOut):
    """A new invitation with its link."""

    link: str = Field(examples=["http://127.0.0.1:7860/join#mJ4…"])


# ---- for everyone


@router.post("/login", summary="Log in", response_model=MeOut, responses=refusals(400, 401, 403, 409, 422, 429))
async def log_in(bench: Bench, request: Request, response: Response, sent: LoginIn) -> MeOut:
    """A cookie that holds for a week. Any login that the browser had before ends."""
    if not await bench.people.exist():
        raise Refused(409, "There are no accounts here; nobody has to log in.")
    found = await bench.people.log_in(sent.name, sent.password.get_secret_value(), _address(request))
    await _carry(bench, request, response, found.token)
    return _me(found.person)


@router.post(
    "/join", status_code=201, summary="Take an invitation", response_model=MeOut,
    responses=refusals(400, 401, 403, 409, 422, 429),
)  # fmt: skip
async def join(bench: Bench, request: Request, response: Response, sent: JoinIn) -> MeOut:
    """Make the account that an invitation promises, and log in. A link can be taken once."""
    password = sent.password.get_secret_value()
    found = await bench.people.join(sent.token, sent.name, password, _address(request))
    await _carry(bench, request, response, found.token)
    return _me(found.person)


@router.post("/logout", summary="Log out", status_code=204, dependencies=[needs("rater")], responses=refusals(401, 403))
async def log_out(bench: Bench, request: Request, response: Response) -> None:
    """End this login, here and on the server."""
    if token := cookie_of(request.headers):
        await bench.people.log_out(token)
    take_cookie(response)


@router.get("/me", summary="Who am I?", response_model=MeOut, dependencies=[needs("rater")], responses=refusals(401))
async def who_am_i(me: Me) -> MeOut:
    """The account that is logged in, or the one person there is."""
    return _me(me)


@router.post(
    "/me/password", summary="Change my password", status_code=204, dependencies=[needs("rater")],
    responses=refusals(400, 401, 403, 409, 422, 429),
)  # fmt: skip
async def change_password(bench: Bench, request: Request, me: Me, sent: PasswordIn) -> None:
    """Takes the old one; ends all other logins of this account."""
    if me.alone:
        raise Refused(409, "There are no accounts here, so there is no password to change.")
    old, new = sent.old.get_secret_value(), sent.new.get_secret_value()
    await bench.people.change_own_password(me, old, new, cookie_of(request.headers), _address(request))


# ---- for admins


@router.get("/users", summary="List accounts", response_model=list[UserOut], dependencies=ADMIN)
async def users(bench: Bench) -> list[UserOut]:
    """The oldest first; those that are switched off included."""
    logins = await bench.people.open_logins()
    return [UserOut(**_user(one), logins=logins.get(one.rater_id, 0)) for one in await bench.people.accounts()]


@router.post(
    "/users", status_code=201, summary="Make an account", response_model=UserMade, dependencies=ADMIN,
    responses=refusals(400, 401, 403, 409, 422),
)  # fmt: skip
async def add_user(bench: Bench, sent: UserIn) -> UserMade:
    """The first one must be an admin; from then on everyone logs in."""
    made = random_password() if sent.password is None else None
    password = made or (sent.password.get_secret_value() if sent.password else "")
    return UserMade(**_user(await bench.people.add(sent.name, sent.role, password)), made_password=made)


@router.post(
    "/users/{name}/password", summary="Give an account a new password", response_model=PasswordMade, dependencies=ADMIN,
    responses=refusals(401, 403, 409),
)  # fmt: skip
async def reset_password(bench: Bench, name: str) -> PasswordMade:
    """One is made and told this once; the logins there are end. Whoever gets it can change it."""
    made = random_password()
    await bench.people.change(name, password=made)
    return PasswordMade(name=name, password=made)


@router.delete(
    "/users/{name}/logins", summary="Log an account out everywhere", status_code=204, dependencies=ADMIN,
    responses=refusals(401, 403, 409),
)  # fmt: skip
async def end_logins(bench: Bench, name: str) -> None:
    """Every login of it ends now; its password stays."""
    await bench.people.log_out_everywhere(name)


@router.patch(
    "/users/{name}", summary="Change an account", response_model=UserOut, dependencies=ADMIN,
    responses=refusals(400, 401, 403, 409, 422),
)  # fmt: skip
async def change_user(bench: Bench, name: str, sent: ChangeIn) -> UserOut:
    """Another role or password, or switched on or off. Being switched off, or a new password, ends its logins at once."""
    password = sent.password.get_secret_value() if sent.password is not None else None
    return UserOut(**_user(await bench.people.change(name, role=sent.role, active=sent.active, password=password)))


@router.get("/invites", summary="List invitations", response_model=list[InviteOut], dependencies=ADMIN)
async def invites(bench: Bench) -> list[InviteOut]:
    """The newest first; those that were taken or have ended included."""
    return [InviteOut.model_validate(_invite(one)) for one in await bench.people.invites()]


@router.post(
    "/invites", status_code=201, summary="Invite somebody", response_model=InviteMade, dependencies=ADMIN,
    responses=refusals(400, 401, 403, 409, 422),
)  # fmt: skip
async def invite(bench: Bench, request: Request, me: Me, sent: InviteIn) -> InviteMade:
    """A link that makes one account. The secret stands behind `#`, which browsers keep to themselves."""
    made, token = await bench.people.invite(sent.role, me.rater_id, timedelta(days=sent.days))
    return InviteMade.model_validate({**_invite(made), "link": f"{request.base_url}join#{token}"})


@router.delete(
    "/invites/{invite_id}", summary="Withdraw an invitation", status_code=204, dependencies=ADMIN,
    responses=refusals(401, 403, 409),
)  # fmt: skip
async def withdraw(bench: Bench, invite_id: str) -> None:
    """The link makes no account any more."""
    await bench.people.withdraw(invite_id)


def _address(request: Request) -> str:
    return request.client.host if request.client else "?"


async def _carry(bench: Bench, request: Request, response: Response, token: str) -> None:
    """Give the browser its new login; the one it came with, whoever planted it, is worth nothing from here on."""
    if before := cookie_of(request.headers):
        await bench.people.log_out(before)
    give_cookie(response, token, https=request.url.scheme == "https")


def _me(person: Person) -> MeOut:
    return MeOut(
        rater_id=person.rater_id,
        display_name=person.display_name,
        role=person.role,  # type: ignore[arg-type]  # the table's check knows the same four
        accounts=not person.alone,
        pages=open_to(person),
    )


def _user(account: Account) -> dict[str, Any]:
    at = format_utc(account.created_at)
    return {"name": account.rater_id, "role": account.role, "active": account.active, "created_at": at}


def _invite(one: Invite) -> dict[str, str | bool | None]:
    return {
        "invite_id": one.invite_id, "role": one.role, "created_by": one.created_by,
        "expires_at": format_utc(one.expires_at), "used_by": one.used_by, "open": one.open,
    }  # fmt: skip
