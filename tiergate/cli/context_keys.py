"""`tiergate keys`: the keys that gateways sign contexts with, one for each database."""

from typing import Annotated

import typer

from tiergate.cli.admin import Admin, find_address, open_admin
from tiergate.cli.errors import AdminRefused, BadInput
from tiergate.cli.options import AdminKey, AdminUrl, AsJson
from tiergate.cli.output import print_json, print_rows, say

app = typer.Typer(help="The keys that gateways sign contexts with.", no_args_is_help=True)

OneCluster = Annotated[
    str | None,
    typer.Option(
        "--cluster", metavar="CLUSTER", help="Only the databases of this cluster.", show_default=False
    ),
]
_COLUMNS = ("cluster", "database", "kid", "since", "retiring", "retirable_in_s", "made")
_IN_USE = "key-in-use"


@app.command("list", epilog="Example: [bold]tiergate keys list --cluster standard-1[/bold]")
def list_context_keys(
    cluster: OneCluster = None,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """List which key signs in each database, and which old one is still good there."""
    with open_admin(find_address(admin, key)) as api:
        found = _known(api, cluster)
    if as_json:
        print_json({"context_keys": found})
    else:
        print_rows(found, _COLUMNS, none="No database holds tenants yet.")


@app.command(epilog="Example: [bold]tiergate keys rotate-context --cluster standard-1[/bold]")
def rotate_context(
    cluster: OneCluster = None,
    retire: Annotated[
        bool, typer.Option("--retire", help="The second step: have databases refuse the old keys.")
    ] = False,
    at_once: Annotated[
        bool,
        typer.Option(
            "--at-once", help="With --retire: although a gateway that hears nothing may still use one."
        ),
    ] = False,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Replace the keys that sign contexts, without an interruption, in two steps.

    First every database learns a new key, and gateways sign with it.

    Once no gateway can use the old one any more, --retire has databases refuse it.

    Either goes on where it was when it is run again.
    """
    if at_once and not retire:
        raise BadInput(
            "--at-once goes with --retire",
            "For a key that has leaked: tiergate keys rotate-context, then tiergate keys rotate-context"
            " --retire --at-once.",
        )
    done: list[dict[str, object]] = []
    in_use: AdminRefused | None = None
    with open_admin(find_address(admin, key)) as api:
        for known in _known(api, cluster):
            where = {"cluster": known["cluster"], "database": known["database"]}
            try:
                if retire:
                    now = api.ask("POST", "/context-keys/retire", where | {"at_once": at_once})
                else:
                    now = api.ask("POST", "/context-keys/rotate", where)
            except AdminRefused as error:
                if error.said != _IN_USE:
                    raise
                in_use, now = error, known
            done.append(now)
            if not as_json:
                say(f"{now['cluster']}/{now['database']}: {_became(known, now, retire=retire)}")
    if as_json:
        print_json({"context_keys": done})
    elif not retire and (waits := [each for each in done if each.get("retiring") is not None]):
        left_s = max(int(str(each["retirable_in_s"])) for each in waits)
        say(f"The old keys are good until they are retired; from {left_s} s on:"
            " tiergate keys rotate-context --retire")  # fmt: skip
    if in_use is not None:
        raise in_use


def _known(api: Admin, cluster: str | None) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    query: dict[str, str | int] = {"limit": 1000} | ({"cluster": cluster} if cluster is not None else {})
    while True:
        answer = api.ask("GET", "/context-keys", query=query)
        listed = answer.get("context_keys")
        found += listed if isinstance(listed, list) else []
        if (further := answer.get("next")) is None:
            return found
        query = query | {"after": str(further)}


def _became(before: dict[str, object], now: dict[str, object], *, retire: bool) -> str:
    kid, old = now["kid"], now["retiring"]
    if retire and before["retiring"] is not None:
        if old is not None:
            return f"key {old} is kept for another {now['retirable_in_s']} s"
        return f"key {before['retiring']} is refused, key {kid} signs"
    if retire:
        return f"key {kid} signs, and no other is known"
    if before["kid"] != kid:
        return f"key {kid} signs, key {old} is good meanwhile"
    return f"key {kid} signs already, key {old} waits to be retired" if old is not None else "not made yet"
