"""How an error is told on a terminal, and the exit code that goes with it."""

import json
import sys
from enum import IntEnum

from tiergate.cli.errors import AdminRefused, AdminUnknown, AdminUnreachable, BadInput, Unready
from tiergate.cli.text import printable
from tiergate.errors import TiergateError

_NOT_FOUND = 404


class Exit(IntEnum):
    """Exit codes; 2 is also what typer leaves with when it does not understand the command line."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4


def exit_code(error: TiergateError) -> Exit:
    """The exit code for *error*."""
    match error:
        case AdminUnreachable() | Unready():
            return Exit.UNREACHABLE
        case AdminRefused(status=status) if status == _NOT_FOUND:
            return Exit.NOT_FOUND
        case BadInput() | AdminUnknown():
            return Exit.USAGE
        case _:
            return Exit.UNREACHABLE if error.code == "registry-unavailable" else Exit.REFUSED


def tell(error: TiergateError, *, as_json: bool) -> None:
    """Write *error* to standard error: what happened, and what to do next."""
    if as_json:
        print(json.dumps({"error": _facts(error)}), file=sys.stderr)  # noqa: T201 - a command's output
        return
    from rich.console import Console  # noqa: PLC0415 - only when there is something to show
    from rich.text import Text  # noqa: PLC0415

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text.assemble(("error: ", "bold red"), printable(str(error))))
    if error.advice:
        console.print(Text.assemble(("next:  ", "bold"), printable(error.advice)))


def _facts(error: TiergateError) -> dict[str, object]:
    code = error.said if isinstance(error, AdminRefused) else error.code
    return {"code": code, "message": str(error), "advice": error.advice, "retryable": error.retryable}
