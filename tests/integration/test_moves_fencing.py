"""Whoever has the move changes the fence; whoever had it does not, and no epoch is served at two places."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import psycopg
import pytest

from fleet.errors import FenceConflict
from fleet.fence import FenceState
from moves import guard
from moves.ends import End, Way
from moves.errors import MoveSuperseded
from moves.fencing import (
    Fence,
    close_target,
    hold_stamp,
    leave_source,
    left_at,
    lock_tenant,
    open_target,
    read_fence,
    stamp,
    unstamp,
)
from pools.errors import StaleRoute
from pools.lease import Isolation
from pools.switchboard import Switchboard
from tests.integration.test_fence_flips import open_inside, until_locked_out
from tests.support.moving import Between, Connection, another, open_between, opened
from tests.support.places import open_pools, run
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster

EPOCH = 1_000_000
WRITING = [Isolation.READ_COMMITTED, Isolation.REPEATABLE_READ, Isolation.SERIALIZABLE]


@pytest.fixture(scope="module")
async def between(postgres: Cluster) -> AsyncIterator[Between]:
    async with open_between(postgres) as both:
        yield both


@pytest.fixture(scope="module")
async def pools(between: Between) -> AsyncIterator[Switchboard]:
    async with open_pools() as switchboard:
        yield switchboard


@pytest.fixture
async def way(between: Between) -> Way:
    return await between.way()


@pytest.fixture
async def source(way: Way) -> AsyncIterator[Connection]:
    async with opened(way.source) as connection:
        yield connection


@pytest.fixture
async def target(way: Way) -> AsyncIterator[Connection]:
    async with opened(way.target) as connection:
        yield connection


async def stamped(source: Connection, way: Way) -> Fence:
    fence = await stamp(source, way)
    assert fence is not None
    return fence


async def flip(source: Connection, target: Connection, way: Way, epoch: int = EPOCH) -> None:
    """The whole cut-over, without rows."""
    await stamped(source, way)
    await guard.put(target, way)
    async with source.transaction():
        left = await lock_tenant(source, way)
        async with target.transaction():
            await guard.hold(target, way)
            await open_target(target, way, left, epoch)
        await leave_source(source, way, left, epoch)


# -- who may


async def test_a_stamp_leaves_the_tenant_served(way: Way, source: Connection, pools: Switchboard) -> None:
    await stamped(source, way)

    await run(pools, way.source.placement, "INSERT INTO notes (id) VALUES (1)")


async def test_what_is_made_under_a_stamp_is_made_by_who_has_the_move(
    way: Way, source: Connection, target: Connection
) -> None:
    await stamped(source, way)
    later = another(way)

    async with opened(way.source) as other:
        await other.execute("SET lock_timeout = '100ms'")
        async with source.transaction():
            await hold_stamp(source, way)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await stamp(other, later)
        await stamped(other, later)
        with pytest.raises(MoveSuperseded):
            await hold_stamp(source, way)
        await unstamp(other, later)
    for gone in (way, later):
        with pytest.raises(MoveSuperseded):
            await hold_stamp(target, gone)
        with pytest.raises(MoveSuperseded):
            await hold_stamp(source, gone)


async def test_a_stamp_does_not_wait_for_the_tenants_transactions(way: Way, source: Connection) -> None:
    async with open_inside(way.source.placement, Isolation.READ_COMMITTED):
        await source.execute("SET lock_timeout = '100ms'")

        assert (await stamped(source, way)).attempt == way.attempt


async def test_whoever_was_taken_over_can_no_longer_leave(
    way: Way, source: Connection, target: Connection
) -> None:
    await stamped(source, way)
    await stamped(source, another(way))

    with pytest.raises(FenceConflict):
        async with source.transaction():
            await lock_tenant(source, way)


async def test_whoever_was_taken_over_under_the_lock_leaves_before_or_never(
    way: Way, source: Connection, target: Connection
) -> None:
    """The new worker waits for the row, and then sees what the old one has done."""
    await stamped(source, way)
    async with opened(way.source) as other:
        async with source.transaction():
            left = await lock_tenant(source, way)
            taking = asyncio.create_task(stamp(other, another(way)))
            await until_waiting(target, way)
            await leave_source(source, way, left, EPOCH)

        assert await taking is None
        assert await left_at(other, way) == EPOCH


async def until_waiting(looking: Connection, way: Way) -> None:
    """Until somebody waits for another's row."""
    async with asyncio.timeout(20):
        while True:
            cursor = await looking.execute(
                "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND query LIKE '%%tiergate.fence%%' AND datname = %s",
                (way.source.placement.place.database,),
            )
            if await cursor.fetchone() is not None:
                return


async def test_a_fence_of_neither_end_is_stamped_by_nobody(way: Way, source: Connection) -> None:
    other = replace(way.source.placement, place=way.target.placement.place)
    astray = replace(way, source=replace(way.source, placement=other), target=way.source)

    with pytest.raises(FenceConflict):
        await stamp(source, astray)


async def test_only_who_is_on_the_guard_brings_rows(way: Way, target: Connection) -> None:
    await guard.put(target, way)
    later = another(way)
    await guard.take(target, later)

    async with target.transaction():
        await guard.hold(target, later)
    with pytest.raises(MoveSuperseded):
        async with target.transaction():
            await guard.hold(target, way)


async def test_a_guard_that_is_gone_is_not_made_by_who_had_it(way: Way, target: Connection) -> None:
    """One that stood still while its move came to an end must not find a way back into the place."""
    await guard.put(target, way)
    async with target.transaction():
        await guard.drop(target, way)

    with pytest.raises(MoveSuperseded):
        await guard.take(target, way)


async def test_nobody_brings_rows_to_a_place_that_serves_the_tenant(
    way: Way, source: Connection, target: Connection
) -> None:
    await flip(source, target, way)

    with pytest.raises(MoveSuperseded):
        async with target.transaction():
            await guard.hold(target, way)


# -- the flip


async def test_after_the_flip_the_tenant_is_served_there_and_not_here(
    way: Way, source: Connection, target: Connection, pools: Switchboard
) -> None:
    await flip(source, target, way)

    there = replace(way.target.placement, epoch=EPOCH)
    await run(pools, there, "INSERT INTO notes (id) VALUES (1)")
    with pytest.raises(StaleRoute) as refused:
        await run(pools, way.source.placement, "SELECT 1")
    assert refused.value.fence_state == "moved"


async def test_a_fence_that_was_left_says_where_to(way: Way, source: Connection, target: Connection) -> None:
    await flip(source, target, way)

    cursor = await source.execute("SELECT forward FROM tiergate.fence WHERE tenant_id = %s", (way.tenant,))
    assert await cursor.fetchone() == ({"place": way.target.placement.place.id, "epoch": EPOCH},)


@pytest.mark.parametrize("isolation", [None, *WRITING])
async def test_who_waits_for_the_flip_writes_nothing_at_the_old_place(
    way: Way, source: Connection, target: Connection, pools: Switchboard, isolation: Isolation | None
) -> None:
    await stamped(source, way)
    async with opened(way.source) as looking:
        async with source.transaction():
            left = await lock_tenant(source, way)
            insert = "INSERT INTO notes (id) VALUES (1)"
            writer = asyncio.create_task(run(pools, way.source.placement, insert, isolation=isolation))
            await until_locked_out(looking, 1)
            await leave_source(source, way, left, EPOCH)
        with pytest.raises(StaleRoute):
            await writer

        rows = await looking.execute("SELECT FROM app.notes WHERE tenant_id = %s", (way.tenant,))
        assert await rows.fetchall() == []


@pytest.mark.parametrize("isolation", WRITING)
async def test_the_flip_waits_for_who_is_inside(way: Way, source: Connection, isolation: Isolation) -> None:
    await stamped(source, way)
    async with open_inside(way.source.placement, isolation):
        await source.execute("BEGIN; SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await lock_tenant(source, way)


@pytest.mark.parametrize("state", [FenceState.SUSPENDED, FenceState.READ_ONLY])
async def test_the_state_that_an_operator_set_meanwhile_is_taken_along(
    between: Between, way: Way, source: Connection, target: Connection, state: FenceState
) -> None:
    await stamped(source, way)
    here = between.here
    await here.provisioner.set_fence(here.access, way.source.placement, state, Deadline.after(60))

    await flip(source, target, way)

    fence = await read_fence(target, way.tenant)
    assert fence == Fence(way.target.placement.place.id, EPOCH, state, way.attempt)


async def test_an_operator_who_comes_too_late_is_told(
    between: Between, way: Way, source: Connection, target: Connection
) -> None:
    await flip(source, target, way)

    here = between.here
    with pytest.raises(FenceConflict, match="moved"):
        await here.provisioner.set_fence(
            here.access, way.source.placement, FenceState.SUSPENDED, Deadline.after(60)
        )


async def test_a_lower_epoch_opens_nothing(way: Way, source: Connection, target: Connection) -> None:
    await flip(source, target, way)
    await guard.put(source, way.back)
    await stamped(target, way.back)

    with pytest.raises(FenceConflict):
        await flip(target, source, way.back, epoch=way.source.placement.epoch)


async def test_the_way_back_is_the_same_way(
    way: Way, source: Connection, target: Connection, pools: Switchboard
) -> None:
    await flip(source, target, way)
    await flip(target, source, way.back, epoch=EPOCH + 1)

    await run(pools, replace(way.source.placement, epoch=EPOCH + 1), "SELECT 1")
    with pytest.raises(StaleRoute):
        await run(pools, replace(way.target.placement, epoch=EPOCH), "SELECT 1")


# -- what an attempt leaves


async def half(source: Connection, target: Connection, way: Way, epoch: int) -> None:
    """An attempt that was killed when the target was open, and the source not left."""
    left = await stamped(source, way)
    await guard.put(target, way)
    async with target.transaction():
        await guard.hold(target, way)
        await open_target(target, way, left, epoch)


async def test_what_an_attempt_opened_is_closed_and_says_where_the_tenant_lives(
    way: Way, source: Connection, target: Connection
) -> None:
    await half(source, target, way, EPOCH)
    later = another(way)
    serving = await stamped(source, later)
    await guard.take(target, later)

    assert await close_target(target, later, serving, EPOCH)

    cursor = await target.execute(
        "SELECT state, forward FROM tiergate.fence WHERE tenant_id = %s", (way.tenant,)
    )
    told = {"place": way.source.placement.place.id, "epoch": way.source.placement.epoch}
    assert await cursor.fetchone() == ("moved", told)


async def test_after_it_was_closed_the_next_attempt_opens_with_another_epoch(
    way: Way, source: Connection, target: Connection
) -> None:
    await half(source, target, way, EPOCH)
    later = another(way)
    serving = await stamped(source, later)
    await guard.take(target, later)
    await close_target(target, later, serving, EPOCH)

    with pytest.raises(FenceConflict):
        await flip(source, target, later, epoch=EPOCH)
    await flip(source, target, later, epoch=EPOCH + 1)

    assert await left_at(source, later) == EPOCH + 1


async def test_who_stood_still_does_not_close_what_a_later_worker_has_opened(
    way: Way, source: Connection, target: Connection
) -> None:
    """It had put its attempt on the source, and was stopped; another moved the tenant meanwhile."""
    serving = await stamped(source, way)
    later = another(way)
    await flip(source, target, later, epoch=EPOCH + 1)
    await guard.take(target, way)

    assert not await close_target(target, way, serving, EPOCH)

    fence = await read_fence(target, way.tenant)
    assert fence is not None
    assert fence.serves(way.target)


async def test_a_stamp_is_taken_off_by_its_worker_alone(way: Way, source: Connection) -> None:
    await stamped(source, way)
    await unstamp(source, another(way))
    kept = await read_fence(source, way.tenant)
    await unstamp(source, way)
    gone = await read_fence(source, way.tenant)

    assert (kept and kept.attempt, gone and gone.attempt) == (way.attempt, None)


# -- who stands still


@asynccontextmanager
async def standing(
    end: End, way: Way, holds: Callable[[Connection, Way], Awaitable[object]]
) -> AsyncIterator[None]:
    """A worker's session that holds something, and has sent half of a COPY; no limit of a server ends it."""
    with suppress(psycopg.OperationalError):
        async with opened(end, way.session) as connection:
            await connection.execute("CREATE TEMP TABLE half (line text)")
            await connection.execute("BEGIN")
            await holds(connection, way)
            async with connection.cursor().copy("COPY half FROM STDIN"):
                yield


async def test_who_takes_over_does_not_wait_for_one_that_stands_still_in_a_copy(
    source: Connection, target: Connection, way: Way
) -> None:
    await stamped(source, way)
    await guard.put(target, way)
    mine = another(way)

    async with (
        asyncio.timeout(20),  # it stands still for longer
        standing(way.source, way, lock_tenant),
        standing(way.target, way, guard.hold),
    ):
        await stamped(source, mine)
        await guard.take(target, mine)

    async with source.transaction(), target.transaction():
        await lock_tenant(source, mine)
        await guard.hold(target, mine)


async def test_who_takes_over_ends_no_session_of_its_own_or_of_another_move(
    source: Connection, target: Connection, way: Way, between: Between
) -> None:
    other, mine = await between.way(), another(way)
    await stamped(source, way)
    await guard.put(target, way)

    async with opened(way.source, mine.session) as ours, opened(way.source, other.session) as theirs:
        await stamped(source, mine)
        await guard.take(target, mine)

        for each in (ours, theirs):
            await each.execute("SELECT")
