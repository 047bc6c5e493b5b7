"""Connections come and go: dials that fail, servers that come back, and what has rested too long."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from pools.errors import DatabaseUnavailable, StatementFailed
from pools.pool import Pool
from pools.switchboard import Switchboard
from registry.placement import Placement
from tests.support.places import (
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
from tiergate.events import ConnectionClosed, DialFailed, LoopFailed
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


async def test_a_server_that_is_down_fails_fast_and_is_found_again_within_a_second_or_so(
    acme: Placement,
) -> None:
    loop, heard = asyncio.get_running_loop(), Heard()
    async with open_way(acme) as (proxy, by_proxy), open_pools(heard=heard) as switchboard:
        await run(switchboard, by_proxy, "SELECT 1")
        proxy.is_down = True
        proxy.cut()
        await heard.wait_for(ConnectionClosed)
        down_since = loop.time()
        each: list[float] = []
        for _ in range(200):
            began = loop.time()
            with pytest.raises(DatabaseUnavailable):
                await run(switchboard, by_proxy, "SELECT 1")
            each.append(loop.time() - began)
        assert sorted(each)[180] < 0.5
        took = loop.time() - down_since
        assert not switchboard.reachable()["main"]
        assert len(heard.of(DialFailed)) < 20 + 40 * took  # not a dial for every request

        proxy.is_down = False
        back_since = loop.time()

        async def works() -> bool:
            try:
                await run(switchboard, by_proxy, "SELECT 1")
            except DatabaseUnavailable:
                return False
            return True

        await until(works)
        assert min(at for at in proxy.dialled_at if at > back_since) - back_since < 1.5
        assert switchboard.reachable()["main"]
        assert_at_rest(switchboard)


async def test_all_who_wait_are_told_that_the_server_is_down(acme: Placement) -> None:
    async with open_way(acme) as (proxy, by_proxy), open_pools(pool_limits(ONE)) as switchboard:
        proxy.is_down = True
        told = await asyncio.gather(
            *(run(switchboard, by_proxy, "SELECT 1") for _ in range(20)), return_exceptions=True
        )

        assert {type(error) for error in told} == {DatabaseUnavailable}
        await until_at_rest(switchboard)
        assert switchboard.snapshot().budgets[0].used == 0


async def test_who_waits_beside_a_busy_connection_gets_one_when_the_server_is_back(acme: Placement) -> None:
    """Nobody dialled any more once a dial had failed, as long as another connection was lent out."""
    heard = Heard()
    async with (
        open_way(acme) as (proxy, by_proxy),
        open_pools(heard=heard) as switchboard,
        switchboard.lease(by_proxy, Deadline.after(20)),
    ):
        proxy.is_down = True
        waiter = asyncio.create_task(value(switchboard, by_proxy, "SELECT 1"))
        await heard.wait_for(DialFailed)
        proxy.is_down = False

        assert await waiter == "1"


async def test_a_dial_that_gets_no_answer_ends_in_time_and_counts_until_its_end(acme: Placement) -> None:
    """The server may have begun to serve it; more dials on top would pass its limit."""
    heard = Heard()
    limits = pool_limits(replace(ONE, server_connect_timeout=0.2))
    async with open_way(acme) as (proxy, by_proxy), open_pools(limits, heard) as switchboard:
        proxy.blackhole()
        with pytest.raises(DatabaseUnavailable):
            await run(switchboard, by_proxy, "SELECT 1")

        assert "no answer in time" in heard.of(DialFailed)[0].error
        assert switchboard.snapshot().budgets[0].used >= 1
        proxy.cut()
        proxy.flow()
        await until_at_rest(switchboard)


async def test_a_wrong_password_is_told_as_unavailable_and_says_so_only_in_the_log(acme: Placement) -> None:
    heard = Heard()
    wrong = replace(acme, place=replace(acme.place, password="wrong"))
    async with open_pools(heard=heard) as switchboard:
        with pytest.raises(DatabaseUnavailable) as refused:
            await run(switchboard, wrong, "SELECT 1")

    assert acme.place.login not in str(refused.value)
    assert "password authentication failed" in heard.of(DialFailed)[0].error


async def test_a_dial_that_fails_in_an_unknown_way_is_told_and_not_repeated_at_once(acme: Placement) -> None:
    heard = Heard()
    odd = replace(acme, place=replace(acme.place, conninfo="host=a..b"))  # no name at all, says Python
    async with open_pools(heard=heard) as switchboard:
        with pytest.raises(DatabaseUnavailable):
            await run(switchboard, odd, "SELECT 1", within_s=5)

    assert "UnicodeError" in heard.of(DialFailed)[0].error
    assert heard.of(LoopFailed) == []


async def test_what_rests_too_long_is_closed(acme: Placement) -> None:
    heard = Heard()
    async with open_pools(pool_limits(replace(ONE, server_idle_timeout=60)), heard) as switchboard:
        await run(switchboard, acme, "SELECT 1")
        pool, now = switchboard.pool(acme), asyncio.get_running_loop().time()
        pool.tidy(now + 59)
        assert pool.idle == 1
        pool.tidy(now + 61)

        assert (await heard.wait_for(ConnectionClosed)).reason == "server_idle_timeout"
        assert_at_rest(switchboard)


async def test_what_has_lived_too_long_is_closed_at_rest_and_when_it_comes_back(acme: Placement) -> None:
    heard = Heard()
    async with open_pools(pool_limits(replace(ONE, server_lifetime=100)), heard) as switchboard:
        await run(switchboard, acme, "SELECT 1")
        pool, now = switchboard.pool(acme), asyncio.get_running_loop().time()
        pool.tidy(now + 89)
        assert pool.idle == 1
        pool.tidy(now + 101)
        assert (await heard.wait_for(ConnectionClosed)).reason == "server_lifetime"

        async with switchboard.lease(acme, Deadline.after(20)) as lease:
            assert lease._wire is not None
            lease._wire.expires_at = now - 1
        assert (await heard.wait_for(ConnectionClosed, times=2)).reason == "server_lifetime"


async def test_a_failed_transaction_is_rolled_back_off_the_requests_path(
    acme: Placement, places: Places
) -> None:
    async with open_pools(pool_limits(ONE)) as switchboard:
        with pytest.raises(StatementFailed):
            await run(switchboard, acme, "SELECT 1/0")
        await until_at_rest(switchboard)
        async with open_admin(places.admin(acme.place)) as admin:
            assert list((await sessions(admin, acme.place.login)).values()) == ["Client:idle"]


async def test_a_host_is_tried_at_every_address_that_its_name_has(acme: Placement) -> None:
    named = replace(
        acme, place=replace(acme.place, conninfo=acme.place.conninfo.replace("127.0.0.1", "localhost"))
    )
    several = replace(
        acme,
        place=replace(
            acme.place, conninfo=acme.place.conninfo.replace("127.0.0.1", "nowhere.invalid,localhost")
        ),
    )
    nowhere = replace(
        acme, place=replace(acme.place, conninfo=acme.place.conninfo.replace("127.0.0.1", "nowhere.invalid"))
    )
    async with open_pools() as switchboard:
        assert await value(switchboard, named, "SELECT 1") == "1"
        assert await value(switchboard, several, "SELECT 1") == "1"
        with pytest.raises(DatabaseUnavailable, match="main"):
            await run(switchboard, nowhere, "SELECT 1")
