"""A terminal of its own for a program, of any size, and what is to be seen on it."""

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import termios
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.waiting import wait_until

_CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


def drawn(sent: str, columns: int, rows: int) -> tuple[list[str], int]:
    """The screen after *sent*, and how many characters fell beside it; knows what rich sends."""
    grid = [[" "] * columns for _ in range(rows)]
    row = column = at = beside = 0
    while at < len(sent):
        if (found := _CONTROL.match(sent, at)) is not None:
            at = found.end()
            match found[2]:
                case "H":
                    row, column = (int(part or 1) - 1 for part in (found[1] or "1;1").split(";"))
                case "J":
                    grid = [[" "] * columns for _ in range(rows)]
                case "h" | "l" if found[1] == "?1049":
                    grid, row, column = [[" "] * columns for _ in range(rows)], 0, 0
            continue
        match sent[at]:
            case "\n":
                row += 1
            case "\r":
                column = 0
            case character if row < rows and column < columns:
                grid[row][column] = character
                column += 1
            case _:
                beside += 1
        at += 1
    return ["".join(line).rstrip() for line in grid], beside


@dataclass(slots=True)
class Terminal:
    """A program on a terminal.

    Attributes:
        sent: All that it has written so far.
    """

    process: asyncio.subprocess.Process
    columns: int
    rows: int
    _ours: int
    _theirs: int
    sent: bytearray = field(default_factory=bytearray)

    def resize(self, columns: int, rows: int) -> None:
        """Another size; the program is told, and what was drawn before is forgotten."""
        self.columns, self.rows = columns, rows
        self.sent.clear()
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        """Type *keys*."""
        os.write(self._ours, keys.encode())

    def screen(self) -> list[str]:
        """What is to be seen, line by line; nothing may have been written beside it."""
        lines, beside = drawn(self.sent.decode("utf-8", "ignore"), self.columns, self.rows)
        assert beside == 0, lines
        return lines

    async def sees(self, what: Callable[[str], bool] | str, *, within_s: float = 30) -> str:
        """The screen, once it shows *what*."""

        def look() -> bool:
            text = "\n".join(self.screen())
            return what in text if isinstance(what, str) else what(text)

        try:
            await wait_until(look, within_s=within_s, what=str(what))
        except AssertionError as error:
            error.add_note("\n".join(self.screen()))
            raise
        return "\n".join(self.screen())

    def modes(self) -> list[object]:
        """How the terminal treats what is typed and written."""
        return list(termios.tcgetattr(self._theirs))

    def signal(self, number: signal.Signals) -> None:
        """Send the program a signal."""
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code, once it has ended."""
        async with asyncio.timeout(20):
            return await self.process.wait()

    def read(self) -> None:
        """Take what it has written."""
        with suppress(OSError):
            self.sent += os.read(self._ours, 65536)


@asynccontextmanager
async def open_terminal(
    words: Sequence[str], env: Mapping[str, str], folder: Path, *, columns: int = 80, rows: int = 24
) -> AsyncIterator[Terminal]:
    """Run a program on a terminal; killed at the end if it still runs."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)  # `read` may come when there is nothing left
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *words, stdin=theirs, stdout=theirs, stderr=theirs, env=dict(env), cwd=folder, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C and the size reach it
    )  # fmt: skip
    terminal = Terminal(process, columns, rows, ours, theirs)
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, terminal.read)
    try:
        yield terminal
    finally:
        loop.remove_reader(ours)
        with suppress(ProcessLookupError):
            process.kill()
        os.close(ours)
        os.close(theirs)
