"""Two workers have a move at once, since one was thought to be dead: whichever goes on, it is moved once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from moves import cutover
from moves.steps import Step
from registry.errors import MoveLost
from registry.moves import MoveState
from tests.support.movers import Held, Killed, Killing, Movers, open_movers
from tests.support.postgres import ThreeClusters
from tiergate.tenant import Tier

NOT_THERE = {Step.LEFTOVER_CLOSED, Step.HOLD_ENDED, Step.PLACE_REMOVED}


@pytest.fixture(scope="module")
async def movers(servers: ThreeClusters) -> AsyncIterator[Movers]:
    async with open_movers(servers) as opened:
        yield opened


@pytest.mark.parametrize("step", [step for step in Step if step not in NOT_THERE])
async def test_one_that_stood_still_changes_nothing_when_it_goes_on(
    movers: Movers, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutover, "LOCKED_S", 60.0)  # its own clock stands still, too
    tenant = await movers.tenant(f"held-{step.replace('_', '-')}")
    held = Held(step)
    first = await movers.claim(await movers.plan(tenant, Tier.PREMIUM))
    standing = asyncio.create_task(movers.carry(first, mover=movers.mover(held)))
    async with asyncio.timeout(60):
        await held.came.wait()
    writing = asyncio.create_task(movers.write_wherever(tenant, 10))

    done = await movers.carry(await movers.steal(first))
    held.goes_on.set()
    with suppress(MoveLost):
        await standing

    await writing
    await movers.write(tenant, 11)
    assert done.state is MoveState.DONE
    assert (await movers.placed(tenant)).tier is Tier.PREMIUM
    assert await movers.members(tenant) == [1, 2, 3, 10, 11]
    assert await movers.left_behind(tenant, done.id) == []


@pytest.mark.parametrize("step", [step for step in Step if step not in NOT_THERE])
async def test_whoever_comes_after_one_that_was_killed_goes_on(movers: Movers, step: Step) -> None:
    tenant = await movers.tenant(f"killed-{step.replace('_', '-')}")
    first = await movers.claim(await movers.plan(tenant, Tier.PREMIUM))
    with pytest.raises(Killed):
        await movers.carry(first, mover=movers.mover(Killing(step)))
    await movers.write_wherever(tenant, 10)

    done = await movers.carry(await movers.steal(first))

    assert done.state is MoveState.DONE
    assert await movers.members(tenant) == [1, 2, 3, 10]
    assert await movers.left_behind(tenant, done.id) == []
