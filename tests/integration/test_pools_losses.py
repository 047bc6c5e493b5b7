"""Connections that break, stall, bring too much or are given up: who hears what, what is left."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pools.errors import (
    ConnectionLost,
    DeadlineExceeded,
    ResponseTooLarge,
)
from pools.statement import Statement
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
from tests.support.proxy import Proxy
from tiergate.embedded import Cluster
from tiergate.events import ConnectionClosed, LoopFailed
from tiergate.tenant import Tier

ONE = pool_limits(replace(POOL, default_pool_size=1))
PID = "SELECT pg_backend_pid()"


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture
async def acme(places: Places) -> Placement:
    """A tenant whose login nobody else uses."""
    return await places.create(Tier.PREMIUM)


@pytest.fixture
async def heard() -> Heard:
    return Heard()


@pytest.fixture
async def pools(heard: Heard) -> AsyncIterator[Switchboard]:
    """At most one connection, so that whoever comes next gets the same one."""
    async with open_pools(ONE, heard) as opened:
        yield opened
    assert heard.of(LoopFailed) == []


@pytest.fixture
async def admin(places: Places) -> AsyncIterator[psycopg.AsyncConnection[tuple[object, ...]]]:
    async with open_admin(places.admin(places.shared)) as connection:
        yield connection


Admin = psycopg.AsyncConnection[tuple[object, ...]]


async def until_at_work(admin: Admin, placement: Placement) -> None:
    """The tenant's server process is in the middle of a statement."""

    async def holds() -> bool:
        return any(
            state.endswith(":active") for state in (await sessions(admin, placement.place.login)).values()
        )

    await until(holds)


async def until_gone(admin: Admin, placement: Placement) -> None:
    """The tenant has no server process."""

    async def holds() -> bool:
        return not await sessions(admin, placement.place.login)

    await until(holds)


async def test_a_server_that_says_nothing_is_given_up_at_the_deadline(
    pools: Switchboard, acme: Placement, heard: Heard
) -> None:
    async with open_way(acme) as (proxy, by_proxy):
        await run(pools, by_proxy, "SELECT 1")
        loop = asyncio.get_running_loop()
        proxy.blackhole()
        began = loop.time()
        with pytest.raises(DeadlineExceeded) as late:
            await run(pools, by_proxy, "SELECT 1", within_s=0.4)

        assert late.value.stage == "database"
        assert 0.3 < loop.time() - began < 1.5
        # Nobody knows yet whether the server process is gone, so it counts.
        assert [(count.max, count.used) for count in pools.snapshot().budgets] == [(10, 1)]
        assert heard.of(ConnectionClosed) == []

        await until(partial(is_asked_to_cancel, proxy))
        proxy.cut()
        closed = await heard.wait_for(ConnectionClosed)
        assert closed.reason == "broken"
        assert [count.used for count in pools.snapshot().budgets] == [0]
        proxy.flow()
        await run(pools, by_proxy, "SELECT 1")


async def is_asked_to_cancel(proxy: Proxy) -> bool:
    """Whether the second connection has come, that of the cancel request."""
    return proxy.open == 2


async def test_a_cancelled_request_ends_its_statement_at_the_server(
    pools: Switchboard, acme: Placement, admin: Admin, heard: Heard
) -> None:
    request = asyncio.create_task(run(pools, acme, ENDLESS))
    await until_at_work(admin, acme)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request

    await until_gone(admin, acme)
    assert (await heard.wait_for(ConnectionClosed)).reason == "broken"
    assert await value(pools, acme, "SELECT 1") == "1"


async def test_a_request_cancelled_while_it_sends_leaves_nothing(
    pools: Switchboard, acme: Placement, admin: Admin, heard: Heard
) -> None:
    async with open_way(acme) as (proxy, by_proxy):
        await run(pools, by_proxy, "SELECT 1")
        proxy.blackhole()
        request = asyncio.create_task(
            run(pools, by_proxy, Statement("SELECT $1::text", (b"x" * 20_000_000,)))
        )
        await proxy.swallowed.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        proxy.flow()

        await until_gone(admin, acme)
        await heard.wait_for(ConnectionClosed)
        assert await value(pools, by_proxy, "SELECT 1") == "1"


async def test_an_answer_up_to_the_limit_arrives(pools: Switchboard, acme: Placement) -> None:
    """What waited in the socket was counted anew at each look once, and answers half as large refused."""
    rows = "SELECT repeat('x', 1000) FROM generate_series(1, 9000)"
    [result] = await run(pools, acme, rows, max_bytes=10_000_000)
    assert len(result.rows) == 9000

    [result] = await run(pools, acme, "SELECT repeat('x', 9500000)", max_bytes=10_000_000)
    assert len(result.rows[0][0] or "") == 9_500_000


async def test_over_a_unix_socket_the_limit_is_the_same(
    pools: Switchboard, acme: Placement, admin: Admin
) -> None:
    row = await (await admin.execute("SELECT current_setting('unix_socket_directories')")).fetchone()
    folder = str(row[0]).split(",")[0] if row else ""
    conninfo = make_conninfo(acme.place.conninfo, host=folder)
    near = replace(acme, place=replace(acme.place, conninfo=conninfo))
    rows = "SELECT repeat('x', 1000) FROM generate_series(1, {})"
    [result] = await run(pools, near, rows.format(9000), max_bytes=10_000_000)
    assert len(result.rows) == 9000

    with pytest.raises(ResponseTooLarge):
        await run(pools, near, rows.format(1_000_000), max_bytes=10_000_000)


async def test_an_answer_that_is_too_large_is_given_up_before_it_is_in_memory(
    pools: Switchboard, acme: Placement, heard: Heard
) -> None:
    before = resident_kb()
    with pytest.raises(ResponseTooLarge) as refused:
        await run(
            pools, acme, "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)", max_bytes=1_000_000
        )

    assert refused.value.limit_bytes == 1_000_000
    assert resident_kb() - before < 32_000
    assert (await heard.wait_for(ConnectionClosed)).reason == "broken"
    assert await value(pools, acme, "SELECT 1") == "1"


async def test_a_value_that_is_too_large_is_given_up(
    pools: Switchboard, acme: Placement, heard: Heard
) -> None:
    with pytest.raises(ResponseTooLarge):
        await run(pools, acme, "SELECT repeat('x', 100000000)", max_bytes=1_000_000)

    assert (await heard.wait_for(ConnectionClosed)).reason == "broken"
    assert await value(pools, acme, "SELECT 1") == "1"


def resident_kb() -> int:
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 - no file in the usual sense
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


async def test_a_server_process_killed_in_the_middle_is_a_lost_connection(
    pools: Switchboard, acme: Placement, admin: Admin
) -> None:
    request = asyncio.create_task(run(pools, acme, ENDLESS))
    await until_at_work(admin, acme)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (acme.place.login,)
    )
    with pytest.raises(ConnectionLost) as lost:
        await request

    assert "terminat" in lost.value.reason
    assert await value(pools, acme, "SELECT 1") == "1"


@pytest.mark.parametrize("before", ["SELECT 1", "SELECT repeat('x', 100000)"], ids=["short", "long"])
@pytest.mark.parametrize("fault", ["cut", "half_close", "corrupt"])
async def test_a_connection_that_breaks_in_the_middle_is_lost_and_closed(
    pools: Switchboard, acme: Placement, admin: Admin, heard: Heard, fault: str, before: str
) -> None:
    """Also behind the sluice that comes with the first long answer."""
    async with open_way(acme) as (proxy, by_proxy):
        await run(pools, by_proxy, before)
        if fault == "corrupt":
            proxy.corrupt()
            with pytest.raises(ConnectionLost):
                await run(pools, by_proxy, "SELECT 1")
        else:
            request = asyncio.create_task(run(pools, by_proxy, ENDLESS, statement_timeout_s=1))
            await until_at_work(admin, acme)
            getattr(proxy, fault)()
            with pytest.raises(ConnectionLost):
                await request

        await heard.wait_for(ConnectionClosed)
        assert await value(pools, by_proxy, "SELECT 1") == "1"
    await until_gone(admin, acme)


@pytest.mark.parametrize("before", ["SELECT 1", "SELECT repeat('x', 100000)"], ids=["short", "long"])
async def test_a_resting_connection_that_the_server_ends_is_dropped_before_use(
    pools: Switchboard, acme: Placement, admin: Admin, heard: Heard, before: str
) -> None:
    await run(pools, acme, before)
    pid = await value(pools, acme, PID)
    await admin.execute("SELECT pg_terminate_backend(%s)", (int(pid or 0),))

    assert (await heard.wait_for(ConnectionClosed)).reason == "server closed"
    assert await value(pools, acme, PID) != pid


async def test_the_servers_last_words_count_before_it_hangs_up(
    pools: Switchboard, acme: Placement, admin: Admin, heard: Heard
) -> None:
    """Between the two lie some milliseconds, in which a request would have been lost."""
    async with open_way(acme) as (proxy, by_proxy):
        pid = await value(pools, by_proxy, PID)
        proxy.keeps_open = True
        await admin.execute("SELECT pg_terminate_backend(%s)", (int(pid or 0),))

        assert (await heard.wait_for(ConnectionClosed)).reason == "server closed"
        assert await value(pools, by_proxy, PID) != pid
