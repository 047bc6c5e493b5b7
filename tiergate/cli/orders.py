"""`tiergate show`, `pause`, `resume`, `drain`, `reconnect`, `kill`: what every process is to do at once."""

from collections.abc import Mapping
from typing import Annotated

import typer

from tiergate.cli.admin import find_address, open_admin
from tiergate.cli.errors import BadInput, OrderUnfinished
from tiergate.cli.listing import rows_of
from tiergate.cli.options import AdminKey, AdminUrl, AsJson, seconds
from tiergate.cli.output import print_json, print_rows, say

Tenant = Annotated[
    str | None, typer.Option("--tenant", metavar="TENANT", help="This tenant's requests.", show_default=False)
]
Pool = Annotated[
    str | None,
    typer.Option("--pool", metavar="PLACE", help="Every request to this place.", show_default=False),
]
Cluster = Annotated[
    str | None,
    typer.Option("--cluster", metavar="CLUSTER", help="Every request to this cluster.", show_default=False),
]
For = Annotated[
    str, typer.Option("--for", metavar="DURATION", help="Until it ends by itself, such as 60s or 2h.")
]
Wait = Annotated[
    str, typer.Option("--wait", metavar="DURATION", help="How long to wait for every process, 5m at most.")
]

_COLUMNS = ("gateway", "pid", "state", "requests", "oldest_s", "waiting", "connections", "silent_s")
_SPARE_S = 10.0


def add_to(app: typer.Typer) -> None:
    """Add these commands to *app*."""
    app.command(epilog="Example: [bold]tiergate show --tenant acme[/bold]")(show)
    app.command(epilog="Example: [bold]tiergate pause --tenant acme --for 60s[/bold]")(pause)
    app.command(epilog="Example: [bold]tiergate resume --tenant acme[/bold]")(resume)
    app.command(epilog="Example: [bold]tiergate drain --cluster standard-1 --for 2h[/bold]")(drain)
    app.command(epilog="Example: [bold]tiergate reconnect --cluster standard-1[/bold]")(reconnect)
    app.command(epilog="Example: [bold]tiergate kill --tenant acme[/bold]")(kill)


def show(
    tenant: Tenant = None,
    pool: Pool = None,
    cluster: Cluster = None,
    wait: Wait = "30s",
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Ask every process what it has in hand for a tenant, a pool or a cluster, at this moment."""
    _give("show", _scope(tenant, pool, cluster), wait, admin, key, as_json=as_json)


def pause(
    tenant: Tenant = None,
    pool: Pool = None,
    cluster: Cluster = None,
    for_: For = "5m",
    wait: Wait = "30s",
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Let new requests wait, on every gateway, and return once nothing runs any more.

    What runs may end. Who waits longer than query_wait_timeout is refused with `paused`.
    """
    _give("pause", _scope(tenant, pool, cluster), wait, admin, key, for_=for_, as_json=as_json)


def resume(
    tenant: Tenant = None,
    pool: Pool = None,
    cluster: Cluster = None,
    wait: Wait = "30s",
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """End a pause or a drain, on every gateway."""
    _give("resume", _scope(tenant, pool, cluster), wait, admin, key, as_json=as_json)


def drain(
    tenant: Tenant = None,
    pool: Pool = None,
    cluster: Cluster = None,
    for_: For = "1h",
    wait: Wait = "30s",
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Refuse new requests, on every gateway, and return once nothing runs and no connection is open.

    For a cluster's maintenance. Who is refused gets 503 `drained`.
    """
    _give("drain", _scope(tenant, pool, cluster), wait, admin, key, for_=for_, as_json=as_json)


def reconnect(
    tenant: Tenant = None,
    pool: Pool = None,
    cluster: Cluster = None,
    wait: Wait = "30s",
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Replace connections by new ones as they come free, on every gateway; nobody gets an error."""
    _give("reconnect", _scope(tenant, pool, cluster), wait, admin, key, as_json=as_json)


def kill(
    tenant: Tenant = None,
    pool: Pool = None,
    cluster: Cluster = None,
    wait: Wait = "30s",
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """End what runs and what waits now, on every gateway; new requests are served.

    Who is ended gets 503 `killed`; whether a statement that ran took effect is unknown.
    """
    _give("kill", _scope(tenant, pool, cluster), wait, admin, key, as_json=as_json)


def _scope(tenant: str | None, pool: str | None, cluster: str | None) -> dict[str, str]:
    named = {"tenant": tenant, "pool": pool, "cluster": cluster}
    given = {kind: name for kind, name in named.items() if name is not None}
    if len(given) != 1:
        raise BadInput("it is not said for whom", "Give one of --tenant, --pool and --cluster.")
    return given


def _give(
    verb: str,
    scope: Mapping[str, str],
    wait: str,
    admin: str | None,
    key: str | None,
    *,
    for_: str | None = None,
    as_json: bool,
) -> None:
    wait_s = seconds(wait, "--wait")
    body: dict[str, object] = {"verb": verb, **scope, "wait_s": wait_s}
    if for_ is not None:
        body["for_s"] = seconds(for_, "--for")
    with open_admin(find_address(admin, key), timeout_s=wait_s + _SPARE_S) as api:
        answer = api.ask("POST", "/orders", body)
    processes = rows_of(answer, "processes")
    whom = " ".join(f"{kind} {name}" for kind, name in scope.items())
    if as_json:
        print_json(answer)
    else:
        print_rows(processes, _COLUMNS, none="No process serves requests.")
        if verb == "kill":
            say(f"{_sum(processes, 'ended')} requests were ended.")
        if answer.get("done") is True:
            say(_done(verb, whom, for_))
    if answer.get("done") is not True:
        raise OrderUnfinished(verb, whom, _left(processes), is_over=answer.get("over") is True)


def _done(verb: str, whom: str, for_: str | None) -> str:
    match verb:
        case "pause":
            return f"Paused for {for_}: {whom}. Nothing of it runs. To end it: tiergate resume."
        case "drain":
            return f"Drained for {for_}: {whom}. Nothing of it runs. To end it: tiergate resume."
        case _:
            return f"Every process has done it: {verb} {whom}."


def _left(processes: list[dict[str, object]]) -> list[str]:
    """What is not done, a sentence for each kind of process."""
    by_state: dict[object, list[dict[str, object]]] = {}
    for process in processes:
        by_state.setdefault(process.get("state"), []).append(process)
    said = []
    if running := by_state.get("running"):
        oldest_s = max(_number(process, "oldest_s") for process in running)
        said.append(
            f"{_sum(running, 'requests'):.0f} requests still running, the oldest for {oldest_s:.0f} s;"
            f" {_sum(running, 'connections'):.0f} connections still open"
        )
    if unanswered := by_state.get("unanswered"):
        said.append(f"{len(unanswered)} processes have not answered")
    if silent := by_state.get("silent"):
        said.append(f"{len(silent)} processes are silent: they are gone, or cut off from the registry")
    return said


def _sum(processes: list[dict[str, object]], member: str) -> float:
    return sum(_number(process, member) for process in processes)


def _number(process: Mapping[str, object], member: str) -> float:
    found = process.get(member)
    return found if isinstance(found, int | float) else 0
