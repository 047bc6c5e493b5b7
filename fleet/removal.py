"""Takes a tenant's place away: the rows in shared tables, a schema, or a database, and the login with it.

There is no way back. Whatever is killed at any step is completed by the same call again; the
registry forgets the tenant afterwards, and nothing here knows of the registry.
"""

from typing import assert_never

from fleet import roles
from fleet.access import FLEET_LOCKS, ClusterAccess, Connection, bounded, open_admin
from fleet.cluster import lock
from fleet.errors import ProvisioningTimeout
from fleet.fence import close_for_good, forget
from fleet.identifier import quote_identifier, quote_literal
from fleet.own import own_schema
from registry.placement import Place, Placement
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier

_AT_ONCE = 10_000
"""Rows that are deleted in one step: some 50 ms."""


async def remove(
    cluster: ClusterAccess, placement: Placement, deadline: Deadline, *, forgets: bool = False
) -> None:
    """Refuse the tenant for good, then remove everything that it had.

    Args:
        forgets: Leave no fence behind that says "deleted"; only for a name that is never used again.

    Raises:
        FenceConflict: The fence is another placement's, or a move holds it; nothing was removed.
        ProvisioningTimeout: Transactions of the tenant go on; nothing was removed.
        ClusterUnreachable, NotSuperuser, ClusterUnfit, ProvisioningFailed: See fleet/errors.py.
    """
    place = placement.place
    step = f"remove tenant {placement.tenant}"
    async with bounded(cluster, step, deadline):
        if placement.tier is Tier.GOVERNMENT:
            async with open_admin(cluster, cluster.database, deadline) as admin:
                await drop_database(admin, place)
            return
        async with open_admin(cluster, place.database, deadline) as admin:
            if not await close_for_good(admin, placement, drain_ms=max(1, int(500 * deadline.left_s()))):
                raise ProvisioningTimeout(cluster.name, step)
            match placement.tier:
                case Tier.STANDARD:
                    for table in await tables_of(admin, place):
                        while await delete_some(admin, table, placement.tenant, closed_in=placement.epoch):
                            pass
                case Tier.PREMIUM:
                    await drop_schema(admin, place)
                case _:
                    assert_never(placement.tier)
            if forgets:
                await forget(admin, placement)


async def tables_of(admin: Connection, place: Place) -> list[str]:
    """The tables of the place's schema that hold tenants' rows, quoted.

    From then on neither foreign keys nor ordinary triggers have a say in this session: all of a tenant
    goes, in whatever order.
    """
    await admin.execute("SELECT set_config('session_replication_role', 'replica', false)")
    cursor = await admin.execute(
        "SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid"
        " JOIN pg_class AS whole ON whole.oid = coalesce(pg_partition_root(c.oid), c.oid)"
        " WHERE whole.relnamespace = to_regnamespace(%s) AND c.relkind = 'r'"
        " AND attname = 'tenant_id' AND NOT attisdropped",
        (quote_identifier(place.schema),),
    )
    return [table for (table,) in await cursor.fetchall()]


async def delete_some(
    admin: Connection, table: str, tenant: TenantId, *, closed_in: int | None = None
) -> int:
    """Delete some of the tenant's rows, others' are not touched; how many, 0 when none are left.

    In small steps, each of them for good: where the time is not enough, the next try goes on.

    Args:
        closed_in: Only while the fence says that the tenant was deleted in this epoch: where another has
            completed that, the name may be somebody's again. None where a guard keeps everybody out.
    """
    # No parameters: the table's name may have a "%" in it.
    name, closed = quote_literal(tenant), ""
    if closed_in is not None:
        fence = f"tenant_id = {name} AND epoch = {closed_in:d} AND state = 'deleted'"
        closed = f" AND EXISTS (SELECT FROM tiergate.fence WHERE {fence})"
    # ONLY: a row's address is unique in its table alone, not in those that inherit from it.
    some = f"SELECT ctid FROM ONLY {table} WHERE tenant_id = {name}{closed} LIMIT {_AT_ONCE}"  # noqa: S608 - regclass quotes
    delete = f"DELETE FROM ONLY {table} WHERE ctid = ANY (ARRAY({some}))"  # noqa: S608 - as above
    return (await admin.execute(delete.encode())).rowcount


async def drop_schema(admin: Connection, place: Place) -> None:
    """Remove a place that is a schema, with its login."""
    await _end_makers(admin, place)
    async with admin.transaction():
        await lock(admin, f"place {place.id}")
        await roles.lock_server(admin)
        for schema in (place.schema, own_schema(place)):
            await admin.execute(f"DROP SCHEMA IF EXISTS {quote_identifier(schema)} CASCADE".encode())
        await admin.execute("DELETE FROM tiergate.application WHERE schema_name = %s", (place.schema,))
        await _drop_login(admin, place)


async def drop_database(admin: Connection, place: Place) -> None:
    """Remove a place that is a database, with its login; connected to the one that it was made from."""
    await _end_makers(admin, place)
    # Held by the session, as it is while the place is made.
    await admin.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", (FLEET_LOCKS, f"place {place.id}"))
    # FORCE ends the sessions in it. No fence is needed: nobody can come back to what is gone.
    await admin.execute(f"DROP DATABASE IF EXISTS {quote_identifier(place.database)} WITH (FORCE)".encode())
    async with admin.transaction():
        await roles.lock_server(admin)
        await _drop_login(admin, place)


async def _end_makers(admin: Connection, place: Place) -> None:
    """End whoever makes the place just now, and may stand still with half of it."""
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND (classid, objid, objsubid) = (%s, (hashtext(%s)::bigint & 4294967295)::oid, 2)"
        " AND pid <> pg_backend_pid()",
        (FLEET_LOCKS, f"place {place.id}"),
    )


async def _drop_login(admin: Connection, place: Place) -> None:
    cursor = await admin.execute("SELECT FROM pg_roles WHERE rolname = %s", (place.login,))
    if await cursor.fetchone() is None:
        return
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (place.login,)
    )
    login = quote_identifier(place.login)
    await admin.execute(f"DROP OWNED BY {login}; DROP ROLE {login}".encode())
