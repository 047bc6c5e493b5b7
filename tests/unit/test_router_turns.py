"""Who waits for this process has its turn after one request of each other tenant, however many those have."""

import asyncio
from itertools import pairwise

from router.turns import Turns
from tiergate.tenant import TenantId

NOISY, OTHER, QUIET = (TenantId(name) for name in ("noisy", "other", "quiet"))


async def works(turns: Turns, tenant: TenantId, done: list[TenantId]) -> None:
    if not turns.take_now():
        await turns.take(tenant)
    done.append(tenant)


async def test_who_comes_with_one_request_waits_for_one_of_each_other_tenant() -> None:
    turns = Turns()
    done: list[TenantId] = []

    async with asyncio.TaskGroup() as tasks:
        for tenant in [NOISY] * 50 + [OTHER] * 50 + [QUIET]:
            tasks.create_task(works(turns, tenant, done), name=tenant)

    assert done[:5] == [NOISY, NOISY, OTHER, QUIET, NOISY]  # the first found nobody before it
    assert len(done) == 101


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

    assert turns.take_now()
    assert not turns.take_now()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert turns.take_now()


async def test_who_gives_up_leaves_its_turn_to_the_next() -> None:
    turns = Turns()
    done: list[TenantId] = []
    first, gone, last = (
        asyncio.create_task(works(turns, tenant, done), name=tenant) for tenant in (NOISY, OTHER, QUIET)
    )
    await asyncio.sleep(0)
    gone.cancel()

    await asyncio.gather(first, gone, last, return_exceptions=True)

    assert done == [NOISY, QUIET]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert turns.take_now()  # nothing is left of it
