"""What a tenant makes by itself while it is being moved is never destroyed, at whichever moment it comes."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from fleet.identifier import quote_identifier
from fleet.own import own_schema
from moves.steps import Step
from registry.moves import MoveState, Wanted
from registry.placement import Placement
from tests.support.movers import ACTOR, SOAKS, Held, Movers, open_movers
from tests.support.postgres import ThreeClusters
from tiergate.tenant import Tier

OWN = [Tier.PREMIUM, Tier.GOVERNMENT]


@pytest.fixture(scope="module")
async def movers(servers: ThreeClusters) -> AsyncIterator[Movers]:
    async with open_movers(servers) as opened:
        yield opened


async def inside(movers: Movers, at: Placement, *statements: str) -> None:
    """Run statements in the place's database; {O} is the tenant's own schema."""
    where = psycopg.conninfo.make_conninfo(movers.admin(at.tier), dbname=at.place.database)
    async with await psycopg.AsyncConnection.connect(where, autocommit=True) as connection:
        for each in statements:
            await connection.execute(each.replace("{O}", quote_identifier(own_schema(at.place))).encode())


MAKES = ("CREATE SCHEMA IF NOT EXISTS {O}", "CREATE TABLE {O}.mine (note text)")
STANDS = "SELECT FROM {O}.mine"
KINDS = [
    (Tier.PREMIUM, "CREATE TYPE {O}.pair AS (one text, two text)", "pair"),
    (Tier.PREMIUM, "CREATE TABLE {O}.mine ()", "mine"),
    (Tier.GOVERNMENT, "CREATE TABLE {O}.mine ()", "mine"),
    (Tier.GOVERNMENT, "CREATE TABLE public.more ()", "more"),
    (Tier.GOVERNMENT, "SELECT lo_create(0)", "1 large objects"),
]


@pytest.mark.parametrize("number", range(len(KINDS)))
async def test_a_tenant_does_not_leave_what_it_has_made_since_the_move_was_planned(
    movers: Movers, number: int
) -> None:
    tier, makes, what = KINDS[number]
    tenant = await movers.tenant(f"makes-{number}", tier)
    before = await movers.placed(tenant)
    move = await movers.carry(await movers.plan(tenant, Tier.STANDARD, SOAKS), until=MoveState.CUTTING_OVER)
    await inside(movers, before, "CREATE SCHEMA IF NOT EXISTS {O}", makes)

    refused = await movers.mover(Held(Step.HOLD_BEGUN)).run_once(move)

    assert refused.state is MoveState.ABORTING
    assert what in (refused.error or "")
    assert (await movers.carry(refused)).state is MoveState.ABORTED
    assert await movers.placed(tenant) == before
    assert await movers.members(tenant) == [1, 2, 3]


@pytest.mark.parametrize("tier", OWN)
async def test_nor_what_it_has_made_just_before_its_lock(movers: Movers, tier: Tier) -> None:
    tenant = await movers.tenant(f"makes-last-{tier}", tier)
    before = await movers.placed(tenant)
    move = await movers.carry(await movers.plan(tenant, Tier.STANDARD, SOAKS), until=MoveState.CUTTING_OVER)
    held = Held(Step.HOLD_BEGUN)
    cutting = asyncio.create_task(movers.mover(held).run_once(move))
    await held.came.wait()
    await inside(movers, before, *MAKES)
    held.goes_on.set()

    refused = await cutting

    assert refused.state is MoveState.ABORTING
    assert (await movers.carry(refused)).state is MoveState.ABORTED
    await inside(movers, before, STANDS)
    assert await movers.members(tenant) == [1, 2, 3]


async def test_nor_what_it_has_made_where_it_would_return_from(movers: Movers) -> None:
    tenant = await movers.tenant("makes-there")
    move = await movers.carry(await movers.plan(tenant, Tier.PREMIUM, SOAKS), until=MoveState.SOAKING)
    there = await movers.placed(tenant)
    await inside(movers, there, *MAKES)
    await movers.store.ask_move(move.id, Wanted.ROLLBACK, actor=ACTOR)
    move = await movers.carry(move, until=MoveState.RETURNING)

    soaks = await movers.mover().run_once(move)

    assert soaks.state is MoveState.SOAKING
    assert "mine" in (soaks.error or "")
    await inside(movers, there, STANDS)
    assert await movers.placed(tenant) == there


@pytest.mark.parametrize("tier", OWN)
async def test_a_place_that_holds_such_things_is_not_removed_before_they_are(
    movers: Movers, tier: Tier
) -> None:
    tenant = await movers.tenant(f"keeps-{tier}", tier)
    before = await movers.placed(tenant)
    move = await movers.carry(await movers.plan(tenant, Tier.STANDARD, SOAKS), until=MoveState.SOAKING)
    await inside(movers, before, *MAKES)
    await movers.store.ask_move(move.id, Wanted.CLEANUP, actor=ACTOR)
    move = await movers.carry(move, until=MoveState.CLEANING)

    stays = await movers.mover().run_once(move)

    assert stays.state is MoveState.CLEANING
    assert "mine" in (stays.error or "")
    await inside(movers, before, STANDS, "DROP TABLE {O}.mine")
    assert (await movers.carry(stays)).state is MoveState.DONE
    assert await movers.left_behind(tenant, move.id) == []
