"""Whatever a move has made goes with it, whoever is killed meanwhile, and nothing that serves a tenant."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from fleet.errors import FenceConflict
from moves import cleaning
from moves.fencing import Fence
from moves.steps import Step, nowhere
from registry.errors import MoveLost
from registry.moves import Move, MoveState, Wanted
from tests.support.movers import ACTOR, NOW, SOAKS, WAITS, Held, Killed, Killing, Movers, open_movers
from tests.support.places import open_admin, run
from tests.support.postgres import ThreeClusters
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier

BEFORE = [state for state in MoveState if state.is_before_cutover] + [MoveState.CUTTING_OVER]
CLEARING = [
    Step.SERVING_STAMPED, Step.CAPTURE_REMOVED, Step.PLACE_REMOVED, Step.GUARD_REMOVED,
    Step.SERVING_UNSTAMPED, Step.PLACE_FORGOTTEN,
]  # fmt: skip


@pytest.fixture(scope="module")
async def movers(servers: ThreeClusters) -> AsyncIterator[Movers]:
    async with open_movers(servers) as opened:
        yield opened


async def brought_to(movers: Movers, tenant: TenantId, tier: Tier, state: MoveState) -> Move:
    """A move in *state*, held there if need be."""
    timing = WAITS if state is MoveState.READY else SOAKS
    return await movers.carry(await movers.plan(tenant, tier, timing), until=state)


async def abort(movers: Movers, move: Move) -> Move:
    await movers.store.ask_move(move.id, Wanted.ABORT, actor=ACTOR)
    return await movers.carry(move)


@pytest.mark.parametrize("state", BEFORE)
async def test_until_the_cut_over_a_move_is_taken_back_without_a_trace(
    movers: Movers, state: MoveState
) -> None:
    tenant = await movers.tenant(f"aborts-{state.replace('_', '-')}")
    before = await movers.placed(tenant)
    move = await brought_to(movers, tenant, Tier.PREMIUM, state)

    ended = await abort(movers, move)

    assert ended.state is MoveState.ABORTED
    assert await movers.placed(tenant) == before
    assert await movers.members(tenant) == [1, 2, 3]
    await movers.write(tenant, 4)
    assert await movers.left_behind(tenant, move.id) == []
    assert await _places(movers, move) == []


async def _places(movers: Movers, move: Move) -> list[str]:
    """What the target's server has of a place of its own."""
    async with open_admin(movers.admin(move.target.tier)) as admin:
        cursor = await admin.execute(
            "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %(place)s)"
            " UNION ALL SELECT rolname FROM pg_roles WHERE rolname = %(place)s"
            " UNION ALL SELECT datname FROM pg_database WHERE datname = %(place)s",
            {"place": move.target.place},
        )
        return [row[0] for row in await cursor.fetchall()]


@pytest.mark.parametrize("tier", [Tier.STANDARD, Tier.GOVERNMENT])
async def test_what_was_copied_is_removed_from_every_kind_of_place(movers: Movers, tier: Tier) -> None:
    tenant = await movers.tenant(f"aborts-to-{tier}", Tier.PREMIUM)
    other = await movers.tenant(f"stays-in-{tier}", tier)
    move = await brought_to(movers, tenant, tier, MoveState.READY)

    ended = await abort(movers, move)

    assert ended.state is MoveState.ABORTED
    assert await movers.left_behind(tenant, move.id) == []
    assert await movers.members(other) == [1, 2, 3]
    if tier is Tier.GOVERNMENT:
        assert await _places(movers, move) == []


@pytest.mark.parametrize("step", CLEARING)
async def test_taking_back_goes_on_where_it_was_killed(movers: Movers, step: Step) -> None:
    tenant = await movers.tenant(f"again-{step.replace('_', '-')}")
    move = await brought_to(movers, tenant, Tier.PREMIUM, MoveState.READY)
    await movers.store.ask_move(move.id, Wanted.ABORT, actor=ACTOR)
    aborting = await movers.carry(move, until=MoveState.ABORTING)
    with pytest.raises(Killed):
        await movers.carry(aborting, mover=movers.mover(Killing(step)))

    ended = await movers.carry(await movers.steal(aborting))

    assert ended.state is MoveState.ABORTED
    assert await movers.left_behind(tenant, move.id) == []


async def test_rows_in_shared_tables_go_in_pieces_and_others_stay(movers: Movers) -> None:
    tenant, other = await movers.tenant("many"), await movers.tenant("neighbour")
    async with open_admin(movers.admin(Tier.STANDARD)) as admin:
        await admin.execute(
            "INSERT INTO app.members (tenant_id, email, name)"
            " SELECT %s, 'more-' || n || '@example.com', 'M ' || n FROM generate_series(10, 25000) AS n",
            (tenant,),
        )
    move = await movers.carry(await movers.plan(tenant, Tier.PREMIUM, NOW), until=MoveState.CLEANING)
    piece = movers.mover(piece_s=0.0)

    assert (await piece.run_once(move)).state is MoveState.CLEANING
    ended = await movers.carry(move)

    assert ended.state is MoveState.DONE
    assert len(await movers.members(tenant)) == 3 + 24_991
    assert await movers.members(other) == [1, 2, 3]
    assert await movers.left_behind(tenant, move.id) == []


async def test_a_place_that_serves_the_tenant_is_never_cleared(movers: Movers) -> None:
    """Somebody believes that a move was aborted which in truth was cut over."""
    tenant = await movers.tenant("believed")
    move = await brought_to(movers, tenant, Tier.PREMIUM, MoveState.SOAKING)
    way = await movers.mover()._way(move)
    serving = Fence(way.source.placement.place.id, way.source.placement.epoch, "active", way.attempt)
    soon = Deadline.after(60)

    with pytest.raises(FenceConflict):
        await cleaning.begin(way, nowhere, soon)
    with pytest.raises(FenceConflict):
        await cleaning.clear_left(way, serving, 0, nowhere, soon, soon, is_lived_in=False)

    assert await movers.members(tenant) == [1, 2, 3]


async def test_one_that_stood_still_while_it_cleared_touches_no_later_move(movers: Movers) -> None:
    """The same shared tables are filled again by the next move, when the first one's cleaner wakes up."""
    tenant = await movers.tenant("cleared-late", Tier.PREMIUM)
    first = await brought_to(movers, tenant, Tier.STANDARD, MoveState.READY)
    await movers.store.ask_move(first.id, Wanted.ABORT, actor=ACTOR)
    aborting = await movers.carry(first, until=MoveState.ABORTING)
    held = Held(Step.SERVING_STAMPED)
    standing = asyncio.create_task(movers.carry(aborting, mover=movers.mover(held)))
    await held.came.wait()
    await movers.carry(await movers.steal(aborting))
    second = await brought_to(movers, tenant, Tier.STANDARD, MoveState.READY)
    held.goes_on.set()
    with suppress(MoveLost):
        await standing

    ended = await movers.carry(await _ready(movers, second))

    assert ended.state is MoveState.DONE
    assert await movers.members(tenant) == [1, 2, 3]
    assert await movers.left_behind(tenant, second.id) == []


async def _ready(movers: Movers, move: Move) -> Move:
    await movers.store.ask_move(move.id, Wanted.CUTOVER, actor=ACTOR)
    soaking = await movers.carry(move, until=MoveState.SOAKING)
    await movers.store.ask_move(move.id, Wanted.CLEANUP, actor=ACTOR)
    return soaking


async def test_a_tenant_that_has_moved_can_be_deleted_and_made_anew(movers: Movers) -> None:
    """The fence that it left behind gives way to a later tenant of its name."""
    tenant = await movers.tenant("comes-again")
    await movers.carry(await movers.plan(tenant, Tier.PREMIUM, NOW))
    operations = movers.world.operations
    await operations.suspend(tenant, actor=ACTOR, deadline=Deadline.after(60))
    await operations.delete_tenant(tenant, actor=ACTOR, deadline=Deadline.after(60))

    await movers.tenant("comes-again")

    assert await movers.members(tenant) == [1, 2, 3]
    await run(movers.pools, await movers.placed(tenant), "SELECT 1")
