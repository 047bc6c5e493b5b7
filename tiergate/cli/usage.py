"""`tiergate usage`: what tenants have used, for whoever bills them."""

import csv
import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer

from tiergate.cli.admin import Admin, find_address, open_admin
from tiergate.cli.errors import BadInput
from tiergate.cli.listing import list_all
from tiergate.cli.options import AdminKey, AdminUrl, AsJson, past
from tiergate.cli.output import print_rows, write_line
from tiergate.tenant import Tier

_COLUMNS = (
    "tenant", "from", "tier", "requests", "failed_requests", "rows", "in_bytes", "out_bytes",
    "database_s", "connection_s", "storage_bytes",
)  # fmt: skip
_PAGE = 1000


class By(StrEnum):
    """What is added up."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


def add_to(app: typer.Typer) -> None:
    """Add this command to *app*."""
    app.command(epilog="Example: [bold]tiergate usage --from 2026-03-01 --to 2026-04-01 --csv[/bold]")(usage)


def usage(
    tenant: Annotated[
        str | None, typer.Argument(metavar="[TENANT]", help="Only this tenant.", show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="WHEN", help="Only from a date on, or the last 30d.", show_default=False
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--to", metavar="WHEN", help="Only what was before that date.", show_default=False),
    ] = None,
    by: Annotated[By, typer.Option("--by", help="Add up by hour, day or month, of UTC.")] = By.MONTH,
    tier: Annotated[
        Tier | None, typer.Option("--tier", help="Only what was used on this tier.", show_default=False)
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV, with a line of names first.")] = False,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Show what tenants have used: requests, rows, bytes, time and storage.

    With --json each row is one line. Rows come as they are read, in the order of tenant, time and tier.
    """
    if as_csv and as_json:
        raise BadInput("--csv and --json were given", "Give one of them.")
    query = {"by": by.value}
    query |= {"tenant": tenant} if tenant is not None else {}
    query |= {"tier": tier.value} if tier is not None else {}
    query |= {"from": past(since, "--from").isoformat()} if since is not None else {}
    query |= {"to": past(until, "--to").isoformat()} if until is not None else {}
    with open_admin(find_address(admin, key)) as api:
        rows = _rows(api, query)
        if as_json:
            for row in rows:
                write_line(row)
        elif as_csv:
            _write_csv(rows)
        else:
            print_rows(list(rows), _COLUMNS, none="Nothing was used.")


def _rows(api: Admin, query: dict[str, str]) -> Iterator[dict[str, object]]:
    """All rows that are meant, page by page."""
    after = ""
    while True:
        page = list_all(api, "/usage", "usage", limit=_PAGE, after=after, query=query)
        yield from page.rows
        if page.next is None:
            return
        after = page.next


def _write_csv(rows: Iterator[dict[str, object]]) -> None:
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(_COLUMNS)
    for row in rows:
        table.writerow("" if row.get(column) is None else row[column] for column in _COLUMNS)
