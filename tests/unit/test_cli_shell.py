"""The shell of `tiergate psql`: what each line does, on a gateway that only remembers what it was asked."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tiergate.cli.admin import Admin
from tiergate.cli.session import Session, report
from tiergate.cli.shell import HELP, Shell, history_file

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
        transport = httpx.MockTransport(self.respond)  # httpx's own seam for a server without a network
        with httpx.Client(transport=transport, base_url="http://admin") as client:
            Shell(Session(Admin(client, "http://admin"), "acme", as_json=as_json), read=self.read).run()


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

    out = capsys.readouterr().out
    assert len(desk.asked) == 3
    assert "There is no table nothing that acme can see." in out


def test_switches_turn_on_and_off(capsys: pytest.CaptureFixture[str]) -> None:
    Desk("\\x", "SELECT 1;", "\\x", "\\timing", "SELECT 2;", "\\nonsense").sit()

    out = capsys.readouterr().out
    assert "Expanded display is on." in out
    assert "─[ row 1 ]─" in out
    assert "Expanded display is off." in out
    assert "Time: " in out
    assert "There is no \\nonsense" in out


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
