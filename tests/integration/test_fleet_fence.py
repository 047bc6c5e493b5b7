"""The fence bites at once, says what became of it, and gives way to nobody else."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest

from fleet.errors import FenceConflict, ProvisioningTimeout
from fleet.fence import FenceChange, FenceState
from fleet.removal import remove
from registry.placement import PlaceId, Placement
from tests.integration.test_fleet_door import Fleet, ask, open_fleet, open_request, soon
from tests.support.postgres import run_sql
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import TenantId, Tier

ACTIVE, READ_ONLY, SUSPENDED = FenceState


@pytest.fixture(scope="module")
async def fleet(postgres: Cluster) -> AsyncIterator[Fleet]:
    async with open_fleet(postgres) as opened:
        yield opened


async def set_fence(
    fleet: Fleet, placement: Placement, state: FenceState, drain_s: float = 10
) -> FenceChange:
    return await fleet.provisioner.set_fence(fleet.access, placement, state, soon(), drain_s=drain_s)


@pytest.mark.parametrize("tier", Tier)
async def test_a_suspended_tenant_is_refused_and_served_again_when_opened(fleet: Fleet, tier: Tier) -> None:
    placement = await fleet.create(tier)

    assert await set_fence(fleet, placement, SUSPENDED) == FenceChange(ACTIVE, SUSPENDED, is_drained=True)
    with pytest.raises(psycopg.Error, match="stale route") as refused:
        await ask(placement, "SELECT 1")
    assert (refused.value.sqlstate, refused.value.diag.message_hint) == ("TG001", "suspended")

    assert await set_fence(fleet, placement, ACTIVE) == FenceChange(SUSPENDED, ACTIVE, is_drained=True)
    assert await ask(placement, "SELECT 1") == [(1,)]


async def test_a_read_only_tenant_cannot_write(fleet: Fleet) -> None:
    placement = await fleet.create(Tier.STANDARD)
    await set_fence(fleet, placement, READ_ONLY)

    with pytest.raises(psycopg.Error, match="stale route"):
        await ask(placement, "SELECT 1")


async def test_suspending_twice_says_that_nothing_changed(fleet: Fleet) -> None:
    placement = await fleet.create(Tier.STANDARD)
    await set_fence(fleet, placement, SUSPENDED)

    assert await set_fence(fleet, placement, SUSPENDED) == FenceChange(SUSPENDED, SUSPENDED, is_drained=True)


async def test_suspending_meets_new_transactions_while_an_old_one_runs_and_says_so(fleet: Fleet) -> None:
    placement = await fleet.create(Tier.STANDARD)
    async with open_request(placement) as running:
        change = await set_fence(fleet, placement, SUSPENDED, drain_s=0.01)

        assert change == FenceChange(ACTIVE, SUSPENDED, is_drained=False)
        with pytest.raises(psycopg.Error, match="stale route"):
            await ask(placement, "SELECT 1")
        await running.execute("SELECT * FROM members")


async def test_suspending_waits_for_the_transactions_that_run(fleet: Fleet) -> None:
    placement = await fleet.create(Tier.STANDARD)
    async with asyncio.TaskGroup() as tasks, open_request(placement) as running:
        suspending = tasks.create_task(set_fence(fleet, placement, SUSPENDED), name="suspend")
        await _until_waiting_for_a_lock(fleet)
        await running.execute("SELECT * FROM members")

        assert not suspending.done()

    assert suspending.result() == FenceChange(ACTIVE, SUSPENDED, is_drained=True)


async def test_one_tenant_suspended_leaves_its_neighbours_alone(fleet: Fleet) -> None:
    one, other = await fleet.create(Tier.STANDARD), await fleet.create(Tier.STANDARD)

    await set_fence(fleet, one, SUSPENDED)

    assert await ask(other, "SELECT 1") == [(1,)]


async def test_making_a_place_again_leaves_a_suspended_tenant_suspended(fleet: Fleet) -> None:
    placement = await fleet.create(Tier.PREMIUM)
    await set_fence(fleet, placement, SUSPENDED)

    await fleet.provisioner.create(fleet.access, placement, soon())

    assert await set_fence(fleet, placement, SUSPENDED) == FenceChange(SUSPENDED, SUSPENDED, is_drained=True)


@pytest.mark.parametrize("tier", Tier)
async def test_another_epoch_or_place_is_refused_and_changes_nothing(fleet: Fleet, tier: Tier) -> None:
    placement = await fleet.create(tier)
    later = replace(placement, epoch=placement.epoch + 1)
    elsewhere = replace(placement, place=replace(placement.place, id=PlaceId("pl_elsewhere")))

    for stranger in (later, elsewhere):
        with pytest.raises(FenceConflict, match=f"in epoch {placement.epoch}"):
            await fleet.provisioner.create(fleet.access, stranger, soon())
        with pytest.raises(FenceConflict, match=f"in epoch {placement.epoch}"):
            await set_fence(fleet, stranger, SUSPENDED)

    assert await ask(placement, "SELECT 1") == [(1,)]


async def test_a_tenant_without_a_fence_cannot_be_suspended(fleet: Fleet) -> None:
    with pytest.raises(FenceConflict, match="missing"):
        await set_fence(fleet, fleet.placement(Tier.STANDARD), SUSPENDED)


@pytest.mark.parametrize(
    "change",
    ["state = 'moved'", "state = 'deleted'"],
    ids=["moved", "deleted"],
)
async def test_a_fence_that_was_left_or_closed_is_not_an_operators(fleet: Fleet, change: str) -> None:
    placement = await fleet.create(Tier.STANDARD)
    await run_sql(fleet.admin(), f"UPDATE tiergate.fence SET {change} WHERE tenant_id = '{placement.tenant}'")

    with pytest.raises(FenceConflict):
        await set_fence(fleet, placement, ACTIVE)


async def test_a_tenant_that_is_being_moved_can_be_suspended(fleet: Fleet) -> None:
    placement = await fleet.create(Tier.STANDARD)
    await _stamp(fleet, placement)

    assert await set_fence(fleet, placement, SUSPENDED) == FenceChange(ACTIVE, SUSPENDED, is_drained=True)


async def test_a_tenant_that_is_being_moved_is_not_removed(fleet: Fleet) -> None:
    placement = await fleet.create(Tier.STANDARD)
    await _stamp(fleet, placement)

    with pytest.raises(FenceConflict, match="with a move under way"):
        await remove(fleet.access, placement, soon())

    assert await ask(placement, "SELECT 1") == [(1,)]


async def test_a_tenant_may_come_where_one_of_its_name_has_left(fleet: Fleet) -> None:
    gone = await fleet.create(Tier.STANDARD)
    left = f"UPDATE tiergate.fence SET state = 'moved', epoch = {gone.epoch + 1}, forward = '{{}}'"
    await run_sql(fleet.admin(), f"{left} WHERE tenant_id = '{gone.tenant}'")
    came = replace(gone, epoch=gone.epoch + 2)

    with pytest.raises(FenceConflict, match="moved"):
        await fleet.provisioner.create(fleet.access, gone, soon())
    await fleet.provisioner.create(fleet.access, came, soon())

    assert await ask(came, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("tier", Tier)
async def test_a_place_made_for_a_move_lets_nobody_in(fleet: Fleet, tier: Tier) -> None:
    placement = fleet.placement(tier)

    await fleet.provisioner.make_place(fleet.access, placement, soon())

    with pytest.raises(psycopg.Error, match="stale route") as refused:
        await ask(placement, "SELECT 1")
    assert refused.value.diag.message_hint == "unknown"


async def _stamp(fleet: Fleet, placement: Placement) -> None:
    stamp = "UPDATE tiergate.fence SET move_id = gen_random_uuid()"
    await run_sql(fleet.admin(), f"{stamp} WHERE tenant_id = '{placement.tenant}'")


async def test_a_fence_held_by_somebody_else_costs_no_more_than_the_deadline(fleet: Fleet) -> None:
    placement = await fleet.create(Tier.STANDARD)
    async with await psycopg.AsyncConnection.connect(fleet.admin()) as other:
        await other.execute(
            "SELECT * FROM tiergate.fence WHERE tenant_id = %s FOR UPDATE", (placement.tenant,)
        )

        with pytest.raises(ProvisioningTimeout):
            await fleet.provisioner.set_fence(fleet.access, placement, SUSPENDED, Deadline.after(0.5))


async def test_a_tenant_named_like_sql_is_only_a_name(fleet: Fleet) -> None:
    placement = replace(fleet.placement(Tier.STANDARD), tenant=TenantId("'; DROP SCHEMA app CASCADE; --"))

    await fleet.provisioner.create(fleet.access, placement, soon())

    assert await ask(placement, "SELECT tiergate.tenant()") == [(placement.tenant,)]


async def _until_waiting_for_a_lock(fleet: Fleet) -> None:
    """Until the server says that somebody waits for an advisory lock."""
    async with await psycopg.AsyncConnection.connect(fleet.admin(), autocommit=True) as connection:
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        async with asyncio.timeout(30):
            while (await (await connection.execute(waiting)).fetchone() or (0,))[0] == 0:
                pass
