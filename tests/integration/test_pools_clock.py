"""Signatures end by the database's clock; whatever the gateway's own clocks say, requests are served."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from pools.clock import Ours
from pools.switchboard import Switchboard, open_switchboard
from tests.support.places import POOL, Heard, Places, open_places, open_way, pool_limits, run, value
from tiergate.embedded import Cluster
from tiergate.events import ClockOff, ClockRead, ConnectionOpened
from tiergate.tenant import Tier


@dataclass
class Machine:
    """A gateway's own clocks, which a test sets."""

    wall_off_s: float = 0.0
    ticks_off_s: float = 0.0

    def clocks(self) -> Ours:
        return Ours(lambda: time.time() + self.wall_off_s, lambda: time.monotonic() + self.ticks_off_s)


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def pools(machine: Machine, heard: Heard) -> AsyncIterator[Switchboard]:
    limits = pool_limits(replace(POOL, default_pool_size=2))
    async with open_switchboard(limits, heard, drain_timeout_s=20, ours=machine.clocks()) as opened:
        yield opened


@pytest.mark.parametrize("hours", [-5, 5])
async def test_a_gateway_whose_clock_is_hours_off_serves_and_says_so_once(
    places: Places, pools: Switchboard, machine: Machine, heard: Heard, hours: int
) -> None:
    machine.wall_off_s = 3600 * hours
    for tier in Tier:
        acme = await places.create(tier)
        assert await value(pools, acme, "SELECT tiergate.tenant()") == acme.tenant

    assert {round(event.offset_s) for event in heard.of(ClockRead)} == {-3600 * hours}
    assert [round(event.offset_s) for event in heard.of(ClockOff)] == [-3600 * hours]


async def test_our_own_clock_may_jump_while_connections_are_open(
    places: Places, pools: Switchboard, machine: Machine
) -> None:
    acme = await places.create(Tier.STANDARD)
    async with open_way(acme) as (proxy, by_proxy):
        await run(pools, by_proxy, "SELECT 1")
        for hours in (-8, 8, 100):
            machine.wall_off_s = 3600 * hours
            before = proxy.round_trips
            await run(pools, by_proxy, "SELECT 1")

            assert proxy.round_trips - before == 1


@pytest.mark.parametrize("jump_s", [-7200, 7200, -61, 35])
async def test_a_databases_clock_may_jump_while_connections_are_open(
    places: Places, pools: Switchboard, machine: Machine, heard: Heard, jump_s: float
) -> None:
    """It cannot be set here, so the time that we believe to have passed since the reading is wrong."""
    acme = await places.create(Tier.PREMIUM)
    async with open_way(acme) as (proxy, by_proxy):
        await run(pools, by_proxy, "INSERT INTO notes (id) VALUES (1)")
        machine.ticks_off_s = jump_s
        before = proxy.round_trips
        await run(pools, by_proxy, "INSERT INTO notes (id) VALUES (2)")
        assert proxy.round_trips - before == 4

        before = proxy.round_trips
        assert await value(pools, by_proxy, "SELECT count(*) FROM notes") == "2"
        assert proxy.round_trips - before == 1
    assert len(heard.of(ConnectionOpened)) == 1
    assert len(heard.of(ClockRead)) == 2


async def test_a_new_connection_reads_the_clock_only_if_nobody_has_of_late(
    places: Places, pools: Switchboard, machine: Machine, heard: Heard
) -> None:
    for tier in (Tier.PREMIUM, Tier.STANDARD, Tier.GOVERNMENT):
        await run(pools, await places.create(tier), "SELECT 1")
    assert (len(heard.of(ConnectionOpened)), len(heard.of(ClockRead))) == (3, 1)

    machine.ticks_off_s = machine.wall_off_s = 61
    await run(pools, await places.create(Tier.PREMIUM), "SELECT 1")
    assert (len(heard.of(ConnectionOpened)), len(heard.of(ClockRead))) == (4, 2)


async def test_once_a_minute_a_connection_that_comes_back_reads_the_clock(
    places: Places, pools: Switchboard, machine: Machine, heard: Heard
) -> None:
    acme = await places.create(Tier.STANDARD)
    await run(pools, acme, "SELECT 1")
    machine.ticks_off_s = machine.wall_off_s = 30
    await run(pools, acme, "SELECT 1")
    assert len(heard.of(ClockRead)) == 1

    machine.ticks_off_s = machine.wall_off_s = 61
    await run(pools, acme, "SELECT 1")
    await heard.wait_for(ClockRead, times=2)
    await run(pools, acme, "SELECT 1")
    assert len(heard.of(ClockRead)) == 2
