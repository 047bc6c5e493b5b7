r"""Backslash commands of `tiergate psql`: `\d` and its like, typed or read from a file."""

from tiergate.cli.errors import BadInput
from tiergate.cli.output import say
from tiergate.cli.session import Session

HELP = """\
SQL;             run a statement; it may take several lines
\\d               list tables
\\d TABLE         columns, indexes and constraints of a table
\\x               rows as blocks of lines, on or off
\\timing          how long each statement takes, on or off
\\q  or Ctrl-D    leave
Ctrl-C           forget what is typed, or cancel the statement that runs"""


def is_command(line: str) -> bool:
    """Whether a line that begins nothing else is one."""
    return line.lstrip().startswith("\\")


def obey(session: Session, line: str) -> bool:
    """Do what *line* says; whether to go on.

    Raises:
        BadInput: There is no such command, or no such table.
        StatementFailed, AdminRefused, AdminUnreachable: It could not be asked.
    """
    word, _, rest = line.strip().partition(" ")
    match word.rstrip(";"):
        case "\\q":
            return False
        case "\\d":
            session.describe(rest.strip().rstrip(";").rstrip())
        case "\\x":
            session.is_expanded = not session.is_expanded
            _say_to_people(session, f"Expanded display is {_on(session.is_expanded)}.")
        case "\\timing":
            session.is_timed = not session.is_timed
            _say_to_people(session, f"Timing is {_on(session.is_timed)}.")
        case "\\?":
            _say_to_people(session, HELP)
        case _:
            raise BadInput(f"there is no command {word}", "\\? lists what there is.")
    return True


def _say_to_people(session: Session, text: str) -> None:
    if not session.as_json:
        say(text)


def _on(is_on: bool) -> str:
    return "on" if is_on else "off"
