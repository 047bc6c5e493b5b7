"""The cut-over: one attempt, of a bounded length, after which a tenant lives at the other end, or does not.

What is done while the tenant waits, and why in this order:
    1. The source's lock of the tenant: its transactions have ended, and whoever comes waits.
    2. The keys that changed last are read after that, so nothing slips through.
    3. The target gets those rows, and its fence, in one transaction; its epoch is told to nobody yet.
    4. The source's fence says "moved", under the same lock. This commit is the cut-over. Killed before it,
       nothing has happened: the lock is gone with the session. Killed after it, the tenant has moved: its
       fence sends everybody on, and whoever meets it tells the registry.
No session may hold the lock for longer than a bound, whatever becomes of the worker.
"""

import asyncio
import time
from dataclasses import dataclass

import psycopg
from psycopg import errors as pg

from fleet.access import ALL_ROWS, FLEET_LOCKS, TENANT_LOCKS
from fleet.errors import ProvisioningTimeout
from moves import capture, guard
from moves.digests import delta_differs
from moves.errors import CutoverMissed, MoveRefused, RowsDiffer
from moves.fencing import Fence, leave_source, lock_tenant, open_target
from moves.ground import Ground
from moves.passes import apply_dirty, look_up_by_key
from moves.sequences import advance
from moves.steps import Step
from moves.strays import find_strays
from tiergate.deadline import finish

OLDEST_S = 1.0
"""A transaction of the tenant's that is older than that will hardly end just now."""
LOCKED_S = 2.0
"""An attempt that takes longer, from the tenant's lock to the commit that ends it, is given up."""
MOST_KEYS = 5_000
"""With more changes in the log no attempt is begun: they are for a pass, which nobody waits for."""

_LOCK_MS = 300
_HELD_MS = 2000
"""For how long the lock outlives a worker that stands still, and no statement takes longer."""
_ROLLBACK_S = 2.0


@dataclass(frozen=True, slots=True)
class Cut:
    """What an attempt has done.

    Attributes:
        keys: That had changed since the last pass.
        locked_s: For how long the tenant's lock was held.
    """

    epoch: int
    keys: int
    locked_s: float


async def refuse_busy(ground: Ground) -> None:
    """See that an attempt would not wait for a long transaction, before anybody is held up for it.

    Raises:
        CutoverMissed: It would.
    """
    cursor = await ground.source.execute(_HOLDERS, (TENANT_LOCKS, ground.way.tenant))
    row = await cursor.fetchone()
    is_prepared, oldest_s = row or (None, None)
    if is_prepared:
        raise CutoverMissed(ground.way.tenant, "a prepared transaction is neither committed nor rolled back")
    if oldest_s is not None and oldest_s > OLDEST_S:
        raise CutoverMissed(ground.way.tenant, f"a transaction has been running for {oldest_s:.1f} s")


async def refuse_strays(ground: Ground) -> None:
    """See that the tenant leaves nothing behind that it has made by itself since the move was planned.

    Raises:
        MoveRefused: It would.
    """
    if strays := await find_strays(ground.source, ground.way.source.placement):
        raise MoveRefused(ground.way.tenant, strays)


# Who holds the tenant's lock. A prepared transaction has no process.
_HOLDERS = """
SELECT bool_or(l.pid IS NULL),
    extract(epoch FROM max(clock_timestamp() - coalesce(xact_start, query_start)))::double precision
FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid = %s
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.objid = (hashtext(%s)::bigint & 4294967295)::oid
"""


async def draw_near(ground: Ground) -> None:
    """Do all that can be done before anybody waits; leaves a transaction open at both ends, for `cut_over`.

    Raises:
        CutoverMissed: Somebody changes the tables, or writes across tenants; or too much has changed.
        MoveSuperseded: Another worker has the move.
    """
    way, source, target = ground.way, ground.source, ground.target
    try:
        # What is brought fires no trigger, and meets no foreign key: all of it was checked where it is from.
        await target.execute(_begin() + b"; SET LOCAL session_replication_role = replica")
        await guard.hold(target, way)
        await source.execute(_begin())
        await _refuse_many(ground)
        # Who changes the place's tables holds this one.
        schema = f"application {ground.source_schema}"
        await source.execute("SELECT pg_advisory_xact_lock_shared(%s, hashtext(%s))", (FLEET_LOCKS, schema))
        for end in (target, source):
            await end.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (FLEET_LOCKS, ALL_ROWS))
        await _refuse_strange_rows(ground)
        for end in (target, source):
            await look_up_by_key(end)
    except BaseException as exc:
        await give_up(ground)
        if isinstance(exc, pg.LockNotAvailable):
            why = f"somebody who works on all tenants did not end within {_LOCK_MS} ms"
            raise CutoverMissed(way.tenant, why) from exc
        raise


async def _refuse_strange_rows(ground: Ground) -> None:
    if await capture.count_dirty(ground.target, ground.way.move):
        raise CutoverMissed(ground.way.tenant, "somebody else has written to its rows at the target")


async def _refuse_many(ground: Ground) -> None:
    if (count := await capture.count_dirty(ground.source, ground.way.move)) > MOST_KEYS:
        why = f"it changes rows faster than they are brought over, and {count} changes are left"
        raise CutoverMissed(ground.way.tenant, why)


async def cut_over(ground: Ground, epoch: int) -> Cut:
    """Bring the last changes over, and let the tenant live at the target from now on, in *epoch*.

    After `draw_near`. When it fails, both transactions are rolled back, or their sessions gone; whether the
    source was left is then to be read from its fence.

    Raises:
        CutoverMissed: Transactions did not end in time, or it took too long; the tenant is where it was.
        ProvisioningTimeout: The commit took too long: the tenant may have left.
        RowsDiffer: The same; a row was not brought over as it is.
        MoveRefused: The same; it has made something by itself that would not come along.
        FenceConflict, MoveSuperseded: The same; another worker has the move.
    """
    source, target = ground.source, ground.target
    is_leaving = False
    try:
        async with asyncio.timeout(LOCKED_S):
            began_s = time.monotonic()
            left = await _lock(ground)
            await ground.reached(Step.TENANT_LOCKED)
            await refuse_strays(ground)
            keys = await _bring_last(ground)
            await open_target(target, ground.way, left, epoch)
            await ground.reached(Step.DELTA_APPLIED)
            await target.execute(b"COMMIT")
            await ground.reached(Step.TARGET_OPENED)
            await leave_source(source, ground.way, left, epoch)
            is_leaving = True
            await source.execute(b"COMMIT")
            locked_s = time.monotonic() - began_s
    except BaseException as exc:
        await give_up(ground)
        if isinstance(exc, TimeoutError | pg.QueryCanceled):
            raise _too_long(ground, is_leaving=is_leaving) from exc
        raise
    await ground.reached(Step.SOURCE_LEFT)
    return Cut(epoch, keys, locked_s)


def _too_long(ground: Ground, *, is_leaving: bool) -> CutoverMissed | ProvisioningTimeout:
    if is_leaving:
        return ProvisioningTimeout(ground.way.source.access.name, f"move tenant {ground.way.tenant}")
    return CutoverMissed(ground.way.tenant, f"an attempt took longer than {LOCKED_S} s")


async def give_up(ground: Ground) -> None:
    """Roll back what is open at both ends, or end its sessions."""
    await finish(_roll_back(ground), within_s=_ROLLBACK_S)


async def _lock(ground: Ground) -> Fence:
    try:
        return await lock_tenant(ground.source, ground.way)
    except pg.LockNotAvailable as exc:
        why = f"its transactions did not end within {_LOCK_MS} ms"
        raise CutoverMissed(ground.way.tenant, why) from exc


async def _bring_last(ground: Ground) -> int:
    way, source, target = ground.way, ground.source, ground.target
    brought = await apply_dirty(source, target, way, ground.tables)
    if differing := await delta_differs(source, target, way, ground.tables, brought):
        raise RowsDiffer(way.tenant, differing[0].table, differing[0].key_text)
    await advance(source, target, way, ground.tables)
    return brought.keys


def _begin() -> bytes:
    return (
        f"BEGIN; SET LOCAL lock_timeout = {_LOCK_MS};"
        f" SET LOCAL idle_in_transaction_session_timeout = {_HELD_MS};"
        f" SET LOCAL statement_timeout = {_HELD_MS}"
    ).encode()


async def _roll_back(ground: Ground) -> None:
    for connection in (ground.source, ground.target):
        try:
            await connection.execute(b"ROLLBACK")
        except psycopg.Error:
            await connection.close()
