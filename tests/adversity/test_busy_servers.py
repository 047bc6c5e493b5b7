"""Statements that no timeout, cancel or termination can end: they stay their tenant's until they are over."""

import asyncio
from dataclasses import replace

import pytest

from pools.errors import DeadlineExceeded
from pools.switchboard import Switchboard
from registry.placement import Placement
from tests.adversity.conftest import Admin
from tests.support.places import POOL, Places, open_pools, pool_limits, run, sessions, until, value
from tiergate.errors import TiergateError
from tiergate.tenant import Tier

# Every character is looked for among 300, and nobody looks for an interrupt meanwhile: some seconds.
DEAF = "SELECT length(translate(repeat('x', 1000000), repeat('a', 300), ''))"


async def ask_in_vain(pools: Switchboard, who: Placement, *, within_s: float) -> TiergateError:
    """What a request for `DEAF` was refused for."""
    with pytest.raises(TiergateError) as refused:
        await run(pools, who, DEAF, within_s=within_s, statement_timeout_s=0.2)
    return refused.value


async def test_a_tenant_has_no_more_deaf_statements_than_connections(places: Places, admin: Admin) -> None:
    """Answered at its deadline, each would have made room for the next: server processes without end."""
    attacker, victim = await places.create(Tier.STANDARD), await places.create(Tier.STANDARD)
    limits = replace(POOL, default_pool_size=4, max_tenant_inflight=2, query_wait_timeout=0.5)
    async with open_pools(pool_limits(limits, budget=4)) as pools:
        first = await asyncio.gather(*(ask_in_vain(pools, attacker, within_s=0.4) for _ in range(2)))
        assert [type(error) for error in first] == [DeadlineExceeded, DeadlineExceeded]
        more = [asyncio.create_task(ask_in_vain(pools, attacker, within_s=0.6)) for _ in range(6)]

        assert await value(pools, victim, "SELECT 7") == "7"
        assert len(await sessions(admin, attacker.place.login)) == 3
        for error in await asyncio.gather(*more):
            assert isinstance(error, TiergateError)
            assert "queue" in str(error) or "no free connection" in str(error)

        async def is_over() -> bool:
            return len(await sessions(admin, attacker.place.login)) == 1

        await until(is_over, within_s=60)
        assert await value(pools, attacker, "SELECT 7") == "7"


async def test_who_waits_behind_a_deaf_statement_gets_another_connection(places: Places) -> None:
    """It waited until the server had let go of the first, though there was room for one more."""
    attacker, victim = await places.create(Tier.STANDARD), await places.create(Tier.STANDARD)
    limits = replace(POOL, default_pool_size=1, max_tenant_inflight=1, query_wait_timeout=1.5)
    async with open_pools(pool_limits(limits, budget=2)) as pools:
        await value(pools, attacker, "SELECT 1")
        attack = asyncio.create_task(ask_in_vain(pools, attacker, within_s=0.3))
        await asyncio.sleep(0)

        assert await value(pools, victim, "SELECT 7") == "7"
        assert isinstance(await attack, DeadlineExceeded)
        [pool] = pools.pools()
        assert pool.closing == 1
