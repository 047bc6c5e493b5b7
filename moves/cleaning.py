"""Takes away what a move has brought, or left behind, at the end that does not serve the tenant.

The way leads from the end that serves it to the one that is given up. Nothing is taken from a place that
serves: rows in shared tables go in transactions that hold the guard, and a place of the tenant's own has a
name that is never used again. What is killed at any step is completed by the same call again.
"""

from fleet.access import Connection, bounded, open_admin
from fleet.cluster import lay_if_missing
from fleet.errors import ProvisioningFailed
from fleet.identifier import quote_literal
from fleet.own import own_schema
from fleet.removal import delete_some, drop_database, drop_schema, tables_of
from moves import capture, guard
from moves.ends import End, Way, open_end
from moves.errors import MoveSuperseded, PlaceNotEmpty
from moves.fencing import Fence, close_target, conflict, left_at, read_fence, stamp, unstamp
from moves.steps import Reached, Step
from moves.strays import find_strays
from tiergate.deadline import Deadline
from tiergate.tenant import Tier

_STEP = "clear up after a move"


async def look(way: Way, reached: Reached, deadline: Deadline) -> int | None:
    """Put our attempt on the fence of the way's source; if the tenant has left it, since which epoch.

    Raises:
        FenceConflict: It serves the tenant nowhere.
        ClusterUnreachable, ProvisioningTimeout, ProvisioningFailed: See fleet/errors.py.
    """
    async with (
        bounded(way.source.access, _STEP, deadline),
        open_end(way.source, deadline, way.session) as connection,
    ):
        if await stamp(connection, way) is None:
            return await left_at(connection, way)
    await reached(way.move, Step.SERVING_STAMPED)
    return None


async def begin(way: Way, reached: Reached, deadline: Deadline) -> Fence:
    """See that the way's source serves the tenant, put our attempt there, and stop logging its changes.

    Raises:
        FenceConflict: It does not serve the tenant; nothing was removed.
        ClusterUnreachable, ProvisioningTimeout, ProvisioningFailed: See fleet/errors.py.
    """
    async with (
        bounded(way.source.access, _STEP, deadline),
        open_end(way.source, deadline, way.session) as connection,
    ):
        await lay_if_missing(connection)
        serving = await stamp(connection, way)
        if serving is None:
            raise conflict(way)
        await reached(way.move, Step.SERVING_STAMPED)
        await capture.remove(connection, way.move, way.source.placement.place.schema)
    await reached(way.move, Step.CAPTURE_REMOVED)
    return serving


async def clear_left(
    way: Way,
    serving: Fence,
    last: int,
    reached: Reached,
    piece: Deadline,
    deadline: Deadline,
    *,
    is_lived_in: bool,
) -> bool:
    """Remove the place at the way's target, or the tenant's rows from it; whether all of it is gone.

    Its fence stays, if there is one: it tells who comes late where the tenant lives.

    Args:
        serving, last: As `moves.fencing.close_target` takes them.
        piece: Rows in shared tables are deleted until then; there may be more.
        is_lived_in: It was the tenant's before the move: what that one made there is nobody's to destroy.

    Raises:
        PlaceNotEmpty: The place holds what the tenant made by itself; nothing was removed.
        FenceConflict: It serves the tenant; nothing was removed.
        ClusterUnreachable, ProvisioningTimeout, ProvisioningFailed: See fleet/errors.py.
    """
    left, place = way.target, way.target.placement.place
    async with bounded(left.access, _STEP, deadline):
        if place.tier is Tier.GOVERNMENT:
            async with open_admin(left.access, left.access.database, deadline) as admin:
                if is_lived_in and await _can_be_entered(admin, place.database):
                    async with open_end(left, deadline, way.session) as inside:
                        await _refuse_strays(inside, way)
                await drop_database(admin, place)
                _refuse_left(left, await _first(admin, _OF_DATABASE, place.database, place.login))
            await reached(way.move, Step.PLACE_REMOVED)
            return True
        async with open_end(left, deadline, way.session) as admin:
            await lay_if_missing(admin)
            is_ours = await _is_taken(admin, way)
            if is_ours and await close_target(admin, way, serving, last):
                await reached(way.move, Step.LEFTOVER_CLOSED)
            found = await read_fence(admin, way.tenant)
            if found is not None and found.serves(left):
                raise conflict(way)
            if is_lived_in:
                await _refuse_strays(admin, way)
            await capture.remove(admin, way.move, place.schema)
            await reached(way.move, Step.CAPTURE_REMOVED)
            if place.tier is Tier.PREMIUM:
                await drop_schema(admin, place)
                await reached(way.move, Step.PLACE_REMOVED)
            elif is_ours and not await _delete_rows(admin, way, reached, piece):
                return False
            _refuse_left(left, await left_over(admin, way, is_ours=is_ours))
            async with admin.transaction():
                await guard.drop(admin, way)
            await reached(way.move, Step.GUARD_REMOVED)
    return True


async def clear_serving(way: Way, reached: Reached, deadline: Deadline) -> None:
    """Remove the last marks of the move where the tenant lives now: guard, progress and stamp."""
    async with (
        bounded(way.source.access, _STEP, deadline),
        open_end(way.source, deadline, way.session) as connection,
        connection.transaction(),
    ):
        await guard.drop(connection, way)
        await unstamp(connection, way)
    await reached(way.move, Step.SERVING_UNSTAMPED)


async def left_over(admin: Connection, way: Way, *, is_ours: bool = True) -> str | None:
    """What can still be found of the tenant, or of its place, at the way's target; None when nothing.

    Args:
        is_ours: Whether rows in shared tables are of this move.
    """
    place = way.target.placement.place
    if place.tier is not Tier.STANDARD:
        what = await _first(admin, _OWN, place.schema, own_schema(place), place.login, place.schema)
        if what is not None:
            return what
    elif is_ours:
        for table in await tables_of(admin, place):
            # A name may have a "%" in it: so no parameters, here and wherever a table is named.
            one = f"SELECT FROM {table} WHERE tenant_id = {quote_literal(way.tenant)} LIMIT 1"
            if await (await admin.execute(one.encode())).fetchone() is not None:
                return f"rows in table {table}"
    logged = await capture.count_dirty(admin, way.move)
    return f"{logged} lines of the log" if logged else None


_OWN = """
SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname IN (%s, %s)
UNION ALL SELECT 'login ' || rolname FROM pg_roles WHERE rolname = %s
UNION ALL SELECT 'its line in tiergate.application' FROM tiergate.application WHERE schema_name = %s
LIMIT 1
"""
_OF_DATABASE = """
SELECT 'database ' || datname FROM pg_database WHERE datname = %s
UNION ALL SELECT 'login ' || rolname FROM pg_roles WHERE rolname = %s
LIMIT 1
"""


async def _first(admin: Connection, query: str, *names: str) -> str | None:
    cursor = await admin.execute(query.encode(), names)
    row = await cursor.fetchone()
    return None if row is None else str(row[0])


def _refuse_left(left: End, what: str | None) -> None:
    if what is not None:
        raise ProvisioningFailed(left.access.name, _STEP, None, f"something is left: {what}")


async def _can_be_entered(admin: Connection, database: str) -> bool:
    """Whether it is there, and was not half dropped."""
    cursor = await admin.execute(
        "SELECT FROM pg_database WHERE datname = %s AND datallowconn AND datconnlimit <> -2", (database,)
    )
    return await cursor.fetchone() is not None


async def _refuse_strays(connection: Connection, way: Way) -> None:
    if strays := await find_strays(connection, way.target.placement):
        raise PlaceNotEmpty(way.target.placement.place.id, strays)


async def _is_taken(admin: Connection, way: Way) -> bool:
    """Whether the guard is ours now; without one nothing was brought here, or it is gone already."""
    try:
        await guard.take(admin, way)
    except MoveSuperseded:
        return False
    return True


async def _delete_rows(admin: Connection, way: Way, reached: Reached, piece: Deadline) -> bool:
    """Delete the tenant's rows from shared tables; whether all are gone."""
    for table in await tables_of(admin, way.target.placement.place):
        count = 1
        while count:
            if not piece.left_s():
                return False
            async with admin.transaction():
                await guard.hold(admin, way)
                count = await delete_some(admin, table, way.tenant)
            await reached(way.move, Step.ROWS_REMOVED)
    return True
