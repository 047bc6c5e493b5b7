"""`tiergate moves`: what is moved, how far it is, and what is to be done with it."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tiergate.cli.admin import find_address, open_admin, path_of
from tiergate.cli.errors import BadInput, EvidenceFalse
from tiergate.cli.following import conclude, follow, is_at_rest, progress
from tiergate.cli.listing import list_all
from tiergate.cli.options import AdminKey, AdminUrl, AsJson, ConfigPath, Limit, config_path
from tiergate.cli.output import print_facts, print_json, print_rows, say

app = typer.Typer(help="Moves: tenants that go to another tier or cluster.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The move's id.", show_default=False)]

_COLUMNS = ("id", "tenant", "state", "from", "to", "wanted", "created_at", "error")
_SAID = {
    "pause": "The move waits from now on. To go on: tiergate moves resume {id}",
    "resume": "The move goes on.",
    "cutover": "The move is cut over as soon as the tenant's transactions allow it.",
    "abort": "What was made for the move is removed; the tenant stays where it is.",
    "rollback": "The tenant goes back to its old place, with all that was written since.",
    "cleanup": "The old place is removed now; there is no way back to it.",
    "give-up": "The move ends without the place that it clears up, if that place's cluster is not reached.",
}


@app.command("list", epilog="Example: [bold]tiergate moves list --open[/bold]")
def list_moves(
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", metavar="TENANT", help="Only this tenant's.", show_default=False),
    ] = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are not over.")] = False,
    limit: Limit = 100,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """List moves, the latest first."""
    query = {"tenant": tenant} if tenant else {}
    with open_admin(find_address(admin, key)) as api:
        found = list_all(
            api, "/moves", "moves", limit=limit, query=query | ({"open": "true"} if only_open else {})
        )
    if as_json:
        print_json(found.answer)
        return
    print_rows([_flat(move) for move in found.rows], _COLUMNS, none="There are no moves: tiergate promote.")


@app.command(epilog="Example: [bold]tiergate moves show 5c0f7d2e-… --evidence[/bold]")
def show(
    number: Id,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="The signed record, and whether its signature holds.")
    ] = False,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Show one move: how far it is, what came when, and with --evidence its signed record."""
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("GET", path_of("moves", number, *(["evidence"] if evidence else [])))
    if as_json:
        print_json(answer)
    elif evidence:
        _show_evidence(answer)
    else:
        _show(answer)
    if evidence and answer["is_authentic"] is not True:
        raise EvidenceFalse(number)


@app.command(epilog="Example: [bold]tiergate moves watch 5c0f7d2e-…[/bold]")
def watch(
    number: Id,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Look on until the move is over, soaks, or waits for somebody. Ctrl-C ends the looking on alone."""
    with open_admin(find_address(admin, key)) as api:
        rests = follow(api, number)
    if as_json:
        print_json(rests)
    if not as_json or rests["state"] == "aborted":
        conclude(rests)


@app.command(epilog="Example: [bold]tiergate moves pause 5c0f7d2e-…[/bold]")
def pause(number: Id, admin: AdminUrl = None, key: AdminKey = None, as_json: AsJson = False) -> None:
    """Do nothing more with a move for now; what changes meanwhile is noted."""
    _ask("pause", number, admin, key, as_json=as_json)


@app.command(epilog="Example: [bold]tiergate moves resume 5c0f7d2e-…[/bold]")
def resume(number: Id, admin: AdminUrl = None, key: AdminKey = None, as_json: AsJson = False) -> None:
    """Go on with a move that was paused."""
    _ask("resume", number, admin, key, as_json=as_json)


@app.command(epilog="Example: [bold]tiergate moves cutover 5c0f7d2e-…[/bold]")
def cutover(number: Id, admin: AdminUrl = None, key: AdminKey = None, as_json: AsJson = False) -> None:
    """Cut a move over as soon as it is ready, whatever --at and --hold said."""
    _ask("cutover", number, admin, key, as_json=as_json)


@app.command(epilog="Example: [bold]tiergate moves abort 5c0f7d2e-…[/bold]")
def abort(number: Id, admin: AdminUrl = None, key: AdminKey = None, as_json: AsJson = False) -> None:
    """Give a move up before its cut-over; the tenant stays where it is."""
    _ask("abort", number, admin, key, as_json=as_json)


@app.command(epilog="Example: [bold]tiergate moves rollback 5c0f7d2e-…[/bold]")
def rollback(number: Id, admin: AdminUrl = None, key: AdminKey = None, as_json: AsJson = False) -> None:
    """Lead a tenant back to its old place while its move soaks; nothing that was written is lost."""
    _ask("rollback", number, admin, key, as_json=as_json)


@app.command(epilog="Example: [bold]tiergate moves cleanup 5c0f7d2e-…[/bold]")
def cleanup(number: Id, admin: AdminUrl = None, key: AdminKey = None, as_json: AsJson = False) -> None:
    """Remove the old place now, and with it the way back, while a move soaks."""
    _ask("cleanup", number, admin, key, as_json=as_json)


@app.command("give-up", epilog="Example: [bold]tiergate moves give-up 5c0f7d2e-…[/bold]")
def give_up(number: Id, admin: AdminUrl = None, key: AdminKey = None, as_json: AsJson = False) -> None:
    """End a move whose other cluster is gone for good, and leave there what cannot be removed."""
    _ask("give-up", number, admin, key, as_json=as_json)


@app.command(
    epilog="Example: [bold]tiergate moves work --config tiergate.yaml --metrics 127.0.0.1:9187[/bold]"
)
def work(
    config: ConfigPath = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Show /metrics and /livez there; port 0 takes a free one.",
            show_default=False,
        ),
    ] = None,
) -> None:  # fmt: skip
    """Carry moves in a process of their own, until it is told to stop: SIGTERM lets others take them up.

    Every gateway does that too; this is for those who want to keep the work off their gateways' machines.
    """
    import asyncio  # noqa: PLC0415 - heavy, and needed by this command only

    from config.load import load  # noqa: PLC0415 - the same
    from tiergate.listening import listen  # noqa: PLC0415 - the same
    from tiergate.unwrapped import unwrapped  # noqa: PLC0415 - the same
    from tiergate.working import work as run  # noqa: PLC0415 - the same

    at = None if metrics is None else _address(metrics)
    with unwrapped():
        settings = load(config_path(config))
        asyncio.run(run(settings, None if at is None else listen("metrics", *at)))


def _address(text: str) -> tuple[str, int]:
    """Host and port of "host:port"; an IPv6 address stands in brackets.

    Raises:
        BadInput: It is none.
    """
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()):
        raise BadInput(f"--metrics {text!r} is no address", "Write it as host:port: 127.0.0.1:9187.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _ask(word: str, number: str, admin: str | None, key: str | None, *, as_json: bool) -> None:
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("POST", path_of("moves", number, word))
    if as_json:
        print_json(answer)
        return
    say(_SAID[word].format(id=number))
    if not is_at_rest(answer):
        say(f"To look on: tiergate moves watch {number}")


def _flat(move: Mapping[str, Any]) -> dict[str, object]:  # Any: JSON
    return {
        **move,
        "from": f"{move['from']['cluster']} ({move['from']['tier']})",
        "to": f"{move['to']['cluster']} ({move['to']['tier']})",
        "state": f"{move['state']}, paused" if move["is_paused"] else move["state"],
    }


def _show(move: Mapping[str, Any]) -> None:
    hidden = {"steps", "progress", "is_over", "is_paused", "epoch", "target_epoch"}
    print_facts({name: value for name, value in _flat(move).items() if name not in hidden})
    say("")
    steps = [
        {
            **step,
            "detail": ", ".join(
                f"{name} {value}" for name, value in step["detail"].items() if name != "progress"
            ),
        }
        for step in move["steps"]
    ]
    print_rows(steps, ("at", "state", "detail"), none="")
    if not move["is_over"]:
        say("")
        say(f"Now: {progress(move)}.")


def _show_evidence(answer: Mapping[str, Any]) -> None:
    record = answer["record"]
    facts = {name: value for name, value in record.items() if not isinstance(value, dict)}
    for end in ("from", "to"):
        facts[end] = f"{record[end]['cluster']} ({record[end]['tier']}), epoch {record[end]['epoch']}"
    facts |= record["cutover"]
    facts |= {f"{end} server": version for end, version in record["servers"].items()}
    print_facts(facts | {"signature": answer["signature"]})
    say("")
    tables = [{"table": name, **proof} for name, proof in record["tables"].items()]
    print_rows(tables, ("table", "rows", "source", "target"), none="No table had rows.")
    say("")
    if answer["is_authentic"] is True:
        say("The signature holds: this record is as it was written.")
