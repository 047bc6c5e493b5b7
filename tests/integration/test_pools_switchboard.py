"""Many pools under one budget: which one gives way, which one may not, and how all of them end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from psycopg import sql

from pools.bounds import SwitchboardLimits
from pools.errors import PoolExhausted, PoolsExhausted
from pools.pool import Pool
from registry.placement import Placement
from tests.support.places import (
    ENDLESS,
    POOL,
    Heard,
    Places,
    open_admin,
    open_places,
    open_pools,
    open_way,
    pool_limits,
    run,
    sessions,
    until,
    value,
)
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.events import ConnectionClosed, ConnectionOpened, LoopFailed, PoolClosed
from tiergate.tenant import Tier

PID = "SELECT pg_backend_pid()"


def soon() -> Deadline:
    return Deadline.after(20)


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture
async def heard() -> AsyncIterator[Heard]:
    heard = Heard()
    yield heard
    assert heard.of(LoopFailed) == []


@pytest.fixture
async def three(places: Places) -> list[Placement]:
    """Three tenants with pools of their own, on one cluster."""
    return [await places.create(Tier.PREMIUM) for _ in range(3)]


async def test_tenants_of_the_shared_place_share_a_pool_and_others_do_not(places: Places) -> None:
    shared = [await places.create(Tier.STANDARD) for _ in range(3)]
    own = [await places.create(tier) for tier in (Tier.PREMIUM, Tier.GOVERNMENT)]
    async with open_pools() as switchboard:
        pids = [await value(switchboard, placement, PID) for placement in shared * 2]

        assert len(set(pids)) == 1
        assert len({switchboard.pool(placement) for placement in [*shared, *own]}) == 3


async def test_a_pool_that_rests_gives_way_to_one_that_wants(three: list[Placement], heard: Heard) -> None:
    """The connection that has rested longest goes first."""
    first, second, third = three
    async with open_pools(pool_limits(budget=2), heard) as switchboard:
        await run(switchboard, first, "SELECT 1")
        await run(switchboard, second, "SELECT 1")
        await run(switchboard, third, "SELECT 1")

        assert [event.reason for event in heard.of(ConnectionClosed)] == ["evicted"]
        assert [switchboard.pool(placement).idle for placement in three] == [0, 1, 1]
        assert switchboard.snapshot().budgets[0].used == 2


def age_s(pool: Pool) -> float:
    """Of the connection that rests there."""
    return asyncio.get_running_loop().time() - pool.resting.last().opened_at


async def test_who_is_asked_often_keeps_its_connection_though_another_was_asked_last(
    three: list[Placement],
) -> None:
    often, once, third = three
    async with open_pools(pool_limits(budget=2)) as switchboard:
        for _ in range(3):
            await run(switchboard, often, "SELECT 1")
        await run(switchboard, once, "SELECT 1")
        await until(
            lambda: holds(age_s(switchboard.pool(once)) > switchboard.pool(once).cluster.budget.turn_s)
        )
        await run(switchboard, third, "SELECT 1")

        assert [switchboard.pool(placement).idle for placement in three] == [1, 0, 1]


async def test_a_lent_connection_gives_way_when_it_comes_back(three: list[Placement], heard: Heard) -> None:
    first, second, _ = three
    async with open_pools(pool_limits(budget=1), heard) as switchboard:
        async with switchboard.lease(first, soon()):
            waiter = asyncio.create_task(value(switchboard, second, "SELECT 1"))
            await until(lambda: holds(switchboard.pool(second).waiting == 1))

        assert await waiter == "1"
        assert [event.reason for event in heard.of(ConnectionClosed)] == ["evicted"]


async def holds(is_so: bool) -> bool:  # noqa: FBT001 - what `until` asks is asynchronous
    return is_so


async def test_a_permit_reaches_who_waits_though_somebody_before_was_served_otherwise(
    three: list[Placement], heard: Heard
) -> None:
    """The permit was offered to the first in the queue alone, who needed none any more, and lay unused."""
    first, second, third = three
    limits = pool_limits(replace(POOL, query_wait_timeout=5), budget=2)
    async with open_pools(limits, heard) as switchboard, switchboard.lease(second, soon()):
        async with switchboard.lease(first, soon()):
            served = asyncio.create_task(value(switchboard, first, "SELECT 1"))
            await until(lambda: holds(switchboard.pool(first).waiting == 1))
            hungry = asyncio.create_task(value(switchboard, third, "SELECT 1"))
            await until(lambda: holds(switchboard.pool(third).waiting == 1))

        assert await served == "1"
        assert await hungry == "1"


async def test_a_connection_that_is_slow_to_end_holds_up_no_other_eviction(
    places: Places, three: list[Placement]
) -> None:
    """It counted as a permit on its way, though a statement that nothing interrupts may take minutes."""
    stuck, rests, wants = three
    async with open_way(stuck) as (proxy, by_proxy), open_pools(pool_limits(budget=2)) as switchboard:
        await run(switchboard, by_proxy, "SELECT 1")
        await run(switchboard, rests, "SELECT 1")
        proxy.blackhole()
        request = asyncio.create_task(run(switchboard, by_proxy, "SELECT 1"))
        await proxy.swallowed.wait()
        request.cancel()
        await until(lambda: holds(switchboard.pool(by_proxy).closing == 1))

        assert await value(switchboard, wants, "SELECT 1") == "1"
        assert switchboard.pool(by_proxy).closing == 1
        proxy.cut()


async def test_the_pool_used_least_recently_goes_first(three: list[Placement], heard: Heard) -> None:
    first, second, third = three
    async with open_pools(pool_limits(pools=2), heard) as switchboard:
        await run(switchboard, first, "SELECT 1")
        await run(switchboard, second, "SELECT 1")
        kept = await value(switchboard, first, PID)
        await run(switchboard, third, "SELECT 1")

        assert [event.reason for event in heard.of(PoolClosed)] == ["evicted"]
        assert await value(switchboard, first, PID) == kept
        assert sum(tier.pools for tier in switchboard.snapshot().tiers) == 2


async def test_a_pool_in_use_is_never_closed(three: list[Placement], heard: Heard) -> None:
    first, second, third = three
    async with open_pools(pool_limits(pools=2), heard) as switchboard:
        async with switchboard.lease(first, soon()), switchboard.lease(second, soon()):
            with pytest.raises(PoolsExhausted):
                await run(switchboard, third, "SELECT 1")

        assert heard.of(PoolClosed) == []
        assert await value(switchboard, third, "SELECT 1") == "1"


async def test_a_pool_that_nobody_uses_goes_when_its_last_connection_has_gone(
    three: list[Placement], heard: Heard
) -> None:
    async with open_pools(pool_limits(replace(POOL, server_idle_timeout=0.01)), heard) as switchboard:
        await run(switchboard, three[0], "SELECT 1")

        async def is_gone() -> bool:
            switchboard.tidy()
            return not switchboard.pools()

        await until(is_gone)
        assert [event.reason for event in heard.of(PoolClosed)] == ["idle"]
        assert [event.reason for event in heard.of(ConnectionClosed)] == ["server_idle_timeout"]
        assert await value(switchboard, three[0], "SELECT 1") == "1"


async def test_a_new_password_gets_a_new_pool_and_what_runs_on_the_old_one_ends_in_peace(
    places: Places, three: list[Placement], heard: Heard
) -> None:
    old = three[0]
    async with open_pools(pool_limits(), heard) as switchboard:
        async with switchboard.lease(old, soon()):
            async with open_admin(places.admin(old.place)) as admin:
                await admin.execute(
                    sql.SQL("ALTER ROLE {} PASSWORD 'new'").format(sql.Identifier(old.place.login))
                )
            new = replace(old, place=replace(old.place, password="new"))
            assert await value(switchboard, new, "SELECT 1") == "1"
            assert heard.of(ConnectionClosed) == []

        assert (await heard.wait_for(ConnectionClosed)).reason == "retired"
        assert [event.reason for event in heard.of(PoolClosed)] == ["login changed"]


async def test_who_waits_for_a_retired_pool_is_still_served(three: list[Placement], heard: Heard) -> None:
    """Its connections were closed in front of those who waited, and dialled anew to be closed again."""
    acme = three[0]
    async with open_pools(pool_limits(replace(POOL, default_pool_size=1)), heard) as switchboard:
        old_pool = switchboard.pool(acme)
        async with switchboard.lease(acme, soon()):
            waiters = [asyncio.create_task(value(switchboard, acme, "SELECT 1")) for _ in range(3)]
            await until(lambda: holds(old_pool.waiting == 3))
            elsewhere = replace(
                acme, place=replace(acme.place, conninfo=acme.place.conninfo + " connect_timeout=9")
            )
            assert switchboard.pool(elsewhere) is not old_pool

        assert await asyncio.gather(*waiters) == ["1", "1", "1"]
        assert (await heard.wait_for(ConnectionClosed)).reason == "retired"
        assert len(heard.of(ConnectionOpened)) == 1


async def test_a_smaller_size_closes_what_rests_beyond_it_and_a_larger_one_serves_who_waits(
    three: list[Placement], heard: Heard
) -> None:
    acme = three[0]
    async with open_pools(pool_limits(), heard) as switchboard:
        pool = switchboard.pool(acme)
        async with (
            switchboard.lease(acme, soon()),
            switchboard.lease(acme, soon()),
            switchboard.lease(acme, soon()),
        ):
            pass
        assert pool.idle == 3
        switchboard.resize(pool_limits(replace(POOL, default_pool_size=1)))
        assert pool.idle == 1
        await heard.wait_for(ConnectionClosed, times=2)

        async with switchboard.lease(acme, soon()):
            waiter = asyncio.create_task(value(switchboard, acme, "SELECT 1"))
            await until(lambda: holds(pool.waiting == 1))
            switchboard.resize(pool_limits())
            assert await waiter == "1"


async def test_a_smaller_budget_holds_as_soon_as_what_works_has_come_back(
    three: list[Placement], heard: Heard
) -> None:
    async with open_pools(pool_limits(budget=3), heard) as switchboard:
        async with switchboard.lease(three[0], soon()):
            await run(switchboard, three[1], "SELECT 1")
            await run(switchboard, three[2], "SELECT 1")
            switchboard.resize(pool_limits(budget=1))
            await heard.wait_for(ConnectionClosed, times=2)
            switchboard.resize(pool_limits(replace(POOL, query_wait_timeout=0.05), budget=1))
            with pytest.raises(PoolExhausted):
                await run(switchboard, three[1], "SELECT 1")
            switchboard.resize(pool_limits(budget=1))

        assert switchboard.snapshot().budgets[0].used == 1
        await run(switchboard, three[2], "SELECT 1")
        assert switchboard.snapshot().budgets[0].used <= 1


@pytest.mark.parametrize(
    "lowered",
    [pool_limits(budget=1), pool_limits(replace(POOL, default_pool_size=1))],
    ids=["budget", "pool"],
)
async def test_a_lower_limit_holds_also_while_others_wait(
    three: list[Placement], lowered: SwitchboardLimits
) -> None:
    async with open_pools(pool_limits(budget=3)) as switchboard, AsyncExitStack() as lent:
        for _ in range(3):
            await lent.enter_async_context(switchboard.lease(three[0], soon()))
        pool = switchboard.pool(three[0])
        crowd = [asyncio.create_task(value(switchboard, three[0], "SELECT 1")) for _ in range(9)]
        await until(lambda: holds(pool.waiting >= len(crowd) - 1))
        switchboard.resize(lowered)
        await lent.aclose()
        assert pool.size == 1
        await asyncio.gather(*crowd)


async def test_a_drain_finishes_what_runs_and_what_waits_and_the_server_confirms(
    places: Places, three: list[Placement], heard: Heard
) -> None:
    slow = "SELECT count(*) FROM generate_series(1, 300000)"
    limits = pool_limits(replace(POOL, default_pool_size=2))
    async with open_admin(places.admin(three[0].place)) as admin, open_pools(limits, heard) as switchboard:
        requests = [asyncio.create_task(value(switchboard, three[n % 3], slow)) for n in range(18)]
        await until(lambda: holds(sum(pool.active for pool in switchboard.pools()) >= 3))
        drained = await switchboard.drain(within_s=20)

        assert drained
        assert await asyncio.gather(*requests) == ["300000"] * 18
        assert await sessions(admin, *(placement.place.login for placement in three)) == {}
    assert len(heard.of(ConnectionOpened)) == len(heard.of(ConnectionClosed)) <= 6


async def test_a_request_that_comes_while_all_is_drained_is_served_and_leaves_nothing(
    places: Places, three: list[Placement]
) -> None:
    async with open_admin(places.admin(three[0].place)) as admin:
        async with open_pools() as switchboard:
            running = asyncio.create_task(run(switchboard, three[0], ENDLESS, statement_timeout_s=1))
            await until(lambda: holds(sum(pool.active for pool in switchboard.pools()) == 1))
            drain = asyncio.create_task(switchboard.drain(within_s=20))
            await asyncio.sleep(0)
            assert await value(switchboard, three[1], "SELECT 1") == "1"
            assert await drain
            await asyncio.gather(running, return_exceptions=True)
        assert await sessions(admin, *(placement.place.login for placement in three)) == {}


async def test_a_drain_that_takes_too_long_is_given_up_in_time(three: list[Placement]) -> None:
    """One connection cannot be closed, one transaction not rolled back: the gateway ends all the same."""
    loop = asyncio.get_running_loop()
    acme = three[0]
    async with open_way(acme) as (proxy, by_proxy):
        began = 0.0
        async with open_pools() as switchboard:
            first = await switchboard.lease(by_proxy, soon()).__aenter__()
            second = await switchboard.lease(by_proxy, soon()).__aenter__()
            assert second._wire is not None
            second._wire.ask(b"BEGIN")
            await second._wire.fly(max_bytes=1000)
            proxy.blackhole()
            assert first._wire is not None
            first._wire.broken = True
            await first.__aexit__(None, None, None)
            await second.__aexit__(None, None, None)
            began = loop.time()

            assert not await switchboard.drain(within_s=0.2)
        assert loop.time() - began < 2
        proxy.flow()
