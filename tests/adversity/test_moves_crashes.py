"""Whatever ends, stops or is cut off at any step of a move: nothing is lost, and the move comes to its end.

Every step that the code names is met; a new one is met as soon as it has a name. Clients write all the time,
and remember what was acknowledged; when all is over, both ends are judged: nothing acknowledged is lost or
there twice, nothing was written where the tenant did not live any more, and nothing is left behind.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import pytest

from moves.steps import Step
from tests.support.crossing import Crossings, find_crossings
from tests.support.gateways import Serving
from tests.support.grounds import Ground, open_ground
from tests.support.journeys import Fault, Outcome

AT_ONCE = 4
IDLE = "tests.support.idle"
EVERYWHERE = bool(os.environ.get("TIERGATE_TEST_ALL_STEPS"))
"""Stops workers, and breaks servers and the network, at every step, which takes some minutes."""
STEPS = list(Step)
HOLDING = (Step.SERVING_STAMPED, Step.CHUNK_COPIED, Step.TENANT_LOCKED, Step.TARGET_OPENED, Step.SOURCE_LEFT)
"""Where a worker that stands still has most in hand."""
SAMPLE = [
    (Step.CHUNK_COPIED, Fault.SOURCE_KILLED),
    (Step.TENANT_LOCKED, Fault.TARGET_KILLED),
    (Step.TARGET_OPENED, Fault.CUT_OFF),
    (Step.SOURCE_LEFT, Fault.REGISTRY_KILLED),
]
SEVERE = [fault for fault in Fault if fault not in {Fault.MOVER_KILLED, Fault.MOVER_STOPPED}]
BREAKS = [(step, fault) for fault in SEVERE for step in STEPS] if EVERYWHERE else SAMPLE

Met = dict[Step, Outcome | BaseException]


@dataclass(frozen=True, slots=True)
class Land:
    """Where moves are made, and how one comes by each step."""

    ground: Ground
    gateways: Sequence[Serving]
    crossings: Crossings

    async def meet(self, step: Step, fault: Fault) -> Outcome:
        """What becomes of a move to which *fault* happens at *step*."""
        return await self.crossings.meet(self.ground, self.gateways, step, fault)


@pytest.fixture(scope="module")
async def land() -> AsyncIterator[Land]:
    async with (
        open_ground(("standard-a", "premium-a"), is_proxied=True) as ground,
        ground.gateways(1, program=IDLE) as gateways,
    ):
        yield Land(ground, gateways, await find_crossings(ground, gateways))


async def all_at_once(steps: Iterable[Step], meet: Callable[[Step], Awaitable[Outcome]]) -> Met:
    """Some moves at a time, each of a tenant of its own."""
    gate = asyncio.Semaphore(AT_ONCE)
    met: Met = {}

    async def one(step: Step) -> None:
        async with gate:
            try:
                met[step] = await meet(step)
            except AssertionError as exc:
                met[step] = exc

    async with asyncio.TaskGroup() as tasks:
        for step in steps:
            tasks.create_task(one(step), name=f"a move to {step}")
    return met


def wanted(request: pytest.FixtureRequest, test: str) -> list[Step]:
    """The steps that *test* is run for this time."""
    return [
        Step(str(item.callspec.params["step"]))
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == test
    ]


@pytest.fixture(scope="module")
async def killed(request: pytest.FixtureRequest, land: Land) -> Met:
    steps = wanted(request, test_a_move_whose_worker_is_killed_is_ended_by_another.__name__)
    return await all_at_once(steps, partial(land.meet, fault=Fault.MOVER_KILLED))


@pytest.fixture(scope="module")
async def stopped(request: pytest.FixtureRequest, land: Land) -> Met:
    steps = wanted(request, test_a_worker_that_wakes_up_after_the_end_changes_nothing.__name__)
    return await all_at_once(steps, partial(land.meet, fault=Fault.MOVER_STOPPED))


def hold(outcome: Outcome | BaseException) -> None:
    """Hold that all is well."""
    if isinstance(outcome, BaseException):
        raise outcome
    assert outcome.was_reached, outcome
    assert outcome.is_good, outcome


async def test_some_journey_comes_by_every_step_and_ends_well(land: Land) -> None:
    assert [str(each) for each in land.crossings.outcomes if not each.is_good] == []
    assert land.crossings.missed == []


@pytest.mark.parametrize("step", STEPS)
async def test_a_move_whose_worker_is_killed_is_ended_by_another(killed: Met, step: Step) -> None:
    hold(killed[step])


@pytest.mark.parametrize("step", STEPS if EVERYWHERE else HOLDING)
async def test_a_worker_that_wakes_up_after_the_end_changes_nothing(stopped: Met, step: Step) -> None:
    hold(stopped[step])


@pytest.mark.parametrize(("step", "fault"), BREAKS, ids=str)
async def test_a_move_goes_on_after_what_it_stands_on_has_failed(
    land: Land, step: Step, fault: Fault
) -> None:
    hold(await land.meet(step, fault))
