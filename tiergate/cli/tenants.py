"""`tiergate tenant`: who is served, and how they are kept apart."""

from typing import Annotated

import typer

from tiergate.cli.admin import find_address, open_admin, path_of
from tiergate.cli.listing import list_all
from tiergate.cli.options import AdminKey, AdminUrl, After, AsJson, Limit, Region, TenantName, TierName
from tiergate.cli.output import print_facts, print_json, print_rows, say
from tiergate.tenant import Tier

app = typer.Typer(help="Tenants: who is served, and how they are kept apart.", no_args_is_help=True)

_CREATED = 201
_COLUMNS = ("name", "tier", "region", "state", "cluster", "place", "created_at")


@app.command(epilog="Example: [bold]tiergate tenant create globex --tier premium --region eu[/bold]")
def create(
    name: TenantName,
    tier: TierName,
    region: Region = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="CLUSTER",
            help="Where to; else the cluster of that tier and region with the fewest tenants.",
            show_default=False,
        ),
    ] = None,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Take a tenant in and make its place, with the application's tables.

    A name is 1 to 63 characters of a-z, 0-9 and inner hyphens.

    Run it again after an interruption: what was done is kept, and a tenant that is served is left alone.
    """
    body = {"name": name, "tier": tier.value, "region": region, "cluster": cluster}
    with open_admin(find_address(admin, key)) as api:
        status, answer = api.act("POST", "/tenants", body)
    if as_json:
        print_json(answer)
        return
    already = "" if status == _CREATED else " already"
    say(f"Tenant {name} is served{already} on the {tier.value} tier, by cluster {answer.get('cluster')}.")
    say(f"A key for it: tiergate key create {name}")


@app.command("list", epilog="Example: [bold]tiergate tenant list --tier premium[/bold]")
def list_tenants(
    tier: Annotated[Tier | None, typer.Option("--tier", help="Only this tier's.", show_default=False)] = None,
    limit: Limit = 100,
    after: After = "",
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """List tenants by name."""
    query = {"tier": tier.value} if tier else {}
    with open_admin(find_address(admin, key)) as api:
        found = list_all(api, "/tenants", "tenants", limit=limit, after=after, query=query)
    if as_json:
        print_json(found.answer)
        return
    print_rows(found.rows, _COLUMNS, none="There are no tenants: tiergate tenant create.")
    found.say_more()


@app.command(epilog="Example: [bold]tiergate tenant show acme[/bold]")
def show(
    name: TenantName,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Show one tenant: its tier, its state, and where its rows are."""
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("GET", path_of("tenants", name))
    print_json(answer) if as_json else print_facts(answer)


@app.command(epilog="Example: [bold]tiergate tenant suspend acme[/bold]")
def suspend(
    name: TenantName,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Refuse every request of a tenant from now on, on every gateway; its rows stay."""
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("POST", path_of("tenants", name, "suspend"))
    if as_json:
        print_json(answer)
        return
    say(f"Tenant {name} is suspended; no new request of it is served.")
    if answer.get("drained") is False:
        say("Requests that began before are still running; they end within their statement timeout.")
    say(f"To undo it: tiergate tenant resume {name}")


@app.command(epilog="Example: [bold]tiergate tenant resume acme[/bold]")
def resume(
    name: TenantName,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Serve a suspended tenant again."""
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("POST", path_of("tenants", name, "resume"))
    if as_json:
        print_json(answer)
        return
    say(f"Tenant {name} is served again.")
