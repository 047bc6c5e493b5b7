"""Transactions that stood in each other's way: asked again for the caller, who sees them succeed."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import pytest

from pools.errors import DeadlineExceeded, StatementFailed
from pools.lease import Isolation
from pools.switchboard import Switchboard
from registry.placement import Placement
from tests.adversity.conftest import Admin
from tests.support.places import (
    POOL,
    Places,
    open_admin,
    open_pools,
    pool_limits,
    run,
    sessions,
    until,
    value,
)
from tests.support.waiting import wait_until
from tiergate.tenant import Tier

PID = "SELECT pg_backend_pid()"


@pytest.fixture
async def pools() -> AsyncIterator[Switchboard]:
    async with open_pools(pool_limits(replace(POOL, default_pool_size=2, max_tenant_inflight=1))) as opened:
        yield opened


async def test_serializable_tenants_do_not_abort_each_other(places: Places, pools: Switchboard) -> None:
    """Postgres watches pages and whole tables there, which hold rows of both; a third of these failed."""
    tenants = [await places.create(Tier.STANDARD) for _ in range(2)]

    async def write(who: Placement, number: int) -> None:
        await run(
            pools,
            who,
            "SELECT count(*) FROM notes",
            f"INSERT INTO notes (id) VALUES ({number})",
            "SELECT count(*) FROM generate_series(1, 200000)",
            isolation=Isolation.SERIALIZABLE,
        )

    for number in range(12):
        await asyncio.gather(*(write(who, number) for who in tenants))

    assert [await value(pools, who, "SELECT count(*) FROM notes") for who in tenants] == ["12", "12"]


@pytest.mark.parametrize("isolation", [Isolation.REPEATABLE_READ, Isolation.SERIALIZABLE])
async def test_a_transaction_that_came_too_late_runs_again_on_what_is_there_now(
    places: Places, pools: Switchboard, admin: Admin, isolation: Isolation
) -> None:
    acme = await places.create(Tier.STANDARD)
    await run(pools, acme, "INSERT INTO notes (id, body) VALUES (1, 'a')")
    async with open_admin(places.admin(acme.place)) as holder, holder.transaction():
        await holder.execute("UPDATE app.notes SET body = body || 'b' WHERE tenant_id = %s", (acme.tenant,))
        late = asyncio.create_task(
            run(pools, acme, "UPDATE notes SET body = body || 'c' RETURNING body", isolation=isolation)
        )

        async def waits() -> bool:
            return "Lock:active" in (await sessions(admin, acme.place.login)).values()

        await until(waits)
    [result] = await late

    assert result.rows == [("abc",)]


ALWAYS = """
CREATE FUNCTION {0}.thwart() RETURNS text LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'in the way' USING ERRCODE = '40001'; END $$;
ALTER FUNCTION {0}.thwart() OWNER TO tiergate_owner;
"""


async def test_what_is_in_the_way_for_good_is_told_and_leaves_the_connection(
    places: Places, pools: Switchboard, admin: Admin
) -> None:
    acme = await places.create(Tier.PREMIUM)
    await admin.execute(ALWAYS.format(acme.place.schema).encode())

    async def is_told(within_s: float) -> bool:
        """Unless the machine has so much else to do that there was no time for any try."""
        pid = await value(pools, acme, PID)
        ended = ("", 0)
        try:
            await run(pools, acme, "INSERT INTO notes (id) VALUES (1)", "SELECT thwart()", within_s=within_s)
        except DeadlineExceeded:
            return False
        except StatementFailed as failed:
            ended = (failed.error.code, failed.index)
        if ended[0] == "57014":
            return False

        assert ended == ("40001", 1)
        assert await value(pools, acme, PID) == pid
        return True

    for within_s in (10, 0.4):  # the second has no time for many tries
        await wait_until(partial(is_told, within_s), what="what is in the way")
    assert await value(pools, acme, "SELECT count(*) FROM notes") == "0"
