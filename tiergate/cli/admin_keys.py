"""`tiergate admin key`: keys of operators, each with a name and a role."""

from enum import StrEnum
from typing import Annotated

import typer

from tiergate.cli.admin import find_address, open_admin, path_of
from tiergate.cli.options import AdminKey, AdminUrl, AsJson, KeyId, id_of_key, moment
from tiergate.cli.output import print_json, print_rows, say

app = typer.Typer(help="Keys of operators, each with a name and a role.", no_args_is_help=True)


class Role(StrEnum):
    """What its holder may do; each may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    OWNER = "owner"


_PATH = "/admin-keys"
_COLUMNS = ("id", "name", "role", "state", "created_at", "expires_at", "revoked_at")


@app.command(epilog="Example: [bold]tiergate admin key create --role operator --name ann[/bold]")
def create(
    role: Annotated[Role, typer.Option("--role", help="What its holder may do.", show_default=False)],
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Who acts, in the audit.", show_default=False)
    ],
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            metavar="WHEN",
            help="After a duration (90d) or at a date; else never.",
            show_default=False,
        ),
    ] = None,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Make a key for an operator. It is shown this once; the registry keeps a digest of it only."""
    body: dict[str, object] = {"name": name, "role": role.value}
    if expires is not None:
        body["expires_at"] = moment(expires, "--expires").isoformat()
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("POST", _PATH, body)
    if as_json:
        print_json(answer)
        return
    say(str(answer.get("key")))
    say(f"This is the key of {name}, {role.value}; it is not shown again.")
    say(f"To end it: tiergate admin key revoke {answer.get('id')}")


@app.command("list", epilog="Example: [bold]tiergate admin key list[/bold]")
def list_keys(admin: AdminUrl = None, key: AdminKey = None, as_json: AsJson = False) -> None:
    """List operators' keys, oldest first, those that are no longer valid too."""
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("GET", _PATH)
    if as_json:
        print_json(answer)
        return
    found = answer.get("admin_keys")
    none = "There are none but admin.key: tiergate admin key create."
    print_rows(found if isinstance(found, list) else [], _COLUMNS, none=none)


@app.command(epilog="Example: [bold]tiergate admin key revoke k7f2m4xq2a5c[/bold]")
def revoke(
    key_id: KeyId,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """End an operator's key at once, on every gateway."""
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("DELETE", path_of("admin-keys", id_of_key(key_id)))
    if as_json:
        print_json(answer)
        return
    say(f"The key of {answer.get('name')} is valid no more.")
