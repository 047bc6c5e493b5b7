"""`tiergate tenant`: who is served, and how they are kept apart."""

from contextlib import suppress
from math import isfinite
from typing import Annotated, Any

import typer

from tiergate.cli.admin import find_address, open_admin, path_of
from tiergate.cli.errors import BadInput
from tiergate.cli.listing import list_all
from tiergate.cli.options import (
    AdminKey,
    AdminUrl,
    After,
    AsJson,
    Confirm,
    Limit,
    Region,
    TenantName,
    TierName,
    check_confirmed,
)
from tiergate.cli.output import print_facts, print_json, print_rows, say
from tiergate.tenant import Tier

app = typer.Typer(help="Tenants: who is served, and how they are kept apart.", no_args_is_help=True)

_CREATED = 201
_TIER = "tier"
"""Instead of a number: what the tier has."""

_COLUMNS = ("name", "tier", "region", "state", "cluster", "place", "created_at")


def _own(option: str, help_: str) -> Any:  # as typer.Option
    return typer.Option(option, metavar="N|tier", help=help_, show_default=False)


def _limit(name: str, text: str) -> float | None:
    """The number that *text* is; None for the tier's."""
    if text == _TIER:
        return None
    with suppress(ValueError):
        number = float(text)
        if isfinite(number):
            return int(number) if number.is_integer() else number
    raise BadInput(f"{name} {text!r} is no number", "Write a number, or `tier` for what its tier has.")


def _facts(answer: dict[str, object]) -> dict[str, object]:
    """A tenant, a line for each of its own limits."""
    limits = answer.pop("limits", None)
    own = limits.items() if isinstance(limits, dict) else ()
    return answer | {limit: "the tier's" if value is None else value for limit, value in own}


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
    """Show one tenant: its tier, its state, where its rows are, and what it has of its own."""
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("GET", path_of("tenants", name))
    print_json(answer) if as_json else print_facts(_facts(answer))


@app.command(
    "set", epilog="Example: [bold]tiergate tenant set acme --requests-per-s 50 --burst 100 --weight 4[/bold]"
)
def set_own(
    name: TenantName,
    requests_per_s: Annotated[
        str | None, _own("--requests-per-s", "Requests a second, in one process.")
    ] = None,
    burst: Annotated[str | None, _own("--burst", "Requests at once, after a while without any.")] = None,
    inflight: Annotated[
        str | None, _own("--max-inflight", "Connections of one pool that it may have at a time.")
    ] = None,
    waiting: Annotated[str | None, _own("--max-waiting", "Requests that may wait for a connection.")] = None,
    weight: Annotated[
        str | None, _own("--weight", "How many of its waiting requests are served in one turn: 1 to 1000.")
    ] = None,
    warm: Annotated[
        bool | None,
        typer.Option("--warm/--not-warm", help="Keep connections to its place open.", show_default=False),
    ] = None,
    compliance: Annotated[
        str | None,
        typer.Option(
            "--compliance",
            metavar="LABEL",
            help="What asks for it to live apart; `none` for nothing.",
            show_default=False,
        ),
    ] = None,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Give one tenant limits of its own, on every gateway at once; the word `tier` gives one back.

    What is not said stays as it is. A limit means for the tenant what the setting of that name means for
    its tier.
    """
    given = {
        "requests_per_s": requests_per_s, "burst": burst, "max_tenant_inflight": inflight,
        "max_tenant_waiting": waiting, "weight": weight,
    }  # fmt: skip
    body: dict[str, object] = {
        member: _limit(member, text) for member, text in given.items() if text is not None
    }
    if warm is not None:
        body["warm"] = warm
    if compliance is not None:
        body["compliance"] = compliance if compliance != "none" else None
    if not body:
        raise BadInput("it is not said what to change", "Give at least one option, as --burst 100.")
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("PATCH", path_of("tenants", name), body)
    print_json(answer) if as_json else print_facts(_facts(answer))


@app.command(epilog="Example: [bold]tiergate tenant delete acme --confirm acme[/bold]")
def delete(
    name: TenantName,
    confirm: Confirm = None,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Delete a suspended tenant with its rows, its place and its keys. There is no way back.

    Run it again after an interruption: what is gone stays gone, and the rest follows.
    """
    check_confirmed(name, confirm, "its rows, its place and its keys")
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("DELETE", path_of("tenants", name), query={"confirm": name})
    print_json(answer) if as_json else say(f"Tenant {name} is deleted, with all that it had.")


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
