"""A request cut off at any step of its flight: it took effect or not, and the next one meets none of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
from psycopg.conninfo import conninfo_to_dict

from pools.errors import ConnectionLost
from pools.switchboard import Switchboard
from registry.placement import Placement
from tests.adversity.conftest import Admin
from tests.support.places import (
    ENDLESS,
    POOL,
    Heard,
    Places,
    open_pools,
    open_way,
    pool_limits,
    run,
    sessions,
    until,
    value,
)
from tests.support.proxy import Proxy
from tiergate.errors import TiergateError
from tiergate.events import ConnectionClosed, LoopFailed
from tiergate.tenant import Tier

PID = "SELECT pg_backend_pid()"
BATCH = (
    "INSERT INTO notes (id, body) VALUES ({0}, 'a') RETURNING id",
    "SELECT repeat('x', 300) FROM generate_series(1, 3)",
    "INSERT INTO notes (id, body) VALUES (-{0}, 'b')",
)


@pytest.fixture
async def heard() -> Heard:
    return Heard()


@pytest.fixture
async def pools(heard: Heard) -> AsyncIterator[Switchboard]:
    limits = replace(POOL, default_pool_size=1, max_prepared_statements=0)  # so that flights are alike
    async with open_pools(pool_limits(limits, budget=1), heard) as opened:
        yield opened
    assert heard.of(LoopFailed) == []


def batch(number: int) -> list[str]:
    return [text.format(number) for text in BATCH]


def edges(said: bytes) -> list[int]:
    """Where a client's hearing may end: behind each message, in its header, and in its body.

    Source:
        PostgreSQL 18, 54.7 "Message Formats": a letter, then the length without it.
    """
    found, at = {0}, 0
    while at < len(said):
        end = at + 1 + int.from_bytes(said[at + 1 : at + 5], "big")
        found |= {at + 1, (at + end) // 2, end}
        at = end
    return sorted(found - {len(said)})


async def flight_of(pools: Switchboard, proxy: Proxy, who: Placement) -> bytes:
    """What the server says to a batch that nothing disturbs, all of its texts new."""
    proxy.said.clear()
    proxy.records = True
    await run(pools, who, *batch(1000))
    proxy.records = False
    return bytes(proxy.said)


@pytest.mark.parametrize("fault", ["hangs up", "is cut"])
@pytest.mark.parametrize("tier", [Tier.STANDARD, Tier.GOVERNMENT])
async def test_whatever_was_heard_of_an_answer_the_next_request_meets_nothing_of_it(
    pools: Switchboard, places: Places, heard: Heard, admin: Admin, tier: Tier, fault: str
) -> None:
    attacker = await places.create(tier)
    victim = await places.create(tier) if tier is Tier.STANDARD else attacker
    async with open_way(attacker) as (proxy, by_proxy):
        victim = replace(victim, place=by_proxy.place)
        await value(pools, victim, PID)
        said = await flight_of(pools, proxy, by_proxy)
        for number, edge in enumerate(edges(said), start=1001):
            pid = await value(pools, victim, PID)
            closed = len(heard.of(ConnectionClosed))
            proxy.pause_after(edge)
            request = asyncio.create_task(run(pools, by_proxy, *batch(number)))
            async with asyncio.timeout(10):
                await proxy.swallowed.wait()
            if fault == "is cut":
                proxy.cut()
            else:
                request.cancel()
            with pytest.raises((ConnectionLost, asyncio.CancelledError)):
                await request
            proxy.flow()

            assert await value(pools, victim, PID) != pid
            await heard.wait_for(ConnectionClosed, times=closed + 1)
            count = f"SELECT count(*) FROM notes WHERE id IN ({number}, -{number})"
            assert await value(pools, by_proxy, count) in {"0", "2"}
            await until(partial(is_alone, admin, victim))  # a process that is cut off ends when it notices


async def is_alone(admin: Admin, who: Placement) -> bool:
    return len(await sessions(admin, who.place.login)) == 1


def frames(said: bytes) -> list[int]:
    """Where each message's letter and the low bytes of its length stand in what a server said."""
    found: list[int] = []
    at = 0
    while at < len(said):
        found += (at, at + 3, at + 4)
        at += 1 + int.from_bytes(said[at + 1 : at + 5], "big")
    return found


async def test_an_answer_whose_frame_is_corrupt_is_handed_to_nobody(
    pools: Switchboard, places: Places, heard: Heard
) -> None:
    """What is within a value nobody can tell but TLS; letters and lengths must not lead to other rows."""
    acme = await places.create(Tier.PREMIUM)
    query = "SELECT n, repeat('x', 20) FROM generate_series(1, 3) AS n"
    async with open_way(acme) as (proxy, by_proxy):
        right = (await run(pools, by_proxy, query))[0].rows
        proxy.records = True
        await run(pools, by_proxy, query)
        proxy.records = False
        for at in frames(bytes(proxy.said)):
            proxy.corrupt(at, bits=0x01)
            try:
                [got] = await run(pools, by_proxy, query, within_s=0.4)
            except TiergateError:
                pass
            else:
                assert got.rows == right, at
            proxy.calm()

            assert (await run(pools, by_proxy, query))[0].rows == right


async def test_a_cancel_that_arrives_late_meets_nobody(
    pools: Switchboard, places: Places, admin: Admin
) -> None:
    """It names a server process; that process has ended, and none other has its name and key."""
    attacker, victim = await places.create(Tier.STANDARD), await places.create(Tier.STANDARD)
    async with open_way(attacker) as (proxy, by_proxy):
        pid = await value(pools, by_proxy, PID)
        request = asyncio.create_task(run(pools, by_proxy, ENDLESS))
        await until(partial(is_at_work, admin, attacker))
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        next_pid = await value(pools, replace(victim, place=by_proxy.place), PID)
        assert next_pid != pid

        answering = asyncio.create_task(
            run(pools, replace(victim, place=by_proxy.place), ENDLESS, statement_timeout_s=1)
        )
        await until(partial(is_at_work, admin, victim))
        [late] = proxy.cancels
        for _ in range(3):
            await send_raw(attacker, late)
        with pytest.raises(Exception, match="statement timeout"):
            await answering
        assert await value(pools, replace(victim, place=by_proxy.place), PID) == next_pid


async def is_at_work(admin: Admin, who: Placement) -> bool:
    return any(state.endswith(":active") for state in (await sessions(admin, who.place.login)).values())


async def send_raw(who: Placement, packet: bytes) -> None:
    """Send *packet* as a connection's first, and wait until the server has closed it."""
    part = conninfo_to_dict(who.place.conninfo)
    reader, writer = await asyncio.open_connection(str(part["host"]), int(str(part["port"])))
    writer.write(packet)
    with suppress(ConnectionError):
        await reader.read()
    writer.close()
