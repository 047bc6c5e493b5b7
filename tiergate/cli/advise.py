"""`tiergate advise`: which tenants crowd out the others, and what a place of their own would bring."""

from typing import Annotated

import typer

from tiergate.cli.admin import find_address, open_admin
from tiergate.cli.options import AdminKey, AdminUrl, AsJson, Limit
from tiergate.cli.output import print_json, print_rows, say
from tiergate.tenant import Tier

Row = dict[str, object]

_COLUMNS = ("tenant", "tier", "cluster", "requests", "database_time", "connections", "waiting", "rows")


def add_to(app: typer.Typer) -> None:
    """Add this command to *app*."""
    app.command(epilog="Example: [bold]tiergate advise --tier standard[/bold]")(advise)


def advise(
    tier: Annotated[
        Tier | None, typer.Option("--tier", help="Only tenants of this tier.", show_default=False)
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", metavar="CLUSTER", help="Only this cluster.", show_default=False),
    ] = None,
    limit: Limit = 20,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Rank tenants by their share of what their cluster does, and say who should live apart.

    Counted by all processes of all gateways over the last hours; rows are estimates of the databases' own.
    """
    query: dict[str, str | int] = {"limit": limit}
    query |= {"tier": str(tier)} if tier is not None else {}
    query |= {"cluster": cluster} if cluster is not None else {}
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("GET", "/advice", query=query)
    if as_json:
        print_json(answer)
        return
    tenants = _rows(answer, "tenants")
    print_rows([_shown(each) for each in tenants], _COLUMNS, none="No tenant stands out.")
    given = [each for each in tenants if each.get("advice")]
    for each in given:
        say(f"{each['advice']}")
    if tenants and not given:
        say("Nobody needs to live apart.")
    _say_unknown(answer)


def _shown(tenant: Row) -> Row:
    """One line of the table; shares are those of the tenant's cluster."""
    rows = tenant.get("rows")
    return {
        **{name: tenant.get(name) for name in ("tenant", "tier", "cluster", "connections")},
        "requests": _percent(tenant.get("requests_share")),
        "database_time": _percent(tenant.get("database_share")),
        "waiting": _percent(tenant.get("waiting_share")),
        "rows": f"{rows:,} ({_percent(tenant.get('rows_share'))})" if isinstance(rows, int) else None,
    }


def _percent(share: object) -> str:
    return f"{100 * share:.0f} %" if isinstance(share, int | float) else "-"


def _say_unknown(answer: Row) -> None:
    """Say what the numbers leave out."""
    over_s = answer.get("over_s")
    if isinstance(over_s, float) and over_s < 60:  # noqa: PLR2004 - a minute
        say(f"Requests have been counted for {over_s:.0f} s only.")
    if answer.get("untold"):
        say(f"{answer['untold']} processes are silent, or do not tell whom they work for.")
    for each in _rows(answer, "clusters"):
        for failed in _rows(each, "rows_failed"):
            say(f"Rows of cluster {each['cluster']} are not all known: {failed.get('message')}.")
        if isinstance(tables := each.get("rows_unknown"), list) and tables:
            say(f"Run ANALYZE on cluster {each['cluster']} to know whose rows are in: {', '.join(tables)}.")
        match each.get("rows_of_others"):
            case {"table": table, "rows": int(rows)} if rows >= 1_000_000:  # noqa: PLR2004 - many
                say(f"On cluster {each['cluster']} each other tenant has about {rows:,} rows in {table}.")


def _rows(answer: Row, member: str) -> list[Row]:
    found = answer.get(member)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
