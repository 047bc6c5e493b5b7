"""Where a mistake has taken the rule off a shared table, the gateway serves nobody until it is back."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from pools.errors import PlaceUnprotected
from pools.switchboard import Switchboard
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
)
from tiergate.embedded import Cluster
from tiergate.events import ProtectionLost
from tiergate.tenant import Tier

MEND = "SELECT tiergate.protect('app.notes')"
MISTAKES = {
    "DROP POLICY tiergate_tenant ON app.notes": MEND,
    "ALTER POLICY tiergate_tenant ON app.notes USING (tenant_id = tenant_id)": MEND,
    "ALTER POLICY tiergate_tenant ON app.notes WITH CHECK (true)": MEND,
    "ALTER POLICY tiergate_tenant ON app.notes TO tiergate_owner": MEND,
    "ALTER POLICY tiergate_tenant ON app.notes USING (body = (SELECT tiergate.tenant()))": MEND,
    "ALTER POLICY tiergate_tenant ON app.notes USING (tenant_id <> (SELECT tiergate.tenant()))": MEND,
    "ALTER POLICY tiergate_tenant ON app.notes USING (tenant_id = (SELECT tiergate.tenant()) OR true)": MEND,
    "ALTER POLICY tiergate_tenant ON app.notes USING (tenant_id = (SELECT tiergate.tenant() WHERE false))":
        MEND,
    "ALTER TABLE app.notes DISABLE ROW LEVEL SECURITY": MEND,
    "ALTER TABLE app.notes NO FORCE ROW LEVEL SECURITY": MEND,
    "ALTER ROLE tiergate_app BYPASSRLS": "ALTER ROLE tiergate_app NOBYPASSRLS",
    "CREATE TABLE app.open (tenant_id text); GRANT SELECT (tenant_id) ON app.open TO tiergate_app":
        "DROP TABLE app.open",
    "CREATE VIEW app.open AS SELECT * FROM app.notes; GRANT SELECT ON app.open TO tiergate_app":
        "DROP VIEW app.open",
    "CREATE MATERIALIZED VIEW app.open AS SELECT * FROM app.notes; GRANT SELECT ON app.open TO tiergate_app":
        "DROP MATERIALIZED VIEW app.open",
}  # fmt: skip
HARMLESS = {
    "CREATE TABLE app.hidden (id integer)": "DROP TABLE app.hidden",
    "CREATE POLICY more ON app.notes USING (true)": "DROP POLICY more ON app.notes",
    "CREATE VIEW app.fine WITH (security_invoker) AS SELECT * FROM app.notes;"
    " GRANT SELECT ON app.fine TO tiergate_app": "DROP VIEW app.fine",
}


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def pools(heard: Heard) -> AsyncIterator[Switchboard]:
    async with open_pools(pool_limits(replace(POOL, default_pool_size=2)), heard) as opened:
        yield opened


async def _as_admin(places: Places, text: str) -> None:
    async with open_admin(places.admin(places.shared)) as admin:
        for statement in text.split(";"):
            await admin.execute(statement.encode())


async def _is_served(pools: Switchboard, places: Places) -> bool:
    try:
        return await value(pools, await places.create(Tier.STANDARD), "SELECT count(*) FROM notes") == "0"
    except PlaceUnprotected:
        return False


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_connection_to_it_is_not_lent_and_is_again_once_mended(
    places: Places, pools: Switchboard, heard: Heard, mistake: str
) -> None:
    acme = await places.create(Tier.STANDARD)
    await _as_admin(places, mistake)
    try:
        with pytest.raises(PlaceUnprotected) as refused:
            await run(pools, acme, "SELECT 1")
    finally:
        await _as_admin(places, MISTAKES[mistake])

    assert refused.value.reason.startswith(("notes: ", "open: "))
    assert heard.of(ProtectionLost)[0].place == places.shared.id

    async def served() -> bool:
        return await _is_served(pools, places)

    await until(served)


@pytest.mark.parametrize("change", HARMLESS)
async def test_what_opens_nothing_is_left_alone(places: Places, pools: Switchboard, change: str) -> None:
    await _as_admin(places, change)
    try:
        assert await _is_served(pools, places)
    finally:
        await _as_admin(places, HARMLESS[change])


async def test_a_table_that_somebody_has_locked_keeps_no_connection_from_opening(
    places: Places, pools: Switchboard
) -> None:
    async with open_admin(places.admin(places.shared)) as admin, admin.transaction():
        await admin.execute("LOCK TABLE app.notes IN ACCESS EXCLUSIVE MODE")

        assert await value(pools, await places.create(Tier.STANDARD), "SELECT count(*) FROM replies") == "0"


async def test_a_pool_at_work_notices_and_every_open_connection_ends(
    places: Places, pools: Switchboard, heard: Heard
) -> None:
    acme = await places.create(Tier.STANDARD)
    await run(pools, acme, "SELECT 1")
    pools.pool(acme)._upkeep._protection._asked_at -= 10
    await _as_admin(places, "DROP POLICY tiergate_tenant ON app.notes")
    try:
        await run(pools, acme, "SELECT 1")  # this one finds out, after its answer
        await heard.wait_for(ProtectionLost)
        with pytest.raises(PlaceUnprotected):
            await run(pools, acme, "SELECT 1")
        async with open_admin(places.admin(places.shared)) as admin:

            async def gone() -> bool:
                cursor = await admin.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE usename = %s", (places.shared.login,)
                )
                return await cursor.fetchone() == (0,)

            await until(gone)
    finally:
        await _as_admin(places, MEND)


@pytest.mark.parametrize("tier", [Tier.PREMIUM, Tier.GOVERNMENT])
async def test_a_place_that_one_tenant_has_alone_serves_on(
    places: Places, pools: Switchboard, tier: Tier
) -> None:
    acme = await places.create(tier)
    async with open_admin(places.admin(acme.place)) as admin:
        await admin.execute(f'DROP POLICY tiergate_tenant ON "{acme.place.schema}".notes'.encode())

    assert await value(pools, acme, "SELECT count(*) FROM notes") == "0"
