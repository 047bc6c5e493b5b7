"""The fence, as a move changes it: stamped by a worker, left behind at one end, opened at the other.

Invariants:
    - The tenant is served where the fence that says so has its row; the target's row counts for nothing until
      the source's says "moved": its epoch is told to nobody before.
    - A transaction that leaves the source holds the source's row, and finds its own attempt on it. So whoever
      has put another attempt there knows that no earlier one leaves any more, or has left already.
    - An epoch is used by one attempt at the cut-over. What was opened with one that did not leave is closed
      by saying "moved", never by removing the row: who was told of an older epoch must meet a fence.
"""

from dataclasses import dataclass

from fleet.access import TENANT_LOCKS, Connection
from fleet.errors import FenceConflict
from moves.ends import End, Way, end_others
from moves.errors import MoveSuperseded
from moves.guard import SERVING, hold_served
from tiergate.tenant import TenantId


@dataclass(frozen=True, slots=True)
class Fence:
    """A tenant's fence as it was read.

    Attributes:
        attempt: Of the worker that may change it for a move.
    """

    place: str
    epoch: int
    state: str
    attempt: str | None

    def serves(self, end: End) -> bool:
        """Whether the tenant lives at *end*; it may be suspended there."""
        return self.place == end.placement.place.id and self.state in SERVING


async def read_fence(connection: Connection, tenant: TenantId, *, holds: bool = False) -> Fence | None:
    """The tenant's fence in the database connected to.

    Args:
        holds: Wait for whoever changes it, and keep others from it until the transaction ends.
    """
    lock = " FOR UPDATE" if holds else ""
    cursor = await connection.execute(
        f"SELECT place, epoch, state, move_id::text FROM tiergate.fence WHERE tenant_id = %s{lock}".encode(),  # noqa: S608 - a constant
        (tenant,),
    )
    row = await cursor.fetchone()
    return None if row is None else Fence(*row)


async def stamp(source: Connection, way: Way, *, is_certain: bool = True) -> Fence | None:
    """Put the way's attempt on the source's fence, unless the tenant has left it for the target.

    Not under the tenant's lock, which a long transaction of the tenant's would keep from us: whoever leaves
    holds the row as well.

    Args:
        is_certain: Wait for who holds the row, even where our attempt is on it already: a commit that we
            have not heard of may still be under way.

    Returns:
        The fence, which bears the attempt; None when the tenant has left, and lives at the target.

    Raises:
        FenceConflict: It is neither here nor there.
    """
    seen = await read_fence(source, way.tenant)
    if not is_certain and seen is not None and seen.serves(way.source) and seen.attempt == way.attempt:
        return seen
    if seen is not None and seen.attempt not in {None, way.attempt}:
        await end_others(source, way)
    async with source.transaction():
        seen = await read_fence(source, way.tenant, holds=True)
        if seen is None or not seen.serves(way.source):
            if await _leads_to(source, way):
                return None
            raise _conflict(way.source, way.tenant, seen)
        await source.execute(
            "UPDATE tiergate.fence SET move_id = %s WHERE tenant_id = %s", (way.attempt, way.tenant)
        )
    return Fence(seen.place, seen.epoch, seen.state, way.attempt)


async def hold_stamp(source: Connection, way: Way) -> None:
    """Let nobody take the move over until the open transaction ends: who does finds what is made meanwhile.

    Raises:
        MoveSuperseded: The serving fence bears another attempt, or none: the move may be over.
    """
    cursor = await source.execute(
        "SELECT FROM tiergate.fence WHERE tenant_id = %s AND move_id = %s FOR SHARE",
        (way.tenant, way.attempt),
    )
    if await cursor.fetchone() is None:
        raise MoveSuperseded(way.move)


async def left_at(source: Connection, way: Way) -> int | None:
    """The epoch since which the tenant lives at the way's target; None while it has not left the source."""
    cursor = await source.execute(
        "SELECT epoch FROM tiergate.fence"
        " WHERE tenant_id = %s AND state = 'moved' AND place = %s AND forward ->> 'place' = %s",
        (way.tenant, way.source.placement.place.id, way.target.placement.place.id),
    )
    row = await cursor.fetchone()
    return None if row is None else int(row[0])


async def lock_tenant(source: Connection, way: Way) -> Fence:
    """Wait until the tenant's transactions have ended, and let none begin, inside an open transaction.

    Returns:
        The fence, held; it bears our attempt.

    Raises:
        FenceConflict: It does not, or the tenant is not served at the source.
        psycopg.errors.LockNotAvailable: Somebody goes on for longer than lock_timeout.
    """
    await source.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (TENANT_LOCKS, way.tenant))
    found = await read_fence(source, way.tenant, holds=True)
    if found is None or not found.serves(way.source) or found.attempt != way.attempt:
        raise _conflict(way.source, way.tenant, found)
    return found


async def open_target(target: Connection, way: Way, left: Fence, epoch: int) -> None:
    """Let the tenant in at the target, in the state that it *left* in; nobody is sent there yet.

    Raises:
        FenceConflict: A fence stands there that is not left over from an earlier life.
    """
    cursor = await target.execute(
        "INSERT INTO tiergate.fence AS f (tenant_id, place, epoch, state, move_id)"
        " VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (tenant_id) DO UPDATE SET place = excluded.place, epoch = excluded.epoch,"
        " state = excluded.state, forward = NULL, move_id = excluded.move_id"
        " WHERE f.state IN ('moved', 'deleted') AND f.epoch < excluded.epoch",
        (way.tenant, way.target.placement.place.id, epoch, left.state, way.attempt),
    )
    if cursor.rowcount == 0:
        raise _conflict(way.target, way.tenant, await read_fence(target, way.tenant))


async def leave_source(source: Connection, way: Way, left: Fence, epoch: int) -> None:
    """Send everybody who comes to the source on to the target; what commits this is the cut-over.

    Raises:
        FenceConflict: The fence is not as it was when it was locked.
    """
    cursor = await source.execute(
        "UPDATE tiergate.fence SET state = 'moved', epoch = %s, move_id = NULL,"
        " forward = jsonb_build_object('place', %s::text, 'epoch', %s::bigint)"
        " WHERE tenant_id = %s AND place = %s AND epoch = %s AND state = %s AND move_id = %s",
        (
            epoch, way.target.placement.place.id, epoch,
            way.tenant, way.source.placement.place.id, left.epoch, left.state, way.attempt,
        ),
    )  # fmt: skip
    if cursor.rowcount == 0:
        raise _conflict(way.source, way.tenant, await read_fence(source, way.tenant))


async def close_target(target: Connection, way: Way, serving: Fence, last: int) -> bool:
    """Close what an attempt has opened that did not come to its end; whether there was anything.

    Args:
        serving: The source's fence, after our attempt was put on it.
        last: The latest epoch that an attempt had been given by then. None of those leaves the source any
            more; a later one is another worker's, who has taken the move from us, and may have left.

    Raises:
        MoveSuperseded: Another worker has the move.
    """
    found = await read_fence(target, way.tenant)
    if found is None or not found.serves(way.target):
        return False
    async with target.transaction():
        await hold_served(target, way)
        cursor = await target.execute(
            "UPDATE tiergate.fence SET state = 'moved', move_id = NULL,"
            " forward = jsonb_build_object('place', %s::text, 'epoch', %s::bigint)"
            " WHERE tenant_id = %s AND place = %s AND state = ANY (%s) AND epoch <= %s",
            (
                serving.place, serving.epoch,
                way.tenant, way.target.placement.place.id, list(SERVING), last,
            ),
        )  # fmt: skip
        return cursor.rowcount > 0


async def unstamp(connection: Connection, way: Way) -> None:
    """Take the attempt off the tenant's fence, if it is ours: the move is over."""
    await connection.execute(
        "UPDATE tiergate.fence SET move_id = NULL WHERE tenant_id = %s AND move_id = %s",
        (way.tenant, way.attempt),
    )


async def _leads_to(source: Connection, way: Way) -> bool:
    return await left_at(source, way) is not None


def _conflict(end: End, tenant: TenantId, found: Fence | None) -> FenceConflict:
    said = None if found is None else f"{found.state}, of place {found.place} in epoch {found.epoch}"
    return FenceConflict(tenant, f"this worker's at place {end.placement.place.id}", said)


def conflict(way: Way) -> FenceConflict:
    """The end that is thought to serve the tenant does not, or the other one does."""
    return FenceConflict(way.tenant, f"that of place {way.source.placement.place.id}", "another's")
