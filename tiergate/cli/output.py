"""Results on standard output: tables for people, JSON for machines."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tiergate.cli.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDE = 100_000  # columns: a file or a pipe has no edge at which to cut


def print_json(value: object) -> None:
    """Write *value* as JSON, indented for those who look."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_line(value: object) -> None:
    """Write *value* as JSON on one line, at once: whoever reads a pipe should not wait for more."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def new_console() -> "Console":
    """Standard output, as wide as the terminal, or without an edge when it is none."""
    from rich.console import Console  # noqa: PLC0415 - only when there is something to show

    return Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)


def new_table(columns: Sequence[str]) -> "Table":
    """An empty table; headings are not markup."""
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(Text(printable(column)), overflow="fold")
    return table


def print_rows(rows: Sequence[Mapping[str, object]], columns: Sequence[str], *, none: str) -> None:
    """Write *rows* as a table of *columns*; *none* is said when there are no rows."""
    from rich.text import Text  # noqa: PLC0415

    console = new_console()
    if not rows:
        console.print(Text(none))
        return
    table = new_table([column.replace("_", " ") for column in columns])
    for row in rows:
        table.add_row(*(Text(shown(row.get(column))) for column in columns))
    console.print(table)


def print_facts(facts: Mapping[str, object]) -> None:
    """Write one thing's facts, a line each."""
    from rich.text import Text  # noqa: PLC0415

    console = new_console()
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        line = Text.assemble((f"{name.replace('_', ' '):<{width}}", "dim"), "  ", shown(value))
        console.print(line, soft_wrap=True)


def say(sentence: str) -> None:
    """Write a sentence for people."""
    from rich.text import Text  # noqa: PLC0415

    new_console().print(Text(printable(sentence)), soft_wrap=True)


def shown(value: object) -> str:
    """*value* as a table shows it: times to the second in UTC, lists with commas, nothing as a dash."""
    match value:
        case None | "" | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(shown(item) for item in value)
        case str():
            return printable(_moment(value) or value)
        case _:
            return str(value)


def _moment(text: str) -> str | None:
    # Only what looks like a time from our own API; a tenant may be called 2026.
    if len(text) < len("2026-01-01T00:00:00") or text[10:11] != "T":
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment.tzinfo else None
