"""`tiergate key`: API keys, with which upstream services call as a tenant."""

from enum import StrEnum
from typing import Annotated

import typer

from tiergate.cli.admin import find_address, open_admin, path_of
from tiergate.cli.listing import list_all
from tiergate.cli.options import AdminKey, AdminUrl, AsJson, KeyId, TenantName, id_of_key, moment, seconds
from tiergate.cli.output import print_json, print_rows, say

app = typer.Typer(help="API keys, with which services call as a tenant.", no_args_is_help=True)

_COLUMNS = ("id", "state", "scopes", "note", "created_at", "expires_at", "last_used_at")


class Scope(StrEnum):
    """What a key may do."""

    READ = "read"
    WRITE = "write"


_DEFAULT_SCOPES = (Scope.READ, Scope.WRITE)


@app.command(
    epilog="Example: [bold]tiergate key create acme --scope read --expires 90d --note reports[/bold]"
)
def create(
    tenant: TenantName,
    scope: Annotated[
        list[Scope], typer.Option("--scope", help="What it may do; give it twice for both.")
    ] = list(_DEFAULT_SCOPES),  # noqa: B006 - typer copies it
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            metavar="WHEN",
            help="After a duration (90d) or at a date; else never.",
            show_default=False,
        ),
    ] = None,
    note: Annotated[
        str, typer.Option("--note", metavar="TEXT", help="What it is for.", show_default=False)
    ] = "",
    replaces: Annotated[
        str | None,
        typer.Option(
            "--replaces", metavar="ID", help="An old key, which ends after --overlap.", show_default=False
        ),
    ] = None,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="DURATION", help="How long the old key stays valid.")
    ] = "24h",
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once; the registry keeps a digest of it only."""
    body: dict[str, object] = {"scopes": [each.value for each in dict.fromkeys(scope)], "note": note}
    if expires is not None:
        body["expires_at"] = moment(expires, "--expires").isoformat()
    if replaces is not None:
        body |= {"replaces": replaces, "overlap_s": seconds(overlap, "--overlap")}
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("POST", path_of("tenants", tenant, "keys"), body)
    if as_json:
        print_json(answer)
        return
    # Alone on its line and on standard output, so that `| head -1` and a double click both get it.
    say(str(answer.get("key")))
    say(f"This is the key of {tenant}; it is not shown again.")
    say(f"To end it: tiergate key revoke {answer.get('id')}")
    if replaces is not None:
        say(f"The key {replaces} is valid for {overlap} more.")


@app.command("list", epilog="Example: [bold]tiergate key list acme[/bold]")
def list_keys(
    tenant: TenantName,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """List a tenant's keys, oldest first, those that are no longer valid too."""
    with open_admin(find_address(admin, key)) as api:
        found = list_all(api, path_of("tenants", tenant, "keys"), "keys", limit=1000)
    if as_json:
        print_json(found.answer)
        return
    print_rows(found.rows, _COLUMNS, none=f"{tenant} has no keys: tiergate key create {tenant}.")
    found.say_more()


@app.command(epilog="Example: [bold]tiergate key revoke k7f2m4xq2a5c[/bold]")
def revoke(
    key_id: KeyId,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """End a key at once, on every gateway."""
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("DELETE", path_of("keys", id_of_key(key_id)))
    if as_json:
        print_json(answer)
        return
    say(f"The key {id_of_key(key_id)} is valid no more.")
