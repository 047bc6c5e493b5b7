"""The interactive half of `tiergate psql`: prompts, history, Ctrl-C and Ctrl-D."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tiergate.cli.backslash import is_command, obey
from tiergate.cli.errors import AdminRefused, AdminUnreachable, BadInput, StatementFailed
from tiergate.cli.failures import tell
from tiergate.cli.output import say
from tiergate.cli.session import Session
from tiergate.cli.statements import Script

_MOST_LINES = 2000


class Shell:
    """Reads, runs and shows, until told to stop.

    Args:
        read: Shows a prompt and gives one line; raises EOFError at the end and KeyboardInterrupt on Ctrl-C.
    """

    def __init__(self, session: Session, read: Callable[[str], str] = input) -> None:
        self._session = session
        self._read = read
        self._script = Script()

    def run(self) -> None:
        r"""Go on until \q or the end of input."""
        say(f"As {self._session.tenant}. End statements with a semicolon; \\? for help, \\q to leave.")
        with _history():
            while self.run_once():
                pass

    def run_once(self) -> bool:
        """Read one line and do what it says; whether to go on."""
        try:
            line = self._read(self._prompt())
        except EOFError:
            say("")
            return False
        except KeyboardInterrupt:
            self._script = Script()
            say("")
            return True
        if self._script.is_empty and is_command(line):
            goes_on = True

            def act() -> None:
                nonlocal goes_on
                goes_on = obey(self._session, line)

            self._attempt(act)
            return goes_on
        for statement in self._script.feed(line + "\n"):
            if not self._attempt(partial(self._session.run, statement)):
                self._script = Script()
                break
        return True

    def _prompt(self) -> str:
        if self._script.is_empty:
            return f"{self._session.tenant}=> "
        return f"{self._session.tenant}{self._script.within or '-'}> "

    def _attempt(self, act: Callable[[], None]) -> bool:
        """Do it and tell what went wrong; whether to go on with what is in the same line."""
        try:
            act()
        except KeyboardInterrupt:
            # The connection is closed with the request; the gateway cancels the statement when it sees that.
            say("Cancelled.")
        except (StatementFailed, AdminRefused, AdminUnreachable, BadInput) as error:
            tell(error, as_json=False)
        else:
            return True
        return False


def history_file() -> Path:
    """Where lines are remembered, as the XDG base directory specification has it."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "tiergate" / "psql_history"


@contextmanager
def _history() -> Iterator[None]:
    """Line editing, with the lines of earlier times; kept for this user's eyes only."""
    try:
        import readline  # noqa: PLC0415 - some Pythons are built without it
    except ImportError:
        yield
        return
    path = history_file()
    readline.set_history_length(_MOST_LINES)
    with suppress(OSError):
        readline.read_history_file(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            readline.write_history_file(path)
