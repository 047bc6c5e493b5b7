"""The interactive half of `tiergate psql`: prompts, history, backslash commands, Ctrl-C and Ctrl-D."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tiergate.cli.errors import AdminRefused, AdminUnreachable, StatementFailed
from tiergate.cli.failures import tell
from tiergate.cli.output import say
from tiergate.cli.session import Session
from tiergate.cli.statements import Script

HELP = """\
SQL;             run a statement; it may take several lines
\\d               list tables
\\d TABLE         columns, indexes and constraints of a table
\\x               rows as blocks of lines, on or off
\\timing          how long each statement takes, on or off
\\q  or Ctrl-D    leave
Ctrl-C           forget what is typed, or cancel the statement that runs"""

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
        if self._script.is_empty and line.lstrip().startswith("\\"):
            return self._obey(line.strip())
        for statement in self._script.feed(line + "\n"):
            if not self._attempt(partial(self._session.run, statement)):
                self._script = Script()
                break
        return True

    def _prompt(self) -> str:
        if self._script.is_empty:
            return f"{self._session.tenant}=> "
        return f"{self._session.tenant}{self._script.within or '-'}> "

    def _obey(self, line: str) -> bool:
        word, _, rest = line.partition(" ")
        match word.rstrip(";"):
            case "\\q":
                return False
            case "\\d":
                self._attempt(lambda: self._session.describe(rest.strip().rstrip(";")))
            case "\\x":
                self._session.is_expanded = not self._session.is_expanded
                say(f"Expanded display is {_on(self._session.is_expanded)}.")
            case "\\timing":
                self._session.is_timed = not self._session.is_timed
                say(f"Timing is {_on(self._session.is_timed)}.")
            case "\\?":
                say(HELP)
            case _:
                say(f"There is no {word}; \\? lists what there is.")
        return True

    def _attempt(self, act: Callable[[], None]) -> bool:
        """Do it and tell what went wrong; whether to go on with what is in the same line."""
        try:
            act()
        except KeyboardInterrupt:
            # The connection is closed with the request; the gateway cancels the statement when it sees that.
            say("Cancelled.")
        except (StatementFailed, AdminRefused, AdminUnreachable) as error:
            tell(error, as_json=False)
        else:
            return True
        return False


def _on(is_on: bool) -> str:
    return "on" if is_on else "off"


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
