"""The terminal while `tiergate top` has it: keys, size, signals; given back as it was, however it ends."""

import codecs
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from tiergate.cli.top.state import keys_in

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FALLBACK = (80, 24)


class Screen:
    """A terminal that shows frames and hands on keys; made by `open_screen`.

    Attributes:
        ended_by: The signal that asked for the end, if one did.
    """

    def __init__(self, console: Console, live: Live, woken: tuple[int, int]) -> None:
        self.ended_by: int | None = None
        self._console = console
        self._live = live
        self._woken, self._wakes = woken
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self._rests = False
        self._input = sys.stdin.fileno()
        self._found = termios.tcgetattr(self._input)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        try:
            columns, rows = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            return _FALLBACK
        return (columns or _FALLBACK[0], rows or _FALLBACK[1])

    def show(self, frame: Callable[[int, int], Sequence[Text]]) -> None:
        """Draw what *frame* makes for the size that the terminal has now."""
        columns, rows = self.size
        self._console.size = (columns, rows)
        encoding = self._console.encoding
        lines = [
            Text(line.plain.encode(encoding, "replace").decode(encoding), line.style, no_wrap=True, end="")
            for line in frame(columns, rows)
        ]
        self._live.update(
            Group(*(Text.assemble(line, "\n", no_wrap=True, end="") for line in lines[:-1]), *lines[-1:]),
            refresh=True,
        )

    def wake(self) -> None:
        """End `keys` early; from any thread."""
        with suppress(OSError):  # it is awake already, or nobody looks on any more
            os.write(self._wakes, b".")

    def keys(self, within_s: float) -> list[str]:
        """The keys that were pressed; none after *within_s*, or when there is something else to look at."""
        readable, _, _ = select.select([self._input, self._woken], [], [], within_s)
        if self._woken in readable:
            os.read(self._woken, 4096)
        if self._rests:
            self._rests = False
            self.give_back()
            os.kill(os.getpid(), signal.SIGSTOP)
            self.take()  # when it was continued
        if self._input not in readable:
            return []
        try:
            read = os.read(self._input, 4096)
        except OSError:
            read = b""
        if not read:  # whoever sat there is gone
            self.ended_by = signal.SIGHUP
        return keys_in(self._decode.decode(read))

    def take(self) -> None:
        """Take the terminal."""
        tty.setcbreak(self._input, termios.TCSADRAIN)
        self._live.start()

    def give_back(self) -> None:
        """Give it back as it was found."""
        try:
            self._live.stop()
        finally:
            termios.tcsetattr(self._input, termios.TCSADRAIN, self._found)

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """The end, another size, or Ctrl-Z."""
        if number in _ENDS:
            self.ended_by = number
        elif number == signal.SIGTSTP:
            self._rests = True  # a frame may be half drawn
        self.wake()


def is_terminal() -> bool:
    """Whether there is a terminal on both ends that can do more than print."""
    return (
        sys.stdin.isatty()
        and sys.stdout.isatty()
        and os.environ.get("TERM", "dumb") not in {"dumb", "unknown", ""}
    )


@contextmanager
def open_screen() -> Iterator[Screen]:
    """The terminal, until the end."""
    console = Console(highlight=False)
    live = Live(
        console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    )
    woken = os.pipe()
    for end in woken:
        os.set_blocking(end, False)
    screen = Screen(console, live, woken)
    numbers = (*_ENDS, signal.SIGWINCH, signal.SIGTSTP)
    before = {number: signal.signal(number, screen.on_signal) for number in numbers}
    try:
        screen.take()
        try:
            yield screen
        finally:
            screen.give_back()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
