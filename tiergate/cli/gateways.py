"""`tiergate pools`, `tiergate gateways`: what all processes of all gateways have, together."""

from typing import Annotated

import typer

from tiergate.cli.admin import find_address, open_admin
from tiergate.cli.listing import rows_of
from tiergate.cli.options import AdminKey, AdminUrl, AsJson
from tiergate.cli.output import print_json, print_rows, say

Rows = list[dict[str, object]]

_POOLS = ("place", "cluster", "tier", "processes", "active", "idle", "waiting", "opening", "closing")
_BUDGETS = ("cluster", "processes", "used", "max")
_STANDING = ("verb", "tenant", "pool", "cluster", "left_s", "actor")
_PROCESSES = ("gateway", "pid", "version", "started_at", "silent_s", "is_silent", "id")


def add_to(app: typer.Typer) -> None:
    """Add these commands to *app*."""
    app.command(epilog="Example: [bold]tiergate pools --process[/bold]")(pools)
    app.command(epilog="Example: [bold]tiergate gateways[/bold]")(gateways)


def pools(
    process: Annotated[
        bool, typer.Option("--process", help="What each process has, instead of the sum.")
    ] = False,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Show the pools and budgets of all processes of all gateways, and what is paused or drained.

    Each process writes down every few seconds what it has.
    """
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("GET", "/gateways") | api.ask("GET", "/orders")
    if as_json:
        print_json(answer)
        return
    for each in rows_of(answer, "processes") if process else [answer]:
        if process:
            say(f"{each.get('gateway')}, process {each.get('pid')}, heard of {each.get('silent_s')} s ago:")
        print_rows(rows_of(each, "budgets"), _BUDGETS, none="No cluster is in use.")
        print_rows(rows_of(each, "pools"), _POOLS, none="No pool is open.")
    if standing := rows_of(answer, "orders"):
        print_rows(standing, _STANDING, none="")
    _warn(rows_of(answer, "processes"))


def gateways(
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """List the processes of all gateways, and since when each was not heard of."""
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("GET", "/gateways")
    if as_json:
        print_json(answer)
        return
    found = rows_of(answer, "processes")
    print_rows(found, _PROCESSES, none="No process serves requests.")
    _warn(found)


def _warn(processes: Rows) -> None:
    silent = [process for process in processes if process.get("is_silent") is True]
    if silent:
        say(f"{len(silent)} processes are silent: gone, or cut off from the registry; what they have is old.")
    cut = sum(1 for process in processes if process.get("more_pools"))
    if cut:
        say(f"{cut} processes have more pools than they write down; the fullest are shown.")
