"""Tenants are served in turn, each one's requests in the order of asking; who has enough is passed over."""

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pools.queue import Queue, Waiter
from pools.wire import Wire
from registry.placement import TenantLimits
from tiergate.tenant import TenantId

A, B, C = TENANTS = tuple(TenantId(name) for name in ("a-tenant", "b-tenant", "c-tenant"))
_numbers = count()


def a_wire() -> Wire:
    """Stands for a connection: a queue only hands it on."""
    return cast("Wire", next(_numbers))


def served(queue: Queue, asked: dict[Waiter, str], times: int) -> str:
    """The names of those who are served by so many connections, in order."""
    told = ""
    for _ in range(times):
        if not queue.serve(a_wire()):
            return told + "."
        (waiter,) = (each for each in asked if each.done())
        told += asked.pop(waiter)
    return told


async def test_one_tenants_requests_are_served_in_the_order_of_asking() -> None:
    queue = Queue(9)
    asked = {queue.join(A): name for name in "123"}

    assert served(queue, asked, 4) == "123."


async def test_who_comes_with_one_request_stands_behind_one_of_each_other_tenant() -> None:
    queue = Queue(99)
    asked = {queue.join(A): "a" for _ in range(50)} | {queue.join(B): "b" for _ in range(50)}
    asked |= {queue.join(C): "c"}

    assert served(queue, asked, 6) == "abcaba"


async def test_a_tenant_of_double_weight_is_served_twice_a_turn() -> None:
    queue = Queue(99)
    asked = {queue.join(A, TenantLimits(weight=2)): "a" for _ in range(6)} | {
        queue.join(B): "b" for _ in range(3)
    }

    assert served(queue, asked, 9) == "aabaabaab"


async def test_who_has_its_share_is_passed_over_until_it_gives_back() -> None:
    queue = Queue(1)
    asked = {queue.join(A): "a" for _ in range(3)} | {queue.join(B): "b"}

    assert served(queue, asked, 4) == "ab."
    assert queue.servable(9) == 0
    queue.release(A)
    assert queue.servable(9) == 1
    assert served(queue, asked, 1) == "a"


async def test_a_limit_of_its_own_holds_for_its_tenant_alone() -> None:
    queue, own = Queue(1), TenantLimits(max_tenant_inflight=2)
    asked = {queue.join(A, own): "a" for _ in range(3)} | {queue.join(B): "b" for _ in range(3)}

    assert queue.servable(9) == 3
    assert served(queue, asked, 6) == "aba."
    assert not queue.may_have(A, 2)
    assert queue.may_have(A, 3)


async def test_who_has_left_is_not_served_and_keeps_no_turn() -> None:
    queue = Queue(9)
    first, second = queue.join(A), queue.join(B)
    first.cancel()

    assert queue.leave(first, A) is None
    assert queue.serve(a_wire())
    assert second.done()
    assert len(queue) == 0


async def test_a_connection_that_came_too_late_is_given_back_by_who_leaves() -> None:
    queue, wire = Queue(9), a_wire()
    waiter = queue.join(A)
    queue.serve(wire)

    assert queue.leave(waiter, A) == wire
    queue.release(A)
    assert queue.may_have(A)


class QueueMachine(RuleBasedStateMachine):
    """Any order of joining, leaving, serving and giving back, against plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.queue = self.within(lambda: Queue(2))
        self.waiting: dict[TenantId, list[Waiter]] = {tenant: [] for tenant in TENANTS}
        self.held: Counter[TenantId] = Counter()
        self.own: dict[TenantId, int | None] = {}
        self.passed: Counter[TenantId] = Counter()

    def within(self, make: Callable[[], Queue]) -> Queue:
        async def run() -> Queue:
            return make()

        return self.loop.run_until_complete(run())

    @rule(
        tenant=st.sampled_from(TENANTS),
        weight=st.integers(1, 3),
        most=st.none() | st.integers(1, 4),
    )
    def join(self, tenant: TenantId, weight: int, most: int | None) -> None:
        own = TenantLimits(max_tenant_inflight=most, weight=weight)
        self.waiting[tenant].append(self.queue.join(tenant, own))
        self.own[tenant] = most

    def room(self, tenant: TenantId) -> int:
        """Connections that a tenant may have besides, by its own limit or everybody's."""
        return max(0, (self.own.get(tenant) or self.queue.max_inflight) - self.held[tenant])

    @rule(tenant=st.sampled_from(TENANTS), data=st.data())
    def leave(self, tenant: TenantId, data: st.DataObject) -> None:
        if self.waiting[tenant]:
            waiter = data.draw(st.sampled_from(self.waiting[tenant]))
            self.waiting[tenant].remove(waiter)
            waiter.cancel()
            assert self.queue.leave(waiter, tenant) is None

    @rule()
    def serve(self) -> None:
        may = {t for t in TENANTS if self.waiting[t] and self.room(t)}
        assert self.queue.serve(a_wire()) == bool(may)
        for tenant in TENANTS:
            if self.waiting[tenant] and self.waiting[tenant][0].done():
                assert tenant in may
                self.waiting[tenant].pop(0)
                self.held[tenant] += 1
                self.passed[tenant] = 0
                may.discard(tenant)
        for tenant in may:
            self.passed[tenant] += 1
        for tenant in set(TENANTS) - may:
            self.passed[tenant] = 0

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        tenant = data.draw(st.sampled_from(sorted(self.held.elements())))
        self.held[tenant] -= 1
        self.queue.release(tenant)

    @rule(most=st.integers(1, 4))
    def resize(self, most: int) -> None:
        self.queue.max_inflight = most

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.queue) == sum(len(each) for each in self.waiting.values())
        for tenant in TENANTS:
            assert self.queue.waiting(tenant) == len(self.waiting[tenant])
        can = (min(len(self.waiting[tenant]), self.room(tenant)) for tenant in TENANTS)
        assert self.queue.servable(1000) == sum(can)

    @invariant()
    def nobody_is_passed_over_for_longer_than_the_others_turns(self) -> None:
        assert max(self.passed.values(), default=0) <= 2 * 3  # two others, of weight 3 at most

    def teardown(self) -> None:
        self.loop.close()


QueueMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestQueue = QueueMachine.TestCase
