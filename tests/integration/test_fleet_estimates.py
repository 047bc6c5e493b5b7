"""How many rows tenants have is told from what the database knows anyway."""

from collections.abc import AsyncIterator

import pytest

from fleet.application import ApplicationSql
from fleet.errors import ClusterUnreachable
from fleet.estimates import Estimate, Rows, estimate_own, estimate_shared
from registry.placement import Place
from tests.support.places import Places, open_admin, open_places
from tests.support.postgres import run_sql
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

COUNT = "SELECT pg_stat_force_next_flush()"
"""Else a session counts what it wrote when it ends, which may be after an ANALYZE that saw it, too."""

_TABLE = """
CREATE TABLE {name} (
    tenant_id text NOT NULL DEFAULT tiergate.tenant(), id integer NOT NULL, PRIMARY KEY (tenant_id, id)
) {how};
"""
TABLES = ApplicationSql((
    ("notes.sql", _TABLE.format(name="notes", how="")),
    ("fresh.sql", _TABLE.format(name="fresh", how="WITH (autovacuum_enabled = false)")),
    ("events.sql", _TABLE.format(name="events", how="PARTITION BY RANGE (id)")
        + "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (1000);"
        + "CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (1000) TO (MAXVALUE);"),
))  # fmt: skip


@pytest.fixture
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres, TABLES) as opened:
        yield opened


async def fill(places: Places, where: str, tenant: str, rows: int, *, place: Place | None = None) -> None:
    await run_sql(
        places.admin(place or places.shared),
        f"INSERT INTO {where} (tenant_id, id) SELECT '{tenant}', n FROM generate_series(1, {rows}) AS n",
        COUNT,
    )


async def shared(places: Places, *, most: int = 10) -> Estimate:
    return await estimate_shared(
        places.access, places.access.database, "app", most=most, deadline=Deadline.after(30)
    )


async def test_rows_of_tenants_that_share_tables_are_told_with_their_largest_table(places: Places) -> None:
    for table, tenant, rows in (("notes", "acme", 700), ("notes", "other", 300), ("events", "other", 50)):
        await fill(places, f"app.{table}", tenant, rows)
    await run_sql(places.admin(places.shared), "ANALYZE")

    assert await shared(places) == Estimate(
        1050, (Rows("acme", 700, "notes", 700), Rows("other", 350, "notes", 300))
    )
    assert (await shared(places, most=1)).most == (Rows("acme", 700, "notes", 700),)


async def test_partitions_count_for_their_table(places: Places) -> None:
    await fill(places, "app.events", "acme", 1999)
    await run_sql(places.admin(places.shared), "ANALYZE app.events_1; ANALYZE app.events_2")

    assert await shared(places) == Estimate(1999, (Rows("acme", 1999, "events", 1999),))


async def test_a_table_that_was_never_analyzed_is_named(places: Places) -> None:
    await fill(places, "app.fresh", "acme", 500)

    assert await shared(places) == Estimate(500, (), unknown=("fresh",))


async def test_how_many_rows_those_have_who_are_not_listed_is_told_on_average(places: Places) -> None:
    await run_sql(
        places.admin(places.shared),
        "INSERT INTO app.notes (tenant_id, id)"
        " SELECT 'tenant-' || t, n FROM generate_series(1, 900) AS t, generate_series(1, 10) AS n",
        COUNT,
    )
    await fill(places, "app.notes", "acme", 3000)
    await run_sql(places.admin(places.shared), "ANALYZE")

    found = await shared(places)
    assert found.most[0] == Rows("acme", 3000, "notes", 3000)
    assert found.unlisted is not None
    assert (found.unlisted.table, 8 <= found.unlisted.in_table <= 12) == ("notes", True)


@pytest.mark.parametrize("tier", [Tier.PREMIUM, Tier.GOVERNMENT])
async def test_rows_of_a_place_of_its_own_are_told(places: Places, tier: Tier) -> None:
    place = (await places.create(tier)).place
    await fill(places, f"{place.schema}.events", "acme", 1500, place=place)
    await fill(places, f"{place.schema}.notes", "acme", 20, place=place)
    await run_sql(places.admin(place), "ANALYZE")

    assert await estimate_own(
        places.access, place.database, [place.schema], most=10, deadline=Deadline.after(30)
    ) == Estimate(1520, (Rows(place.schema, 1520, "events", 1500),))


async def test_a_table_that_somebody_has_locked_is_no_hindrance(places: Places) -> None:
    await fill(places, "app.notes", "acme", 10)
    async with open_admin(places.admin(places.shared)) as admin:
        await admin.execute("ANALYZE app.notes")
        async with admin.transaction():
            await admin.execute("LOCK TABLE app.notes IN ACCESS EXCLUSIVE MODE")

            assert (await shared(places)).most == (Rows("acme", 10, "notes", 10),)


async def test_a_database_that_is_gone_is_told_as_such(places: Places) -> None:
    with pytest.raises(ClusterUnreachable):
        await estimate_own(places.access, "gone", ["x"], most=1, deadline=Deadline.after(30))
