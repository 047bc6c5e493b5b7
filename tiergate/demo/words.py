"""What the demo says when it is ready: what runs where, and lines to copy."""

import json
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_NEON = "@neondatabase/serverless@1.2.0"


def show(facts: Mapping[str, Any], *, as_json: bool, started_s: float, folder: str) -> None:
    """Print *facts*, the content of `demo.json`: as they are, or as a person reads them."""
    if as_json:
        print(json.dumps(facts), flush=True)  # noqa: T201 - the command's output
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\n[bold]Tiergate is ready[/bold] after {started_s:.1f} s. Everything it made is in {folder}\n")
    console.print(_table(("what runs", "where"), _places(facts)))
    console.print(
        _table(("tenant", "tier", "key"), [(n, t["tier"], t["key"]) for n, t in facts["tenants"].items()])
    )
    console.print("[bold]Ask it.[/bold] Each line works as it stands, and shows the rows of its tenant only.\n")
    for title, line in lines(facts):
        console.print(f"[dim]# {title}[/dim]")
        print(f"{line}\n")  # noqa: T201 - not through rich: what is copied must stay as it is
    console.print("Ctrl-C stops everything. Started again, the data are still there; --fresh begins anew.")
    sys.stdout.flush()


def lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A title and a shell command each, at least one for every tier."""
    url, tenants = facts["gateway"], facts["tenants"]
    query = json.dumps({"query": "SELECT count(*) FROM tasks"})
    node = (
        'import { neon, neonConfig } from "@neondatabase/serverless"; '
        f'neonConfig.fetchEndpoint = "{url}/sql"; '
        f'const sql = neon("{tenants["globex"]["connection_string"]}"); '
        "console.table(await sql`SELECT number, title, minutes FROM tasks ORDER BY number LIMIT 3`)"
    )
    python = (
        f'import httpx; print(httpx.post("{url}/sql", '
        f'headers={{"Authorization": "Bearer {tenants["treasury"]["key"]}"}}, '
        'json={"query": "SELECT name, budget FROM projects ORDER BY budget DESC LIMIT $1", "params": [3]}).text)'
    )
    return [
        (
            "curl, as acme on the standard tier",
            f"curl -s {url}/sql -H 'Authorization: Bearer {tenants['acme']['key']}' -d {shlex.quote(query)}",
        ),
        (
            "Node with Neon's own driver, as globex on the premium tier",
            f"npm install --silent --no-save {_NEON} && node --input-type=module -e {shlex.quote(node)}",
        ),
        (
            "Python, as treasury on the government tier",
            f"{shlex.quote(sys.executable)} -c {shlex.quote(python)}",
        ),
        (
            "a shell, as umbrella on the standard tier",
            f"{shlex.quote(sys.argv[0])} psql umbrella -c 'SELECT name, email FROM members ORDER BY name LIMIT 3'",
        ),
    ]


def _places(facts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    clusters = [
        (f"Postgres, cluster {name}", f"{at['host']}:{at['port']}") for name, at in facts["clusters"].items()
    ]
    return [("gateway", f"{facts['gateway']}/sql"), ("admin API, metrics and health", facts["admin"]), *clusters]


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    table.add_row()
    return table
