"""Makes a cluster and its data databases ready to hold tenants, before any tenant comes.

Everything may run again at any time, and by several gateways at once.
"""

import hashlib
import hmac
from functools import cache
from importlib import resources

from fleet import roles
from fleet.access import FLEET_LOCKS, ClusterAccess, Connection, bounded, open_admin
from fleet.errors import ContextKeyConflict
from fleet.identifier import quote_literal
from fleet.identity import claim, refuse_shared_gate, refuse_taken
from registry.placement import Place
from tiergate.deadline import Deadline
from tiergate.tenant import Tier

_BLOCK_BYTES = 64


async def prepare(
    cluster: ClusterAccess, tier: Tier, deadline: Deadline, *, gate: str | None = None
) -> tuple[str, ...]:
    """Make the roles, close the databases to PUBLIC, and lay the data plane.

    A government cluster's own database holds no tenant, so no data plane goes there.

    Args:
        gate: The login that the cluster's tenants will share, on the standard tier.

    Returns:
        Other databases of that server, which PUBLIC may still connect to: any login of ours
        can enter them, so they should be closed or moved elsewhere.

    Raises:
        ClusterTaken, ClusterUnreachable, NotSuperuser, ClusterUnfit, ProvisioningTimeout,
            ProvisioningFailed: See fleet/errors.py.
    """
    async with (
        bounded(cluster, "be prepared", deadline),
        open_admin(cluster, cluster.database, deadline) as admin,
    ):
        async with admin.transaction():
            await roles.lock_server(admin)
            is_ours = await refuse_taken(admin, cluster)
            if gate is not None:
                await refuse_shared_gate(admin, cluster, gate)
            await roles.prepare_groups(admin, cluster.name, tier)
            if not is_ours:
                await claim(admin, cluster)
            others = await roles.close_databases(admin, cluster.database, "postgres", "template1")
        if tier is not Tier.GOVERNMENT:
            await lay_data_plane(admin)
        if tier is Tier.PREMIUM:
            async with admin.transaction():
                await roles.lock_server(admin)
                await roles.admit(admin, cluster.database, roles.PREMIUM)
        return others


async def lay_data_plane(connection: Connection) -> bool:
    """Lay schema tiergate and the hardened catalog in the database connected to, unless they are there.

    What was laid is marked on the schema, with a number for the state it left, so that nothing is
    done, and no lock taken that requests would wait for, unless a version changed or something is gone.

    Returns:
        Whether anything was done.
    """
    if await is_laid(connection):
        return False
    async with connection.transaction():
        await lock(connection, "data plane")
        if await is_laid(connection):
            return False
        for name in ("tiergate.sql", "harden.sql"):
            await connection.execute(_sql(name).encode())
        mark = quote_literal(await _meant_mark(connection))
        await connection.execute(f"COMMENT ON SCHEMA tiergate IS {mark}".encode())
    return True


async def lay_if_missing(connection: Connection) -> None:
    """The same, but where a data plane lies that knows of moves, of whatever version, it stays."""
    cursor = await connection.execute("SELECT to_regclass('tiergate.import_guard')")
    if await cursor.fetchone() == (None,):
        await lay_data_plane(connection)


async def is_laid(connection: Connection) -> bool:
    """Whether the data plane is there as this version lays it, with nothing changed since."""
    return await _mark(connection) == await _meant_mark(connection)


async def put_context_key(connection: Connection, cluster: str, place: Place) -> None:
    """Tell the place's database the key that our requests are signed with.

    Raises:
        ContextKeyConflict: Another key has that number there.
    """
    inner, outer = pads(place.context_key)
    await connection.execute(
        "INSERT INTO tiergate.context_key (kid, inner_pad, outer_pad, pooled) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (place.context_kid, inner, outer, place.via_pgbouncer),
    )
    if place.via_pgbouncer:  # else it stays as it is: what we know of the way may be out of date
        await mark_keys(connection, pooled=True)
    cursor = await connection.execute(
        "SELECT inner_pad, outer_pad FROM tiergate.context_key WHERE kid = %s", (place.context_kid,)
    )
    if not hmac.compare_digest(b"".join(await cursor.fetchone() or ()), inner + outer):
        raise ContextKeyConflict(cluster, place.database, place.context_kid)


def pads(key: bytes) -> tuple[bytes, bytes]:
    """A context key as the database keeps it.

    Source:
        RFC 2104, section 2: inner and outer pad, here made ready for SHA-256's block of 64 bytes.
    """
    block = key.ljust(_BLOCK_BYTES, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


async def mark_keys(connection: Connection, *, pooled: bool) -> None:
    """Say whether the database connected to believes what comes through a transaction pooler."""
    await connection.execute(
        "UPDATE tiergate.context_key SET pooled = %s WHERE pooled <> %s", (pooled, pooled)
    )


async def drop_keys(connection: Connection, before: int) -> None:
    """Have the database connected to forget every key whose number is lower than *before*."""
    await connection.execute("DELETE FROM tiergate.context_key WHERE kid < %s", (before,))


async def lock(connection: Connection, what: str) -> None:
    """Wait until nobody else does *what* in this database; ends with the transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (FLEET_LOCKS, what))


async def _mark(connection: Connection) -> str | None:
    # By scanning, not by to_regnamespace(): that answers from a cache which a wait for an advisory
    # lock does not freshen, and would send the second of two gateways over the same ground.
    cursor = await connection.execute(
        "SELECT description FROM pg_description JOIN pg_namespace AS n ON objoid = n.oid"
        " WHERE classoid = 'pg_namespace'::regclass AND objsubid = 0 AND nspname = 'tiergate'"
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def _meant_mark(connection: Connection) -> str:
    """What the mark says when the data plane is as we lay it, in the state it is in now."""
    cursor = await connection.execute(_sql("state.sql").encode())
    state = (await cursor.fetchone() or ("",))[0]
    return f"tiergate data plane {_checksum(connection.info.server_version // 10000)} {state}"


@cache
def _checksum(major: int) -> str:
    # The major version counts: an upgraded server has functions that were never taken from PUBLIC.
    text = f"{major}\0{_sql('tiergate.sql')}\0{_sql('harden.sql')}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _sql(name: str) -> str:
    return resources.files("fleet").joinpath("data", name).read_text(encoding="utf-8")
