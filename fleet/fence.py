"""The fence: the row in a data database that says who serves a tenant.

Here it is made when a tenant comes, suspended or opened again by an operator, and closed for good
when the tenant goes. State "moved" belongs to moves, and nothing here goes into it, or out of it while
the tenant lives.
"""

from dataclasses import dataclass
from enum import StrEnum

from psycopg import errors as pg

from fleet.access import TENANT_LOCKS, Connection
from fleet.errors import FenceConflict
from registry.placement import Placement


class FenceState(StrEnum):
    """What an operator may set."""

    ACTIVE = "active"
    READ_ONLY = "read_only"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class FenceChange:
    """What became of a tenant's fence.

    Attributes:
        before: What it said until now; the same as *after* when nothing changed.
        after: What it says now; every transaction that begins from now on meets it.
        is_drained: Whether every transaction that began earlier is over, too.
    """

    before: FenceState
    after: FenceState
    is_drained: bool


async def insert_fence(connection: Connection, placement: Placement) -> None:
    """Let the tenant in, if it has no fence here yet; one that is ours stays in its state.

    The fence of a tenant of that name that was deleted earlier gives way, and one that it left behind here.

    Raises:
        FenceConflict: A fence of another place or epoch stands here, or this tenant was deleted.
    """
    await connection.execute(
        "INSERT INTO tiergate.fence AS f (tenant_id, place, epoch, state) VALUES (%s, %s, %s, 'active')"
        " ON CONFLICT (tenant_id) DO UPDATE SET place = excluded.place, epoch = excluded.epoch,"
        " state = excluded.state, forward = NULL"
        " WHERE f.state IN ('deleted', 'moved') AND f.epoch < excluded.epoch",
        (placement.tenant, placement.place.id, placement.epoch),
    )
    await _ours(connection, placement)


async def change_fence(
    connection: Connection, placement: Placement, state: FenceState, drain_ms: int
) -> FenceChange:
    """Set the state of a fence that is ours; the connection is in autocommit.

    Also while the tenant is being moved: who cuts over holds the fence, and takes its state along.

    First the change, which new transactions meet at once; then a wait for those that are running.
    The other way round, new ones would queue behind the exclusive lock that waits for the old.

    Args:
        drain_ms: How long to wait for running transactions, at least 1.

    Raises:
        FenceConflict: No fence, one of another place or epoch, or a state that is not an operator's.
    """
    async with connection.transaction():
        before = await _ours(connection, placement, for_change=True)
        await connection.execute(
            "UPDATE tiergate.fence SET state = %s WHERE tenant_id = %s AND state <> %s",
            (state, placement.tenant, state),
        )
    return FenceChange(before, state, await _is_drained(connection, placement, drain_ms))


async def close_for_good(connection: Connection, placement: Placement, drain_ms: int) -> bool:
    """Refuse the tenant from now on, whatever state its fence is in, and one that comes late to let it in.

    Returns:
        Whether every transaction that began earlier is over.

    Raises:
        FenceConflict: The fence is of another place or epoch, or a move is under way.
    """
    async with connection.transaction():
        cursor = await connection.execute(
            "INSERT INTO tiergate.fence AS f (tenant_id, place, epoch, state) VALUES (%s, %s, %s, 'deleted')"
            " ON CONFLICT (tenant_id) DO UPDATE SET state = excluded.state"
            " WHERE (f.place, f.epoch) = (excluded.place, excluded.epoch) AND f.move_id IS NULL",
            (placement.tenant, placement.place.id, placement.epoch),
        )
        if cursor.rowcount == 0:
            await _ours(connection, placement, is_still=True)
    return await _is_drained(connection, placement, drain_ms)


async def forget(connection: Connection, placement: Placement) -> None:
    """Remove the fence of a tenant that was deleted."""
    await connection.execute(
        "DELETE FROM tiergate.fence WHERE tenant_id = %s AND epoch = %s AND state = 'deleted'",
        (placement.tenant, placement.epoch),
    )


async def _is_drained(connection: Connection, placement: Placement, drain_ms: int) -> bool:
    try:
        async with connection.transaction():
            await connection.execute("SELECT set_config('lock_timeout', %s, true)", (str(drain_ms),))
            await connection.execute(
                "SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (TENANT_LOCKS, placement.tenant)
            )
    except pg.LockNotAvailable:
        return False
    return True


async def _ours(
    connection: Connection, placement: Placement, *, for_change: bool = False, is_still: bool = False
) -> FenceState:
    """The state of the tenant's fence, which must be of this place and epoch; *is_still* allows no move."""
    lock = " FOR UPDATE" if for_change else ""
    cursor = await connection.execute(
        "SELECT place, epoch, state, move_id IS NOT NULL FROM tiergate.fence"  # noqa: S608 - a constant
        f" WHERE tenant_id = %s{lock}",
        (placement.tenant,),
    )
    row = await cursor.fetchone()
    expected = f"of place {placement.place.id} in epoch {placement.epoch}"
    if row is None:
        raise FenceConflict(placement.tenant, expected, None)
    place, epoch, state, is_moving = row
    if (place, epoch) != (placement.place.id, placement.epoch):
        raise FenceConflict(placement.tenant, expected, f"{state}, of place {place} in epoch {epoch}")
    if is_still and is_moving:
        raise FenceConflict(placement.tenant, expected, f"{state}, with a move under way")
    if state not in {*FenceState}:
        raise FenceConflict(placement.tenant, expected, state)
    return FenceState(state)
