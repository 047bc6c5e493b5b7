"""Whose a server is: asked before anything on it is changed, so that no cluster takes another one down.

A database belongs to one cluster of one registry, and says so in `tiergate.identity`. Logins belong
to the whole server; so the gate of one standard cluster must not become the gate of a second one.
"""

from importlib import resources

from fleet.access import ClusterAccess, Connection, bounded, open_admin
from fleet.errors import ClusterTaken, WrongServer
from tiergate.deadline import Deadline


async def refuse_taken(connection: Connection, cluster: ClusterAccess) -> bool:
    """Refuse a database that is another cluster's; changes nothing.

    Returns:
        Whether the database says already that it is this cluster's.

    Raises:
        ClusterTaken: It is another cluster's, or one's that left no name.
    """
    found = await _identity(connection)
    if found is not None:
        if found != (cluster.name, cluster.registry):
            raise ClusterTaken(cluster.name, _whose(cluster, *found))
        return True
    if await _has(connection, "context_key"):
        cursor = await connection.execute("SELECT FROM tiergate.context_key LIMIT 1")
        if await cursor.fetchone() is not None:
            why = f"database {cluster.database!r} holds tenants' keys, and does not say of which cluster"
            raise ClusterTaken(cluster.name, why)
    return False


async def refuse_shared_gate(connection: Connection, cluster: ClusterAccess, gate: str) -> None:
    """Refuse to use a login that serves another database of this server; changes nothing.

    What is left of a database that was dropped does not count: its settings went with it.

    Raises:
        ClusterTaken: It does.
    """
    cursor = await connection.execute(
        "SELECT datname FROM pg_database AS d JOIN pg_db_role_setting ON setdatabase = d.oid"
        " JOIN pg_roles AS r ON r.oid = setrole WHERE rolname = %s AND datname <> %s LIMIT 1",
        (gate, cluster.database),
    )
    if (row := await cursor.fetchone()) is not None:
        raise ClusterTaken(cluster.name, f"login {gate!r} serves database {row[0]!r} of the same server")


async def claim(connection: Connection, cluster: ClusterAccess) -> None:
    """Write into the database whose it is, once `refuse_taken` has said that it is nobody's."""
    await connection.execute(
        resources.files("fleet").joinpath("data", "identity.sql").read_text(encoding="utf-8").encode()
    )
    await connection.execute(
        "INSERT INTO tiergate.identity (cluster, registry) VALUES (%s, %s)", (cluster.name, cluster.registry)
    )


async def recognize(cluster: ClusterAccess, deadline: Deadline) -> None:
    """Make sure that what answers at an address is the cluster; changes nothing.

    Raises:
        WrongServer: The database is nobody's.
        ClusterTaken: It is another cluster's.
        ClusterUnreachable, NotSuperuser, ClusterUnfit, ProvisioningTimeout, ProvisioningFailed:
            See fleet/errors.py.
    """
    async with (
        bounded(cluster, "be recognized", deadline),
        open_admin(cluster, cluster.database, deadline) as admin,
    ):
        if not await refuse_taken(admin, cluster):
            raise WrongServer(cluster.name, cluster.database)


async def _identity(connection: Connection) -> tuple[str, str] | None:
    if not await _has(connection, "identity"):
        return None
    cursor = await connection.execute("SELECT cluster, registry FROM tiergate.identity")
    row = await cursor.fetchone()
    return (row[0], row[1]) if row else None


async def _has(connection: Connection, table: str) -> bool:
    # By scanning, for the reason that fleet/cluster.py tells at `_mark`.
    cursor = await connection.execute(
        "SELECT FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace"
        " WHERE nspname = 'tiergate' AND relname = %s",
        (table,),
    )
    return await cursor.fetchone() is not None


def _whose(cluster: ClusterAccess, name: str, registry: str) -> str:
    whose = "this registry" if registry == cluster.registry else "another registry or master key"
    return f"database {cluster.database!r} is that of cluster {name!r} of {whose}"
