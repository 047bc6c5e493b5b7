"""What a request costs on the wire: one network round trip, counted by a proxy in between."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from pools.errors import StatementFailed
from pools.lease import Isolation
from pools.statement import Statement
from tests.support.places import POOL, Places, open_places, open_pools, open_way, pool_limits, run
from tiergate.embedded import Cluster
from tiergate.tenant import Tier


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.mark.parametrize("tier", Tier)
async def test_a_warm_request_costs_one_round_trip(places: Places, tier: Tier) -> None:
    placement = await places.create(tier)
    batches: dict[str, list[str | Statement]] = {
        "a read": ["SELECT * FROM notes WHERE id = 7"],
        "a write": [Statement("INSERT INTO notes (id) VALUES ($1) ON CONFLICT DO NOTHING", (b"1",))],
        "many rows": ["SELECT repeat('x', 100) FROM generate_series(1, 2000)"],
        "a batch": ["SELECT 1", "UPDATE notes SET body = 'x'", "SELECT 2", "VALUES (3)"],
        "nothing": [],
    }
    async with open_way(placement) as (proxy, by_proxy), open_pools() as switchboard:
        await run(switchboard, by_proxy, "SELECT 1")
        for what, batch in batches.items():
            for time in ("first", "second, prepares", "third, by name", "fourth"):
                before = proxy.round_trips
                await run(switchboard, by_proxy, *batch)

                assert proxy.round_trips - before == 1, f"{what}, {time} time"
        assert proxy.accepted == 1


@pytest.mark.parametrize("isolation", Isolation)
async def test_an_isolation_level_costs_nothing_more(places: Places, isolation: Isolation) -> None:
    placement = await places.create(Tier.STANDARD)
    async with open_way(placement) as (proxy, by_proxy), open_pools() as switchboard:
        await run(switchboard, by_proxy, "SELECT 1")
        before = proxy.round_trips
        await run(switchboard, by_proxy, "SELECT 1", isolation=isolation, read_only=True, deferrable=True)

        assert proxy.round_trips - before == 1


async def test_a_failed_statement_is_told_after_one_round_trip(places: Places) -> None:
    """Its rollback is another one, off the request's path."""
    placement = await places.create(Tier.STANDARD)
    one = pool_limits(replace(POOL, default_pool_size=1))
    async with open_way(placement) as (proxy, by_proxy), open_pools(one) as switchboard:
        await run(switchboard, by_proxy, "SELECT 1")
        before = proxy.round_trips

        with pytest.raises(StatementFailed):
            await run(switchboard, by_proxy, "SELECT 1/0")
        assert proxy.round_trips - before == 1

        await run(switchboard, by_proxy, "SELECT 1")
        assert proxy.round_trips - before == 3
        assert proxy.accepted == 1
