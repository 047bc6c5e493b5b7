"""Lending under pressure: who waits, for how long, in which order, and what is left when it is over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import pytest

from pools.errors import DeadlineExceeded, PoolExhausted, QueueFull
from pools.pool import Pool
from pools.switchboard import Switchboard
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
from tiergate.events import ConnectionClosed, ConnectionOpened, LoopFailed
from tiergate.tenant import Tier

ONE = replace(POOL, default_pool_size=1)
PID = "SELECT pg_backend_pid()"


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture
async def acme(places: Places) -> Placement:
    return await places.create(Tier.PREMIUM)


def assert_at_rest(switchboard: Switchboard) -> None:
    """Nothing is lent, opened, closed or waited for, and every permit is an idle connection's."""
    snapshot = switchboard.snapshot()
    for tier in snapshot.tiers:
        assert (tier.active, tier.opening, tier.closing, tier.waiting) == (0, 0, 0, 0)
    assert sum(budget.used for budget in snapshot.budgets) == sum(tier.idle for tier in snapshot.tiers)


async def until_at_rest(switchboard: Switchboard) -> None:
    async def holds() -> bool:
        try:
            assert_at_rest(switchboard)
        except AssertionError:
            return False
        return True

    await until(holds)


async def until_waiting(pool: Pool, count: int) -> None:
    async def holds() -> bool:
        return pool.waiting == count

    await until(holds)


async def lent(switchboard: Switchboard, placement: Placement) -> str | None:
    """A lease, given back at once without use; the process that would have served it."""
    async with switchboard.lease(placement, Deadline.after(20)) as lease:
        return str(lease._wire.pid) if lease._wire else None


async def test_the_budget_is_never_exceeded_at_the_server_while_a_crowd_hammers_it(places: Places) -> None:
    tiers = [Tier.PREMIUM, Tier.PREMIUM, Tier.PREMIUM, Tier.GOVERNMENT, Tier.STANDARD]
    tenants = [await places.create(tier) for tier in tiers]
    logins = [placement.place.login for placement in tenants]
    most, looks, heard = 0, 0, Heard()
    async with (
        open_admin(places.admin(places.shared)) as admin,
        open_pools(pool_limits(budget=4), heard) as switchboard,
        asyncio.TaskGroup() as tasks,
    ):
        crowd = [
            tasks.create_task(
                value(switchboard, tenants[number % 5], f"SELECT {number} + count(*) FROM notes")
            )
            for number in range(200)
        ]
        while not all(task.done() for task in crowd):
            most, looks = max(most, len(await sessions(admin, *logins))), looks + 1
            assert most <= 4
        await until_at_rest(switchboard)

        assert [task.result() for task in crowd] == [str(number) for number in range(200)]
        assert looks > 10
        assert most >= 3
    assert heard.of(LoopFailed) == []


async def test_waiters_are_served_in_the_order_of_asking(acme: Placement) -> None:
    served: list[int] = []

    async def ask(number: int) -> None:
        async with switchboard.lease(acme, Deadline.after(20)):
            served.append(number)

    async with open_pools(pool_limits(ONE)) as switchboard:
        async with switchboard.lease(acme, Deadline.after(20)):
            crowd = [asyncio.create_task(ask(number)) for number in range(20)]
            await until_waiting(switchboard.pool(acme), 20)
        await asyncio.gather(*crowd)

    assert served == list(range(20))


async def test_tenants_of_one_pool_are_served_in_turn_however_much_one_of_them_asks(places: Places) -> None:
    loud, quiet = await places.create(Tier.STANDARD), await places.create(Tier.STANDARD)
    served: list[str] = []

    async def ask(placement: Placement) -> None:
        async with switchboard.lease(placement, Deadline.after(20)):
            served.append("loud" if placement is loud else "quiet")

    async with open_pools(pool_limits(ONE)) as switchboard:
        async with switchboard.lease(loud, Deadline.after(20)):
            crowd = [asyncio.create_task(ask(loud)) for _ in range(50)]
            await until_waiting(switchboard.pool(loud), 50)
            crowd.append(asyncio.create_task(ask(quiet)))
            await until_waiting(switchboard.pool(loud), 51)
        await asyncio.gather(*crowd)
        assert_at_rest(switchboard)

    assert served.index("quiet") == 1


async def test_a_tenant_at_its_limit_leaves_the_others_their_connections(places: Places) -> None:
    loud, quiet = await places.create(Tier.STANDARD), await places.create(Tier.STANDARD)
    limits = replace(POOL, default_pool_size=3, max_tenant_inflight=2)
    async with open_pools(pool_limits(limits)) as switchboard:
        async with AsyncExitStack() as holding:
            for _ in range(2):
                await holding.enter_async_context(switchboard.lease(loud, Deadline.after(20)))
            third = asyncio.create_task(lent(switchboard, loud))
            await until_waiting(switchboard.pool(loud), 1)
            for _ in range(3):
                assert await lent(switchboard, quiet)
            assert not third.done()
        assert await third
        assert_at_rest(switchboard)


async def test_no_more_than_max_tenant_waiting_of_one_tenant_wait(places: Places) -> None:
    loud, quiet = await places.create(Tier.STANDARD), await places.create(Tier.STANDARD)
    async with open_pools(pool_limits(replace(ONE, max_tenant_waiting=2))) as switchboard:
        async with switchboard.lease(loud, Deadline.after(20)):
            waiters = [asyncio.create_task(lent(switchboard, loud)) for _ in range(2)]
            await until_waiting(switchboard.pool(loud), 2)
            with pytest.raises(QueueFull, match="of tenant"):
                await lent(switchboard, loud)
            waiters.append(asyncio.create_task(lent(switchboard, quiet)))
            await until_waiting(switchboard.pool(loud), 3)
        await asyncio.gather(*waiters)
        assert_at_rest(switchboard)


async def test_a_cancelled_waiter_leaves_nothing_and_delays_nobody(acme: Placement) -> None:
    async with open_pools(pool_limits(ONE)) as switchboard:
        pool = switchboard.pool(acme)
        async with switchboard.lease(acme, Deadline.after(20)):
            waiters = [asyncio.create_task(lent(switchboard, acme)) for _ in range(3)]
            await until_waiting(pool, 3)
            waiters[1].cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiters[1]
            assert pool.waiting == 2

        assert await waiters[0] == await waiters[2]
        assert_at_rest(switchboard)


@pytest.mark.parametrize("cancelled_first", [True, False])
async def test_a_waiter_cancelled_at_the_very_hand_over_passes_the_connection_on(
    acme: Placement, *, cancelled_first: bool
) -> None:
    """Both in one turn of the event loop, in either order: the wait is over, and nobody has seen it yet."""
    async with open_pools(pool_limits(ONE)) as switchboard, AsyncExitStack() as holding:
        pool = switchboard.pool(acme)
        lease = await holding.enter_async_context(switchboard.lease(acme, Deadline.after(20)))
        wire = lease._wire
        assert wire is not None
        lease._wire = None
        chosen = asyncio.create_task(lent(switchboard, acme))
        behind = asyncio.create_task(lent(switchboard, acme))
        await until_waiting(pool, 2)

        def meet() -> None:
            if cancelled_first:
                chosen.cancel()
            pool.give_back(wire, acme.tenant)
            chosen.cancel()

        asyncio.get_running_loop().call_soon(meet)
        with pytest.raises(asyncio.CancelledError):
            await chosen

        assert await behind == str(wire.pid)
        assert_at_rest(switchboard)


async def test_a_wait_timed_out_at_the_very_hand_over_passes_the_connection_on(acme: Placement) -> None:
    async with open_pools(pool_limits(ONE)) as switchboard:
        pool = switchboard.pool(acme)
        loop = asyncio.get_running_loop()
        async with switchboard.lease(acme, Deadline.after(20)) as lease:
            wire, lease._wire = lease._wire, None
        assert wire is not None
        switchboard.resize(pool_limits(replace(ONE, query_wait_timeout=0.5)))
        began = loop.time()
        waiter = asyncio.create_task(lent(switchboard, acme))
        await until_waiting(pool, 1)
        # The timer has fired, the waiter has not run: the same turn hands over.
        loop.call_at(began + 0.5, pool.give_back, wire, acme.tenant)
        with suppress(PoolExhausted):
            await waiter

        await until_at_rest(switchboard)
        assert pool.idle == 1


async def test_a_wait_ends_after_query_wait_timeout(acme: Placement) -> None:
    async with open_pools(pool_limits(ONE)) as switchboard:
        async with switchboard.lease(acme, Deadline.after(20)):
            switchboard.resize(pool_limits(replace(ONE, query_wait_timeout=0.1)))
            with pytest.raises(PoolExhausted) as exhausted:
                await lent(switchboard, acme)

        assert exhausted.value.pool == acme.place.id
        assert 0.09 < exhausted.value.waited_s < 1
        assert_at_rest(switchboard)


async def test_a_request_that_ends_sooner_than_its_wait_is_told_so(acme: Placement) -> None:
    async with open_pools(pool_limits(ONE)) as switchboard:
        async with switchboard.lease(acme, Deadline.after(20)):
            with pytest.raises(DeadlineExceeded) as late:
                await run(switchboard, acme, "SELECT 1", within_s=0.1)

        assert late.value.stage == "queue"
        assert_at_rest(switchboard)


async def test_no_more_than_max_waiting_wait(acme: Placement) -> None:
    async with open_pools(pool_limits(replace(ONE, max_waiting=2))) as switchboard:
        async with switchboard.lease(acme, Deadline.after(20)):
            waiters = [asyncio.create_task(lent(switchboard, acme)) for _ in range(2)]
            await until_waiting(switchboard.pool(acme), 2)
            with pytest.raises(QueueFull) as full:
                await lent(switchboard, acme)
            assert full.value.waiting == 2

        await asyncio.gather(*waiters)
        assert_at_rest(switchboard)


async def test_where_none_may_wait_the_pool_still_opens_its_connections(acme: Placement) -> None:
    """max_waiting 0 refused everybody, since the first connection has to be waited for, too."""
    async with open_pools(pool_limits(replace(POOL, default_pool_size=2, max_waiting=0))) as switchboard:
        async with switchboard.lease(acme, Deadline.after(20)), switchboard.lease(acme, Deadline.after(20)):
            with pytest.raises(QueueFull):
                await lent(switchboard, acme)

        assert await lent(switchboard, acme)


async def test_a_pool_opens_no_more_connections_than_its_size(acme: Placement, places: Places) -> None:
    async with open_pools(pool_limits(replace(POOL, default_pool_size=3))) as switchboard:
        await asyncio.gather(*(run(switchboard, acme, "SELECT 1") for _ in range(50)))
        async with open_admin(places.admin(acme.place)) as admin:
            assert len(await sessions(admin, acme.place.login)) <= 3


async def test_after_chaos_every_counter_is_at_rest(places: Places) -> None:
    """Requests that succeed, fail, are cancelled early and late, and lose their connection, all at once."""
    heard = Heard()
    tenants = [
        await places.create(tier) for tier in (Tier.PREMIUM, Tier.PREMIUM, Tier.STANDARD, Tier.GOVERNMENT)
    ]
    statements = [
        "SELECT 1",
        "SELECT 1/0",
        ENDLESS,
        "SELECT repeat('x', 100000) FROM generate_series(1, 100)",
        "INSERT INTO notes (id) VALUES (1)",
    ]
    async with AsyncExitStack() as stack:
        ways = [await stack.enter_async_context(open_way(tenant)) for tenant in tenants]
        limits = pool_limits(replace(POOL, default_pool_size=3, query_wait_timeout=2), budget=5)
        switchboard = await stack.enter_async_context(open_pools(limits, heard))
        loop = asyncio.get_running_loop()
        requests = []
        for number in range(240):
            statement = statements[number % 5]
            request = asyncio.create_task(
                run(
                    switchboard,
                    ways[number % 4][1],
                    statement,
                    within_s=3,
                    statement_timeout_s=0.2,
                    max_bytes=3_000_000,
                )
            )
            requests.append(request)
            if number % 7 == 0:
                loop.call_later((number % 40) / 100, request.cancel)
            if number % 60 == 59:
                loop.call_later(number / 400, ways[number % 4][0].cut)
        await asyncio.gather(*requests, return_exceptions=True)
        await until_at_rest(switchboard)

        assert all(budget.used <= budget.max for budget in switchboard.snapshot().budgets)
        for _, by_proxy in ways:
            assert await value(switchboard, by_proxy, "SELECT 1") == "1"
    assert heard.of(LoopFailed) == []
    assert len(heard.of(ConnectionOpened)) == len(heard.of(ConnectionClosed))
