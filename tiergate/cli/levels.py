"""`tiergate log-level`: how much the logs of all processes say, for a while."""

from typing import Annotated

import typer

from tiergate.cli.admin import find_address, open_admin
from tiergate.cli.errors import BadInput, OrderUnfinished
from tiergate.cli.listing import rows_of
from tiergate.cli.options import AdminKey, AdminUrl, AsJson, seconds
from tiergate.cli.output import print_json, print_rows, say

_LEVELS = ("debug", "info", "warning", "error", "configured")
_SHOWN = ("gateway", "pid", "level", "left_s", "silent_s")
_WAIT_S = 10.0
_SPARE_S = 10.0


def add_to(app: typer.Typer) -> None:
    """Add this command to *app*."""
    app.command("log-level", epilog="Example: [bold]tiergate log-level debug --for 10m[/bold]")(log_level)


def log_level(
    level: Annotated[
        str | None,
        typer.Argument(
            metavar="[LEVEL]",
            help="debug, info, warning, error; configured goes back to logging.level.",
            show_default=False,
        ),
    ] = None,
    for_: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="Until logging.level holds again, 24h at most.")
    ] = "10m",
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Show how much the logs of all processes of all gateways say, or set it for a while, without a restart.

    A process that starts meanwhile begins with logging.level.
    """
    if level is not None and level not in _LEVELS:
        raise BadInput(f"{level!r} is no level", f"Give one of {', '.join(_LEVELS)}.")
    with open_admin(find_address(admin, key), timeout_s=_WAIT_S + _SPARE_S) as api:
        if level is None:
            answer = api.ask("GET", "/log-level")
        else:
            body = {"level": level, "for_s": seconds(for_, "--for"), "wait_s": _WAIT_S}
            answer = api.ask("PUT", "/log-level", body)
    processes = rows_of(answer, "processes")
    if as_json:
        print_json(answer)
    else:
        print_rows(processes, _SHOWN, none="No process serves requests.")
    if level is None:
        return
    if answer.get("done") is not True:
        deaf = [f"{each['gateway']} process {each['pid']} is {each['state']}" for each in processes]
        left = [said for said, each in zip(deaf, processes, strict=True) if each.get("state") != "done"]
        raise OrderUnfinished("log-level", level, left, is_over=False)
    if not as_json:
        say("Every process has heard it.")
