"""`tiergate psql`: a shell as a tenant, in its place and under its isolation."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tiergate.cli.admin import find_address, open_admin
from tiergate.cli.backslash import is_command, obey
from tiergate.cli.errors import BadInput
from tiergate.cli.options import AdminKey, AdminUrl, AsJson, TenantName, read_text
from tiergate.cli.session import Session


def add_to(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command(
        epilog='Example: [bold]tiergate psql acme -c "SELECT count(*) FROM tasks"[/bold]',
    )(psql)


def psql(
    tenant: TenantName,
    command: Annotated[
        list[str] | None,
        typer.Option(
            "--command",
            "-c",
            metavar="SQL",
            help="Run this and leave; may be given again.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Run a file and leave; - is standard input.",
            show_default=False,
        ),
    ] = None,
    expanded: Annotated[
        bool, typer.Option("--expanded", "-x", help="Show each row as a block of lines.")
    ] = False,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    r"""Ask as a tenant: its rows only, where they are.

    Without -c and -f it is a shell: statements end with a semicolon, and \? tells more.

    Each statement is a transaction of its own; the first one that fails ends -c, -f and standard input.
    Backslash commands stand on lines of their own.
    """
    if command and file is not None:
        raise BadInput("both -c and -f are given", "Give one of them.")
    is_shell = not command and file is None and sys.stdin.isatty()
    with open_admin(find_address(admin, key), timeout_s=3600.0) as api:
        session = Session(api, tenant, as_json=as_json, is_expanded=expanded)
        if is_shell:
            from tiergate.cli.shell import Shell  # noqa: PLC0415 - brings readline

            Shell(session).run()
            return
        for text in command or [read_text(file or Path("-"), "--file")]:
            if not run(session, text):
                return


def run(session: Session, text: str) -> bool:
    """Do what a whole text says, as if it were typed; whether to go on with the next one.

    Raises:
        StatementFailed, AdminRefused, AdminUnreachable, BadInput: Here it ends.
    """
    for step in split(text):
        if not isinstance(step, Command):
            session.run(step)
        elif not obey(session, step):
            return False
    return True


class Command(str):
    """A line with a backslash command, among statements."""

    __slots__ = ()


def split(text: str) -> list[str]:
    """The statements and backslash commands of a whole text; the last statement needs no semicolon."""
    from tiergate.cli.statements import Script  # noqa: PLC0415 - its patterns take 20 ms to compile

    script, done, waiting = Script(), list[str](), list[str]()
    for line in text.splitlines(keepends=True):
        if is_command(line):
            # Fed in large pieces: each feeding reads again what is not complete.
            done += script.feed("".join(waiting))
            waiting.clear()
            if script.is_empty:
                done.append(Command(line.strip()))
                continue
        waiting.append(line)
    done += script.feed("".join(waiting))
    rest = script.rest()
    return [*done, rest] if rest else done
