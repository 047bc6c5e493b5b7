"""Places are made whole or not at all, again and again, and keep to themselves."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest

from fleet.errors import ClusterUnreachable, ProvisioningTimeout
from registry.placement import Placement
from tests.integration.test_fleet_door import Fleet, ask, login_of, open_fleet, seed, soon
from tests.support.postgres import run_sql
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

OWN_PLACE = [Tier.PREMIUM, Tier.GOVERNMENT]


@pytest.fixture(scope="module")
async def fleet(postgres: Cluster) -> AsyncIterator[Fleet]:
    async with open_fleet(postgres) as opened:
        yield opened


@pytest.mark.parametrize("tier", Tier)
async def test_making_a_place_again_changes_nothing(fleet: Fleet, tier: Tier) -> None:
    placement = await fleet.create(tier)
    await ask(placement, seed()[0])

    await fleet.provisioner.create(fleet.access, placement, soon())

    assert await ask(placement, "SELECT count(*) FROM members") == [(20,)]


@pytest.mark.parametrize("tier", Tier)
async def test_a_place_cut_off_at_any_moment_is_completed_by_the_same_call(fleet: Fleet, tier: Tier) -> None:
    """Cut off ever later, until one call gets through; whatever each left, the next goes on from it."""
    placement = fleet.placement(tier)
    cut_off = 0
    for within_ms in range(1, 3000, 7):
        try:
            await fleet.provisioner.create(fleet.access, placement, Deadline.after(within_ms / 1000))
        except (ProvisioningTimeout, ClusterUnreachable):
            cut_off += 1
        else:
            break

    await fleet.provisioner.create(fleet.access, placement, soon())

    assert cut_off > 0
    assert await ask(placement, "SELECT count(*) FROM tasks") == [(0,)]


@pytest.mark.parametrize("tier", OWN_PLACE)
async def test_a_connection_killed_in_the_middle_leaves_what_the_next_call_completes(
    fleet: Fleet, tier: Tier
) -> None:
    placement = fleet.placement(tier)
    async with await psycopg.AsyncConnection.connect(fleet.admin()) as blocker, asyncio.TaskGroup() as tasks:
        # Role (and database) are made, and their settings are about to be written.
        await blocker.execute("LOCK TABLE pg_catalog.pg_db_role_setting IN SHARE MODE")
        making = tasks.create_task(_is_cut_off(fleet, placement), name="make")
        await _kill_whoever_waits(fleet)

    assert making.result()
    await fleet.provisioner.create(fleet.access, placement, soon())

    assert await ask(placement, "SELECT count(*) FROM tasks") == [(0,)]


@pytest.mark.parametrize("tier", Tier)
async def test_one_place_made_by_several_at_once_is_made_once(fleet: Fleet, tier: Tier) -> None:
    placement = fleet.placement(tier)

    await asyncio.gather(*(fleet.provisioner.create(fleet.access, placement, soon()) for _ in range(4)))

    assert await ask(placement, "SELECT count(*) FROM tasks") == [(0,)]


@pytest.mark.parametrize("tier", Tier)
async def test_several_places_are_made_at_once(fleet: Fleet, tier: Tier) -> None:
    placements = await asyncio.gather(*(fleet.create(tier) for _ in range(5)))

    for placement in placements:
        assert await ask(placement, "SELECT tiergate.tenant()") == [(placement.tenant,)]


@pytest.mark.parametrize("tier", OWN_PLACE)
async def test_a_login_cannot_see_into_the_place_of_another(fleet: Fleet, tier: Tier) -> None:
    one, other = await fleet.create(tier), await fleet.create(tier)

    if tier is Tier.PREMIUM:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for schema"):
            await ask(one, f"SELECT * FROM {other.place.schema}.members")
    else:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            await psycopg.AsyncConnection.connect(login_of(one.place, other.place.database))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(one, f"SET ROLE {other.place.login}")


@pytest.mark.parametrize("tier", OWN_PLACE)
async def test_a_login_connects_to_no_database_but_its_own(fleet: Fleet, tier: Tier) -> None:
    placement = await fleet.create(tier)

    rows = await run_sql(
        fleet.admin(),
        "SELECT datname FROM pg_database WHERE datallowconn AND (datname LIKE 'pl\\_%' OR datname IN"
        f" ('postgres', 'template1', '{fleet.access.database}', '{placement.place.database}'))"
        f" AND has_database_privilege('{placement.place.login}', datname, 'CONNECT')",
    )

    assert rows == [(placement.place.database,)]


@pytest.mark.parametrize("tier", OWN_PLACE)
async def test_a_login_may_use_two_schemas_and_make_nothing(fleet: Fleet, tier: Tier) -> None:
    placement = await fleet.create(tier)
    await fleet.create(tier)

    rows = await run_sql(
        fleet.admin(placement.place.database),
        f"SELECT nspname, has_schema_privilege('{placement.place.login}', oid, 'CREATE') FROM pg_namespace"
        f" WHERE has_schema_privilege('{placement.place.login}', oid, 'USAGE')"
        " AND nspname NOT IN ('pg_catalog', 'information_schema')",
    )

    assert set(rows) == {(placement.place.schema, False), ("tiergate", False)}


@pytest.mark.parametrize("tier", OWN_PLACE)
async def test_a_neighbour_entered_in_a_strangers_place_finds_no_row(fleet: Fleet, tier: Tier) -> None:
    """Row-level security holds on its own, even for the login that owns the place."""
    placement = await fleet.create(tier)
    await ask(placement, seed()[0])
    stranger = replace(placement, tenant=fleet.placement(tier).tenant)
    await run_sql(
        fleet.admin(placement.place.database),
        "INSERT INTO tiergate.fence (tenant_id, place, epoch, state)"
        f" VALUES ('{stranger.tenant}', '{stranger.place.id}', {stranger.epoch}, 'active')",
    )

    assert await ask(stranger, "SELECT * FROM members") == []


async def test_a_half_made_database_lets_nobody_in(fleet: Fleet) -> None:
    placement = fleet.placement(Tier.GOVERNMENT)
    name = placement.place.database
    await run_sql(fleet.admin(), f"CREATE DATABASE {name} TEMPLATE template0 CONNECTION LIMIT 0")
    await run_sql(fleet.admin(), f"CREATE ROLE {name} LOGIN PASSWORD 'x'")

    with pytest.raises(psycopg.OperationalError, match="too many connections"):
        await psycopg.AsyncConnection.connect(login_of(replace(placement.place, password="x")))

    await fleet.provisioner.create(fleet.access, placement, soon())
    assert await ask(placement, "SELECT count(*) FROM tasks") == [(0,)]


async def test_what_was_left_in_template1_is_no_governments(fleet: Fleet) -> None:
    await run_sql(fleet.admin("template1"), "CREATE TABLE left_over (x int)")
    try:
        placement = await fleet.create(Tier.GOVERNMENT)
    finally:
        await run_sql(fleet.admin("template1"), "DROP TABLE left_over")

    assert await run_sql(fleet.admin(placement.place.database), "SELECT to_regclass('public.left_over')") == [
        (None,)
    ]


@pytest.mark.parametrize("tier", OWN_PLACE)
async def test_the_registrys_password_is_the_one_that_holds(fleet: Fleet, tier: Tier) -> None:
    placement = await fleet.create(tier)
    changed = replace(placement, place=replace(placement.place, password="another"))

    await fleet.provisioner.create(fleet.access, changed, soon())

    assert await ask(changed, "SELECT 1") == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await ask(placement, "SELECT 1")


async def _is_cut_off(fleet: Fleet, placement: Placement) -> bool:
    try:
        await fleet.provisioner.create(fleet.access, placement, soon())
    except ClusterUnreachable:
        return True
    return False


async def _kill_whoever_waits(fleet: Fleet) -> None:
    """End the provisioner's connection once it waits for a lock on a catalog."""
    kill = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE NOT granted"
        " AND relation = 'pg_catalog.pg_db_role_setting'::regclass"
    )
    async with await psycopg.AsyncConnection.connect(fleet.admin(), autocommit=True) as connection:
        async with asyncio.timeout(30):
            while (await (await connection.execute(kill)).fetchone() or (0,))[0] == 0:
                pass
