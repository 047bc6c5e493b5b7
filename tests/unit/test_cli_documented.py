"""Every command helps itself: an example in its help, an entry in the reference."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tiergate.cli.app import app
from tiergate.cli.failures import Exit

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")

Command = Any  # typer brings a copy of click without a public name


def commands(command: Command = None, path: str = "tiergate") -> list[tuple[str, Command]]:
    """Every command that does something, with the words that call it."""
    command = command or get_command(app)
    below = getattr(command, "commands", None)
    if below is None:
        return [(path, command)]
    return [found for name, each in below.items() for found in commands(each, f"{path} {name}")]


ALL = commands()
NAMES = [name for name, _ in ALL]


def test_every_command_that_was_promised_is_there() -> None:
    words = {
        "": [
            "demo",
            "serve",
            "check",
            "reload",
            "log-level",
            "psql",
            "audit",
            "verify",
            "version",
            "pools",
            "gateways",
            "top",
            "advise",
            "usage",
            "show",
            "pause",
            "resume",
            "drain",
            "reconnect",
            "kill",
            "promote",
            "demote",
            "move",
        ],
        "cluster ": [
            "add",
            "set-address",
            "set-pgbouncer",
            "add-replica",
            "remove-replica",
            "list",
            "show",
            "remove",
        ],
        "tenant ": ["create", "list", "show", "set", "suspend", "resume", "delete"],
        "key ": ["create", "list", "revoke"],
        "keys ": ["list", "rotate-context"],
        "moves ": [
            "list",
            "show",
            "watch",
            "pause",
            "resume",
            "cutover",
            "abort",
            "rollback",
            "cleanup",
            "give-up",
            "work",
        ],
        "admin ": ["query"],
        "admin key ": ["create", "list", "revoke"],
    }

    assert {f"tiergate {group}{word}" for group, each in words.items() for word in each} == set(NAMES)


@pytest.mark.parametrize(("name", "command"), ALL, ids=NAMES)
def test_every_command_shows_an_example_that_calls_it(name: str, command: Command) -> None:
    assert (command.epilog or "").startswith(f"Example: [bold]{name}")
    assert command.help


@pytest.mark.parametrize(("name", "command"), ALL, ids=NAMES)
def test_every_command_is_in_the_reference_with_its_options(name: str, command: Command) -> None:
    found = re.split(rf"\n### `{name}[ `]", REFERENCE)
    assert len(found) == 2
    section = found[1].split("\n### ")[0].split("\n## ")[0]
    shared = {"--admin", "--key", "--json", "--help", "--config"}
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}

    assert {option for option in options - shared if f"`{option}" not in section} == set()


@pytest.mark.parametrize(("name", "command"), ALL, ids=NAMES)
def test_every_command_speaks_to_machines_too(name: str, command: Command) -> None:
    if name in {"tiergate serve", "tiergate moves work"}:  # they log JSON
        return

    assert any("--json" in parameter.opts for parameter in command.params)


@pytest.mark.parametrize("code", list(Exit), ids=lambda code: code.name)
def test_every_exit_code_is_in_the_reference(code: Exit) -> None:
    assert f"| `{code.value}` |" in REFERENCE
