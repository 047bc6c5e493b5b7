"""The shell of `tiergate psql`: what each line does, on a gateway that only remembers what it was asked."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tiergate.cli.admin import Admin
from tiergate.cli.backslash import HELP
from tiergate.cli.errors import BadInput
from tiergate.cli.psql import run
from tiergate.cli.session import Session, report
from tiergate.cli.shell import Shell, history_file

Answer = Callable[[str], httpx.Response]


def rows(*values: object) -> httpx.Response:
    """An answer with one column."""
    fields = [{"name": "answer", "dataTypeID": 25}]
    body = {
        "fields": fields,
        "rows": [[value] for value in values],
        "command": "SELECT",
        "rowCount": len(values),
    }
    return httpx.Response(200, json=body)


class Desk:
    """Somebody who types *lines*, and what comes of it."""

    def __init__(self, *lines: str | BaseException, answer: Answer = rows) -> None:
        self.asked: list[str] = []
        self.prompts: list[str] = []
        self._lines = iter(lines)
        self._answer = answer

    def read(self, prompt: str) -> str:
        self.prompts.append(prompt)
        line = next(self._lines, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    def respond(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(json.loads(request.content)["query"])
        return self._answer(self.asked[-1])

    def sit(self, *, as_json: bool = False) -> None:
        with self.open_session(as_json=as_json) as session:
            Shell(session, read=self.read).run()

    def hand_in(self, text: str, *, as_json: bool = False) -> bool:
        with self.open_session(as_json=as_json) as session:
            return run(session, text)

    @contextmanager
    def open_session(self, *, as_json: bool) -> Iterator[Session]:
        transport = httpx.MockTransport(self.respond)  # httpx's own seam for a server without a network
        with httpx.Client(transport=transport, base_url="http://admin") as client:
            yield Session(Admin(client, "http://admin"), "acme", as_json=as_json)


@pytest.fixture(autouse=True)
def _history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield
    assert history_file().is_relative_to(tmp_path)


def test_a_statement_runs_when_its_semicolon_comes() -> None:
    desk = Desk("SELECT", "  1;", "SELECT 2; SELECT 'a", "b';")
    desk.sit()

    assert desk.asked == ["SELECT\n  1", "SELECT 2", "SELECT 'a\nb'"]
    assert desk.prompts == ["acme=> ", "acme-> ", "acme=> ", "acme'> ", "acme=> "]


def test_ctrl_c_forgets_what_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk("SELECT 'never", KeyboardInterrupt(), "SELECT 2;")
    desk.sit()

    assert desk.asked == ["SELECT 2"]
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_cancels_the_statement_that_runs_and_the_shell_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def answer(query: str) -> httpx.Response:
        if query == "SELECT 1":
            raise KeyboardInterrupt
        return rows("after")

    desk = Desk("SELECT 1; SELECT 2;", "SELECT 3;", answer=answer)
    desk.sit()

    assert desk.asked == ["SELECT 1", "SELECT 3"]
    assert "Cancelled." in capsys.readouterr().out


def test_what_fails_is_told_and_the_shell_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"message": "no such thing", "code": "42P01", "hint": "Look again.", "position": "8"}
    desk = Desk("SELECT x; SELECT 2;", "SELECT 3;", answer=lambda _query: httpx.Response(404, json=said))
    desk.sit()

    assert desk.asked == ["SELECT x", "SELECT 3"]
    assert "as acme: ERROR: no such thing (42P01)" in capsys.readouterr().err


def test_leaving_by_q_reads_no_further() -> None:
    desk = Desk("\\q", "SELECT 1;")
    desk.sit()

    assert (desk.asked, len(desk.prompts)) == ([], 1)


def test_tables_are_described(capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk(
        "\\d",
        "\\d tasks",
        "\\d nothing;",
        answer=lambda query: rows() if "attname" in query else rows("tasks"),
    )
    desk.sit()

    assert len(desk.asked) == 3
    assert "there is no table nothing that acme can see" in capsys.readouterr().err


def test_switches_turn_on_and_off(capsys: pytest.CaptureFixture[str]) -> None:
    Desk("\\x", "SELECT 1;", "\\x", "\\timing", "SELECT 2;", "\\nonsense").sit()

    said = capsys.readouterr()
    out = said.out
    assert "Expanded display is on." in out
    assert "─[ row 1 ]─" in out
    assert "Expanded display is off." in out
    assert "Time: " in out
    assert "there is no command \\nonsense" in said.err


def test_a_comment_does_not_keep_a_backslash_command_waiting() -> None:
    desk = Desk("-- what is there?", "\\d")
    desk.sit()

    assert "pg_class" in desk.asked[0]
    assert desk.prompts == ["acme=> "] * 3


def test_a_file_may_hold_backslash_commands_on_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk()
    goes_on = desk.hand_in("\\d\n\\x\nSELECT 1;\n  \\d tasks;\nSELECT '\n\\d\n';\nSELECT 2")

    asked = [query if len(query) < 20 else "described" for query in desk.asked]
    assert asked == ["described", "SELECT 1", *["described"] * 3, "SELECT '\n\\d\n'", "SELECT 2"]
    assert "─[ row 1 ]─" in capsys.readouterr().out
    assert goes_on


def test_a_file_ends_where_it_says_so() -> None:
    desk = Desk()

    assert not desk.hand_in("SELECT 1;\n\\q\nSELECT 2;")
    assert desk.asked == ["SELECT 1"]


@pytest.mark.parametrize("line", ["\\nonsense", "\\d nothing"])
def test_a_backslash_command_that_fails_ends_a_file(line: str) -> None:
    desk = Desk(answer=lambda query: rows() if "attname" in query else rows("tasks"))

    with pytest.raises(BadInput, match=r"nothing|nonsense"):
        desk.hand_in(f"{line}\nSELECT 1;")
    assert "SELECT 1" not in desk.asked


def test_what_backslash_commands_say_is_json_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    Desk().hand_in("\\x\n\\d", as_json=True)

    assert json.loads(capsys.readouterr().out)["command"] == "SELECT"


def test_help_names_every_backslash_command(capsys: pytest.CaptureFixture[str]) -> None:
    Desk("\\?").sit()

    assert all(word in HELP for word in ("\\d", "\\d TABLE", "\\x", "\\timing", "\\q", "Ctrl-C", "Ctrl-D"))
    assert "\\timing" in capsys.readouterr().out


def test_values_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Desk("SELECT 1;", answer=lambda _query: rows("\x1b[2J[bold]x[/bold]", None, 7, {"a": [True]})).sit()

    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[2J[bold]x[/bold]" in out
    assert "NULL" in out
    assert '{"a": [true]}' in out
    assert "(4 rows)" in out


def test_a_failure_points_at_its_place() -> None:
    body = {
        "message": "wrong",
        "code": "42601",
        "severity": "ERROR",
        "position": "14",
        "detail": "D",
        "where": None,
    }

    assert report(body, "SELECT 1,\n  oops").splitlines() == [
        "ERROR: wrong (42601)",
        "LINE 2:   oops",
        "           ^",
        "DETAIL: D",
    ]


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_what_was_typed_is_remembered_for_this_user_only() -> None:
    pytest.importorskip("readline")
    Desk("SELECT 1;").sit()

    assert history_file().stat().st_mode & 0o777 == 0o600
    assert history_file().parent.stat().st_mode & 0o077 == 0
