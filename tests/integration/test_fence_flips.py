"""A tenant's fence changes while requests are under way: none writes at a place that was left."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias

import psycopg
import pytest
from psycopg.rows import TupleRow

from pools.binding import bind
from pools.errors import StaleRoute, StatementFailed
from pools.lease import Isolation
from pools.switchboard import Switchboard
from registry.placement import Placement
from tests.support.places import Places, login_of, open_admin, open_places, open_pools, run, until
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

Connection: TypeAlias = psycopg.AsyncConnection[TupleRow]
LOCKS = 1413959000
WRITING = [Isolation.READ_COMMITTED, Isolation.REPEATABLE_READ, Isolation.SERIALIZABLE]


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture(scope="module")
async def pools(places: Places) -> AsyncIterator[Switchboard]:
    async with open_pools() as opened:
        yield opened


@pytest.fixture
async def admin(places: Places) -> AsyncIterator[Connection]:
    async with open_admin(places.admin(places.shared)) as connection:
        yield connection


@asynccontextmanager
async def flipping(admin: Connection, placement: Placement) -> AsyncIterator[Connection]:
    """The tenant's exclusive lock, held as a mover holds it; the end commits the fence "moved"."""
    async with admin.transaction():
        await admin.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (LOCKS, placement.tenant))
        yield admin
        await admin.execute(
            "UPDATE tiergate.fence SET state = 'moved', epoch = epoch + 1 WHERE tenant_id = %s",
            (placement.tenant,),
        )


async def until_locked_out(admin: Connection, count: int) -> None:
    """So many requests wait for a tenant's shared lock."""

    async def holds() -> bool:
        cursor = await admin.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        )
        row = await cursor.fetchone()
        return row is not None and row[0] == count

    await until(holds)


@pytest.mark.parametrize("isolation", [None, *WRITING])
async def test_whoever_waits_for_a_flip_writes_nothing_at_the_old_place(
    places: Places, pools: Switchboard, admin: Connection, isolation: Isolation | None
) -> None:
    acme = await places.create(Tier.STANDARD)
    await run(pools, acme, "INSERT INTO notes (id) VALUES (0)")
    async with flipping(admin, acme):
        inserts = [f"INSERT INTO notes (id) VALUES ({number})" for number in range(1, 4)]
        writers = [asyncio.create_task(told(pools, acme, insert, isolation)) for insert in inserts]
        await until_locked_out(admin, 3)

    stale = await asyncio.gather(*writers)
    assert [type(error) for error in stale] == [StaleRoute] * 3
    states = {error.fence_state for error in stale if isinstance(error, StaleRoute)}
    assert states == ({"moved"} if isolation in {None, Isolation.READ_COMMITTED} else {"changed"})
    cursor = await admin.execute("SELECT id FROM app.notes WHERE tenant_id = %s", (acme.tenant,))
    assert await cursor.fetchall() == [(0,)]


async def told(
    pools: Switchboard, placement: Placement, statement: str, isolation: Isolation | None
) -> object:
    """What the request gives, be it an error."""
    try:
        return await run(pools, placement, statement, isolation=isolation)
    except (StaleRoute, StatementFailed) as error:
        return error


@pytest.mark.parametrize("isolation", [Isolation.REPEATABLE_READ, Isolation.SERIALIZABLE])
async def test_a_reader_with_a_snapshot_from_before_a_flip_may_read_it(
    places: Places, pools: Switchboard, admin: Connection, isolation: Isolation
) -> None:
    """What it reads was this place's truth at a moment after its request began."""
    acme = await places.create(Tier.STANDARD)
    await run(pools, acme, "INSERT INTO notes (id) VALUES (7)")
    async with flipping(admin, acme):
        reader = asyncio.create_task(
            run(pools, acme, "SELECT id FROM notes", isolation=isolation, read_only=True)
        )
        await until_locked_out(admin, 1)

    [result] = await reader
    assert result.rows == [("7",)]
    with pytest.raises(StaleRoute):
        await run(pools, acme, "SELECT id FROM notes", isolation=isolation, read_only=True)


async def test_a_reader_without_a_snapshot_sees_the_flip(
    places: Places, pools: Switchboard, admin: Connection
) -> None:
    acme = await places.create(Tier.STANDARD)
    async with flipping(admin, acme):
        reader = asyncio.create_task(run(pools, acme, "SELECT 1", read_only=True))
        await until_locked_out(admin, 1)

    with pytest.raises(StaleRoute):
        await reader


@asynccontextmanager
async def open_inside(placement: Placement, isolation: Isolation) -> AsyncIterator[Connection]:
    """A connection in a transaction of the tenant's, as the pools make one."""
    async with open_admin(login_of(placement.place)) as connection:
        bound = bind(placement, pid=connection.info.backend_pid, now_s=time.time(), timeout_ms=9000)
        await connection.execute(f"BEGIN ISOLATION LEVEL {isolation}".encode())
        entered = re.sub(rb"\$\d", b"%s", bound.sql)
        await connection.execute(entered, [param.decode() for param in bound.params])
        yield connection


@pytest.mark.parametrize("isolation", WRITING)
async def test_a_flip_waits_for_who_is_inside(
    places: Places, admin: Connection, isolation: Isolation
) -> None:
    acme = await places.create(Tier.STANDARD)
    async with open_inside(acme, isolation) as writer:
        await admin.execute("BEGIN")
        await admin.execute("SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await admin.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (LOCKS, acme.tenant))
        await admin.execute("ROLLBACK")
        await writer.execute("INSERT INTO notes (id) VALUES (1)")
        await writer.execute("COMMIT")
        async with flipping(admin, acme):
            pass

    cursor = await admin.execute("SELECT id FROM app.notes WHERE tenant_id = %s", (acme.tenant,))
    assert await cursor.fetchall() == [(1,)]


@pytest.mark.parametrize("isolation", WRITING)
async def test_an_operator_changes_the_fence_at_once_whoever_is_inside(
    places: Places, pools: Switchboard, admin: Connection, isolation: Isolation
) -> None:
    """A transaction that repeats its reads held the fence's row, and a suspension up as long as it ran."""
    acme = await places.create(Tier.STANDARD)
    async with open_inside(acme, isolation) as writer:
        await admin.execute("SET lock_timeout = '100ms'")
        await admin.execute(
            "UPDATE tiergate.fence SET state = 'suspended' WHERE tenant_id = %s", (acme.tenant,)
        )
        with pytest.raises(StaleRoute) as stale:
            await run(pools, acme, "SELECT 1", isolation=isolation)
        assert stale.value.fence_state == "suspended"

        # Who was inside before may end its work; the exclusive lock tells when it has.
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await admin.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (LOCKS, acme.tenant))
        await writer.execute("INSERT INTO notes (id) VALUES (1)")
        await writer.execute("COMMIT")
        await admin.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (LOCKS, acme.tenant))


async def test_no_write_is_lost_or_late_while_the_fence_flips_again_and_again(
    places: Places, pools: Switchboard, admin: Connection
) -> None:
    """Writers at every isolation level: while the fence is closed, nothing of theirs is kept."""
    acme = await places.create(Tier.STANDARD)
    written: list[int] = []
    is_over = False

    async def write(first: int, isolation: Isolation) -> None:
        number = first
        while not is_over:
            outcome = await told(pools, acme, f"INSERT INTO notes (id) VALUES ({number})", isolation)
            if isinstance(outcome, list):
                written.append(number)
            elif isinstance(outcome, StatementFailed):
                assert outcome.error.code == "40001"
            number += 3

    async with asyncio.TaskGroup() as tasks:
        for first, isolation in enumerate(WRITING):
            tasks.create_task(write(first, isolation))
        for _ in range(20):
            await flip(admin, acme, "suspended")
            closed = await count_notes(admin, acme)
            for _ in range(5):
                assert await count_notes(admin, acme) == closed
            await flip(admin, acme, "active")
            await until(partial(more_than, admin, acme, closed))
        is_over = True

    cursor = await admin.execute("SELECT id FROM app.notes WHERE tenant_id = %s", (acme.tenant,))
    assert {number for (number,) in await cursor.fetchall()} == set(written)


async def flip(admin: Connection, placement: Placement, state: str) -> None:
    async with admin.transaction():
        await admin.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (LOCKS, placement.tenant))
        await admin.execute(
            "UPDATE tiergate.fence SET state = %s WHERE tenant_id = %s", (state, placement.tenant)
        )


async def count_notes(admin: Connection, placement: Placement) -> int:
    row = await (
        await admin.execute("SELECT count(*) FROM app.notes WHERE tenant_id = %s", (placement.tenant,))
    ).fetchone()
    return int(row[0]) if row else 0


async def more_than(admin: Connection, placement: Placement, count: int) -> bool:
    return await count_notes(admin, placement) > count
