"""A tenant moves from any tier to any other while it works, and nothing of it is left behind."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from moves import following, mover
from moves.ground import Ground
from moves.passes import Pass
from registry.moves import MoveState
from tests.support.movers import NOW, Movers, open_movers
from tests.support.postgres import ThreeClusters
from tiergate.tenant import Tier


@pytest.fixture(scope="module")
async def movers(servers: ThreeClusters) -> AsyncIterator[Movers]:
    async with open_movers(servers) as opened:
        yield opened


@pytest.mark.parametrize(("here", "there"), [*itertools.permutations(Tier, 2)])
async def test_a_tenant_is_moved_from_any_tier_to_any_other(movers: Movers, here: Tier, there: Tier) -> None:
    tenant = await movers.tenant(f"from-{here}-to-{there}", here)

    move = await movers.carry(await movers.plan(tenant, there, NOW))

    assert move.state is MoveState.DONE, move.error
    assert (await movers.placed(tenant)).tier is there
    assert await movers.members(tenant) == [1, 2, 3]
    await movers.write(tenant, 4)
    assert await movers.left_behind(tenant, move.id) == []


async def test_a_tenant_that_writes_faster_than_passes_is_moved_none_the_less(
    movers: Movers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await movers.tenant("fast")
    monkeypatch.setattr(mover, "FEW_KEYS", -1)
    monkeypatch.setattr(mover, "MOST_PASSES", 3)

    move = await movers.carry(await movers.plan(tenant, Tier.PREMIUM, NOW))

    assert move.state is MoveState.DONE, move.error
    assert move.progress["passes"] == 3


async def test_of_a_tenant_that_outwrites_every_pass_the_move_says_so_until_it_is_caught_up_with(
    movers: Movers, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_pass, passes = following.run_pass, itertools.count(1)

    async def outwritten(ground: Ground) -> Pass:
        return replace(await run_pass(ground), is_whole=next(passes) > 5)

    monkeypatch.setattr(following, "run_pass", outwritten)
    monkeypatch.setattr(mover, "MOST_PASSES", 3)
    tenant, carries, told = await movers.tenant("outwrites"), movers.mover(), list[str | None]()
    move = await movers.carry(await movers.plan(tenant, Tier.PREMIUM, NOW), MoveState.CATCHING_UP, carries)
    steps = len(await movers.store.move_steps(move.id))
    while move.state is MoveState.CATCHING_UP:
        move = await carries.run_once(move)
        told.append((await movers.store.move(move.id)).error)

    assert [bool(error) for error in told] == [False, False, True, True, True, False]
    assert "faster than they are brought" in str(told[2])
    assert len(await movers.store.move_steps(move.id)) == steps + 2
