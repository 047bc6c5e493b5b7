"""Looks on at a move until nothing happens by itself for a while, and tells what came of it."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import typer

from tiergate.cli.admin import Admin, path_of
from tiergate.cli.errors import AdminUnreachable, MoveUndone
from tiergate.cli.output import say, shown

Move = Mapping[str, Any]  # Any: JSON

_LOOK_S = 0.25
_PATIENCE_S = 30.0
_INTERRUPTED = 130
_KIB = 1024
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def follow(api: Admin, number: str) -> Move:
    """The move, once it is over, soaks, or waits for somebody; Ctrl-C ends the looking on alone.

    A gateway that is away for a moment is waited for: another one goes on with the move.

    Raises:
        AdminUnreachable, AdminRefused: See `Admin.ask`.
        typer.Exit: By Ctrl-C.
    """
    seen_s = time.monotonic()
    try:
        with _status() as tell:
            while True:
                try:
                    move = api.ask("GET", path_of("moves", number))
                    seen_s = time.monotonic()
                    if is_at_rest(move):
                        return move
                    tell(progress(move))
                except AdminUnreachable:
                    if time.monotonic() - seen_s > _PATIENCE_S:
                        raise
                    tell("the gateway does not answer; asking again")
                time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nThe move goes on. To look on again: tiergate moves watch {number}\n")
        raise typer.Exit(_INTERRUPTED) from None


def is_at_rest(move: Move) -> bool:
    """Whether nothing happens to it by itself, but for the end of its soaking or the moment it waits for."""
    if move["is_over"]:
        return True
    if move["wanted"] is not None:
        return False
    waits = move["state"] == "ready" and (move["hold"] or _is_to_come(move["at"]))
    soaks = move["state"] == "soaking" and _is_to_come(move["soaks_until"])
    return bool(move["is_paused"] or soaks or waits)


def _is_to_come(at: str | None) -> bool:
    return at is not None and datetime.fromisoformat(at) > datetime.now(UTC)


def conclude(move: Move) -> None:
    """Say what came of a move that is at rest.

    Raises:
        MoveUndone: It was aborted.
    """
    number, tenant, source, target = move["id"], move["tenant"], move["from"], move["to"]
    match move["state"]:
        case "aborted":
            raise MoveUndone(number, tenant, str(move["error"] or "somebody has asked for that"))
        case "rolled_back":
            say(f"Tenant {tenant} lives at its old place again, on cluster {source['cluster']}.")
        case "done":
            say(f"Tenant {tenant} lives on the {target['tier']} tier, cluster {target['cluster']}.")
            say("Nothing is left of its old place.")
        case "soaking":
            say(f"Tenant {tenant} lives on the {target['tier']} tier, cluster {target['cluster']}.")
            if (pause_ms := _pause_ms(move)) is not None:
                say(f"Its requests waited for {pause_ms} ms.")
            say(f"Until {shown(move['soaks_until'])} it can go back: tiergate moves rollback {number}")
        case "ready" if not move["is_paused"]:
            when = f"at {shown(move['at'])}" if move["at"] else "when you say so"
            say("All is copied and compared, and is kept equal.")
            say(f"It is cut over {when}: tiergate moves cutover {number}")
        case state:
            say(f"The move is paused while {state}. To go on: tiergate moves resume {number}")


def progress(move: Move) -> str:
    """How far it is, on a line."""
    told = move["progress"]
    parts = [f"{move['tenant']}: {str(move['state']).replace('_', ' ')}"]
    match move["state"]:
        case "copying":
            parts += _counted(told.get("copied"))
        case "verifying":
            parts += _counted(told.get("verified"))
        case "catching_up" | "ready" | "soaking" if (keys := told.get("changed")) is not None:
            parts.append(f"{keys} changed rows in the last pass")
        case _:
            pass
    if move["worker"] is None:
        parts.append("waiting for a worker")
    if move["error"]:
        parts.append(f"trying again: {move['error']}")
    return ", ".join(parts)


def size(size_bytes: float) -> str:
    """A size for people."""
    for unit in _UNITS[:-1]:
        if size_bytes < _KIB:
            return f"{size_bytes:.0f} {unit}" if unit == _UNITS[0] else f"{size_bytes:.1f} {unit}"
        size_bytes /= _KIB
    return f"{size_bytes:.1f} {_UNITS[-1]}"


def _counted(count: object) -> list[str]:
    match count:
        case {"rows": int(rows), "size_bytes": int(size_bytes)} if size_bytes:
            return [f"{rows} rows, {size(size_bytes)}"]
        case {"rows": int(rows)}:
            return [f"{rows} rows"]
        case _:
            return []


def _pause_ms(move: Move) -> object:
    match move["progress"]:
        case {"cut": {"pause_ms": pause_ms}}:
            return pause_ms
        case _:
            return None


@contextmanager
def _status() -> Iterator[Any]:  # Any: takes a line
    """On a terminal, a line that changes, on standard error."""
    from rich.console import Console  # noqa: PLC0415 - only when there is something to show
    from rich.markup import escape  # noqa: PLC0415

    with Console(stderr=True).status("looking …") as status:
        yield lambda line: status.update(escape(line))
