"""Where all of SQL is let through, the schema or the database is the wall, and the connection is closed."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import pytest

from fleet.application import ApplicationSql, _run_files
from fleet.own import own_schema
from fleet.provision import Provisioner
from pools.errors import DatabaseUnavailable, StatementFailed, StatementRefused
from pools.statement import Statement
from registry.placement import Placement
from tests.support.places import (
    POOL,
    TABLES,
    Heard,
    Places,
    open_admin,
    open_places,
    open_pools,
    pool_limits,
    run,
    value,
)
from tests.support.postgres import ThreeClusters
from tiergate.deadline import Deadline
from tiergate.events import ConnectionClosed, ConnectionOpened
from tiergate.tenant import Tier

pytestmark = pytest.mark.integration

OWN = [Tier.PREMIUM, Tier.GOVERNMENT]
ONE = replace(POOL, default_pool_size=1)


@pytest.fixture(scope="module")
async def places(three_clusters: ThreeClusters) -> AsyncIterator[Places]:
    async with open_places(three_clusters.standard, full_sql=frozenset(OWN)) as opened:
        yield opened


@pytest.fixture(params=OWN)
async def placement(places: Places, request: pytest.FixtureRequest) -> Placement:
    return await places.create(request.param)


async def test_a_tenant_makes_tables_and_functions_of_its_own(placement: Placement) -> None:
    async with open_pools() as switchboard:
        for text in (
            "CREATE TABLE mine (id integer PRIMARY KEY)",
            "CREATE INDEX ON mine (id)",
            "CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE sql AS 'SELECT 2 * n'",
            "DO $$BEGIN INSERT INTO mine VALUES (21); END$$",
        ):
            await run(switchboard, placement, text, full_sql=True)

        assert await value(switchboard, placement, "SELECT twice(id) FROM mine") == "42"


async def test_what_is_made_is_apart_from_the_applications_tables(placement: Placement) -> None:
    async with open_pools() as switchboard:
        await run(switchboard, placement, "CREATE TABLE mine ()", full_sql=True)

        assert await value(switchboard, placement, "SELECT 'mine'::regclass::oid::int > 0") == "t"
        for text in (
            f"CREATE TABLE {placement.place.schema}.planted ()",
            "CREATE TABLE public.planted ()",
            "CREATE SCHEMA planted",
            "ALTER TABLE notes DISABLE ROW LEVEL SECURITY",
            "DROP POLICY tiergate_tenant ON notes",
            "CREATE POLICY p ON notes USING (true)",
            "CREATE TRIGGER t BEFORE INSERT ON notes EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "TRUNCATE notes",
            "CREATE TEMP TABLE planted ()",
            "SET ROLE tiergate_owner",
            "SET SESSION AUTHORIZATION tiergate_owner",
            "CREATE ROLE planted",
            "CREATE EXTENSION dblink",
        ):
            with pytest.raises(StatementFailed) as failed:
                await run(switchboard, placement, text, full_sql=True)
            assert failed.value.error.code == "42501", text


@pytest.mark.parametrize(
    "text",
    [
        "SET statement_timeout = 0",
        "LISTEN a",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "RESET ALL",
        "SHOW ALL",
    ],
)
async def test_a_connection_that_ran_it_is_closed(placement: Placement, text: str) -> None:
    heard = Heard()
    async with open_pools(pool_limits(ONE), heard) as switchboard:
        await run(switchboard, placement, text, full_sql=True)
        await heard.wait_for(ConnectionClosed)

        assert await value(switchboard, placement, "SELECT count(*) FROM notes") == "0"
        assert len(heard.of(ConnectionOpened)) == 2


async def test_a_failed_one_is_closed_too(placement: Placement) -> None:
    heard = Heard()
    async with open_pools(pool_limits(ONE), heard) as switchboard:
        with pytest.raises(StatementFailed):
            await run(switchboard, placement, "SET no_such_thing = 0", full_sql=True)
        await heard.wait_for(ConnectionClosed)


async def test_a_query_among_it_keeps_its_connection(placement: Placement) -> None:
    heard = Heard()
    async with open_pools(pool_limits(ONE), heard) as switchboard:
        for _ in range(3):
            await run(switchboard, placement, "SELECT 1", full_sql=True)
        assert len(heard.of(ConnectionOpened)) == 1


async def test_who_may_only_read_gets_none_of_it(placement: Placement) -> None:
    async with open_pools() as switchboard:
        with pytest.raises(StatementRefused):
            await run(switchboard, placement, "CREATE TABLE mine ()", read_only=True, full_sql=True)


async def test_who_may_only_read_leaves_nothing_that_would_let_it_write(placement: Placement) -> None:
    """Another statement, prepared under the name of BEGIN READ ONLY, let the next request write."""
    async with open_pools(pool_limits(ONE)) as switchboard:
        await run(
            switchboard, placement, "CREATE TABLE mine ()",
            "CREATE FUNCTION act(it text) RETURNS text LANGUAGE plpgsql"
            " AS $$BEGIN EXECUTE it; RETURN 1; END$$",
            full_sql=True,
        )  # fmt: skip
        for number in range(1, 8):
            swap = f"SELECT act('DEALLOCATE tg{number}'), act('PREPARE tg{number} AS SELECT 1')"
            for text in ("SELECT 1", "SELECT 1", swap, "INSERT INTO mine DEFAULT VALUES"):
                with suppress(StatementFailed, DatabaseUnavailable):
                    await run(switchboard, placement, text, read_only=True, full_sql=True)

        assert await value(switchboard, placement, "SELECT count(*) FROM mine") == "0"


async def test_tenants_who_share_tables_get_none_of_it(places: Places) -> None:
    standard = await places.create(Tier.STANDARD)
    async with open_pools() as switchboard:
        for text in ("CREATE TABLE mine ()", "SET a.b = 1", "EXPLAIN SELECT 1"):
            with pytest.raises(StatementRefused):
                await run(switchboard, standard, text, full_sql=True)


async def test_without_it_plans_are_seen_and_nothing_else(placement: Placement) -> None:
    async with open_pools() as switchboard:
        [plan] = await run(
            switchboard, placement, Statement("EXPLAIN ANALYZE SELECT * FROM notes WHERE id = $1", (b"1",))
        )
        assert plan.command_tag == "EXPLAIN"
        with pytest.raises(StatementRefused):
            await run(switchboard, placement, "CREATE TABLE mine ()")


async def test_what_a_tenant_plants_is_not_found_by_who_changes_the_applications_tables(
    places: Places, placement: Placement
) -> None:
    async with open_pools() as switchboard:
        for text in (
            "CREATE TABLE notes (planted text)",
            "CREATE FUNCTION lower(varchar) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'planted'; END$$",
        ):
            await run(switchboard, placement, text, full_sql=True)
    later = """
        CREATE TABLE later (
            tenant_id text NOT NULL DEFAULT tiergate.tenant(), a varchar,
            b text GENERATED ALWAYS AS (lower(a)) STORED, PRIMARY KEY (tenant_id, a)
        );
        SELECT lower('A'::varchar);
        ALTER TABLE notes ADD COLUMN c integer;
    """
    async with open_admin(places.admin(placement.place)) as admin, admin.transaction(force_rollback=True):
        await _run_files(admin, placement.place.schema, ApplicationSql((("later.sql", later),)))


async def test_where_it_is_no_longer_let_through_nothing_more_can_be_made(
    places: Places, placement: Placement
) -> None:
    async with open_pools() as switchboard:
        await run(switchboard, placement, "CREATE TABLE mine ()", full_sql=True)
        guarded = replace(places, provisioner=Provisioner(ApplicationSql((("tables.sql", TABLES),))))
        await guarded.provisioner.create(places.access, placement, Deadline.after(60))

        with pytest.raises(StatementFailed) as failed:
            await run(
                switchboard, placement, f"CREATE TABLE {own_schema(placement.place)}.more ()", full_sql=True
            )
        assert failed.value.error.code == "42501"
