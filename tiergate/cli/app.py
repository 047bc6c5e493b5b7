"""All commands of `tiergate`, put together."""

import typer

from tiergate.cli import (
    across,
    admin_keys,
    advise,
    audit,
    clusters,
    context_keys,
    gateway,
    gateways,
    keys,
    levels,
    moves,
    moving,
    orders,
    psql,
    tenants,
    usage,
    verify,
)
from tiergate.cli.top import command as top

app = typer.Typer(
    name="tiergate",
    help="One gateway, three ways to keep tenants apart in Postgres.",
    epilog="Example: [bold]tiergate demo[/bold] starts everything on this machine.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
gateway.add_to(app)
gateways.add_to(app)
top.add_to(app)
advise.add_to(app)
usage.add_to(app)
orders.add_to(app)
levels.add_to(app)
app.add_typer(clusters.app, name="cluster")
app.add_typer(tenants.app, name="tenant")
moving.add_to(app)
app.add_typer(moves.app, name="moves")
app.add_typer(keys.app, name="key")
app.add_typer(context_keys.app, name="keys")
psql.add_to(app)
audit.add_to(app)
verify.add_to(app)
across.app.add_typer(admin_keys.app, name="key")
app.add_typer(across.app, name="admin")
