"""Pools, their budget, queues, sizes and breaker, driven in any order against an oracle.

The real code on an event loop whose time stands still until told; only dials and their wires are ours.
"""

import asyncio
import math
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pools.clock import Ours
from pools.errors import DatabaseUnavailable, DeadlineExceeded, PoolExhausted, QueueFull
from pools.pool import Pool
from pools.switchboard import Switchboard
from pools.wire import Wire
from registry.placement import Place, PlaceId, Placement, TenantLimits, TenantState
from tests.support.places import POOL, Heard, pool_limits
from tiergate.deadline import Deadline
from tiergate.events import LoopFailed, ServerLost
from tiergate.tenant import TenantId, Tier

PLACES = tuple(
    Place(PlaceId(f"pl_{name}"), Tier.STANDARD, "main", "", "db", "app", name, "secret", b"", 1)
    for name in "abc"
)
OWN = {
    "greedy": TenantLimits(weight=3),
    "small": TenantLimits(max_tenant_inflight=1),
    "plain": TenantLimits(),
}
TENANTS = [
    Placement(TenantId(f"{who}-{place.login}"), place.tier, TenantState.ACTIVE, place, 1, None, own)
    for place in PLACES
    for who, own in OWN.items()
]
LIMITS = replace(
    POOL, default_pool_size=2, max_tenant_inflight=2, max_waiting=6, max_tenant_waiting=4,
    query_wait_timeout=3, server_idle_timeout=5, server_lifetime=20, reserve_pool_timeout=1,
)  # fmt: skip
REFUSED = DatabaseUnavailable("main", "refused", is_of_server=True)
SILENT = DatabaseUnavailable("main", "silent", is_of_server=True, is_silent=True)
WRONG = DatabaseUnavailable("main", "28P01")


class StillSelector(selectors.DefaultSelector):
    """Waits for nothing: time is the test's."""

    def select(self, timeout: float | None = None) -> list[Any]:  # noqa: ARG002 - selectors' own, untyped
        """What is ready now."""
        return super().select(0)


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is moved by hand."""

    def __init__(self) -> None:
        super().__init__(StillSelector())
        self.now = 1000.0

    def time(self) -> float:
        """Seconds, by our own clock."""
        return self.now


@dataclass(eq=False, slots=True)
class FakeWire:
    """Stands for a connection."""

    world: "World"
    opened_at: float
    expires_at: float
    idle_since: float = 0.0
    dial_s: float = 0.0
    broken: bool = False
    doubtful: bool = False
    in_transaction: bool = False
    on_lost: Callable[[], None] | None = None

    async def close(self) -> None:
        """End when the server says so."""
        await self.world.let_go()


@dataclass(eq=False)
class World:
    """The server: its dials that wait for an end, and its processes."""

    loop: StillLoop
    dials: list[asyncio.Future[FakeWire]] = field(default_factory=list)
    ends: list[asyncio.Future[None]] = field(default_factory=list)
    processes: int = 0
    dialled: Callable[[], None] = lambda: None

    async def let_go(self) -> None:
        """Wait until the server process is gone."""
        end = self.loop.create_future()
        self.ends.append(end)
        try:
            await end
        finally:
            self.processes -= 1
            if end in self.ends:
                self.ends.remove(end)


class FakeOpening:
    """A dial whose end the test decides."""

    world: World

    def __init__(self, *_: object) -> None:
        self.future: asyncio.Future[FakeWire] = self.world.loop.create_future()
        self.world.dials.append(self.future)
        self.world.processes += 1
        self.world.dialled()

    async def run(self, *, is_ahead: bool = False) -> FakeWire:  # noqa: ARG002 - the real one's
        """Wait for the test's word."""
        try:
            return await self.future
        finally:
            if self.future in self.world.dials:
                self.world.dials.remove(self.future)

    def undo(self) -> Coroutine[None, None, None]:
        """What is left of it ends like any other."""
        return self.world.let_go()


class NoUpkeep:
    """Nothing is ever due."""

    def __init__(self, *_: object, via_pgbouncer: bool) -> None:
        """As the real one."""

    def due(self, _: Wire) -> None:
        """Nothing."""


@dataclass(eq=False, slots=True)
class Request:
    """One that waits, has a connection, or has ended."""

    placement: Placement
    task: asyncio.Task[Wire]
    pool: Pool
    is_done: bool = False


class Machine(RuleBasedStateMachine):
    """Requests come, end, give up; dials succeed, fail, are cancelled; wires crash; limits change."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = StillLoop()
        self.world = World(self.loop)
        self.patches: list[Any] = [  # unittest's own, untyped
            patch("pools.pool.Opening", type("Opening", (FakeOpening,), {"world": self.world})),
            patch("pools.pool.Upkeep", NoUpkeep),
        ]
        for each in self.patches:
            each.start()
        self.heard = Heard()
        self.requests: list[Request] = []
        self.own = {each.tenant: each.limits for each in TENANTS}
        self.most = {
            tenant: own.max_tenant_inflight or LIMITS.max_tenant_inflight for tenant, own in self.own.items()
        }
        self.budget, self.dials = 3, 2
        self.excess: list[bool] = []
        self.stop = asyncio.Event()
        self.switchboard: Switchboard
        self.keeper = self.loop.create_task(self.keep())
        self.turn()
        self.world.dialled = self.no_dial_is_one_too_many

    def no_dial_is_one_too_many(self) -> None:
        """At the very moment in which a dial begins."""
        budget = self.switchboard._clusters["main"].budget
        self.excess.append(budget.used > budget.limit or budget.dialling > budget.max_dials)

    async def keep(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self.switchboard = Switchboard(self.limits(), tasks, self.heard, Ours())
            await self.stop.wait()

    def limits(self, **changed: float) -> Any:  # SwitchboardLimits; the settings by name
        return pool_limits(replace(LIMITS, **cast("Any", changed)), budget=self.budget, dials=self.dials)

    def turn(self) -> None:
        """Let everything run until nothing moves but time."""
        for _ in range(30):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    # -- what may happen

    @rule(placement=st.sampled_from(TENANTS), within_s=st.sampled_from([0.5, 2, 60]))
    def ask(self, placement: Placement, within_s: float) -> None:
        placement = replace(placement, limits=self.own[placement.tenant])
        pool = self.enter(lambda: self.switchboard.pool(placement))
        deadline = Deadline(self.loop.time() + within_s)
        task = self.loop.create_task(pool.lend(placement.tenant, placement.limits, deadline))
        self.requests.append(Request(placement, task, pool))
        self.turn()
        is_behind = pool._queue.waiting(placement.tenant)
        assert not (is_behind and self.has(self.requests[-1])), "it overtook its tenant's others"

    @rule(placement=st.sampled_from(TENANTS), own=st.sampled_from(list(OWN.values())))
    def own_limits_change(self, placement: Placement, own: TenantLimits) -> None:
        """Known from the tenant's next request on."""
        self.own[placement.tenant] = own
        most = own.max_tenant_inflight or LIMITS.max_tenant_inflight
        self.most[placement.tenant] = max(most, self.most[placement.tenant])

    def enter(self, do: Callable[[], Any]) -> Any:  # whatever *do* gives
        """Run *do* inside the loop."""

        async def run() -> Any:  # the same
            return do()

        return self.loop.run_until_complete(run())

    def holding(self) -> list[Request]:
        return [each for each in self.requests if not each.is_done and self.has(each)]

    def has(self, request: Request) -> bool:
        task = request.task
        return task.done() and not task.cancelled() and task.exception() is None

    def waiting(self) -> list[Request]:
        return [each for each in self.requests if not each.task.done()]

    @precondition(lambda self: self.holding())
    @rule(data=st.data(), how=st.sampled_from(["well", "well", "broken", "doubtful"]))
    def give_back(self, data: st.DataObject, how: str) -> None:
        request = data.draw(st.sampled_from(self.holding()))
        wire = request.task.result()
        wire.broken, wire.doubtful = how == "broken", how == "doubtful"
        request.is_done = True
        self.enter(lambda: request.pool.give_back(wire, request.placement.tenant))
        self.turn()

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), returned=st.booleans())
    def cancel(self, data: st.DataObject, *, returned: bool) -> None:
        """Give up a wait; perhaps in the very moment in which another's connection comes back."""
        request = data.draw(st.sampled_from(self.waiting()))
        if returned and (others := self.holding()):
            other = others[0]
            other.is_done = True
            self.enter(lambda: other.pool.give_back(other.task.result(), other.placement.tenant))
        request.task.cancel()
        self.turn()

    @precondition(lambda self: self.world.dials)
    @rule(
        data=st.data(),
        end=st.sampled_from(["well", "well", "well", REFUSED, SILENT, WRONG]),
        lives_s=st.sampled_from([1, 4, LIMITS.server_lifetime]),
    )
    def dial_ends(self, data: st.DataObject, end: str | DatabaseUnavailable, lives_s: float) -> None:
        dial = data.draw(st.sampled_from(self.world.dials))
        now = self.loop.time()
        if isinstance(end, DatabaseUnavailable):
            dial.set_exception(
                end.__class__(end.cluster, end.reason, is_of_server=end.is_of_server, is_silent=end.is_silent)
            )
        else:
            dial.set_result(FakeWire(self.world, now, now + lives_s))
        self.turn()

    @precondition(lambda self: self.world.ends)
    @rule(data=st.data())
    def server_lets_go(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.world.ends)).set_result(None)
        self.turn()

    @rule(data=st.data())
    def a_resting_wire_is_lost(self, data: st.DataObject) -> None:
        pool = data.draw(st.sampled_from([*self.switchboard.pools(), None]))
        if pool is not None and (wire := pool.resting.first()) is not None and wire.on_lost is not None:
            wire.broken = True
            self.enter(wire.on_lost)
            self.turn()

    @rule(
        budget=st.integers(1, 5), dials=st.integers(1, 3), size=st.integers(1, 3), least=st.integers(0, 1),
        reserve=st.integers(0, 2),
    )  # fmt: skip
    def resize(self, budget: int, dials: int, size: int, least: int, reserve: int) -> None:
        self.budget, self.dials = budget, dials
        limits = self.limits(default_pool_size=size, min_pool_size=least, reserve_pool_size=reserve)
        self.enter(lambda: self.switchboard.resize(limits))
        self.turn()

    @rule(place=st.sampled_from(PLACES))
    def retire(self, place: Place) -> None:
        self.enter(lambda: self.switchboard.dismiss(place.id))
        self.turn()

    @rule(placements=st.lists(st.sampled_from(TENANTS), max_size=2))
    def warm(self, placements: list[Placement]) -> None:
        self.enter(lambda: self.switchboard.keep_warm(placements))
        self.turn()

    @rule(passes_s=st.sampled_from([0.01, 0.3, 1.1, 6.0]))
    def time_passes(self, passes_s: float) -> None:
        self.loop.now += passes_s
        self.turn()
        self.enter(self.switchboard.tidy)
        self.turn()

    # -- what must hold

    @invariant()
    def the_budget_holds(self) -> None:
        for cluster in self.switchboard._clusters.values():
            budget = cluster.budget
            assert budget.used == self.world.processes == sum(p.permits for p in self.switchboard.pools())
            assert (
                budget.dialling == len(self.world.dials) == sum(p.opening for p in self.switchboard.pools())
            )
            assert budget.ending >= 0

        assert not any(self.excess)

    @invariant()
    def no_tenant_has_more_than_it_may_get(self) -> None:
        """With those that the server has not let go of; a limit that is lowered takes nothing away."""
        for pool in self.switchboard.pools():
            for placement in TENANTS:
                assert pool.inflight(placement.tenant) <= self.most[placement.tenant]

    @invariant()
    def what_is_lent_is_held(self) -> None:
        holding, waiting = Counter(r.pool for r in self.holding()), Counter(r.pool for r in self.waiting())
        for pool in self.switchboard.pools():
            assert pool.active == holding[pool]
            assert pool.waiting == waiting[pool]
        wires = [request.task.result() for request in self.holding()]
        assert len(wires) == len(set(map(id, wires)))

    @invariant()
    def nobody_waits_while_a_connection_is_free_and_permitted(self) -> None:
        for pool in self.switchboard.pools():
            assert not (pool.idle and pool._queue.servable(1))
        for cluster in self.switchboard._clusters.values():
            budget = cluster.budget
            if budget.used < budget.limit and budget.dialling < budget.max_dials and cluster.breaker.allows():
                for pool in self.switchboard.pools():
                    if not pool._dialling._backoff.is_on and pool.size < pool.sizes.most:
                        dials = pool._growth.dials(has_any=bool(pool.active or pool.idle))
                        assert pool.opening >= min(pool._queue.servable(pool.sizes.most), dials)
                        is_growing = pool._growth._timer is not None or dials >= pool.sizes.most
                        assert is_growing or budget.awaits(pool) or not (pool.waiting and pool.size)

    @invariant()
    def who_stands_in_line_for_a_permit_needs_one(self) -> None:
        """Else another pool's connection gives way for nothing."""
        if self.heard.of(ServerLost):
            return  # who would have looked for the server leaves the line at the next tidying
        for cluster in self.switchboard._clusters.values():
            for pool in cast("list[Pool]", list(cluster.budget._hungry)):
                is_kept = pool.limits.min_pool_size or pool.sizes.is_warm  # whether it is, time may change
                assert pool._is_short or is_kept
                assert not pool._dialling._backoff.is_on

    @invariant()
    def no_more_are_lent_than_ever_allowed(self) -> None:
        for pool in self.switchboard.pools():
            assert pool.idle <= pool.limits.default_pool_size

    @invariant()
    def no_unexpected_end(self) -> None:
        assert self.heard.of(LoopFailed) == []
        for request in self.requests:
            if request.task.done() and not request.task.cancelled() and (error := request.task.exception()):
                assert isinstance(error, DatabaseUnavailable | DeadlineExceeded | PoolExhausted | QueueFull)

    def give_all_back(self) -> None:
        for request in self.holding():
            request.is_done = True
            self.enter(partial(request.pool.give_back, request.task.result(), request.placement.tenant))

    def answer_all(self) -> None:
        """The server ends whatever waits for it."""
        for dial in list(self.world.dials):
            dial.cancel()
        for end in list(self.world.ends):
            if not end.done():
                end.set_result(None)
        self.loop.now += 0.1
        self.turn()

    def teardown(self) -> None:
        """Everybody goes, the server answers all: every gauge returns to zero."""
        try:
            for request in self.waiting():
                request.task.cancel()
            self.give_all_back()
            self.turn()
            drained = self.loop.create_task(self.switchboard.drain(within_s=math.inf))
            for _ in range(200):
                self.answer_all()
                self.give_all_back()
                if drained.done():
                    break
            self.everything_is_at_zero(drained)
        finally:
            self.stop.set()
            self.turn()
            for each in self.patches:
                each.stop()
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.turn()
            self.loop.close()

    def everything_is_at_zero(self, drained: asyncio.Task[bool]) -> None:
        assert drained.done()
        assert self.world.processes == 0
        for pool in self.switchboard.pools():
            assert (pool.permits, pool.waiting, pool.inflight(None)) == (0, 0, 0)
        for cluster in self.switchboard._clusters.values():
            budget = cluster.budget
            assert (budget.used, budget.dialling, budget.ending, len(budget._hungry)) == (0, 0, 0, 0)


Machine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestPools = Machine.TestCase
