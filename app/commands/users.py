"""`worldline users`: accounts from the terminal, beside a running workbench or without one."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from app.commands.common import CannotDo, DataOption, data_folder, failing_softly

app = typer.Typer(
    help="Accounts: who may log in, and as what.\n\nExample: worldline users add ada --role admin", no_args_is_help=True
)

NameArgument = Annotated[str, typer.Argument(help="The name to log in with.")]
GenerateOption = Annotated[bool, typer.Option("--generate", help="Make a random password and print it.")]


def _role(value: str) -> str:
    from app.people import ROLES

    if value not in ROLES:
        raise typer.BadParameter(f"{value!r} is not a role; choose one of {', '.join(ROLES)}.")
    return value


RoleOption = Annotated[
    str,
    typer.Option(callback=_role, help="rater, adjudicator, researcher or admin: each may do what those before may."),
]


@app.command()
def add(
    name: NameArgument, role: RoleOption = "rater", generate: GenerateOption = False, data: DataOption = None
) -> None:
    """Make an account. The first one must be an admin; from then on everyone logs in.

    The password is asked for, or read from standard input where that is no terminal.

    Example: worldline users add ada --role admin
    """
    with failing_softly(), _workbench(data) as bench:
        password = _password(generate)
        made = bench.add_user(name, role, password)
        typer.echo(f'"{made["name"]}" can log in as {made["role"]}.')
        _tell(generate, password)


@app.command("list")
def list_(data: DataOption = None) -> None:
    """List the accounts, and the invitations that are open.

    Example: worldline users list
    """
    with failing_softly(), _workbench(data) as bench:
        found = bench.users()
        if not found:
            typer.echo("There are no accounts: nobody has to log in, and only this machine is answered.")
        width = max((len(user["name"]) for user in found), default=0)
        for user in found:
            typer.echo(
                f"{user['name']:{width}}  {user['role']:11}  since {user['created_at'][:10]}"
                + ("" if user["active"] else "  switched off")
            )
        for invite in bench.invites():
            typer.echo(
                f"invitation {invite['invite_id']}  {invite['role']:11}  holds until {invite['expires_at'][:16]} UTC"
            )


@app.command()
def disable(name: NameArgument, data: DataOption = None) -> None:
    """Switch an account off: it is logged out at once and cannot log in. Its ratings stay.

    Example: worldline users disable ada
    """
    with failing_softly(), _workbench(data) as bench:
        bench.change_user(name, active=False)
        typer.echo(f'"{name}" is switched off; `worldline users enable` undoes it.')


@app.command()
def enable(name: NameArgument, data: DataOption = None) -> None:
    """Switch an account on again.

    Example: worldline users enable ada
    """
    with failing_softly(), _workbench(data) as bench:
        bench.change_user(name, active=True)
        typer.echo(f'"{name}" can log in again.')


@app.command()
def reset(name: NameArgument, generate: GenerateOption = False, data: DataOption = None) -> None:
    """Give an account a new password, and end its logins.

    Example: worldline users reset ada --generate
    """
    with failing_softly(), _workbench(data) as bench:
        password = _password(generate)
        bench.change_user(name, password=password)
        typer.echo(f'"{name}" has a new password, and was logged out everywhere.')
        _tell(generate, password)


@app.command()
def role(
    name: NameArgument,
    role: Annotated[str, typer.Argument(callback=_role, help="rater, adjudicator, researcher or admin.")],
    data: DataOption = None,
) -> None:
    """Give an account another role.

    Example: worldline users role ada adjudicator
    """
    with failing_softly(), _workbench(data) as bench:
        bench.change_user(name, role=role)
        typer.echo(f'"{name}" is {role} from now on.')


@app.command()
def invite(
    role: RoleOption = "rater",
    days: Annotated[int, typer.Option(min=1, max=90, help="How long the link holds.")] = 7,
    data: DataOption = None,
) -> None:
    """Print a link with which one person makes an account of their own.

    Example: worldline users invite --role rater --days 3
    """
    with failing_softly(), _workbench(data) as bench:
        typer.echo(bench.invite(role, days))
        typer.echo(
            f"Whoever opens this first becomes a {role} here; it holds for {days} days. Where people reach the workbench "
            "under another address, put that one before /join.",
            err=True,
        )


def _workbench(data: Any) -> Any:
    from app.workbench import workbench_at

    return workbench_at(data_folder(data))


def _password(generate: bool) -> str:
    from app.people import random_password

    if generate:
        return random_password()
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise CannotDo("There is no password on standard input; give one, or use --generate.")
        return password
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


def _tell(generated: bool, password: str) -> None:
    if generated:
        typer.echo(f"Password: {password}")
