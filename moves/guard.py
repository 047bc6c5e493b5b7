"""Who may bring a tenant's rows into a place that does not serve it: one move, and one worker of it.

The row in `tiergate.import_guard` names them. Whatever a worker writes there, it writes in a transaction that
holds this row, and finds its own attempt on it: one that was taken for dead writes nothing more.

It is made when a move prepares a place, or begins to keep the old one equal, and taken over by an update
alone. So a worker that stood still while its move came to an end finds no row, and makes none.
"""

from fleet.access import Connection
from moves.ends import End, Way, end_others
from moves.errors import MoveSuperseded
from tiergate.tenant import TenantId

SERVING = ("active", "read_only", "suspended")
"""States of a fence whose place is the tenant's."""


async def put(connection: Connection, way: Way) -> None:
    """Make the guard of the way's target, whoever's was there; ends what another worker of the move does."""
    await _is_ours(connection, way)
    await connection.execute(
        "INSERT INTO tiergate.import_guard (tenant_id, place, move_id, attempt) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (tenant_id) DO UPDATE"
        " SET place = excluded.place, move_id = excluded.move_id, attempt = excluded.attempt",
        (way.tenant, way.target.placement.place.id, way.move, way.attempt),
    )


async def take(connection: Connection, way: Way) -> None:
    """Take the guard of the way's target over from another worker of this move; ends what that one does.

    Raises:
        MoveSuperseded: There is no guard of this move.
    """
    if await _is_ours(connection, way):
        return
    cursor = await connection.execute(
        "UPDATE tiergate.import_guard SET attempt = %s WHERE tenant_id = %s AND place = %s AND move_id = %s",
        (way.attempt, way.tenant, way.target.placement.place.id, way.move),
    )
    if cursor.rowcount == 0:
        raise MoveSuperseded(way.move)


async def hold(connection: Connection, way: Way) -> None:
    """Be the only one who brings rows to the way's target until the open transaction ends.

    Raises:
        MoveSuperseded: Another worker has the move, or the target serves the tenant.
    """
    await _hold(connection, way)
    # By a statement of its own: it sees what whoever held the guard before us has committed.
    if await _is_served(connection, way.target, way.tenant):
        raise MoveSuperseded(way.move)


async def hold_served(connection: Connection, way: Way) -> None:
    """The same, where an attempt at the cut-over may have opened the target already.

    Raises:
        MoveSuperseded: Another worker has the move.
    """
    await _hold(connection, way)


async def drop(connection: Connection, way: Way) -> None:
    """Remove the guard and the progress of the move, if they are there; inside the transaction of `hold`."""
    await connection.execute("DELETE FROM tiergate.import_progress WHERE move_id = %s", (way.move,))
    await connection.execute(
        "DELETE FROM tiergate.import_guard WHERE tenant_id = %s AND move_id = %s", (way.tenant, way.move)
    )


async def _is_ours(connection: Connection, way: Way) -> bool:
    """Whether the guard is the attempt's already; where it is another one's, its sessions are ended."""
    cursor = await connection.execute(
        "SELECT attempt::text FROM tiergate.import_guard"
        " WHERE tenant_id = %s AND place = %s AND move_id = %s",
        (way.tenant, way.target.placement.place.id, way.move),
    )
    found = await cursor.fetchone()
    if found not in {None, (way.attempt,)}:
        await end_others(connection, way)
    return found == (way.attempt,)


async def _hold(connection: Connection, way: Way) -> None:
    cursor = await connection.execute(
        "SELECT FROM tiergate.import_guard"
        " WHERE tenant_id = %s AND place = %s AND move_id = %s AND attempt = %s FOR UPDATE",
        (way.tenant, way.target.placement.place.id, way.move, way.attempt),
    )
    if await cursor.fetchone() is None:
        raise MoveSuperseded(way.move)


async def _is_served(connection: Connection, end: End, tenant: TenantId) -> bool:
    cursor = await connection.execute(
        "SELECT FROM tiergate.fence WHERE tenant_id = %s AND place = %s AND state = ANY (%s)",
        (tenant, end.placement.place.id, list(SERVING)),
    )
    return await cursor.fetchone() is not None
