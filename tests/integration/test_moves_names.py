"""Tables and columns of whatever name are moved, compared and removed as any other."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.access import access_of
from fleet.application import ApplicationSql, read_application
from fleet.provision import Provisioner
from moves.ends import End
from moves.preflight import look
from moves.sight import Goal
from registry.moves import MoveState, Wanted
from tests.support.movers import ACTOR, NOW, WAITS, Movers
from tests.support.operators import open_world
from tests.support.places import open_admin, open_pools, run
from tests.support.postgres import ThreeClusters
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier

TABLE = """ "100%% \\ ""Best"" 'Ünit' %s %(tenant)s {x};--" """.strip()
KEY, VALUE = """ "Key %s 'a""B" """.strip(), '"VALUE %(tenant)s"'
FILES = {
    "1.sql": f"""
CREATE TYPE "Mood%" AS ENUM ('50% "sure"', '%s');
CREATE TABLE {TABLE} (
    tenant_id text NOT NULL DEFAULT tiergate.tenant(), {KEY} text,
    "ID%" bigint GENERATED ALWAYS AS IDENTITY, "mood%%" "Mood%" DEFAULT '%s', {VALUE} text,
    "Gen%%s" text GENERATED ALWAYS AS (upper({VALUE})) STORED,
    PRIMARY KEY (tenant_id, {KEY}, "mood%%"), UNIQUE (tenant_id, {VALUE}), CHECK ({VALUE} <> '%d')
);
""",
    "2.sql": """
CREATE TABLE "SELECT%" (
    tenant_id text NOT NULL DEFAULT tiergate.tenant(), "Day%s" date, "ORDER" integer,
    PRIMARY KEY (tenant_id, "Day%s", "ORDER")
) PARTITION BY RANGE ("Day%s");
CREATE TABLE "Old%s" PARTITION OF "SELECT%" FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE "NEW %(x)s" PARTITION OF "SELECT%" FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
""",
}
ROWS = (
    f"INSERT INTO {TABLE} ({KEY}, {VALUE}) VALUES "
    + ", ".join(f"('%s {number} \"''%', '100% {number} \\')" for number in range(9)),
    """INSERT INTO "SELECT%" ("Day%s", "ORDER")
    SELECT date '2025-12-20' + i, i FROM generate_series(1, 24) AS i""",
)
CHANGES = (
    f"UPDATE {TABLE} SET {VALUE} = {VALUE} || ' %(more)s' WHERE {KEY} LIKE '%1%'",
    f"UPDATE {TABLE} SET {KEY} = {KEY} || '%' WHERE {KEY} LIKE '%2%'",
    f"DELETE FROM {TABLE} WHERE {KEY} LIKE '%3%'",
    """UPDATE "SELECT%" SET "Day%s" = "Day%s" + 10 WHERE "ORDER" > 20""",
    """DELETE FROM "SELECT%" WHERE "ORDER" = 1""",
)
LOOKS = (
    f'SELECT t::text FROM {TABLE} AS t ORDER BY {KEY} COLLATE "C"',
    'SELECT t::text FROM "SELECT%" AS t ORDER BY "ORDER"',
)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> ApplicationSql:
    """SQL files that give everything a name that is hard to write."""
    folder: Path = tmp_path_factory.mktemp("application")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return read_application(folder)


@pytest.fixture(scope="module")
async def movers(servers: ThreeClusters, application: ApplicationSql) -> AsyncIterator[Movers]:
    async with open_world(servers) as world, open_pools() as pools:
        provisioner = Provisioner(application)
        movers = Movers(
            replace(world, operations=type(world.operations)(world.store, provisioner, "app")),
            pools,
            provisioner,
        )
        for tier in Tier:
            await movers.world.operations.add_cluster(
                f"{tier}-1", tier, world.dsn(tier), region=None, actor=ACTOR, deadline=Deadline.after(60)
            )
        yield movers


async def rows_of(movers: Movers, tenant: TenantId) -> list[list[str | None]]:
    """What the tenant sees."""
    return [
        [row[0] for row in each.rows] for each in await run(movers.pools, await movers.placed(tenant), *LOOKS)
    ]


async def tenant_with_rows(movers: Movers, name: str) -> TenantId:
    tenant = TenantId(name)
    await movers.world.operations.create_tenant(
        tenant, Tier.STANDARD, region=None, cluster=None, actor=ACTOR, deadline=Deadline.after(60)
    )
    await run(movers.pools, await movers.placed(tenant), *ROWS)
    return tenant


@pytest.mark.parametrize("there", [Tier.PREMIUM, Tier.GOVERNMENT])
async def test_a_tenant_goes_and_comes_back_and_leaves_nothing(movers: Movers, there: Tier) -> None:
    tenant = await tenant_with_rows(movers, f"named-{there}")
    move = await movers.carry(await movers.plan(tenant, there, WAITS), until=MoveState.READY)
    await run(movers.pools, await movers.placed(tenant), *CHANGES)
    before = await rows_of(movers, tenant)

    soaking = await movers.carry(
        await movers.store.ask_move(move.id, Wanted.CUTOVER, actor=ACTOR), until=MoveState.SOAKING
    )
    assert (await movers.placed(tenant)).tier is there
    assert await rows_of(movers, tenant) == before
    done = await movers.carry(await movers.store.ask_move(soaking.id, Wanted.CLEANUP, actor=ACTOR))
    back = await movers.carry(await movers.plan(tenant, Tier.STANDARD, NOW))

    assert (done.state, back.state) == (MoveState.DONE, MoveState.DONE)
    assert (await movers.placed(tenant)).tier is Tier.STANDARD
    assert await rows_of(movers, tenant) == before


async def test_an_aborted_move_to_shared_tables_takes_its_rows_away(movers: Movers) -> None:
    tenant = await tenant_with_rows(movers, "named-aborted")
    await movers.carry(await movers.plan(tenant, Tier.PREMIUM, NOW))
    move = await movers.carry(await movers.plan(tenant, Tier.STANDARD, WAITS), until=MoveState.READY)

    over = await movers.carry(await movers.store.ask_move(move.id, Wanted.ABORT, actor=ACTOR))

    assert over.state is MoveState.ABORTED
    async with open_admin(movers.admin(Tier.STANDARD)) as admin:
        for table in (TABLE, '"SELECT%"'):
            cursor = await admin.execute(f"SELECT FROM app.{table} WHERE tenant_id = '{tenant}'".encode())
            assert await cursor.fetchall() == []


@pytest.mark.parametrize("there", [Tier.PREMIUM, Tier.STANDARD])
async def test_the_dry_run_sees_them(movers: Movers, application: ApplicationSql, there: Tier) -> None:
    tenant = await tenant_with_rows(movers, f"named-dry-{there}")
    here = await movers.placed(tenant)
    shared = (await movers.store.places("standard-1"))[0].place
    goal = Goal(
        access_of(await movers.store.cluster(f"{there}-1")), there, shared if there is Tier.STANDARD else None
    )

    seen = await look(
        End(access_of(await movers.store.cluster("standard-1")), here), goal, application, Deadline.after(60)
    )

    assert {table.table for table in seen.tables} == {TABLE[1:-1].replace('""', '"'), "SELECT%"}
    found = {finding.code for finding in seen.findings}
    # Its own rows lie where it would go, in what is one and the same database.
    assert found >= ({"target-rows", "same-database"} if there is Tier.STANDARD else set())
    assert there is Tier.STANDARD or not seen.is_refused, seen.findings
