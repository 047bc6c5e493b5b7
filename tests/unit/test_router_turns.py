"""Who asks for little of this process waits for nobody; the others for one request of each other tenant."""

import asyncio
from itertools import pairwise

from router.turns import Turns
from tiergate.tenant import TenantId

NOISY, OTHER, QUIET = (TenantId(name) for name in ("noisy", "other", "quiet"))


async def pass_by(passes: int) -> None:
    for _ in range(passes):
        await asyncio.sleep(0)


async def works(turns: Turns, tenant: TenantId, done: list[TenantId]) -> None:
    if not turns.take_now(tenant):
        await turns.take(tenant)
    done.append(tenant)


async def test_a_tenants_first_request_waits_for_nobody_and_its_next_for_one_of_each_other_tenant() -> None:
    turns = Turns()
    done: list[TenantId] = []

    async with asyncio.TaskGroup() as tasks:
        for tenant in [NOISY] * 50 + [OTHER] * 50 + [QUIET] * 2:
            tasks.create_task(works(turns, tenant, done), name=tenant)

    assert done[:7] == [NOISY, OTHER, QUIET, NOISY, OTHER, QUIET, NOISY]
    assert len(done) == 102


async def test_who_asks_once_a_round_never_stands_in_line() -> None:
    turns = Turns()
    done: list[TenantId] = []
    async with asyncio.TaskGroup() as tasks:
        for _ in range(50):
            tasks.create_task(works(turns, NOISY, done), name="noisy")
        for _ in range(10):
            await pass_by(3)  # a round of one tenant takes a pass or two
            assert turns.take_now(QUIET)


async def test_who_stands_in_line_does_not_pass_itself() -> None:
    turns = Turns()
    done: list[TenantId] = []
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(works(turns, NOISY, done), name="noisy")
        await asyncio.sleep(0)
        while len(done) < 3:
            assert not turns.take_now(NOISY)
            await asyncio.sleep(0)


async def test_one_turn_is_given_in_a_pass_of_the_event_loop() -> None:
    turns = Turns()
    done: list[TenantId] = []
    async with asyncio.TaskGroup() as tasks:
        for _ in range(9):
            tasks.create_task(works(turns, NOISY, done), name="noisy")

        at_each: list[int] = []
        while len(done) < 9:
            at_each.append(len(done))
            await asyncio.sleep(0)

    assert all(later - earlier <= 1 for earlier, later in pairwise(at_each))


async def test_the_first_after_a_rest_does_not_wait() -> None:
    turns = Turns()

    assert turns.take_now(NOISY)
    assert not turns.take_now(NOISY)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert turns.take_now(NOISY)


async def test_who_gives_up_leaves_its_turn_to_the_next() -> None:
    turns = Turns()
    done: list[TenantId] = []
    first, gone, last = (
        asyncio.create_task(works(turns, NOISY, done), name=name) for name in ("first", "gone", "last")
    )
    await asyncio.sleep(0)
    gone.cancel()

    await asyncio.gather(first, gone, last, return_exceptions=True)

    assert done == [NOISY, NOISY]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert turns.take_now(QUIET)  # nothing is left of it
