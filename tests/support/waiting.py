"""Waits for what other processes do, by looking again and again; every wait has an end."""

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

_LOOK_S = 0.02
_TRIES = 10


async def wait_until(
    holds: Callable[[], object], *, within_s: float = 20, what: str = "what was waited for"
) -> None:
    """Return once *holds* gives something true; it may be a coroutine function.

    Raises:
        AssertionError: It did not within *within_s*; names *what*, and what it gave last.
    """
    ends_s = time.monotonic() + within_s
    while True:
        seen = holds()
        if inspect.isawaitable(seen):
            seen = await seen
        if seen:
            return
        if time.monotonic() > ends_s:
            raise AssertionError(f"{what}: not within {within_s:g} s; last seen: {seen!r}")
        await asyncio.sleep(_LOOK_S)


async def hold_within(within_s: float, timed: Callable[[], Awaitable[float]], *, what: str) -> list[float]:
    """Hold that *what*, which *timed* does and times in seconds, takes no longer; all that it took.

    It is tried again when it does: whoever else uses the machine makes some tries longer, and only what
    is our own doing makes all of them so.

    Raises:
        AssertionError: Not one of several tries was done in time.
    """
    took_s: list[float] = []
    while len(took_s) < _TRIES:
        took_s.append(await timed())
        if took_s[-1] <= within_s:
            return took_s
    raise AssertionError(f"{what}: never within {within_s:g} s but after {[round(s, 3) for s in took_s]}")


def is_alive(pid: int) -> bool:
    """Whether the process goes on; one that has ended and is not yet collected does not."""
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        return state not in {"Z", "X"}
    return False


def processes_of(folder: Path) -> dict[int, str]:
    """Processes whose command line names *folder*, and Postgres's own children that work in it."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or entry.name == str(os.getpid()):
            continue
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if str(folder) in command:
                found[int(entry.name)] = command
                continue
        with suppress(OSError):
            where = (entry / "cwd").readlink()
            if where.is_relative_to(folder) and is_alive(int(entry.name)):
                found[int(entry.name)] = command
    return found
