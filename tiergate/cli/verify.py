"""`tiergate verify`: whether a live installation keeps its tenants apart."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from itertools import zip_longest
from typing import Annotated, Any

import typer

from tiergate.cli.admin import find_address, open_admin
from tiergate.cli.failures import tell
from tiergate.cli.options import AdminKey, AdminUrl, AsJson
from tiergate.cli.output import new_console, new_table, print_json, say, shown
from tiergate.errors import TiergateError

Line = Mapping[str, Any]  # Any: JSON

REPORT_VERSION = 1


class Exit(IntEnum):
    """What the command leaves with; nothing else."""

    WELL = 0
    FINDINGS = 1
    NOT_RUN = 2


def add_to(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command(epilog="Example: [bold]tiergate verify --tenant acme[/bold]")(verify)


def verify(
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", metavar="TENANT", help="Only where this tenant lives.", show_default=False),
    ] = None,
    place: Annotated[
        str | None, typer.Option("--place", metavar="PLACE", help="Only this place.", show_default=False)
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", metavar="CLUSTER", help="Only this cluster.", show_default=False),
    ] = None,
    look_only: Annotated[
        bool, typer.Option("--look-only", help="Make no tenants, and try no escapes.")
    ] = False,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Check that a live installation keeps its tenants apart; nothing of theirs is changed.

    Looks at roles, grants, policies, keys and functions on every cluster.

    Then tries known escapes between two tenants of its own, which it makes and removes.

    Leaves with 0 when all is well, with 1 when it found mistakes, and with 2 when it could not run.
    """
    body = {"tenant": tenant, "place": place, "cluster": cluster, "tries": not look_only}
    try:
        with open_admin(find_address(admin, key)) as api, _progress() as told:
            lines = [told(line) for line in api.stream("POST", "/verify", body)]
    except TiergateError as error:
        tell(error, as_json=as_json)
        sys.exit(Exit.NOT_RUN)
    if not lines or lines[-1].get("event") != "ended":
        say("The gateway went away before it was done.")
        sys.exit(Exit.NOT_RUN)
    *checks, ended = lines
    print_json(_report(checks, ended)) if as_json else _show(checks, ended)
    sys.exit(Exit.FINDINGS if ended["failed"] else Exit.WELL)


@contextmanager
def _progress() -> Iterator[Any]:  # Any: takes a line and gives it back
    """On a terminal, what is being checked, on standard error."""
    from rich.console import Console  # noqa: PLC0415 - only when there is something to show

    console = Console(stderr=True)
    count = 0
    with console.status("looking …") as status:

        def told(line: Line) -> Line:
            nonlocal count
            count += 1
            status.update(
                f"{count} checks, cluster {line.get('cluster')}: {line.get('name') or line.get('code')}"
            )
            return line

        yield told


def _report(checks: list[Line], ended: Line) -> dict[str, object]:
    kept = {name: value for name, value in ended.items() if name != "event"}
    return {
        "version": REPORT_VERSION,
        **kept,
        "results": [{name: value for name, value in line.items() if name != "event"} for line in checks],
    }


def _show(checks: list[Line], ended: Line) -> None:
    from rich.text import Text  # noqa: PLC0415

    style = {"ok": "green", "failed": "bold red", "warning": "yellow"}
    table = new_table(("place", "checks", "outcome"))
    for where, lines in _by_place(checks).items():
        bad = [line["outcome"] for line in lines if line["findings"]]
        outcome = "failed" if "failed" in bad else "warning" if bad else "ok"
        word = outcome.upper() if outcome == "failed" else outcome
        table.add_row(Text(shown(where)), str(len(lines)), Text(word, style[outcome]))
    console = new_console()
    console.print(table)
    for where, lines in _by_place([line for line in checks if line["findings"]]).items():
        console.print(Text(f"\n{where}", "bold"))
        for line, following in zip_longest(lines, lines[1:]):
            # Many escapes succeed for one reason: what to do is said once, below the last of them.
            is_last = following is None or following["advice"] != line["advice"]
            _show_findings(line, style[line["outcome"]], with_advice=is_last)
    say(
        f"\n{ended['checks']} checks in {ended['took_s']:.1f} s: "
        + (f"{ended['failed']} FAILED" if ended["failed"] else "all well")
        + (f", {ended['warnings']} to look at." if ended["warnings"] else ".")
    )


def _show_findings(line: Line, style: str, *, with_advice: bool) -> None:
    from rich.text import Text  # noqa: PLC0415

    console = new_console()
    name = f"{line['code']} {line['name']}" if line["name"] else line["code"]
    for finding in line["findings"]:
        said = f"  {shown(finding['what'])}: {shown(finding['detail'])}"
        console.print(Text.assemble((f"  {line['outcome']:<8}", style), (name, "bold"), said), soft_wrap=True)
    if with_advice:
        console.print(Text.assemble(("  next:   ", "dim"), shown(line["advice"])), soft_wrap=True)


def _by_place(checks: list[Line]) -> dict[str, list[Line]]:
    """The lines by what they are about: a place, else a database, else the whole server."""
    found: dict[str, list[Line]] = {}
    for line in sorted(
        checks, key=lambda each: (each["cluster"], each["database"] or "", each["place"] or "")
    ):
        parts = [f"{line['cluster']} ({line['tier']})", line["database"], line["place"]]
        found.setdefault(" / ".join(part for part in parts if part), []).append(line)
    return found
