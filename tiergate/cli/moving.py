"""`tiergate promote`, `demote`, `move`: a tenant goes to another tier or cluster, while it is in use."""

import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from tiergate.cli.admin import Admin, find_address, open_admin, path_of
from tiergate.cli.errors import BadInput
from tiergate.cli.failures import Exit
from tiergate.cli.following import conclude, follow, size
from tiergate.cli.options import AdminKey, AdminUrl, AsJson, TenantName, moment, seconds
from tiergate.cli.output import print_facts, print_json, print_rows, say
from tiergate.tenant import Tier

_ORDER = (Tier.STANDARD, Tier.PREMIUM, Tier.GOVERNMENT)
"""From low to high."""
_NONE = {"0", "0s"}


class Direction(StrEnum):
    """Where a command may lead."""

    UP = "promote"
    DOWN = "demote"
    ANY = "move"


_PROMOTE = """Move a tenant to a higher tier, while it is in use.

Its requests wait for some milliseconds, once. Ctrl-C ends the looking on; the move goes on.
"""
_DEMOTE = """Move a tenant to a lower tier, while it is in use.

As promote; apart, so that nobody loses a database of their own by a slip.
"""
_MOVE = """Move a tenant to any tier, or to another cluster of its own, while it is in use.

As promote, in whatever direction.
"""

To = Annotated[Tier, typer.Option("--to", help="The tier that it goes to.", show_default=False)]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="CLUSTER",
        help="Where to; else the cluster of that tier and region with the fewest tenants.",
        show_default=False,
    ),
]
At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="TIME",
        help="Not cut over before: a date and time (UTC), or a time from now such as 8h.",
        show_default=False,
    ),
]
Hold = Annotated[bool, typer.Option("--hold", help="Not cut over before `tiergate moves cutover`.")]
Soak = Annotated[
    str,
    typer.Option("--soak", metavar="DURATION", help="How long it can go back afterwards; 0s for not at all."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Look for what would go wrong, and change nothing.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not look on until it is done.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to *app*."""
    promote = app.command(
        "promote", help=_PROMOTE, epilog="Example: [bold]tiergate promote acme --to premium[/bold]"
    )
    demote = app.command(
        "demote", help=_DEMOTE, epilog="Example: [bold]tiergate demote globex --to standard[/bold]"
    )
    move = app.command(
        "move",
        help=_MOVE,
        epilog="Example: [bold]tiergate move acme --to standard --cluster standard-2[/bold]",
    )
    for command, direction in ((promote, Direction.UP), (demote, Direction.DOWN), (move, Direction.ANY)):
        command(_moving(direction))


def _moving(direction: Direction) -> Callable[..., None]:
    """The command that moves a tenant in that direction."""

    def go(
        name: TenantName,
        to: To,
        cluster: Cluster = None,
        at: At = None,
        hold: Hold = False,
        soak: Soak = "1h",
        dry_run: DryRun = False,
        no_wait: NoWait = False,
        admin: AdminUrl = None,
        key: AdminKey = None,
        as_json: AsJson = False,
    ) -> None:
        body = _body(to, cluster, at, soak, hold=hold, dry_run=dry_run)
        with open_admin(find_address(admin, key)) as api:
            if direction is not Direction.ANY:
                _check_direction(api, name, to, direction)
            _begin(api, name, body, waits=not no_wait, as_json=as_json)

    return go


def _body(
    to: Tier, cluster: str | None, at: str | None, soak: str, *, hold: bool, dry_run: bool
) -> dict[str, object]:
    if hold and at is not None:
        raise BadInput("--at and --hold exclude each other", "Give one of them.")
    return {
        "to": to.value,
        "cluster": cluster,
        "at": None if at is None else moment(at, "--at").isoformat(),
        "hold": hold,
        "soak_s": 0 if soak.strip() in _NONE else seconds(soak, "--soak"),
        "dry_run": dry_run,
    }


def _check_direction(api: Admin, name: str, to: Tier, meant: Direction) -> None:
    here = Tier(str(api.ask("GET", path_of("tenants", name))["tier"]))
    match _ORDER.index(to) - _ORDER.index(here):
        case 0:
            is_, ending = Direction.ANY, " --cluster CLUSTER"
        case steps:
            is_, ending = Direction.UP if steps > 0 else Direction.DOWN, ""
    if is_ is not meant:
        raise BadInput(
            f"tenant {name} lives on the {here} tier: from there to {to} is no way to {meant}",
            f"If that is meant: tiergate {is_} {name} --to {to}{ending}",
        )


def _begin(api: Admin, name: str, body: Mapping[str, object], *, waits: bool, as_json: bool) -> None:
    answer = api.ask("POST", path_of("tenants", name, "moves"), body)
    if body["dry_run"]:
        print_json(answer) if as_json else _show_preflight(answer)
        if answer["refused"]:
            sys.exit(Exit.REFUSED)
        return
    number = str(answer["id"])
    if not as_json:
        _warn(answer.get("preflight"))
    if not waits:
        if as_json:
            print_json(answer)
            return
        say(f"Move {number} is under way. To look on: tiergate moves watch {number}")
        return
    rests = follow(api, number)
    if as_json:
        print_json(rests)
    if not as_json or rests["state"] == "aborted":
        conclude(rests)


def _warn(seen: object) -> None:
    match seen:
        case {"findings": list(findings)}:
            for finding in findings:
                say(f"Beware: {finding['what']} ({finding['where']}). {finding['cure']}")
        case _:
            pass


def _show_preflight(seen: Mapping[str, Any]) -> None:  # Any: JSON
    print_facts(
        {
            "tenant": seen["tenant"],
            "from": seen["from"],
            "to": f"{seen['to']} ({seen['tier']})",
            "rows": f"about {seen['rows']}",
            "size": f"about {size(seen['size_bytes'])}",
            "takes": f"about {seen['duration_s']:.0f} s, longer on a busy cluster",
            "pause": f"about {seen['pause_ms']:.0f} ms, plus the longest of its transactions",
        }
    )
    say("")
    rows = [
        {**finding, "weight": "refused" if finding["forbids"] else "warning"} for finding in seen["findings"]
    ]
    print_rows(rows, ("weight", "code", "what", "where", "cure"), none="Nothing stands in the way.")
    say("")
    say("It would be refused." if seen["refused"] else "It would go through. Nothing was changed.")
