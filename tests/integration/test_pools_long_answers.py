"""Long answers: libpq gets them piece by piece, counted, over every kind of connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from pools.errors import ConnectionLost, ResponseTooLarge
from pools.statement import Statement
from pools.switchboard import Switchboard
from registry.placement import Placement
from tests.support.places import POOL, Places, open_places, open_pools, open_way, pool_limits, run, value
from tests.support.tls import open_tls_way
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

MEGABYTE = 1 << 20
PID = "SELECT pg_backend_pid()"
LONG = "SELECT repeat('x', 3000000)"


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture
async def pools() -> AsyncIterator[Switchboard]:
    """At most one connection, so that whoever comes next gets the same one."""
    async with open_pools(pool_limits(replace(POOL, default_pool_size=1))) as opened:
        yield opened


@pytest.fixture
async def acme(places: Places) -> Placement:
    return await places.create(Tier.PREMIUM)


@pytest.fixture(params=["tcp", "unix", "tls"])
async def way(request: pytest.FixtureRequest, postgres: Cluster, acme: Placement) -> AsyncIterator[Placement]:
    """The same tenant over each kind of connection."""
    async with AsyncExitStack() as stack:
        if request.param == "tls":
            acme = await stack.enter_async_context(open_tls_way(acme))
        if request.param == "unix":
            conninfo = make_conninfo(acme.place.conninfo, host=str(postgres.socket_dir))
            acme = replace(acme, place=replace(acme.place, conninfo=conninfo))
        yield acme


class Peak:
    """The most memory that this process has had since this was made, exactly."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # man proc_pid_clear_refs
        self._before_mb = self._status_mb("VmRSS")

    @property
    def grown_mb(self) -> float:
        return self._status_mb("VmHWM") - self._before_mb

    def _status_mb(self, name: str) -> float:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_of_a_huge_value_no_more_than_the_limit_is_taken_in(pools: Switchboard, way: Placement) -> None:
    pid = await value(pools, way, PID)
    peak = Peak()
    with pytest.raises(ResponseTooLarge):
        await run(pools, way, "SELECT repeat('x', 100000000)", max_bytes=MEGABYTE)

    assert peak.grown_mb < 4
    assert await value(pools, way, PID) != pid


async def test_who_has_had_as_much_as_is_allowed_still_gets_no_more(
    pools: Switchboard, way: Placement
) -> None:
    """The room that libpq has made for an answer stays, and would be filled at the next one's first look."""
    for _ in range(2):
        assert len(await value(pools, way, LONG) or "") == 3_000_000
    peak = Peak()
    with pytest.raises(ResponseTooLarge):
        await run(pools, way, LONG, max_bytes=MEGABYTE)

    assert peak.grown_mb < 2


async def test_while_much_is_sent_no_more_than_the_limit_is_taken_in(
    pools: Switchboard, way: Placement
) -> None:
    """Whenever libpq cannot send, it reads."""
    await value(pools, way, PID)
    sent = Statement("SELECT length($1::text)", (b"x" * 20 * MEGABYTE,))
    peak = Peak()
    with pytest.raises(ResponseTooLarge):
        await run(pools, way, "SELECT repeat('x', 200000000)", sent, max_bytes=MEGABYTE)

    assert peak.grown_mb < 32  # 20 MB of it the text that libpq sends


async def test_short_and_long_answers_follow_each_other_on_one_connection(
    pools: Switchboard, way: Placement
) -> None:
    pid = await value(pools, way, PID)
    for size in (10, 8_000, 16_000, 70_000, 3_000_000, 10, 1_000_000, 1):
        assert await value(pools, way, f"SELECT repeat('é', {size})") == "é" * size
        rows = f"SELECT i, repeat('y', 100) FROM generate_series(1, {size // 100}) AS i"
        [result] = await run(pools, way, rows)
        assert [row[0] for row in result.rows] == [str(i) for i in range(1, size // 100 + 1)]

    assert await value(pools, way, PID) == pid


async def test_much_goes_both_ways_at_once_and_in_order(pools: Switchboard, way: Placement) -> None:
    pid = await value(pools, way, PID)
    parts = [bytes([ord("a") + i]) * (2 * MEGABYTE) for i in range(8)]
    for _ in range(2):
        results = await run(pools, way, *(Statement("SELECT $1::text", (part,)) for part in parts))

        assert [result.rows for result in results] == [[(part.decode(),)] for part in parts]
    assert await value(pools, way, PID) == pid


async def test_whatever_becomes_of_long_answers_no_descriptor_is_left(acme: Placement) -> None:
    async with open_way(acme) as (proxy, by_proxy):
        before = descriptors()
        async with open_pools(pool_limits(replace(POOL, default_pool_size=1))) as pools:
            await run(pools, acme, LONG)
            with pytest.raises(ResponseTooLarge):
                await run(pools, acme, LONG, max_bytes=MEGABYTE)
            for is_cancelled in (True, False):
                await run(pools, by_proxy, LONG)
                proxy.pause_after(1_000_000)
                request = asyncio.create_task(run(pools, by_proxy, LONG))
                await proxy.swallowed.wait()
                if is_cancelled:
                    request.cancel()
                    proxy.flow()
                else:
                    proxy.cut()
                with pytest.raises((asyncio.CancelledError, ConnectionLost)):
                    await request
            proxy.flow()
            await run(pools, by_proxy, LONG)

    assert descriptors() <= before
