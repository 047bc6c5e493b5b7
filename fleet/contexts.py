"""What a data database believes: its context keys, and whether they may come through a pooler."""

import psycopg
from psycopg.conninfo import make_conninfo

from fleet.access import ClusterAccess, bounded, open_admin
from fleet.cluster import drop_keys, lay_data_plane, mark_keys, put_context_key
from fleet.errors import PoolerUnfit
from registry.placement import Place
from tiergate.deadline import Deadline


async def put_key(cluster: ClusterAccess, place: Place, deadline: Deadline) -> None:
    """Have *place*'s database know its context key, besides those that it knows. Again is no harm.

    Raises:
        ContextKeyConflict: Another key has that number there.
    """
    async with (
        bounded(cluster, f"give database {place.database!r} a context key", deadline),
        open_admin(cluster, place.database, deadline) as admin,
    ):
        await lay_data_plane(admin)
        await put_context_key(admin, cluster.name, place)


async def drop_keys_before(cluster: ClusterAccess, database: str, kid: int, deadline: Deadline) -> None:
    """Have *database* believe no key that is older than *kid*. Again is no harm."""
    async with (
        bounded(cluster, f"take old context keys from database {database!r}", deadline),
        open_admin(cluster, database, deadline) as admin,
    ):
        await drop_keys(admin, kid)


async def let_through(cluster: ClusterAccess, database: str, deadline: Deadline, *, pooled: bool) -> None:
    """Have *database* believe what comes through a transaction pooler, or no longer."""
    async with (
        bounded(cluster, f"mark database {database!r}", deadline),
        open_admin(cluster, database, deadline) as admin,
    ):
        await lay_data_plane(admin)
        await mark_keys(admin, pooled=pooled)


async def try_pooler(place: Place, address: str, deadline: Deadline) -> None:
    """Log in by way of the pooler at *address*, as requests will.

    Raises:
        PoolerUnfit: That cannot be done.
    """
    where = make_conninfo(
        address, user=place.login, password=place.password, dbname=place.database,
        application_name="tiergate", connect_timeout=max(2, int(deadline.left_s())),
    )  # fmt: skip
    try:
        async with await psycopg.AsyncConnection.connect(where, autocommit=True) as connection:
            await connection.execute("SELECT 1", prepare=False)
    except psycopg.Error as exc:
        raise PoolerUnfit(place.cluster, place.id, " ".join(str(exc).split())) from exc
