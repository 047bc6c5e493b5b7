"""What happens around the moment at which a tenant changes its place, and on the way back."""

import asyncio
import time
from collections.abc import AsyncIterator

import psycopg
import pytest

from fleet.access import ALL_ROWS, FLEET_LOCKS, TENANT_LOCKS
from fleet.fence import FenceState
from moves import cutover
from moves.steps import Step
from pools.errors import StaleRoute
from pools.lease import Isolation
from registry.moves import Move, MoveState, Wanted
from registry.placement import TenantState
from tests.integration.test_fence_flips import open_inside
from tests.support.movers import ACTOR, NOW, SOAKS, WAITS, Held, Movers, open_movers
from tests.support.places import open_admin, run
from tests.support.postgres import open_three_clusters
from tiergate.deadline import Deadline
from tiergate.happenings.moves import MoveCutOver, MoveFailed
from tiergate.tenant import TenantId, Tier

WRITING = [Isolation.READ_COMMITTED, Isolation.REPEATABLE_READ, Isolation.SERIALIZABLE]

MEANT_TO_FAIL = {
    "move-cutover-missed", "move-structure-changed", "cluster-unreachable", "provisioning-timeout",
}  # fmt: skip


@pytest.fixture(scope="module")
async def movers() -> AsyncIterator[Movers]:
    async with (
        open_three_clusters(max_prepared_transactions="2") as clusters,
        open_movers(clusters) as opened,
    ):
        yield opened
        failed = {event.outcome for event in opened.heard.of(MoveFailed)}
    assert failed <= MEANT_TO_FAIL


async def near(movers: Movers, name: str, tier: Tier = Tier.PREMIUM) -> tuple[TenantId, Move]:
    """A tenant whose move has come to the cut-over; the next piece is the attempt."""
    tenant = await movers.tenant(name)
    return tenant, await movers.carry(await movers.plan(tenant, tier, SOAKS), until=MoveState.CUTTING_OVER)


async def renewed(movers: Movers, move: Move) -> Move:
    return await movers.store.renew_move(move, for_s=60, progress=move.progress)


@pytest.mark.parametrize("isolation", WRITING)
async def test_an_attempt_that_meets_a_transaction_is_put_off_and_nobody_waits_longer_than_it(
    movers: Movers, isolation: Isolation
) -> None:
    tenant, move = await near(movers, f"busy-{isolation.lower().replace(' ', '-')}")
    async with open_inside(await movers.placed(tenant), isolation) as writer:
        await writer.execute("INSERT INTO members (email, name) VALUES ('ten@example.com', 'M 10')")
        began_s = time.monotonic()
        put_off = await movers.mover().run_once(move)
        took_s = time.monotonic() - began_s
        await movers.write(tenant, 11)
        await writer.execute("COMMIT")

    assert put_off.state is MoveState.READY
    assert put_off.error is not None
    assert took_s < 5
    assert await movers.store.orders() == []
    moved = await movers.carry(put_off, until=MoveState.SOAKING)
    assert moved.state is MoveState.SOAKING
    assert await movers.members(tenant) == [1, 2, 3, 10, 11]


async def test_a_transaction_that_goes_on_for_long_holds_nobody_up(
    movers: Movers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is seen before anybody is asked to wait for it."""
    tenant, move = await near(movers, "long")
    monkeypatch.setattr(cutover, "OLDEST_S", 0.0)
    async with open_inside(await movers.placed(tenant), Isolation.READ_COMMITTED):
        put_off = await movers.mover(_never(Step.HOLD_BEGUN)).run_once(move)

    assert put_off.state is MoveState.READY
    assert "has been running for" in (put_off.error or "")


async def test_a_prepared_transaction_holds_nobody_up(movers: Movers) -> None:
    tenant, move = await near(movers, "prepared")
    async with open_admin(movers.admin(Tier.STANDARD)) as admin:
        await admin.execute("BEGIN")
        await admin.execute("SELECT pg_advisory_xact_lock_shared(%s, hashtext(%s))", (TENANT_LOCKS, tenant))
        await admin.execute("PREPARE TRANSACTION 'left'")
        put_off = await movers.mover(_never(Step.HOLD_BEGUN)).run_once(move)
        await admin.execute("ROLLBACK PREPARED 'left'")

    assert "prepared" in (put_off.error or "")


def _never(step: Step) -> "_Never":
    return _Never(step)


class _Never:
    def __init__(self, step: Step) -> None:
        self._step = step

    async def __call__(self, _move: str, step: Step) -> None:
        assert step is not self._step


async def test_a_worker_that_stands_still_in_the_pause_holds_the_tenant_up_for_seconds_only(
    movers: Movers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutover, "LOCKED_S", 60.0)  # its own clock stands still, too
    tenant, move = await near(movers, "paused")
    held = Held(Step.TENANT_LOCKED)
    standing = asyncio.create_task(movers.mover(held).run_once(move))
    await held.came.wait()

    began_s = time.monotonic()
    await movers.write(tenant, 10)
    waited_s = time.monotonic() - began_s
    held.goes_on.set()
    failed = await standing

    assert 1 < waited_s < 6
    assert failed.state is MoveState.CUTTING_OVER
    assert await movers.members(tenant) == [1, 2, 3, 10]
    moved = await movers.carry(failed, until=MoveState.SOAKING)
    assert moved.state is MoveState.SOAKING
    assert await movers.members(tenant) == [1, 2, 3, 10]


@pytest.mark.parametrize("step", [Step.TENANT_LOCKED, Step.DELTA_APPLIED, Step.TARGET_OPENED])
async def test_an_attempt_that_takes_too_long_is_put_off(
    movers: Movers, monkeypatch: pytest.MonkeyPatch, step: Step
) -> None:
    tenant, move = await near(movers, f"slow-{step.replace('_', '-')}")
    monkeypatch.setattr(cutover, "LOCKED_S", 1.0)
    put_off = await movers.mover(Held(step)).run_once(move)
    await movers.write(tenant, 10)
    monkeypatch.undo()

    assert put_off.state is MoveState.READY
    assert "took longer than 1.0 s" in (put_off.error or "")
    assert await movers.store.orders() == []
    moved = await movers.carry(put_off, until=MoveState.SOAKING)
    assert moved.state is MoveState.SOAKING
    assert await movers.members(tenant) == [1, 2, 3, 10]


SLOW_COMMIT = """
CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(20);
    RETURN NULL;
EXCEPTION WHEN query_canceled THEN
    IF {fails} THEN RAISE; END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER dawdles AFTER UPDATE ON tiergate.fence DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.state = 'moved') EXECUTE FUNCTION public.dawdle()
"""


@pytest.mark.parametrize("fails", [False, True])
async def test_of_a_commit_that_took_too_long_the_fence_tells_what_came(
    movers: Movers, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    tenant, move = await near(movers, f"dawdles-{fails}".lower())
    monkeypatch.setattr(cutover, "LOCKED_S", 1.0)
    async with open_admin(movers.admin(Tier.STANDARD)) as admin:
        await admin.execute(SLOW_COMMIT.format(fails=fails).encode())
        unknown = await movers.mover().run_once(move)
        await admin.execute("DROP FUNCTION public.dawdle() CASCADE")
    monkeypatch.undo()

    assert unknown.state is MoveState.CUTTING_OVER
    known = await movers.mover().run_once(await renewed(movers, unknown))
    assert known.state is MoveState.SOAKING
    await movers.write(tenant, 10)
    assert await movers.members(tenant) == [1, 2, 3, 10]


async def test_no_attempt_is_begun_while_much_is_left_to_bring_over(
    movers: Movers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, move = await near(movers, "writes-fast")
    monkeypatch.setattr(cutover, "MOST_KEYS", 2)
    held = Held(Step.CHANGES_DONE)
    trying = asyncio.create_task(movers.mover(held).run_once(move))
    await held.came.wait()
    await movers.write(tenant, 10, 11, 12)
    held.goes_on.set()

    put_off = await trying

    assert put_off.state is MoveState.READY
    assert "3 changes are left" in (put_off.error or "")
    assert (await movers.carry(put_off, until=MoveState.SOAKING)).state is MoveState.SOAKING
    assert await movers.members(tenant) == [1, 2, 3, 10, 11, 12]


@pytest.mark.parametrize("isolation", [None, *WRITING])
async def test_who_came_before_the_cut_over_and_waited_is_sent_on(
    movers: Movers, isolation: Isolation | None
) -> None:
    tenant, move = await near(movers, f"sent-{(isolation or 'none').lower().replace(' ', '-')}")
    before = await movers.placed(tenant)
    held = Held(Step.TENANT_LOCKED)
    cutting = asyncio.create_task(movers.mover(held).run_once(move))
    await held.came.wait()
    insert = "INSERT INTO members (email, name) VALUES ('ten@example.com', 'M 10')"
    waiting = asyncio.create_task(run(movers.pools, before, insert, isolation=isolation))
    async with open_admin(movers.admin(Tier.STANDARD)) as looking:
        await _until_waiting(looking)
    held.goes_on.set()

    with pytest.raises(StaleRoute):
        await waiting
    assert (await cutting).state is MoveState.SOAKING
    assert await movers.members(tenant) == [1, 2, 3]


async def _until_waiting(looking: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
    async with asyncio.timeout(20):
        while True:
            found = await looking.execute("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            if await found.fetchone() is not None:
                return


async def test_a_tenant_that_is_suspended_meanwhile_arrives_suspended(movers: Movers) -> None:
    tenant, move = await near(movers, "suspended")
    await movers.world.operations.suspend(tenant, actor=ACTOR, deadline=Deadline.after(60))

    moved = await movers.carry(move, until=MoveState.SOAKING)

    there = await movers.placed(tenant)
    assert (moved.state, there.tier, there.state) == (MoveState.SOAKING, Tier.PREMIUM, TenantState.SUSPENDED)
    with pytest.raises(StaleRoute) as refused:
        await run(movers.pools, there, "SELECT 1")
    assert refused.value.fence_state == FenceState.SUSPENDED
    await movers.world.operations.resume(tenant, actor=ACTOR, deadline=Deadline.after(60))
    assert await movers.members(tenant) == [1, 2, 3]


async def test_a_rows_change_under_the_lock_is_there_afterwards(movers: Movers) -> None:
    """Who committed last before the lock is brought over by the cut-over itself."""
    tenant, move = await near(movers, "last")
    held = Held(Step.HOLD_BEGUN)
    cutting = asyncio.create_task(movers.mover(held).run_once(move))
    await held.came.wait()
    await movers.write(tenant, 10)
    held.goes_on.set()
    await cutting

    assert await movers.members(tenant) == [1, 2, 3, 10]
    assert movers.heard.of(MoveCutOver)[-1].keys == 1


async def test_a_row_that_was_not_brought_over_right_aborts_the_move(movers: Movers) -> None:
    """Somebody breaks the copy behind our back; the last change makes the row be looked at again."""
    tenant, move = await near(movers, "broken")
    async with open_admin(movers.admin(Tier.PREMIUM)) as admin:
        schema = move.target.place
        await admin.execute(f"ALTER TABLE {schema}.members ADD broken text".encode())
        broken = await movers.mover().run_once(move)

    assert broken.state is MoveState.ABORTING
    ended = await movers.carry(broken)
    assert ended.state is MoveState.ABORTED
    assert "not alike" in (ended.error or "")
    assert await movers.members(tenant) == [1, 2, 3]
    assert await movers.left_behind(tenant, move.id) == []


# -- others who write past the fences


async def test_what_somebody_else_wrote_at_the_target_is_made_right(movers: Movers) -> None:
    tenant = await movers.tenant("foreign", Tier.PREMIUM)
    move = await movers.carry(await movers.plan(tenant, Tier.STANDARD, WAITS), until=MoveState.READY)
    async with open_admin(movers.admin(Tier.STANDARD)) as admin:
        await admin.execute("UPDATE app.members SET name = 'M 99' WHERE tenant_id = %s", (tenant,))

    await movers.store.ask_move(move.id, Wanted.CUTOVER, actor=ACTOR)
    moved = await movers.carry(move, until=MoveState.SOAKING)

    assert moved.state is MoveState.SOAKING
    assert await movers.members(tenant) == [1, 2, 3]


async def test_an_attempt_is_put_off_while_somebody_writes_across_tenants(movers: Movers) -> None:
    tenant, move = await near(movers, "across")
    async with open_admin(movers.admin(Tier.STANDARD)) as admin, admin.transaction():
        await admin.execute("SELECT pg_advisory_xact_lock_shared(%s, hashtext(%s))", (FLEET_LOCKS, ALL_ROWS))
        put_off = await movers.mover().run_once(move)

    assert put_off.state is MoveState.READY
    assert await movers.members(tenant) == [1, 2, 3]


# -- the way back


@pytest.mark.parametrize(("here", "there"), [(Tier.STANDARD, Tier.PREMIUM), (Tier.PREMIUM, Tier.STANDARD)])
async def test_a_tenant_can_return_with_all_that_it_wrote_meanwhile(
    movers: Movers, here: Tier, there: Tier
) -> None:
    tenant = await movers.tenant(f"returns-to-{here}", here)
    before = await movers.placed(tenant)
    move = await movers.carry(await movers.plan(tenant, there, SOAKS), until=MoveState.SOAKING)
    await movers.write(tenant, 10)
    await run(movers.pools, await movers.placed(tenant), "DELETE FROM members WHERE name = 'M 1'")
    await movers.store.ask_move(move.id, Wanted.ROLLBACK, actor=ACTOR)

    ended = await movers.carry(move)

    after = await movers.placed(tenant)
    assert ended.state is MoveState.ROLLED_BACK
    assert after.place.id == before.place.id
    assert after.epoch > before.epoch
    assert await movers.members(tenant) == [2, 3, 10]
    await movers.write(tenant, 11)
    assert await movers.left_behind(tenant, move.id) == []


async def test_whoever_still_knows_the_place_that_was_returned_from_is_sent_back(movers: Movers) -> None:
    tenant, move = await near(movers, "sent-back")
    move = await movers.carry(move, until=MoveState.SOAKING)
    there = await movers.placed(tenant)
    await movers.store.ask_move(move.id, Wanted.ROLLBACK, actor=ACTOR)
    await movers.carry(move, until=MoveState.ABORTING)

    with pytest.raises(StaleRoute) as refused:
        await run(movers.pools, there, "SELECT 1")

    assert refused.value.forward_epoch == (await movers.placed(tenant)).epoch


async def test_the_old_place_is_kept_equal_while_the_move_soaks(movers: Movers) -> None:
    tenant, move = await near(movers, "soaks")
    move = await movers.carry(move, until=MoveState.SOAKING)
    await movers.write(tenant, 10)

    await movers.mover().run_once(await renewed(movers, move))

    async with open_admin(movers.admin(Tier.STANDARD)) as admin:
        cursor = await admin.execute("SELECT name FROM app.members WHERE tenant_id = %s", (tenant,))
        assert sorted(await cursor.fetchall()) == [("M 1",), ("M 10",), ("M 2",), ("M 3",)]


async def test_a_tenant_can_be_moved_again_to_where_it_was_before(movers: Movers) -> None:
    tenant = await movers.tenant("again")
    for tier in (Tier.PREMIUM, Tier.STANDARD, Tier.PREMIUM):
        ended = await movers.carry(await movers.plan(tenant, tier, NOW))
        assert ended.state is MoveState.DONE, ended.error
        await movers.write(tenant, len(await movers.members(tenant)) + 1)

    assert await movers.members(tenant) == [1, 2, 3, 4, 5, 6]


async def test_a_move_that_waits_is_cut_over_when_somebody_says_so(movers: Movers) -> None:
    tenant = await movers.tenant("waits")
    move = await movers.carry(await movers.plan(tenant, Tier.PREMIUM, WAITS), until=MoveState.READY)
    move = await movers.mover().run_once(await renewed(movers, move))
    assert move.state is MoveState.READY

    await movers.store.ask_move(move.id, Wanted.CUTOVER, actor=ACTOR)

    assert (await movers.carry(move, until=MoveState.SOAKING)).state is MoveState.SOAKING


# -- the record


async def test_a_move_that_is_done_has_a_signed_record_of_equal_rows(movers: Movers) -> None:
    tenant = await movers.tenant("recorded")

    done = await movers.carry(await movers.plan(tenant, Tier.PREMIUM, NOW))

    kept = (await movers.store.move(done.id)).evidence
    assert kept is not None
    assert await movers.store.is_authentic(kept)
    record = kept["record"]
    assert isinstance(record, dict)
    assert record["is_equal"] is True
    assert record["tables"]["members"]["rows"] == 3
    assert record["removed"] == {"rows": 0, "log_lines": 0}
