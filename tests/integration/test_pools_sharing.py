"""Pools of one cluster share its budget, and a busy one leaves the others something."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from pools.switchboard import Switchboard
from registry.placement import Placement
from tests.support.places import POOL, Heard, Places, open_places, open_pools, pool_limits, run, value
from tiergate.embedded import Cluster
from tiergate.events import ConnectionOpened
from tiergate.tenant import Tier

TWO = replace(POOL, default_pool_size=2)


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@asynccontextmanager
async def busy(switchboard: Switchboard, placement: Placement) -> AsyncIterator[None]:
    """More requests than connections, one after the other without a pause."""
    at_work = asyncio.Event()

    async def ask() -> None:
        while True:
            await run(switchboard, placement, "SELECT count(*) FROM generate_series(1, 1000)")
            at_work.set()

    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(ask(), name="ask") for _ in range(6)]
        await at_work.wait()
        try:
            yield
        finally:
            for task in asking:
                task.cancel()


@pytest.mark.parametrize("budget", [1, 2])
async def test_a_pool_that_never_rests_does_not_starve_another(places: Places, budget: int) -> None:
    acme, beta = await places.create(Tier.PREMIUM), await places.create(Tier.PREMIUM)
    async with open_pools(pool_limits(TWO, budget=budget)) as switchboard, busy(switchboard, acme):
        async with asyncio.timeout(5):
            answered = await value(switchboard, beta, "SELECT 1")

    assert answered == "1"


async def test_pools_that_share_alike_take_nothing_from_each_other(places: Places) -> None:
    acme, beta = await places.create(Tier.PREMIUM), await places.create(Tier.PREMIUM)
    heard = Heard()
    async with (
        open_pools(pool_limits(TWO, budget=2), heard) as switchboard,
        busy(switchboard, acme),
        busy(switchboard, beta),
    ):
        opened = len(heard.of(ConnectionOpened))
        for _ in range(20):
            await run(switchboard, beta, "SELECT count(*) FROM generate_series(1, 100000)")

        assert len(heard.of(ConnectionOpened)) == opened
