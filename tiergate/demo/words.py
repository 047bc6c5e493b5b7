"""What the demo says when it is ready: what runs where, and lines to copy."""

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tiergate.demo.verifying import sentence

_NEON = "@neondatabase/serverless@1.2.0"


def show(facts: Mapping[str, Any], *, as_json: bool, started_s: float, folder: str) -> None:
    """Print *facts*, the content of `demo.json`: as they are, or as a person reads them."""
    try:
        if as_json:
            print(json.dumps(facts))  # noqa: T201 - the command's output
        else:
            _show_people(facts, started_s, folder)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who read us has seen enough, and the demo goes on; nothing more is written, at the exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_people(facts: Mapping[str, Any], started_s: float, folder: str) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\n[bold]Tiergate is ready[/bold] after {started_s:.1f} s.")
    console.print(f"Everything it made is in {folder}\n")
    console.print(_table(("what runs", "where"), _places(facts)))
    tenants = [(name, tenant["tier"], tenant["key"]) for name, tenant in facts["tenants"].items()]
    console.print(_table(("tenant", "tier", "key"), tenants))
    if "verify" in facts:
        console.print(sentence(facts["verify"]) + "\n")
    console.print("[bold]Ask it.[/bold] Each line works as it stands, and shows its tenant's rows only.\n")
    for title, line in lines(facts):
        console.print(f"[dim]# {title}[/dim]")
        print(f"{line}\n")  # noqa: T201 - not through rich: what is copied must stay as it is
    console.print("Ctrl-C stops everything. Started again, the data are still there; --fresh begins anew.")


def lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A title and a shell command each, at least one for every tier."""
    url, tenants = facts["gateway"], facts["tenants"]
    query = json.dumps({"query": "SELECT count(*) FROM tasks"})
    node = f"npm install --silent --no-save {_NEON} && node --input-type=module -e"
    query_of_umbrella = "SELECT name, email FROM members ORDER BY name LIMIT 3"
    admin = f"TIERGATE_ADMIN_URL={facts['admin']} TIERGATE_ADMIN_KEY={facts['admin_key']}"
    return [
        (
            "curl, as acme on the standard tier",
            f"curl -s {url}/sql -H 'Authorization: Bearer {tenants['acme']['key']}' -d {shlex.quote(query)}",
        ),
        (
            "Node with Neon's own driver, as globex on the premium tier",
            f"{node} {shlex.quote(_node(url, tenants['globex']['connection_string']))}",
        ),
        (
            "Python, as treasury on the government tier",
            f"{shlex.quote(sys.executable)} -c {shlex.quote(_python(url, tenants['treasury']['key']))}",
        ),
        (
            "a shell, as umbrella on the standard tier",
            f"{admin} {_command()} psql umbrella -c {shlex.quote(query_of_umbrella)}",
        ),
    ]


def _node(url: str, connection_string: str) -> str:
    query = "SELECT number, title, minutes FROM tasks ORDER BY minutes DESC, number LIMIT 3"
    return (
        'import { neon, neonConfig } from "@neondatabase/serverless"; '
        f'neonConfig.fetchEndpoint = "{url}/sql"; '
        f'const sql = neon("{connection_string}"); '
        f"console.table(await sql`{query}`)"
    )


def _python(url: str, key: str) -> str:
    query = "SELECT name, budget FROM projects ORDER BY budget DESC LIMIT $1"
    return (
        f'import httpx; print(httpx.post("{url}/sql", headers={{"Authorization": "Bearer {key}"}}, '
        f'json={{"query": "{query}", "params": [3]}}).text)'
    )


def _command() -> str:
    """How this program was started, for a shell in any folder."""
    started = Path(sys.argv[0]).absolute()
    if started.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m tiergate.cli"
    return shlex.quote(str(started))


def _places(facts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    clusters = [
        (f"Postgres, cluster {name}", f"{at['host']}:{at['port']}") for name, at in facts["clusters"].items()
    ]
    return [
        ("gateway", f"{facts['gateway']}/sql"),
        ("admin API, metrics and health", facts["admin"]),
        *clusters,
    ]


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Left-aligned columns. Not rich's table, which cuts keys off in a narrow terminal."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    first, *others = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in (columns, *rows))
    return "\n".join((f"[bold]{first}[/bold]", *others, ""))
