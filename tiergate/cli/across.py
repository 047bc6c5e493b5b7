"""`tiergate admin query`: one statement over the rows of every tenant."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tiergate.cli.admin import find_address, open_admin
from tiergate.cli.errors import AdminUnknown, BadInput, PlacesFailed
from tiergate.cli.options import AdminUrl, AsJson, read_text
from tiergate.cli.output import print_rows, say, write_line
from tiergate.tenant import Tier

app = typer.Typer(help="What touches every tenant at once.", no_args_is_help=True)

_PATH = "/read-across-all-tenants"
_WHOLE_S = 660.0
_WHERE = ("place", "tier", "cluster")


@app.callback()
def every_tenant() -> None:
    """What touches every tenant at once."""  # with a callback, the only command keeps its name


@app.command(
    epilog='Example: [bold]tiergate admin query "SELECT count(*) FROM tasks" --reason "ticket 4711"'
    " --i-know-this-reads-every-tenant[/bold]"
)
def query(
    sql: Annotated[
        str,
        typer.Argument(
            metavar="SQL", help="One statement; - reads it from standard input.", show_default=False
        ),
    ],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; it stays in the audit.", show_default=False)
    ],
    i_know: Annotated[
        bool, typer.Option("--i-know-this-reads-every-tenant", help="Nothing is asked without this.")
    ] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Let the statement change rows, of every tenant.")
    ] = False,
    tier: Annotated[Tier | None, typer.Option("--tier", help="Only this tier's.", show_default=False)] = None,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", metavar="CLUSTER", help="Only this cluster's places.", show_default=False),
    ] = None,
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            "--tenant",
            metavar="TENANT",
            help="Only the place where that one lives, with all who live there; may be given again.",
            show_default=False,
        ),
    ] = None,
    max_rows: Annotated[
        int, typer.Option("--max-rows", min=1, max=1_000_000, metavar="N", help="Of all places.")
    ] = 10_000,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="For each place.")] = 30.0,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            metavar="FILE",
            help="Holds admin.cross_tenant_key; else TIERGATE_CROSS_TENANT_KEY.",
            show_default=False,
        ),
    ] = None,
    admin: AdminUrl = None,
    as_json: AsJson = False,
) -> None:
    """Run one statement in every place: shared tables, schemas and databases of all tenants.

    Reads only, unless --write is given. Who asks, why, and the text are written into the audit first.
    With --json every row, and how every place ended, is one line.
    """
    if not i_know:
        raise BadInput(
            "this reads the rows of every tenant",
            "If that is what you want, add --i-know-this-reads-every-tenant; else: tiergate psql TENANT.",
        )
    body = {
        "query": read_text(Path("-"), "SQL") if sql == "-" else sql,
        "reason": reason,
        "i_know_this_reads_every_tenant": True,
        "write": write,
        "tier": tier,
        "cluster": cluster,
        "tenants": tenant or [],
        "max_rows": max_rows,
        "timeout_s": timeout,
    }
    rows: list[dict[str, object]] = []
    places: list[dict[str, object]] = []
    end: dict[str, object] = {"outcome": "broken off"}
    with open_admin(find_address(admin, _key(key_file)), timeout_s=_WHOLE_S) as api:
        for line in api.stream("POST", _PATH, body):
            if as_json:
                write_line(line)
            match line:
                case {"kind": "row", "row": dict(row)} if not as_json:
                    rows.append({**{f"@{name}": line.get(name) for name in _WHERE}, **row})
                case {"kind": "place"}:
                    places.append(line)
                case {"kind": "end"}:
                    end = line
                case _:
                    pass
    if not as_json:
        _show(rows, places, end)
    if end["outcome"] != "ok":
        failed = [place for place in places if place.get("outcome") != "ok"]
        said = (
            f"\n  {place.get('place')} on {place.get('cluster')}: {place.get('message')}" for place in failed
        )
        raise PlacesFailed(str(end["outcome"]), "".join(said))


def _show(
    rows: Sequence[dict[str, object]], places: Sequence[dict[str, object]], end: dict[str, object]
) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    print_rows(rows, columns, none="There are no rows.")
    for place in places:
        if place.get("outcome") == "ok":
            say(f"{_name(place)}: {place.get('rows')} rows")
    say(f"Entry {end.get('entry')} of the audit tells of this.")
    if end.get("audited") is False:
        say("Beware: how it ended could not be written into the audit.")


def _name(place: dict[str, object]) -> str:
    return f"{place.get('place')} ({place.get('tier')}, {place.get('cluster')})"


def _key(key_file: Path | None) -> str:
    if key_file is not None:
        return read_text(key_file, "--key-file").strip()
    if not (found := os.environ.get("TIERGATE_CROSS_TENANT_KEY")):
        raise AdminUnknown(
            "the key that opens the door across tenants",
            "Give --key-file FILE, or set TIERGATE_CROSS_TENANT_KEY to the value of admin.cross_tenant_key.",
        )
    return found
