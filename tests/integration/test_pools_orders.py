"""One process and the orders that it hears: what is held up, ended or replaced, and what it answers."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from unittest.mock import AsyncMock

import pytest

from config.settings import Registry
from pools.errors import DeadlineExceeded, Drained, HeldUp, Killed, Paused, QueueFull
from pools.loan import Lease
from pools.orders import Orders, leave
from pools.switchboard import Switchboard
from registry.errors import RegistryUnavailable
from registry.migrations import migrate
from registry.orders import Answer, Holdings, Kind, Process, Scope, Verb
from registry.placement import Placement, Replica
from registry.store import Store, open_store
from registry.vault import Vault
from tests.support.places import (
    ENDLESS,
    POOL,
    Heard,
    Places,
    open_places,
    open_pools,
    pool_limits,
    run,
    until,
    value,
)
from tests.support.postgres import url_of
from tests.support.standby import open_standby
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.events import ConnectionOpened
from tiergate.happenings.orders import GatesSet, OrderDone
from tiergate.tenant import Tier

VAULT = Vault("a master key of the tests")
PROCESS = Process("one", "host:8080", "", 11, "0.1.0", forget_after_s=600)
PID = "SELECT pg_backend_pid()"
SHORT_S = 0.5
"""How long one waits who shall wait in vain; who shall not gets a new connection in that time."""


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture
async def acme(places: Places) -> Placement:
    return await places.create(Tier.PREMIUM)


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    url = url_of(database)
    await migrate(url, VAULT)
    known = Registry(url, 5, 10, cache_size=9, ttl_s=60, negative_ttl_s=5, stale_for_s=60)
    async with open_store(known, VAULT) as store:
        yield store


@dataclass
class Gateway:
    """A process that carries out orders when the test has it do so."""

    store: Store
    switchboard: Switchboard
    orders: Orders
    heard: Heard

    async def told(
        self, verb: Verb, scope: Scope, *, for_s: float = 60, own: Placement | None = None
    ) -> Answer:
        """What it answers at once to a new order."""
        place = own.place.id if own else None
        order = await self.store.give_order(verb, scope, place, for_s=for_s, actor="ann")
        await self.orders.run_once()
        return await self.answer(order.id)

    async def answer(self, number: int) -> Answer:
        [known] = await self.store.processes(number)
        assert known.answer is not None
        return known.answer

    async def done(self) -> Answer:
        """What it answers to the latest order, once that is done."""
        number = (await self.store.orders())[-1].id

        async def look() -> bool:
            await self.orders.run_once()
            return (await self.answer(number)).done

        await until(look)
        return await self.answer(number)


@asynccontextmanager
async def open_gateway(store: Store, **limits: float) -> AsyncIterator[Gateway]:
    pool = replace(POOL, **limits)  # type: ignore[arg-type]  # whole numbers where they must be
    heard = Heard()
    async with open_pools(pool_limits(pool), heard) as switchboard:
        orders = Orders(store, PROCESS, switchboard, hold_after_s=600, emit=heard)
        await orders.run_once()
        yield Gateway(store, switchboard, orders, heard)


@asynccontextmanager
async def at_work(gateway: Gateway, placement: Placement) -> AsyncIterator[Lease]:
    """A request that has a connection until the end of the block."""
    async with gateway.switchboard.lease(placement, Deadline.after(20)) as lease:
        yield lease


def of(placement: Placement) -> Scope:
    return Scope(Kind.TENANT, placement.tenant)


def cluster_of(placement: Placement) -> Scope:
    return Scope(Kind.CLUSTER, placement.place.cluster)


def pool_of(placement: Placement) -> Scope:
    return Scope(Kind.POOL, placement.place.id)


async def cut_off(gateway: Gateway) -> None:
    """Have it try in vain to hear of orders."""
    kept, gateway.store._timeout_s = gateway.store._timeout_s, 0
    with pytest.raises(RegistryUnavailable):
        await gateway.orders.run_once()
    gateway.store._timeout_s = kept


async def until_waiting(switchboard: Switchboard, count: int) -> None:
    async def holds() -> bool:
        return sum(not lease.is_running for lease in switchboard.leases) == count

    await until(holds)


async def until_running(switchboard: Switchboard, count: int) -> None:
    async def holds() -> bool:
        return sum(lease.is_running for lease in switchboard.leases) == count

    await until(holds)


async def test_a_paused_tenant_waits_and_goes_on_when_it_is_resumed(store: Store, acme: Placement) -> None:
    async with open_gateway(store) as gateway, asyncio.TaskGroup() as tasks:
        assert (await gateway.told(Verb.PAUSE, of(acme))).done
        held = [tasks.create_task(value(gateway.switchboard, acme, "SELECT 1")) for _ in range(3)]
        await until_waiting(gateway.switchboard, 3)
        shown = await gateway.told(Verb.SHOW, of(acme))
        assert (shown.requests, shown.waiting) == (0, 3)
        assert gateway.heard.of(ConnectionOpened) == []
        assert (await gateway.told(Verb.RESUME, of(acme))).done
        assert [await task for task in held] == ["1"] * 3

    assert gateway.heard.of(GatesSet) == [GatesSet(1, 0), GatesSet(0, 0)]
    assert [event.verb for event in gateway.heard.of(OrderDone)] == ["pause", "show", "resume"]


async def test_a_pause_is_done_only_when_nothing_of_the_tenant_is_at_work(
    store: Store, acme: Placement
) -> None:
    async with open_gateway(store) as gateway:
        async with at_work(gateway, acme):
            at_first = await gateway.told(Verb.PAUSE, of(acme))
        in_the_end = await gateway.done()

    assert (at_first.done, at_first.requests) == (False, 1)
    assert at_first.oldest_s > 0
    assert (in_the_end.done, in_the_end.requests) == (True, 0)


async def test_who_waited_for_a_connection_when_the_pause_began_does_not_get_one(
    store: Store, acme: Placement
) -> None:
    async with open_gateway(store, default_pool_size=1) as gateway, asyncio.TaskGroup() as tasks:
        async with at_work(gateway, acme):
            second = tasks.create_task(value(gateway.switchboard, acme, "SELECT 2"))
            await until_waiting(gateway.switchboard, 1)
            await gateway.told(Verb.PAUSE, of(acme))
        done = await gateway.done()
        assert (second.done(), done.requests, done.waiting) == (False, 0, 1)
        await gateway.told(Verb.RESUME, of(acme))
        assert await second == "2"


async def test_a_request_waits_at_a_gate_no_longer_than_it_would_for_a_connection(
    store: Store, acme: Placement
) -> None:
    async with open_gateway(store, query_wait_timeout=SHORT_S) as gateway:
        await gateway.told(Verb.PAUSE, of(acme))
        with pytest.raises(Paused):
            await value(gateway.switchboard, acme, "SELECT 1")
        with pytest.raises(DeadlineExceeded):
            await run(gateway.switchboard, acme, "SELECT 1", within_s=0.01)

        assert gateway.switchboard.leases == set()


async def test_no_more_wait_at_a_gate_than_may_wait_for_a_connection(store: Store, acme: Placement) -> None:
    async with open_gateway(store, max_tenant_waiting=1) as gateway, asyncio.TaskGroup() as tasks:
        await gateway.told(Verb.PAUSE, of(acme))
        held = tasks.create_task(value(gateway.switchboard, acme, "SELECT 1"))
        await until_waiting(gateway.switchboard, 1)
        with pytest.raises(QueueFull):
            await value(gateway.switchboard, acme, "SELECT 1")
        await gateway.told(Verb.RESUME, of(acme))
        assert await held == "1"


async def test_a_forgotten_pause_ends_by_itself(store: Store, acme: Placement) -> None:
    async with open_gateway(store) as gateway:
        await gateway.told(Verb.PAUSE, of(acme), for_s=1)
        assert gateway.switchboard.gates.any_closed

        assert await value(gateway.switchboard, acme, "SELECT 1") == "1"
        assert not gateway.switchboard.gates.any_closed


async def test_who_does_not_insist_hears_that_the_tenant_may_have_moved_meanwhile(
    store: Store, acme: Placement
) -> None:
    async with open_gateway(store) as gateway, asyncio.TaskGroup() as tasks:
        assert (await gateway.told(Verb.PAUSE, of(acme), for_s=60)).done
        lease = Lease(gateway.switchboard, acme, Deadline.after(20), stays=False)
        held = tasks.create_task(suppressed(lease))
        await until_waiting(gateway.switchboard, 1)
        await gateway.told(Verb.RESUME, of(acme))

        assert isinstance(await held, HeldUp)
        assert not gateway.switchboard.leases


async def suppressed(lease: Lease) -> HeldUp | None:
    try:
        async with lease:
            return None
    except HeldUp as error:
        return error


async def test_a_pause_that_is_asked_for_again_goes_on_without_a_gap(store: Store, acme: Placement) -> None:
    async with open_gateway(store) as gateway, asyncio.TaskGroup() as tasks:
        await gateway.told(Verb.PAUSE, of(acme), for_s=2)
        held = tasks.create_task(value(gateway.switchboard, acme, "SELECT 1"))
        await until_waiting(gateway.switchboard, 1)
        assert (await gateway.told(Verb.PAUSE, of(acme), for_s=60)).done
        gone_on, _ = await asyncio.wait({held}, timeout=2.1)  # the first one's end, and a little more
        assert not gone_on
        await gateway.told(Verb.RESUME, of(acme))
        await held


@pytest.mark.parametrize("kind", [Kind.POOL, Kind.CLUSTER])
async def test_a_pause_of_more_than_one_tenant_holds_all_of_them_and_nobody_else(
    store: Store, places: Places, kind: Kind
) -> None:
    one, two = [await places.create(Tier.STANDARD) for _ in range(2)]
    other = await places.create(Tier.PREMIUM)
    elsewhere = replace(other, place=replace(other.place, cluster="elsewhere"))
    scope = Scope(kind, one.place.id if kind is Kind.POOL else one.place.cluster)
    async with open_gateway(store, query_wait_timeout=SHORT_S) as gateway:
        await gateway.told(Verb.PAUSE, scope)
        for placement in (one, two):
            with pytest.raises(Paused):
                await value(gateway.switchboard, placement, "SELECT 1")

        assert await value(gateway.switchboard, elsewhere, "SELECT 1") == "1"


async def test_what_is_ordered_of_a_cluster_holds_at_its_replicas_too(
    store: Store, acme: Placement, postgres: Cluster
) -> None:
    async with open_standby(postgres) as standby, open_gateway(store) as gateway:
        there = replace(acme, place=acme.place.at(Replica("r1", standby.address)))
        old = await value(gateway.switchboard, there, PID)
        await gateway.told(Verb.RECONNECT, cluster_of(acme))
        assert await value(gateway.switchboard, there, PID) != old
        async with at_work(gateway, there) as lease:
            await gateway.told(Verb.KILL, cluster_of(acme))
            assert lease._wire is not None
            assert lease._wire.broken
        await value(gateway.switchboard, there, PID)
        await gateway.told(Verb.PAUSE, cluster_of(acme))
        with pytest.raises(DeadlineExceeded):
            await run(gateway.switchboard, there, PID, within_s=0.2)
        await gateway.told(Verb.DRAIN, cluster_of(acme))
        with pytest.raises(Drained):
            await value(gateway.switchboard, there, PID)
        await gateway.done()
        assert [budget.used for budget in gateway.switchboard.snapshot().budgets] == [0]


async def test_a_paused_tenant_adds_nothing_to_anothers_wait(store: Store, places: Places) -> None:
    one, two = [await places.create(Tier.STANDARD) for _ in range(2)]
    async with open_gateway(store, default_pool_size=1) as gateway, asyncio.TaskGroup() as tasks:
        await value(gateway.switchboard, two, "SELECT 1")
        await gateway.told(Verb.PAUSE, of(one))
        crowd = [tasks.create_task(value(gateway.switchboard, one, "SELECT 1")) for _ in range(100)]
        await until_waiting(gateway.switchboard, 100)
        for _ in range(20):
            async with gateway.switchboard.lease(two, Deadline.after(5)) as lease:
                assert lease.queue_s == 0.0
        await gateway.told(Verb.RESUME, of(one))
        assert {await task for task in crowd} == {"1"}


async def test_a_drained_place_refuses_at_once_and_is_done_when_its_connections_are_closed(
    store: Store, acme: Placement
) -> None:
    async with open_gateway(store) as gateway:
        await asyncio.gather(*(value(gateway.switchboard, acme, PID) for _ in range(3)))
        async with at_work(gateway, acme):
            at_first = await gateway.told(Verb.DRAIN, of(acme), own=acme, for_s=20)
            with pytest.raises(Drained) as refused:
                await value(gateway.switchboard, acme, "SELECT 1")
        in_the_end = await gateway.done()
        assert gateway.switchboard.snapshot().budgets[0].used == 0
        await gateway.told(Verb.RESUME, of(acme))
        assert await value(gateway.switchboard, acme, "SELECT 1") == "1"

    assert 10 < refused.value.wait_s <= 20
    assert (at_first.done, in_the_end.done, in_the_end.connections) == (False, True, 0)


@pytest.mark.parametrize("kind", Kind)
async def test_a_drained_place_is_not_kept_warm_until_the_drain_is_over(
    store: Store, acme: Placement, kind: Kind
) -> None:
    scope = {Kind.TENANT: of(acme), Kind.POOL: pool_of(acme), Kind.CLUSTER: cluster_of(acme)}[kind]
    async with open_gateway(store) as gateway:
        assert gateway.switchboard.keep_warm([acme]) == 1
        await gateway.heard.wait_for(ConnectionOpened)
        await gateway.told(Verb.DRAIN, scope, own=acme if kind is Kind.TENANT else None)

        assert gateway.switchboard.keep_warm([acme]) == 0
        done = await gateway.done()
        assert (done.connections, len(gateway.heard.of(ConnectionOpened))) == (0, 1)
        await gateway.told(Verb.RESUME, scope)
        assert gateway.switchboard.keep_warm([acme]) == 1
        await gateway.heard.wait_for(ConnectionOpened, times=2)


async def test_who_waits_in_a_pause_is_refused_when_it_becomes_a_drain(store: Store, acme: Placement) -> None:
    async with open_gateway(store) as gateway:
        await gateway.told(Verb.PAUSE, of(acme))
        held = asyncio.create_task(value(gateway.switchboard, acme, "SELECT 1"))
        await until_waiting(gateway.switchboard, 1)
        await gateway.told(Verb.DRAIN, of(acme))
        with pytest.raises(Drained):
            await held


async def test_a_drained_tenant_leaves_the_connections_that_it_shares(store: Store, places: Places) -> None:
    one, two = [await places.create(Tier.STANDARD) for _ in range(2)]
    async with open_gateway(store) as gateway:
        pid = await value(gateway.switchboard, two, PID)

        assert (await gateway.told(Verb.DRAIN, of(one))).done
        assert await value(gateway.switchboard, two, PID) == pid


async def test_connections_are_replaced_as_they_come_free_and_nobody_gets_an_error(
    store: Store, acme: Placement
) -> None:
    async with open_gateway(store, default_pool_size=1) as gateway, asyncio.TaskGroup() as tasks:
        old = await value(gateway.switchboard, acme, PID)
        async with at_work(gateway, acme):
            waiting = tasks.create_task(value(gateway.switchboard, acme, PID))
            await until_waiting(gateway.switchboard, 1)
            at_first = await gateway.told(Verb.RECONNECT, pool_of(acme))
        in_the_end = await gateway.done()
        assert await waiting == old
        assert await value(gateway.switchboard, acme, PID) != old

    assert (at_first.done, at_first.connections) == (False, 1)
    assert (in_the_end.done, in_the_end.connections) == (True, 0)


async def test_what_runs_and_what_waits_is_ended_and_new_requests_are_served(
    store: Store, acme: Placement, places: Places
) -> None:
    other = await places.create(Tier.PREMIUM)
    async with open_gateway(store, default_pool_size=1) as gateway, at_work(gateway, other) as spared:
        running = asyncio.create_task(run(gateway.switchboard, acme, ENDLESS))
        await until_running(gateway.switchboard, 2)
        waiting = asyncio.create_task(run(gateway.switchboard, acme, "SELECT 1"))
        await until_waiting(gateway.switchboard, 1)
        await gateway.told(Verb.KILL, of(acme))
        with pytest.raises(Killed) as begun:
            await running
        with pytest.raises(Killed) as queued:
            await waiting
        done = await gateway.done()
        assert await value(gateway.switchboard, acme, "SELECT 1") == "1"
        assert spared._wire is not None
        assert not spared._wire.broken

    assert (begun.value.was_running, queued.value.was_running) == (True, False)
    assert (done.ended, done.connections) == (2, 0)


async def test_who_waits_at_a_gate_is_ended_too(store: Store, acme: Placement) -> None:
    async with open_gateway(store) as gateway:
        await gateway.told(Verb.PAUSE, of(acme))
        held = asyncio.create_task(run(gateway.switchboard, acme, "SELECT 1"))
        await until_waiting(gateway.switchboard, 1)
        await gateway.told(Verb.KILL, of(acme))
        with pytest.raises(Killed):
            await held

        assert gateway.switchboard.leases == set()


async def test_an_order_is_carried_out_once(store: Store, acme: Placement) -> None:
    async with open_gateway(store) as gateway:
        await gateway.told(Verb.KILL, of(acme))
        async with at_work(gateway, acme) as spared:
            await gateway.orders.run_once()

            assert spared._wire is not None
            assert not spared._wire.broken


async def test_who_hears_of_a_kill_late_ends_nothing_that_began_after_it(
    store: Store, acme: Placement
) -> None:
    async with open_gateway(store) as gateway, at_work(gateway, acme) as before:
        await store.give_order(Verb.KILL, of(acme), None, for_s=60, actor="ann")
        async with at_work(gateway, acme) as after:
            after.began_s += 1  # later than an order that was given now could be heard of
            await gateway.orders.run_once()

            assert [lease._wire and lease._wire.broken for lease in (before, after)] == [True, False]


async def test_a_process_that_starts_later_serves_nobody_who_is_paused(store: Store, acme: Placement) -> None:
    await store.give_order(Verb.PAUSE, of(acme), None, for_s=60, actor="ann")
    async with open_gateway(store, query_wait_timeout=SHORT_S) as gateway:
        with pytest.raises(Paused):
            await value(gateway.switchboard, acme, "SELECT 1")


async def test_a_hold_of_a_move_holds_up_and_is_answered_to_nobody(
    store: Store, acme: Placement, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_gateway(store) as gateway:
        given = await store.give_order(Verb.PAUSE, of(acme), None, for_s=60, actor="a move")
        orders = AsyncMock(return_value=[replace(given, is_hold=True)])
        monkeypatch.setattr(store, "orders", orders)

        await gateway.orders.run_once()

        assert gateway.switchboard.gates.is_closed(acme)
        [known] = await store.processes(given.id)
        assert known.answer is None


async def test_a_pause_holds_while_the_registry_is_away(store: Store, acme: Placement) -> None:
    async with open_gateway(store, query_wait_timeout=SHORT_S) as gateway:
        await gateway.told(Verb.PAUSE, of(acme))
        await cut_off(gateway)
        with pytest.raises(Paused):
            await value(gateway.switchboard, acme, "SELECT 1")


async def test_who_was_cut_off_until_others_forgot_it_holds_everybody_up_until_it_has_heard(
    store: Store, acme: Placement
) -> None:
    async with open_gateway(store, query_wait_timeout=SHORT_S) as gateway:
        await cut_off(gateway)
        assert await value(gateway.switchboard, acme, "SELECT 1") == "1"
        gateway.orders.hold_after_s = 0
        await cut_off(gateway)
        with pytest.raises(Paused):
            await value(gateway.switchboard, acme, "SELECT 1")
        gateway.orders.hold_after_s = 600
        await gateway.orders.run_once()

        assert await value(gateway.switchboard, acme, "SELECT 1") == "1"


async def test_who_stood_still_until_others_forgot_it_holds_everybody_up_before_it_tries_to_hear(
    store: Store, acme: Placement
) -> None:
    """Stopped, or on a machine that was: it goes on with what it knew, and nothing of it has failed."""
    async with open_gateway(store, query_wait_timeout=SHORT_S) as gateway:
        gateway.orders.hold_after_s = 0.1
        await gateway.orders.run_once()

        async def is_held() -> bool:
            return gateway.switchboard.gates.any_closed

        await until(is_held)
        with pytest.raises(Paused):
            await value(gateway.switchboard, acme, "SELECT 1")
        await store.forget_processes([PROCESS.id])
        gateway.orders.hold_after_s = 600
        await gateway.orders.run_once()

        assert await value(gateway.switchboard, acme, "SELECT 1") == "1"
        assert [known.process for known in await store.processes()] == [PROCESS]


async def test_a_process_that_leaves_is_not_waited_for(store: Store) -> None:
    async with open_gateway(store):
        assert [known.process for known in await store.processes()] == [PROCESS]
        await leave(store, PROCESS)

    assert await store.processes() == []


async def test_who_died_on_this_machine_is_forgotten_at_once(store: Store) -> None:
    here = replace(PROCESS, machine="this start of this machine", pid=os.getpid())
    none = 2**22 + 1  # beyond what Linux gives
    for gone in (replace(here, id="dead", pid=none), replace(here, id="far", machine="other", pid=none)):
        await store.beat(gone, Holdings(), {})
    async with open_pools() as switchboard:
        await Orders(store, here, switchboard, hold_after_s=600, emit=Heard()).run_once()

    assert {known.process.id for known in await store.processes()} == {"one", "far"}
