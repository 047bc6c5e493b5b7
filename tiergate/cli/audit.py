"""`tiergate audit`: who did what, and whether it still says so."""

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

from tiergate.cli.admin import Admin, find_address, open_admin
from tiergate.cli.errors import AuditBroken
from tiergate.cli.listing import rows_of
from tiergate.cli.options import AdminKey, AdminUrl, AsJson, past
from tiergate.cli.output import print_json, print_rows, say, shown, write_line

_COLUMNS = ("id", "at", "actor", "act", "subject", "outcome", "detail")
_PAGE = 1000

Query = dict[str, str | int]
Entry = dict[str, object]
_VERIFY_S = 600.0
_EVERY_S = 1.0


def add_to(app: typer.Typer) -> None:
    """Give *app* the command."""
    app.command("audit", epilog="Example: [bold]tiergate audit --tenant acme --since 2h[/bold]")(audit)


def audit(
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", metavar="T", help="Only acts on that tenant.", show_default=False),
    ] = None,
    actor: Annotated[
        str | None, typer.Option("--actor", metavar="A", help="Only what A did.", show_default=False)
    ] = None,
    act: Annotated[
        str | None,
        typer.Option(
            "--act", metavar="X", help="Only acts called so: tenant.create, or tenant.", show_default=False
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="WHEN", help="Only the last 2h, or from a date on.", show_default=False
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="Only the latest N.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check that every entry is as it was written.")
    ] = False,
    expect: Annotated[
        str | None,
        typer.Option(
            "--expect",
            metavar="SEQ:DIGEST",
            help="With --verify: an entry that must be there, as the log told it.",
            show_default=False,
        ),
    ] = None,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Show who did what, oldest first; or verify that nobody has altered it.

    With --json each entry is one line.
    """
    with open_admin(find_address(admin, key), timeout_s=_VERIFY_S) as api:
        if verify or expect is not None:
            _verify(api, expect, as_json=as_json)
            return
        asked = {"tenant": tenant, "actor": actor, "act": act}
        query: Query = {name: value for name, value in asked.items() if value is not None}
        if since is not None:
            query["since"] = past(since, "--since").isoformat()
        newest = _entries(api, {"limit": 1}) if follow else []
        latest = _latest(api, query, limit)
        if not (as_json or follow):
            print_rows([_row(entry) for entry in latest], _COLUMNS, none="There are no such entries.")
            return
        _write(latest, as_json=as_json)
        if follow:
            seen = max((_number(entry) for entry in (*newest, *latest)), default=0)
            with suppress(KeyboardInterrupt):
                _follow(api, query, seen, as_json=as_json)


def _verify(api: Admin, expect: str | None, *, as_json: bool) -> None:
    answer = api.ask("GET", "/audit/verify", query={"expect": expect} if expect is not None else {})
    if as_json:
        print_json(answer)
    match answer.get("broken"):
        case {"message": str(message)}:
            raise AuditBroken(message, str(answer.get("entries")))
        case _ if not as_json:
            say(f"All {answer.get('entries')} entries are as they were written.")
            say(f"To be remembered: {answer.get('head')}")
        case _:
            pass


def _latest(api: Admin, query: Query, limit: int) -> list[Entry]:
    """The latest *limit* entries that are meant, oldest first."""
    found: list[Entry] = []
    while len(found) < limit:
        older: Query = {"after": _number(found[-1])} if found else {}
        wanted = min(_PAGE, limit - len(found))
        page = _entries(api, {**query, **older, "limit": wanted})
        found.extend(page)
        if len(page) < wanted:
            break
    return found[::-1]


def _follow(api: Admin, query: Query, seen: int, *, as_json: bool) -> None:
    while True:
        page = _entries(api, {**query, "newer": seen, "limit": _PAGE})
        _write(page, as_json=as_json)
        if page:
            seen = _number(page[-1])
        else:
            time.sleep(_EVERY_S)


def _entries(api: Admin, query: Query) -> list[Entry]:
    return rows_of(api.ask("GET", "/audit", query=query), "entries")


def _number(entry: Entry) -> int:
    number = entry.get("id")
    return number if isinstance(number, int) else 0


def _write(entries: Sequence[Entry], *, as_json: bool) -> None:
    for entry in entries:
        if as_json:
            write_line(entry)
        else:
            say("  ".join(shown(_row(entry).get(column)) for column in _COLUMNS))


def _row(entry: Entry) -> Entry:
    detail = entry.get("detail")
    facts = detail.items() if isinstance(detail, dict) else ()
    said = [f"{name}={_fact(value)}" for name, value in facts if value is not None]
    return {**entry, "detail": " ".join(said)}


def _fact(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
