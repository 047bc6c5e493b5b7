"""What a pool keeps, what it may have besides, and what nobody takes from it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from pools.switchboard import Switchboard
from registry.placement import PlaceId, Placement, TenantLimits
from tests.support.places import (
    POOL,
    Heard,
    Places,
    open_admin,
    open_places,
    open_pools,
    pool_limits,
    run,
    until,
    value,
)  # fmt: skip
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.events import ConnectionClosed, ConnectionOpened, PoolClosed
from tiergate.tenant import Tier


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture
async def two(places: Places) -> list[Placement]:
    """Two tenants with pools of their own, on one cluster."""
    return [await places.create(Tier.PREMIUM) for _ in range(2)]


async def until_idle(switchboard: Switchboard, placement: Placement, count: int) -> None:
    async def rests() -> bool:
        pool = switchboard.pool(placement)
        return (pool.idle, pool.size, pool.closing) == (count, count, 0)

    await until(rests)


async def lent(switchboard: Switchboard, placement: Placement) -> bool:
    """A lease, given back at once without use."""
    async with switchboard.lease(placement, Deadline.after(60)):
        return True


async def test_a_used_pool_keeps_its_minimum_until_it_has_rested(two: list[Placement]) -> None:
    limits, heard = replace(POOL, min_pool_size=2, server_idle_timeout=100), Heard()
    async with open_pools(pool_limits(limits), heard) as switchboard:
        await run(switchboard, two[0], "SELECT 1")
        await until_idle(switchboard, two[0], 2)
        pool, now = switchboard.pool(two[0]), asyncio.get_running_loop().time()
        pool.resting.tidy(now + 101, 100, spare=pool.size - pool.least)
        assert pool.idle == 2
        pool.last_used -= 101
        pool.resting.tidy(now + 101, 100, spare=pool.size - pool.least)

        assert (pool.least, pool.idle) == (0, 0)


async def test_nobody_takes_a_pools_minimum_away(two: list[Placement]) -> None:
    keeper, greedy = two
    heard = Heard()
    limits = replace(POOL, min_pool_size=1)
    async with open_pools(pool_limits(limits, budget=3), heard) as switchboard, AsyncExitStack() as lent:
        await run(switchboard, keeper, "SELECT 1")
        for _ in range(2):
            await lent.enter_async_context(switchboard.lease(greedy, Deadline.after(20)))
        switchboard.resize(pool_limits(replace(limits, query_wait_timeout=0.6), budget=3))
        with pytest.raises(Exception, match="no free connection"):
            await run(switchboard, greedy, "SELECT 1")

        assert switchboard.pool(keeper).idle == 1
        assert heard.of(ConnectionClosed) == []


async def test_minima_that_do_not_fit_starve_nobody(places: Places) -> None:
    tenants = [await places.create(Tier.PREMIUM) for _ in range(4)]
    async with open_pools(pool_limits(replace(POOL, min_pool_size=2), budget=2)) as switchboard:
        for placement in tenants * 2:
            assert await value(switchboard, placement, "SELECT 1") == "1"


async def test_the_reserve_opens_for_who_has_waited_and_closes_after_it(two: list[Placement]) -> None:
    acme, heard = two[0], Heard()
    limits = replace(POOL, default_pool_size=1, reserve_pool_size=1, reserve_pool_timeout=0.2)
    async with open_pools(pool_limits(limits), heard) as switchboard:
        loop = asyncio.get_running_loop()
        async with switchboard.lease(acme, Deadline.after(20)):
            began = loop.time()
            assert await value(switchboard, acme, "SELECT 1") == "1"
            assert loop.time() - began >= 0.2
            assert (await heard.wait_for(ConnectionClosed)).reason == "pool shrunk"
        await until_idle(switchboard, acme, 1)


async def test_a_warm_place_is_connected_before_anybody_asks_and_stays(two: list[Placement]) -> None:
    warm, other = two
    heard = Heard()
    limits = pool_limits(replace(POOL, server_idle_timeout=0.01), budget=2, pools=2)
    async with open_pools(limits, heard) as switchboard:
        assert switchboard.keep_warm([warm]) == 1
        await until_idle(switchboard, warm, 1)
        for number in range(5):
            elsewhere = replace(other, place=replace(other.place, id=PlaceId(f"pl_{number}")))
            await lent(switchboard, elsewhere)
            switchboard.tidy()
        assert switchboard.pool(warm).idle == 1
        assert len(heard.of(ConnectionOpened)) == 6

        switchboard.keep_warm([])

        async def goes() -> bool:
            switchboard.tidy()
            return not switchboard.pools()

        await until(goes)
        assert heard.of(PoolClosed)[-1].reason in {"idle", "evicted"}


@pytest.mark.parametrize("is_warm", [True, False])
async def test_the_server_has_loaded_what_requests_begin_with_where_nobody_waits_for_it(
    places: Places, two: list[Placement], *, is_warm: bool
) -> None:
    acme = two[0]
    async with open_pools(pool_limits()) as switchboard, open_admin(places.admin(acme.place)) as admin:
        if is_warm:
            switchboard.keep_warm([acme])
        else:
            await lent(switchboard, acme)
        await until_idle(switchboard, acme, 1)
        asked = "SELECT query FROM pg_stat_activity WHERE usename = %s"
        [(last,)] = await (await admin.execute(asked, [acme.place.login])).fetchall()

        assert ("tiergate.enter('', ''" in last) is is_warm


async def test_places_that_are_warm_no_more_make_room_for_those_that_are(two: list[Placement]) -> None:
    async with open_pools(pool_limits(pools=1)) as switchboard:
        for warm in two:
            assert switchboard.keep_warm([warm]) == 1
            await until_idle(switchboard, warm, 1)


async def test_two_pools_in_turn_do_not_dial_for_every_request(two: list[Placement]) -> None:
    heard, loop = Heard(), asyncio.get_running_loop()

    async def ask(placement: Placement, until_s: float) -> int:
        asked = 0
        while loop.time() < until_s:
            await run(switchboard, placement, "SELECT 1")
            asked += 1
        return asked

    async with open_pools(pool_limits(budget=1), heard) as switchboard:
        began = loop.time()
        asked = await asyncio.gather(*(ask(placement, began + 1.5) for placement in two))
        took = loop.time() - began

    assert min(asked) >= 2
    assert len(heard.of(ConnectionOpened)) <= 2 + took / 0.25


async def test_a_thousand_pools_at_once_never_pass_the_budget_and_all_are_served(
    two: list[Placement],
) -> None:
    crowd = [
        replace(two[0], place=replace(two[0].place, id=PlaceId(f"pl_{number}"))) for number in range(1000)
    ]
    most = 0
    limits = replace(POOL, query_wait_timeout=60)
    async with open_pools(pool_limits(limits, budget=12, dials=4, pools=1000)) as switchboard:
        asked = asyncio.gather(*(lent(switchboard, each) for each in crowd))
        await asyncio.sleep(0)
        budget = switchboard._clusters["main"].budget
        while not asked.done():
            assert budget.used <= 12
            assert budget.dialling <= 4
            most = max(most, budget.used)
            await asyncio.sleep(0.001)

        assert all(await asked)
        assert most == 12


async def test_a_limit_of_its_own_lets_a_tenant_have_less_than_the_others(places: Places) -> None:
    loud, quiet = await places.create(Tier.STANDARD), await places.create(Tier.STANDARD)
    loud = replace(loud, limits=TenantLimits(max_tenant_inflight=1))
    async with open_pools() as switchboard:
        async with switchboard.lease(loud, Deadline.after(20)):
            second = asyncio.create_task(value(switchboard, loud, "SELECT 1"))
            assert await value(switchboard, quiet, "SELECT 1") == "1"
            assert not second.done()
        assert await second == "1"


async def test_a_password_rotated_under_load_fails_nobody(two: list[Placement]) -> None:
    acme, answered = two[0], 0
    async with open_pools(pool_limits(replace(POOL, default_pool_size=2))) as switchboard:

        async def ask(number: int) -> None:
            nonlocal answered
            for step in range(30):
                conninfo = f"{two[0].place.conninfo} connect_timeout={2 + (step + number) % 5 // 4}"
                now = replace(acme, place=replace(acme.place, conninfo=conninfo))
                assert await value(switchboard, now, "SELECT 1") == "1"
                answered += 1

        await asyncio.gather(*(ask(number) for number in range(6)))

    assert answered == 180
