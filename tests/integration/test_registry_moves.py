"""What the registry keeps of moves: who has one, how far it is, and who may say so."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from registry.directory import Directory, open_directory
from registry.errors import (
    ClusterInUse,
    MoveLost,
    MoveOpen,
    ResidencyViolated,
    SamePlace,
    UnknownMove,
    UnknownTenant,
    WrongState,
)
from registry.limits import Limits
from registry.migrations import migrate
from registry.moves import Move, MoveId, MoveState, Timing, Wanted
from registry.orders import Kind, Scope, Verb
from registry.placement import Placement, TenantState
from registry.records import PlaceState
from registry.store import Store
from tests.support.postgres import url_of
from tests.support.writers import VAULT, open_registry
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier

ACME = TenantId("acme")
HOLD_S = 30.0
BEFORE = [MoveState.PREPARING, MoveState.COPYING, MoveState.CATCHING_UP, MoveState.VERIFYING, MoveState.READY]


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    """A registry with a cluster of each tier, and acme on the standard one."""
    await migrate(url_of(database), VAULT)
    async with open_registry(url_of(database)) as store:
        for tier in Tier:
            await store.add_cluster(
                f"{tier}-1", tier, conninfo="host=db.example.com port=5432", database="app",
                admin_user="postgres", admin_password="s3cret", application_schema="app", actor="alice",
                region="eu" if tier is Tier.GOVERNMENT else None,
            )  # fmt: skip
        await create(store, ACME)
        yield store


async def create(store: Store, tenant: TenantId, *, region: str | None = None) -> Placement:
    """A tenant on the standard tier that is served."""
    placed = await store.create_tenant(
        tenant, Tier.STANDARD, application_schema="app", region=region, actor="alice"
    )
    for shared in await store.places("standard-1"):
        await store.mark_place_ready(shared.place.id, actor="alice")
    await store.activate(tenant, actor="alice")
    return placed


async def plan(store: Store, tier: Tier = Tier.PREMIUM, tenant: TenantId = ACME) -> Move:
    return await store.plan_move(
        tenant, tier, cluster=None, timing=Timing(), application_schema="app", actor="alice"
    )


async def claimed(store: Store, worker: str = "w1") -> Move:
    move = await store.claim_move(worker, for_s=60)
    assert move is not None
    return move


async def cutting_over(store: Store) -> Move:
    """A move of acme whose attempt at the cut-over has begun."""
    await plan(store)
    move = await claimed(store)
    for state in [*BEFORE, MoveState.CUTTING_OVER]:
        move = await store.advance_move(move, state)
    return await store.begin_cutover(move, hold_s=HOLD_S)


async def held(store: Store) -> list[Scope]:
    return [order.scope for order in await store.orders() if order.verb is Verb.PAUSE]


async def route(store: Store) -> Placement:
    found = await store.route(ACME)
    assert found is not None
    return found


@pytest.mark.parametrize("tier", [Tier.PREMIUM, Tier.GOVERNMENT])
async def test_a_planned_move_has_a_place_to_go_to_and_changes_nothing(store: Store, tier: Tier) -> None:
    before = await route(store)

    move = await plan(store, tier)

    source, target = await store.ends(move)
    assert move.state is MoveState.PLANNED
    assert (source.place, source.epoch) == (before.place, before.epoch)
    assert (target.tier, target.place.tier, target.place.cluster) == (tier, tier, f"{tier}-1")
    assert (await store.place(target.place.id)).state is PlaceState.PREPARING
    assert await route(store) == before
    assert await store.warm() == []


async def test_a_tenant_is_moved_once_at_a_time(store: Store) -> None:
    both = await asyncio.gather(plan(store), plan(store, Tier.GOVERNMENT), return_exceptions=True)

    assert sorted(type(each).__name__ for each in both) == ["Move", "MoveOpen"]


async def test_what_makes_no_sense_is_not_planned(store: Store) -> None:
    with pytest.raises(SamePlace):
        await plan(store, Tier.STANDARD)
    with pytest.raises(UnknownTenant):
        await plan(store, tenant=TenantId("nobody"))
    await create_elsewhere(store)
    with pytest.raises(ResidencyViolated):
        await store.plan_move(
            TenantId("eurotas"), Tier.PREMIUM, cluster="premium-1", timing=Timing(),
            application_schema="app", actor="alice",
        )  # fmt: skip

    assert await store.moves() == []


async def create_elsewhere(store: Store) -> None:
    await store.add_cluster(
        "standard-eu", Tier.STANDARD, conninfo="host=eu.example.com port=5432", database="app",
        admin_user="postgres", admin_password="s3cret", application_schema="app", actor="alice", region="eu",
    )  # fmt: skip
    await store.create_tenant(
        TenantId("eurotas"), Tier.STANDARD, application_schema="app", region="eu", actor="alice"
    )
    for shared in await store.places("standard-eu"):
        await store.mark_place_ready(shared.place.id, actor="alice")
    await store.activate(TenantId("eurotas"), actor="alice")


async def test_neither_tenant_nor_cluster_goes_while_a_move_is_open(store: Store) -> None:
    move = await plan(store)
    await store.set_state(ACME, TenantState.SUSPENDED, actor="alice")

    with pytest.raises(MoveOpen, match=move.id):
        await store.begin_deletion(ACME, actor="alice")
    with pytest.raises(ClusterInUse, match="moves under way: 1"):
        await store.remove_cluster("premium-1", actor="alice")


async def test_one_worker_has_a_move_until_its_lease_ends(store: Store) -> None:
    await plan(store)
    first = await claimed(store)

    assert await store.claim_move("w2", for_s=60) is None
    await store.renew_move(first, for_s=0)
    second = await claimed(store, "w2")

    assert second.attempt != first.attempt
    for change in (
        store.renew_move(first, for_s=60),
        store.advance_move(first, MoveState.PREPARING),
        store.begin_cutover(first, hold_s=1),
        store.record_evidence(first, {}),
        store.forget_place(first, first.target.place),
    ):
        with pytest.raises(MoveLost):
            await change
    assert (await store.move(second.id)).state is MoveState.PLANNED


async def test_a_move_that_was_let_go_is_anybodys_at_once(store: Store) -> None:
    await plan(store)
    await store.release_move(await claimed(store))

    assert (await claimed(store, "w2")).worker == "w2"


async def test_a_state_is_left_once(store: Store) -> None:
    await plan(store)
    move = await claimed(store)
    await store.advance_move(move, MoveState.PREPARING)

    with pytest.raises(MoveLost):
        await store.advance_move(move, MoveState.PREPARING)


async def test_the_journal_tells_each_state_in_turn(store: Store) -> None:
    move = await plan(store)
    moved = await store.advance_move(await claimed(store), MoveState.PREPARING, detail={"tables": 3})
    await store.advance_move(moved, MoveState.ABORTING, error="no room")

    steps = await store.move_steps(move.id)
    assert [(step.state, step.detail) for step in steps] == [
        (MoveState.PLANNED, {}), (MoveState.PREPARING, {"tables": 3}), (MoveState.ABORTING, {}),
    ]  # fmt: skip
    assert (await store.move(move.id)).error == "no room"


async def test_an_attempt_holds_the_tenant_and_has_an_epoch_of_its_own(store: Store) -> None:
    first = await cutting_over(store)

    assert await held(store) == [Scope(Kind.TENANT, ACME)]
    await store.end_hold(first)
    assert await held(store) == []
    second = await store.begin_cutover(first, hold_s=HOLD_S)
    assert second.target_epoch > first.target_epoch > first.epoch  # type: ignore[operator]


async def test_a_hold_leaves_an_operators_pause_alone(store: Store) -> None:
    await store.give_order(Verb.PAUSE, Scope(Kind.TENANT, ACME), None, for_s=60, actor="alice")
    move = await cutting_over(store)

    await store.end_hold(move)

    assert await held(store) == [Scope(Kind.TENANT, ACME)]


@pytest.mark.parametrize("verb", [Verb.RESUME, Verb.PAUSE, Verb.DRAIN])
async def test_what_an_operator_orders_leaves_a_hold_alone(store: Store, verb: Verb) -> None:
    move = await cutting_over(store)
    [hold] = await store.orders()
    assert hold.is_hold

    given = await store.give_order(verb, Scope(Kind.TENANT, ACME), None, for_s=60, actor="alice")

    assert [order.id for order in await store.orders()] == [hold.id, given.id]
    await store.end_hold(move)
    assert [(order.id, order.is_hold) for order in await store.orders()] == [(given.id, False)]


async def test_publishing_sends_everybody_to_the_new_place_and_ends_the_hold(store: Store) -> None:
    move = await cutting_over(store)
    assert move.target_epoch is not None

    assert await store.publish_move(move.id, move.target_epoch)
    assert not await store.publish_move(move.id, move.target_epoch)

    now = await route(store)
    assert (now.tier, now.place.id, now.epoch) == (Tier.PREMIUM, move.target.place, move.target_epoch)
    assert (await store.place(move.target.place)).state is PlaceState.READY
    assert (await store.move(move.id)).state is MoveState.SOAKING
    assert await held(store) == []


async def test_a_gateway_that_follows_the_fence_publishes_what_the_worker_could_not(store: Store) -> None:
    move = await cutting_over(store)
    assert move.target_epoch is not None

    assert not await store.follow_move(ACME, move.target_epoch - 1)
    assert await store.follow_move(ACME, move.target_epoch)

    assert (await route(store)).place.id == move.target.place


async def test_what_the_way_there_published_does_not_publish_the_way_back(store: Store) -> None:
    move = await cutting_over(store)
    assert move.target_epoch is not None
    await store.publish_move(move.id, move.target_epoch)
    back = await store.advance_move(await store.move(move.id), MoveState.RETURNING)

    assert not await store.follow_move(ACME, move.target_epoch)
    back = await store.begin_cutover(back, hold_s=HOLD_S)
    assert not await store.follow_move(ACME, move.target_epoch)
    assert back.target_epoch is not None
    assert await store.follow_move(ACME, back.target_epoch)

    now = await route(store)
    assert (now.tier, now.place.id) == (Tier.STANDARD, move.source.place)
    assert (await store.move(move.id)).state is MoveState.ABORTING


async def test_nothing_is_published_before_an_attempt(store: Store) -> None:
    await plan(store)
    move = await claimed(store)

    with pytest.raises(MoveLost):
        await store.begin_cutover(move, hold_s=HOLD_S)
    assert not await store.publish_move(move.id, move.epoch)
    assert await held(store) == []


async def test_the_place_to_come_is_warm_from_the_verification_on(store: Store) -> None:
    await plan(store)
    move = await claimed(store)
    for state in [MoveState.PREPARING, MoveState.COPYING, MoveState.CATCHING_UP]:
        move = await store.advance_move(move, state)
    assert await store.warm() == []

    await store.advance_move(move, MoveState.VERIFYING)

    [coming] = await store.warm()
    assert (coming.tenant, coming.tier, coming.place.id) == (ACME, Tier.PREMIUM, move.target.place)


async def test_a_paused_move_is_taken_only_to_do_what_is_wanted(store: Store) -> None:
    move = await plan(store)
    await store.ask_move(move.id, "pause", actor="bob")

    assert await store.claim_move("w1", for_s=60) is None
    await store.ask_move(move.id, Wanted.ABORT, actor="bob")
    assert (await claimed(store)).wanted is Wanted.ABORT


@pytest.mark.parametrize("wanted", [Wanted.ROLLBACK, Wanted.CLEANUP])
async def test_what_comes_after_the_cutover_is_not_asked_before_it(store: Store, wanted: Wanted) -> None:
    move = await plan(store)

    with pytest.raises(WrongState):
        await store.ask_move(move.id, wanted, actor="bob")
    with pytest.raises(UnknownMove):
        await store.ask_move(MoveId("none"), wanted, actor="bob")


async def test_after_the_cutover_nothing_is_aborted(store: Store) -> None:
    move = await cutting_over(store)
    await store.publish_move(move.id, move.target_epoch or 0)

    for wanted in (Wanted.ABORT, Wanted.CUTOVER):
        with pytest.raises(WrongState):
            await store.ask_move(move.id, wanted, actor="bob")
    assert (await store.ask_move(move.id, Wanted.ROLLBACK, actor="bob")).wanted is Wanted.ROLLBACK


@pytest.mark.parametrize("tier", [Tier.PREMIUM, Tier.GOVERNMENT])
async def test_a_place_that_was_given_up_is_forgotten_with_its_database(store: Store, tier: Tier) -> None:
    await plan(store, tier)
    move = await store.advance_move(await claimed(store), MoveState.ABORTING)

    await store.forget_place(move, move.target.place)
    await store.forget_place(move, move.target.place)
    ended = await store.advance_move(move, MoveState.ABORTED)

    assert await store.places(f"{tier}-1") == []
    assert ended.ended_at is not None
    assert [each.kid for each in await store.context_keys() if each.cluster == "government-1"] == []
    await plan(store, tier)


async def test_a_shared_place_is_never_forgotten(store: Store) -> None:
    await plan(store)
    move = await store.advance_move(await claimed(store), MoveState.CLEANING)

    await store.forget_place(move, move.source.place)

    assert len(await store.places("standard-1")) == 1


async def test_evidence_is_believed_only_as_it_was_signed(store: Store) -> None:
    await plan(store)
    move = await claimed(store)

    signed = await store.record_evidence(move, {"rows": 7, "tables": {"notes": "ab"}})

    assert (await store.move(move.id)).evidence == signed
    assert await store.is_authentic(signed)
    record = signed["record"]
    assert isinstance(record, dict)
    assert not await store.is_authentic({**signed, "record": {**record, "rows": 8}})
    assert not await store.is_authentic({"record": record, "signature": "00"})
    assert not await store.is_authentic(replace(move).progress)


class Counting:
    """The registry's answers, counted."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.followed = 0

    async def route(self, tenant: TenantId) -> Placement | None:
        return await self.store.route(tenant)

    async def follow_move(self, tenant: TenantId, epoch: int) -> bool:
        self.followed += 1
        return await self.store.follow_move(tenant, epoch)


@pytest.fixture
async def counted(store: Store, database: str) -> AsyncIterator[tuple[Directory, Counting]]:
    """What a gateway remembers, which knows where acme lived."""
    counting = Counting(store)
    limits = Limits(size=10, ttl_s=600, negative_ttl_s=5, stale_for_s=600, load_timeout_s=10)
    async with open_directory(counting, limits, emit=lambda _event: None) as directory:
        await directory.locate(ACME, Deadline.after(10))
        yield directory, counting


async def test_gateways_that_are_sent_on_tell_the_registry_once_for_all_who_ask(
    store: Store, counted: tuple[Directory, Counting]
) -> None:
    directory, counting = counted
    move = await cutting_over(store)
    epoch = move.target_epoch or 0

    async def ask() -> Placement:
        directory.follow(ACME, epoch)
        return await directory.locate(ACME, Deadline.after(10))

    found = await asyncio.gather(*(ask() for _ in range(20)))

    assert {each.place.id for each in found} == {move.target.place}
    assert counting.followed == 1
    assert (await store.move(move.id)).state is MoveState.SOAKING


async def test_a_fence_that_is_ahead_of_every_move_leads_nowhere(
    store: Store, counted: tuple[Directory, Counting]
) -> None:
    directory, _ = counted
    before = await route(store)

    directory.follow(ACME, before.epoch + 1000)

    assert await directory.locate(ACME, Deadline.after(10)) == before
