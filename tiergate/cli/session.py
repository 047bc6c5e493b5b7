"""A tenant's side of `tiergate psql`: statements go out, results come back and are shown."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tiergate.cli import describe
from tiergate.cli.admin import Admin, path_of
from tiergate.cli.errors import BadInput, StatementFailed
from tiergate.cli.output import new_console, new_table, print_json, say
from tiergate.cli.text import printable

if TYPE_CHECKING:
    from rich.text import Text

_OK = 200
_NUMBERS = frozenset(
    {20, 21, 23, 26, 700, 701, 790, 1700}
)  # type OIDs of pg_type.dat that read best at the right


@dataclass(slots=True)
class Session:
    """Runs statements as one tenant.

    Attributes:
        is_expanded: Show each row as a block of lines.
        is_timed: Say how long each statement took.
    """

    api: Admin
    tenant: str
    as_json: bool = False
    is_expanded: bool = False
    is_timed: bool = False

    def run(self, statement: str) -> None:
        """Run one statement, in a transaction of its own, and show its result.

        Raises:
            StatementFailed: Postgres or the gateway refused it.
            AdminRefused, AdminUnreachable: It did not come that far.
        """
        began_s = time.perf_counter()
        answer = self.ask(statement)
        took_s = time.perf_counter() - began_s
        self._show(answer)
        if self.is_timed and not self.as_json:
            say(f"Time: {took_s * 1000:.1f} ms")

    def ask(self, statement: str, params: tuple[str, ...] = ()) -> dict[str, object]:
        """The answer to one statement, with its rows as arrays.

        Raises:
            StatementFailed, AdminRefused, AdminUnreachable: As above.
        """
        body = {"query": statement, "params": list(params), "arrayMode": True}
        status, answer = self.api.send("POST", path_of("tenants", self.tenant, "sql"), body)
        if status == _OK:
            return answer
        if "message" in answer:
            raise StatementFailed(self.tenant, report(answer, statement), answer)
        raise self.api.refusal(status, answer)

    def describe(self, name: str) -> None:
        """Show what tables there are, or what one looks like.

        Raises:
            BadInput: There is no such table.
            StatementFailed, AdminRefused, AdminUnreachable: As above.
        """
        if not name:
            self._show(self.ask(describe.TABLES))
            return
        columns = self.ask(describe.COLUMNS, (name,))
        if not columns.get("rows"):
            raise BadInput(f"there is no table {name} that {self.tenant} can see", "\\d lists the tables.")
        self._show(columns)
        for question in describe.DETAILS:
            answer = self.ask(question, (name,))
            if answer.get("rows"):
                self._show(answer)

    def _show(self, answer: dict[str, object]) -> None:
        if self.as_json:
            print_json(_with_names(answer))
            return
        fields = answer.get("fields")
        rows = answer.get("rows")
        count = answer.get("rowCount")
        if not isinstance(fields, list) or not isinstance(rows, list) or not fields:
            say(str(answer.get("command") or "OK") + ("" if count is None else f" {count}"))
            return
        names = [printable(str(field.get("name"))) for field in fields]
        if self.is_expanded:
            _show_blocks(names, rows)
        else:
            _show_table(names, [field.get("dataTypeID") in _NUMBERS for field in fields], rows)
        command = str(answer.get("command") or "")
        noun = "row" if len(rows) == 1 else "rows"
        say(f"({len(rows)} {noun})" if command == "SELECT" else f"({len(rows)} {noun}) {command} {count}")


def report(body: Mapping[str, object], statement: str = "") -> str:
    """What a failed statement's answer says, in the order that psql says it."""
    lines = [f"{body.get('severity') or 'ERROR'}: {body['message']}"]
    if body.get("code"):
        lines[0] += f" ({body['code']})"
    position = str(body.get("position") or "")
    if position.isdecimal() and 0 < int(position) <= len(statement) + 1:
        before = statement[: int(position) - 1]
        number = before.count("\n") + 1
        line = statement.splitlines()[number - 1] if statement.splitlines() else ""
        head = f"LINE {number}: "
        lines += [head + line, " " * (len(head) + len(before.rpartition("\n")[2])) + "^"]
    lines += [
        f"{name.upper()}: {body[name]}"
        for name in ("detail", "hint", "where")
        if body.get(name) not in {None, ""}
    ]
    return "\n".join(lines)


def _with_names(answer: dict[str, object]) -> dict[str, object]:
    """*answer* with its rows as objects; of columns with the same name the last one is kept."""
    fields, rows = answer.get("fields"), answer.get("rows")
    if not isinstance(fields, list) or not isinstance(rows, list):
        return answer
    names = [str(field.get("name")) for field in fields]
    named = [dict(zip(names, row, strict=True)) if isinstance(row, list) else row for row in rows]
    return {**answer, "rows": named, "rowAsArray": False}


def _show_table(names: list[str], at_right: list[bool], rows: list[list[object]]) -> None:
    table = new_table(names)
    for column, is_number in zip(table.columns, at_right, strict=True):
        column.justify = "right" if is_number else "left"
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    new_console().print(table)


def _show_blocks(names: list[str], rows: list[list[object]]) -> None:
    from rich.text import Text  # noqa: PLC0415 - only when there is something to show

    console = new_console()
    width = max(len(name) for name in names)
    for number, row in enumerate(rows, 1):
        console.print(Text(f"─[ row {number} ]─", "dim"))
        for name, value in zip(names, row, strict=True):
            console.print(Text.assemble((f"{name:<{width}}", "bold"), "  ", _cell(value)), soft_wrap=True)


def _cell(value: object) -> "Text":
    import json  # noqa: PLC0415

    from rich.text import Text  # noqa: PLC0415

    match value:
        case None:
            return Text("NULL", "dim")
        case str():
            return Text(printable(value))
        case _:
            return Text(printable(json.dumps(value, ensure_ascii=False)))
