"""`tiergate cluster`: the Postgres servers that tenants live on."""

import os
from pathlib import Path
from typing import Annotated

import typer

from tiergate.cli.admin import find_address, open_admin, path_of
from tiergate.cli.errors import BadInput
from tiergate.cli.listing import list_all
from tiergate.cli.options import (
    AdminKey,
    AdminUrl,
    After,
    AsJson,
    ClusterName,
    Confirm,
    Limit,
    Region,
    TierName,
    check_confirmed,
    read_text,
)
from tiergate.cli.output import print_facts, print_json, print_rows, say

app = typer.Typer(help="Postgres servers that tenants live on.", no_args_is_help=True)

Dsn = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        metavar="DSN",
        help="A superuser's postgresql:// URL or libpq keywords; other users of the machine see it.",
        show_default=False,
    ),
]
DsnFile = Annotated[
    Path | None,
    typer.Option(
        "--dsn-file",
        metavar="FILE",
        help="A file that holds the DSN; - is standard input.",
        show_default=False,
    ),
]
_COLUMNS = ("name", "tier", "region", "address", "database", "tenants", "created_at")


@app.command(
    epilog="Example: [bold]tiergate cluster add standard-1 --tier standard --dsn-file standard-1.dsn[/bold]"
)
def add(
    name: ClusterName,
    tier: TierName,
    region: Region = None,
    dsn: Dsn = None,
    dsn_file: DsnFile = None,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Take a Postgres server in: make its roles, its data plane and, on the standard tier, the tables.

    Its DSN is given by --dsn-file, by the variable TIERGATE_CLUSTER_DSN, or by --dsn.

    Run it again after an interruption, or when something on the server was lost: what is there is kept.
    """
    body = {"name": name, "tier": tier.value, "region": region, "dsn": _dsn(dsn, dsn_file)}
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("POST", "/clusters", body)
    if as_json:
        print_json(answer)
        return
    say(f"Cluster {name} is ready for {tier.value} tenants.")
    for warning in _texts(answer.get("warnings")):
        say(f"Beware: {warning}")


@app.command(epilog="Example: [bold]tiergate cluster set-address standard-1 --dsn-file standard-1.dsn[/bold]")
def set_address(
    name: ClusterName,
    dsn: Dsn = None,
    dsn_file: DsnFile = None,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Say where a known cluster answers now, or give it another administrator's login.

    Its DSN is given as for `cluster add`. What answers there must be that cluster; nothing on it is changed.
    """
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("PUT", path_of("clusters", name, "address"), {"dsn": _dsn(dsn, dsn_file)})
    if as_json:
        print_json(answer)
        return
    say(f"Cluster {name} answers at {answer.get('address')}, administered by {answer.get('admin_user')}.")


@app.command(
    epilog="Example: [bold]tiergate cluster set-pgbouncer standard-1 --address 'host=pooler port=6432'[/bold]"
)
def set_pgbouncer(
    name: ClusterName,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="ADDRESS",
            help="PgBouncer's host, port and TLS, as libpq keywords or a URL without a login.",
            show_default=False,
        ),
    ] = None,
    prepared: Annotated[
        bool,
        typer.Option(
            "--prepared-statements", help="It is 1.21 or later, with max_prepared_statements above 0."
        ),
    ] = False,
    off: Annotated[bool, typer.Option("--off", help="Requests go to the cluster itself again.")] = False,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Send a cluster's requests through PgBouncer in transaction mode; administration stays direct."""
    if off == (address is not None):
        raise BadInput("it is not said where requests go", "Give --address ADDRESS, or --off.")
    body = None if address is None else {"address": address, "prepared_statements": prepared}
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("DELETE" if off else "PUT", path_of("clusters", name, "pgbouncer"), body)
    if as_json:
        print_json(answer)
    elif off:
        say(f"Requests go to cluster {name} itself.")
    else:
        say(f"Requests to cluster {name} go through {answer.get('pgbouncer')}.")


Replica = Annotated[
    str, typer.Option("--name", metavar="NAME", help="The replica's name.", show_default=False)
]


@app.command(
    epilog="Example: [bold]tiergate cluster add-replica standard-1 --name r1 --address 'host=standby'[/bold]"
)
def add_replica(
    name: ClusterName,
    replica: Replica,
    address: Annotated[
        str,
        typer.Option(
            "--address",
            "--conninfo",
            metavar="ADDRESS",
            help="The standby's host, port and TLS, as libpq keywords or a URL without a login.",
            show_default=False,
        ),
    ],
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Let reads that accept staleness go to a standby of a cluster; again, it answers elsewhere now."""
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("PUT", path_of("clusters", name, "replicas", replica), {"address": address})
    print_json(answer) if as_json else say(f"Reads of cluster {name} may go to replica {replica}.")


@app.command(epilog="Example: [bold]tiergate cluster remove-replica standard-1 --name r1[/bold]")
def remove_replica(
    name: ClusterName,
    replica: Replica,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Send no more reads to a standby; what runs there ends in peace."""
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("DELETE", path_of("clusters", name, "replicas", replica))
    print_json(answer) if as_json else say(f"Reads of cluster {name} no longer go to replica {replica}.")


@app.command("list", epilog="Example: [bold]tiergate cluster list[/bold]")
def list_clusters(
    limit: Limit = 100,
    after: After = "",
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """List clusters by name."""
    with open_admin(find_address(admin, key)) as api:
        found = list_all(api, "/clusters", "clusters", limit=limit, after=after)
    if as_json:
        print_json(found.answer)
        return
    print_rows(found.rows, _COLUMNS, none="There are no clusters yet: tiergate cluster add.")
    found.say_more()


@app.command(epilog="Example: [bold]tiergate cluster show standard-1[/bold]")
def show(
    name: ClusterName,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Show one cluster."""
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("GET", path_of("clusters", name))
    if as_json:
        print_json(answer)
        return
    replicas = answer.get("replicas")
    names = (
        [f"{each['name']} at {each['address']}" for each in replicas] if isinstance(replicas, list) else []
    )
    print_facts({**answer, "replicas": names})


@app.command(epilog="Example: [bold]tiergate cluster remove standard-2 --confirm standard-2[/bold]")
def remove(
    name: ClusterName,
    confirm: Confirm = None,
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Forget a cluster that has no tenants; on the server itself nothing is changed.

    The server need not answer. What tiergate made on it stays there.
    """
    check_confirmed(name, confirm, "the cluster's address and its administrator's login")
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("DELETE", path_of("clusters", name), query={"confirm": name})
    print_json(answer) if as_json else say(
        f"Cluster {name} is forgotten; what is on the server is still there."
    )


def _dsn(dsn: str | None, dsn_file: Path | None) -> str:
    if dsn is not None and dsn_file is not None:
        raise BadInput("both --dsn and --dsn-file are given", "Give one of them.")
    if dsn_file is not None:
        return read_text(dsn_file, "--dsn-file").strip()
    found = dsn or os.environ.get("TIERGATE_CLUSTER_DSN")
    if not found:
        raise BadInput("the cluster's DSN is missing", "Give --dsn-file FILE, or set TIERGATE_CLUSTER_DSN.")
    return found


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
