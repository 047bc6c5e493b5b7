"""What somebody took away from a cluster that was ready is put back by preparing it again."""

from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest

from fleet.application import ApplicationSql, Applied
from fleet.errors import ApplicationChanged, PlaceTaken
from fleet.provision import Prepared, Provisioner
from tests.integration.test_fleet_door import Fleet, ask, login_of, open_fleet, soon
from tests.support.postgres import run_sql
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

OTHER_FILES = ApplicationSql(
    (("1.sql", "CREATE TABLE notes (tenant_id text NOT NULL, id int, PRIMARY KEY (tenant_id, id))"),)
)


@pytest.fixture
async def fleet(postgres: Cluster) -> AsyncIterator[Fleet]:
    async with open_fleet(postgres) as opened:
        yield opened


async def prepare(fleet: Fleet) -> Prepared:
    return await fleet.provisioner.prepare_cluster(fleet.access, Tier.STANDARD, soon(), shared=fleet.shared)


@pytest.mark.parametrize(
    "damage",
    [
        "DROP FUNCTION tiergate.enter(text, text, bigint, integer, bigint, text, integer)",
        "DROP FUNCTION tiergate.protect(regclass)",
        "CREATE OR REPLACE FUNCTION tiergate.tenant() RETURNS text LANGUAGE sql AS 'SELECT NULL::text'",
        "REVOKE ALL ON FUNCTION tiergate.tenant() FROM tiergate_app",
        "REVOKE USAGE ON SCHEMA app FROM tiergate_app",
        "REVOKE ALL ON app.members FROM tiergate_app",
        "REVOKE SELECT (name) ON app.members FROM tiergate_app",
        "DELETE FROM tiergate.context_key",
        "DROP OWNED BY tiergate_app",
    ],
)
async def test_tenants_are_served_again(fleet: Fleet, damage: str) -> None:
    placement = await fleet.create(Tier.STANDARD)
    await ask(placement, "INSERT INTO members (email, name) VALUES ('a@b.example', 'A')")
    await run_sql(fleet.admin(), damage)

    prepared = await prepare(fleet)

    assert prepared.applied is Applied.KEPT
    assert await ask(placement, "SELECT name FROM members") == [("A",)]


async def test_a_gate_that_was_dropped_lets_tenants_in_again(fleet: Fleet) -> None:
    placement = await fleet.create(Tier.STANDARD)
    gate = fleet.shared.login
    await run_sql(fleet.admin(), f"DROP OWNED BY {gate}; DROP ROLE {gate}")

    await prepare(fleet)

    assert await ask(placement, "SELECT count(*) FROM members") == [(0,)]


@pytest.mark.parametrize(
    "damage",
    [
        "ALTER TABLE app.members DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE app.members NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY tiergate_tenant ON app.members",
    ],
)
async def test_rows_are_kept_apart_again(fleet: Fleet, damage: str) -> None:
    one, other = await fleet.create(Tier.STANDARD), await fleet.create(Tier.STANDARD)
    await ask(one, "INSERT INTO members (email, name) VALUES ('a@b.example', 'A')")
    await run_sql(fleet.admin(), damage)

    await prepare(fleet)

    assert await ask(other, "SELECT * FROM members") == []


@pytest.mark.parametrize(
    ("damage", "question"),
    [
        ("GRANT EXECUTE ON FUNCTION pg_notify(text, text) TO PUBLIC", "SELECT pg_notify('channel', 'text')"),
        ("GRANT SELECT ON pg_catalog.pg_locks TO PUBLIC", "SELECT * FROM pg_locks"),
        ("GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC", "DO $$ BEGIN END $$"),
    ],
)
async def test_what_was_given_back_to_everybody_is_taken_again(
    fleet: Fleet, damage: str, question: str
) -> None:
    placement = await fleet.create(Tier.STANDARD)
    await run_sql(fleet.admin(), damage)

    await prepare(fleet)

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(placement, question)


async def test_shared_tables_that_were_dropped_are_made_anew_and_that_is_told(fleet: Fleet) -> None:
    placement = await fleet.create(Tier.STANDARD)
    await run_sql(fleet.admin(), "DROP SCHEMA app CASCADE")

    prepared = [await prepare(fleet), await prepare(fleet)]

    assert [each.applied for each in prepared] == [Applied.MADE_ANEW, Applied.KEPT]
    assert await ask(placement, "SELECT count(*) FROM members") == [(0,)]


@pytest.mark.parametrize("tier", [Tier.STANDARD, Tier.PREMIUM])
async def test_changed_files_are_applied_to_a_schema_that_was_dropped_as_the_advice_says(
    fleet: Fleet, tier: Tier
) -> None:
    placement = await fleet.create(tier)
    changed = replace(fleet, provisioner=Provisioner(OTHER_FILES))

    async def again() -> None:
        if tier is Tier.STANDARD:
            await prepare(changed)
        else:
            await changed.provisioner.create(changed.access, placement, soon())

    with pytest.raises(ApplicationChanged):
        await again()
    await run_sql(fleet.admin(), f"DROP SCHEMA {placement.place.schema} CASCADE")
    await again()

    assert await ask(placement, "SELECT count(*) FROM notes") == [(0,)]


async def test_tables_that_nobody_recorded_are_left_alone(fleet: Fleet) -> None:
    await run_sql(fleet.admin(), "DELETE FROM tiergate.application")

    with pytest.raises(PlaceTaken, match="holds tables that are not recorded"):
        await prepare(fleet)

    await run_sql(login_of(fleet.shared))


@pytest.mark.parametrize(("right", "times"), [("CONNECT", 1), ("TEMPORARY", 0)])
async def test_a_database_is_told_as_open_only_if_everybody_may_connect(
    fleet: Fleet, database: str, right: str, times: int
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    await run_sql(database, f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    await run_sql(database, f"GRANT {right} ON DATABASE {name} TO PUBLIC")

    assert (await prepare(fleet)).open_databases.count(str(name)) == times


async def test_everybodys_right_to_temporary_tables_is_taken_where_connecting_was_before(
    fleet: Fleet,
) -> None:
    name = fleet.access.database
    await run_sql(fleet.admin(), f"GRANT TEMPORARY ON DATABASE {name} TO PUBLIC")

    await prepare(fleet)

    rows = await run_sql(
        fleet.admin(), f"SELECT has_database_privilege('{fleet.shared.login}', '{name}', 'TEMP')"
    )
    assert rows == [(False,)]
