"""The command: options, one frame or many."""

import shutil
import sys
import time
from typing import Annotated

import typer

from tiergate.cli.admin import Address, Admin, find_address, open_admin
from tiergate.cli.options import AdminKey, AdminUrl, AsJson
from tiergate.cli.output import print_json
from tiergate.cli.top.view import Looking, View

_ANSWER_S = 5.0
_TICK_S = 1.0
_FALLBACK = (100, 50)
_SIGNALLED = 128
_INTERRUPT = 2

Interval = Annotated[
    float, typer.Option("--interval", metavar="SECONDS", min=0.5, max=60.0, help="From one look to the next.")
]


def add_to(app: typer.Typer) -> None:
    """Add this command to *app*."""
    app.command(epilog="Example: [bold]tiergate top --interval 5[/bold]")(top)


def top(
    interval: Interval = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one frame, and leave.")] = False,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Look on: tiers, clusters, tenants and moves as they are now, what is wrong, and the command to run.

    Without a terminal it prints one frame, as with --once. Key h lists the keys.
    """
    from tiergate.cli.top.screen import is_terminal  # noqa: PLC0415 - imports rich, which `--help` must not pay

    address = find_address(admin, key)
    with open_admin(address, timeout_s=_ANSWER_S) as api:
        if as_json:
            _print_json(_look_twice(api, interval))
        elif once or not is_terminal():
            _print_frame(address, _look_twice(api, interval), interval)
        else:
            _look_on(address, api, interval)


def _look_twice(api: Admin, interval_s: float) -> View:
    """A pace takes two looks."""
    from tiergate.cli.top.sample import take  # noqa: PLC0415 - as above

    looking = Looking()
    looking.add(take(api))
    time.sleep(interval_s)
    return looking.add(take(api))


def _print_json(view: View) -> None:
    from dataclasses import asdict  # noqa: PLC0415 - as above

    from tiergate.cli.top.trouble import troubles  # noqa: PLC0415 - as above

    found = [asdict(each) | {"weight": each.weight.name.lower()} for each in troubles(view)]
    print_json(view.json() | {"trouble": found})


def _print_frame(address: Address, view: View, interval_s: float) -> None:
    from rich.console import Console  # noqa: PLC0415 - as above

    from tiergate.cli.top.frame import Shown, frame  # noqa: PLC0415 - as above
    from tiergate.cli.top.state import State  # noqa: PLC0415 - as above

    columns, rows = shutil.get_terminal_size(_FALLBACK)
    console = Console(width=columns, highlight=False)
    shown = Shown(address.url, interval_s, view, is_live=False)
    for line in frame(shown, State(), columns, rows):
        line.plain = line.plain.encode(console.encoding, "replace").decode(console.encoding).rstrip()
        console.print(line, soft_wrap=True)


def _look_on(address: Address, api: Admin, interval_s: float) -> None:
    from tiergate.cli.top.asking import open_asking  # noqa: PLC0415 - as above
    from tiergate.cli.top.frame import Shown, frame  # noqa: PLC0415 - as above
    from tiergate.cli.top.screen import open_screen  # noqa: PLC0415 - as above
    from tiergate.cli.top.state import State, press  # noqa: PLC0415 - as above

    state = State()
    with open_screen() as screen, open_asking(api, interval_s, screen.wake) as asking:
        shown = Shown(address.url, interval_s, None)
        while not state.is_over and screen.ended_by is None and asking.refusal is None:
            if not state.is_paused:
                shown = Shown(address.url, interval_s, asking.view, asking.silence())
            screen.show(lambda columns, rows: frame(shown, state, columns, rows))  # noqa: B023 - called at once
            for key in screen.keys(_TICK_S):
                state = press(state, key)
    if asking.refusal is not None:
        raise asking.refusal
    if screen.ended_by not in {None, _INTERRUPT}:
        sys.exit(_SIGNALLED + int(screen.ended_by or 0))
