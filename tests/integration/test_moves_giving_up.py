"""A cluster that is gone for good keeps no move open, and nobody is told that it was cleaned."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from registry.errors import UnknownPlace
from registry.moves import Move, MoveState, Wanted
from tests.support.movers import ACTOR, SOAKS, Movers, open_movers
from tests.support.postgres import ThreeClusters
from tiergate.tenant import Tier

NOWHERE = "host=127.0.0.1 port=1"


@pytest.fixture(scope="module")
async def movers(servers: ThreeClusters) -> AsyncIterator[Movers]:
    async with open_movers(servers) as opened:
        yield opened


@asynccontextmanager
async def gone(movers: Movers, tier: Tier) -> AsyncIterator[None]:
    """Nobody answers where the cluster of a tier is said to be."""
    was = await movers.store.cluster(f"{tier}-1")

    async def answers_at(conninfo: str) -> None:
        await movers.store.set_cluster_address(
            was.name, conninfo=conninfo, admin_user=was.admin_user, admin_password=was.admin_password,
            actor=ACTOR,
        )  # fmt: skip

    await answers_at(NOWHERE)
    try:
        yield
    finally:
        await answers_at(was.conninfo)


async def ask(movers: Movers, move: Move, wanted: Wanted) -> Move:
    """The move, as its worker sees it when somebody has asked something of it."""
    await movers.store.ask_move(move.id, wanted, actor=ACTOR)
    return await movers.store.renew_move(move, for_s=60, progress=move.progress)


async def audited(movers: Movers, move: Move, act: str) -> dict[str, object]:
    """What the audit says of it."""
    entries = await movers.store.audit_entries()
    return next(
        dict(each.entry.detail)
        for each in entries
        if each.entry.act == act and each.entry.detail.get("move") == move.id
    )


async def test_a_move_to_it_is_aborted_without_it(movers: Movers) -> None:
    tenant = await movers.tenant("to-gone")
    move = await movers.carry(await movers.plan(tenant, Tier.PREMIUM, SOAKS), until=MoveState.CATCHING_UP)
    mover = movers.mover()

    async with gone(movers, Tier.PREMIUM):
        aborting = await mover.run_once(await ask(movers, move, Wanted.ABORT))
        waits = await mover.run_once(aborting)
        ended = await mover.run_once(await ask(movers, waits, Wanted.GIVE_UP))

    assert (aborting.state, waits.state) == (MoveState.ABORTING, MoveState.ABORTING)
    assert ended.state is MoveState.ABORTED
    assert ended.error == f"given up: what is at {move.target.place} of cluster premium-1 is left there"
    assert await movers.members(tenant) == [1, 2, 3]
    await audited(movers, move, "move.give-up")
    left = (await audited(movers, move, "move.aborted"))["given_up"]
    assert isinstance(left, dict)
    assert left["place"] == move.target.place
    with pytest.raises(UnknownPlace):
        await movers.store.place(move.target.place)


async def test_a_move_from_it_is_cleaned_without_it_and_its_record_says_so(movers: Movers) -> None:
    tenant = await movers.tenant("from-gone", Tier.PREMIUM)
    move = await movers.carry(await movers.plan(tenant, Tier.STANDARD, SOAKS), until=MoveState.SOAKING)
    mover = movers.mover()
    move = await mover.run_once(move)

    async with gone(movers, Tier.PREMIUM):
        cleaning = await mover.run_once(await ask(movers, move, Wanted.CLEANUP))
        waits = await mover.run_once(cleaning)
        ended = await mover.run_once(await ask(movers, waits, Wanted.GIVE_UP))

    assert (cleaning.state, waits.state) == (MoveState.CLEANING, MoveState.CLEANING)
    assert ended.state is MoveState.DONE
    evidence = (await movers.store.move(move.id)).evidence or {}
    record = evidence["record"]
    assert isinstance(record, dict)
    assert (record["removed"], record["given_up"]["place"]) == (None, move.source.place)
    assert await movers.store.is_authentic(evidence)
    assert await movers.members(tenant) == [1, 2, 3]


async def test_one_that_went_before_a_pass_led_back_is_never_said_to_be_clean(movers: Movers) -> None:
    tenant = await movers.tenant("went-at-once")
    move = await movers.carry(await movers.plan(tenant, Tier.PREMIUM, SOAKS), until=MoveState.SOAKING)
    mover = movers.mover()

    async with gone(movers, Tier.STANDARD):
        cleaning = await mover.run_once(await ask(movers, move, Wanted.GIVE_UP))
    ended = await mover.run_once(cleaning)

    assert ended.state is MoveState.DONE
    assert "is left there" in (ended.error or "")
    assert await movers.members(tenant) == [1, 2, 3]


async def test_what_is_reached_is_cleaned_as_ever(movers: Movers) -> None:
    tenant = await movers.tenant("not-gone")
    move = await movers.carry(await movers.plan(tenant, Tier.PREMIUM, SOAKS), until=MoveState.SOAKING)
    mover = movers.mover()
    move = await mover.run_once(move)

    ended = await movers.carry(await ask(movers, move, Wanted.GIVE_UP))

    assert (ended.state, ended.error) == (MoveState.DONE, None)
    assert await movers.left_behind(tenant, move.id) == []
