"""Single moments of pools in which somebody was forgotten; on the model's still clock, with its dials."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from pools.errors import DatabaseUnavailable
from pools.growth import PATIENCE_S
from registry.placement import Placement, TenantLimits
from tests.unit.test_pools_model import TENANTS, FakeWire, Machine, Request

BY_NAME: dict[str, Placement] = {placement.tenant: placement for placement in TENANTS}


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.teardown()


def ask(machine: Machine, tenant: str, own: TenantLimits | None = None) -> Request:
    """A request of *tenant*, which has its connection, or waits for one; *own* are its limits since now."""
    placement = BY_NAME[tenant]
    if own is not None:
        machine.own_limits_change(placement, own)
    machine.ask(placement, 60)
    return machine.requests[-1]


def let_in(machine: Machine, lives_s: float = 3600) -> None:
    """The oldest dial succeeds."""
    now = machine.loop.time()
    machine.world.dials[0].set_result(FakeWire(machine.world, now, now + lives_s))
    machine.turn()


def give_back(machine: Machine, request: Request) -> None:
    request.is_done = True
    machine.enter(lambda: request.pool.give_back(request.task.result(), request.placement.tenant))
    machine.turn()


def test_who_waits_is_dialled_for_at_once_when_what_comes_back_has_lived_its_time(machine: Machine) -> None:
    first = ask(machine, "small-a")
    let_in(machine, lives_s=1)
    second = ask(machine, "small-a")  # one connection at a time, so none is dialled for it
    machine.time_passes(1.1)
    give_back(machine, first)

    assert (machine.has(second), len(machine.world.ends)) == (False, 1)
    assert len(machine.world.dials) == 1


def test_a_crowd_waits_a_moment_for_what_comes_back_before_more_is_dialled(machine: Machine) -> None:
    machine.resize(budget=20, dials=20, size=20, least=0, reserve=0)
    first = ask(machine, "plain-a")
    let_in(machine)
    crowd = [ask(machine, "plain-a") for _ in range(3)]
    assert machine.world.dials == []
    for each, following in pairwise([first, *crowd]):
        give_back(machine, each)
        assert machine.has(following)

    machine.time_passes(10 * PATIENCE_S)

    assert machine.world.dials == []


def test_a_pool_whose_queue_stands_dials_ever_more_at_a_time(machine: Machine) -> None:
    machine.resize(budget=20, dials=20, size=20, least=0, reserve=0)
    for _ in range(16):
        ask(machine, "plain-a", TenantLimits(max_tenant_inflight=20, max_tenant_waiting=20))
    dials = [len(machine.world.dials)]
    let_in(machine)
    dials.append(len(machine.world.dials))
    for _ in range(4):
        machine.time_passes(PATIENCE_S)
        dials.append(len(machine.world.dials))

    assert dials == [1, 0, 1, 2, 4, 8]


def test_a_queue_that_stands_for_hours_costs_nothing(machine: Machine) -> None:
    machine.resize(budget=4, dials=4, size=4, least=0, reserve=0)
    for _ in range(5):
        ask(machine, "plain-a", TenantLimits(max_tenant_inflight=20, max_tenant_waiting=20))
    for _ in range(100):
        machine.time_passes(PATIENCE_S)

    [pool] = machine.switchboard.pools()
    assert (len(machine.world.dials), pool._growth._timer) == (4, None)
    assert pool._growth.dials(has_any=True) < 8


@pytest.mark.parametrize("is_of_server", [False, True])
def test_nothing_is_evicted_for_who_may_not_dial(machine: Machine, *, is_of_server: bool) -> None:
    machine.resize(budget=3, dials=3, size=3, least=0, reserve=0)
    other = ask(machine, "plain-a")
    let_in(machine)
    ask(machine, "plain-b")
    machine.time_passes(PATIENCE_S)
    let_in(machine)
    machine.time_passes(0.3)  # from now on the other's may be asked to give way
    ask(machine, "greedy-b")
    ask(machine, "greedy-b")
    for _ in range(2):
        machine.time_passes(PATIENCE_S)
    assert other.pool.cluster.budget.awaits(machine.requests[-1].pool)
    machine.world.dials[0].set_exception(DatabaseUnavailable("main", "no", is_of_server=is_of_server))
    machine.turn()
    give_back(machine, other)

    assert (other.pool.idle, len(machine.world.ends)) == (1, 1)


def test_a_raised_limit_serves_the_tenants_oldest_request_first(machine: Machine) -> None:
    ask(machine, "small-a")
    let_in(machine)
    older = ask(machine, "small-a")
    other = ask(machine, "plain-a")
    machine.time_passes(PATIENCE_S)
    let_in(machine)
    give_back(machine, other)
    newer = ask(machine, "small-a", TenantLimits(max_tenant_inflight=2))

    assert (machine.has(older), machine.has(newer)) == (True, False)


def test_a_shutdown_that_takes_too_long_refuses_who_waits_and_dials_no_more(machine: Machine) -> None:
    request = ask(machine, "plain-a")
    drained = machine.loop.create_task(machine.switchboard.drain(within_s=0))
    machine.turn()

    assert drained.done()
    assert (drained.result(), machine.world.processes) == (False, 0)
    error = request.task.exception()
    assert isinstance(error, DatabaseUnavailable)
    assert error.reason == "shutting down"
