"""Workers carry every move to its end between them, and give it up for nobody's harm."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from moves.steps import Step
from moves.turns import Turns
from moves.worker import Worker
from registry.moves import Move, MoveState, Wanted
from tests.support.movers import ACTOR, NOW, SOAKS, WAITS, Held, Movers, expire, open_movers
from tests.support.postgres import ThreeClusters
from tests.support.proxy import Proxy, open_proxy
from tests.support.waiting import wait_until
from tiergate.events import LoopFailed
from tiergate.tenant import Tier


@pytest.fixture(scope="module")
async def movers(servers: ThreeClusters) -> AsyncIterator[Movers]:
    async with open_movers(servers) as opened:
        yield opened


def worker(movers: Movers, name: str, held: Held | None = None, *, lease_s: float = 30) -> Worker:
    mover = movers.mover(held) if held else movers.mover()
    return Worker(movers.store, mover, name, emit=movers.heard, lease_s=lease_s)


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(worker.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(movers: Movers, move: Move, state: MoveState) -> Move:
    async def is_there() -> bool:
        return (await movers.store.move(move.id)).state is state

    await wait_until(is_there, within_s=90, what=f"the move is {state}")
    return await movers.store.move(move.id)


async def test_two_workers_carry_all_moves_to_their_end(movers: Movers) -> None:
    tenants = [await movers.tenant(f"of-two-{number}") for number in range(4)]
    moves = [await movers.plan(tenant, Tier.PREMIUM, NOW) for tenant in tenants]

    async with running(worker(movers, "one")), running(worker(movers, "two")):
        for move in moves:
            await until(movers, move, MoveState.DONE)

    assert [await movers.members(tenant) for tenant in tenants] == [[1, 2, 3]] * 4
    assert movers.heard.of(LoopFailed) == []


async def test_a_worker_that_ends_lets_another_go_on_at_once(movers: Movers) -> None:
    move = await movers.plan(await movers.tenant("let-go"), Tier.PREMIUM, WAITS)
    async with running(worker(movers, "one")):
        await until(movers, move, MoveState.READY)

    claimed = await movers.store.claim_move("two", for_s=60, only=move.id)

    assert claimed is not None
    await movers.carry(await movers.store.ask_move(move.id, Wanted.ABORT, actor=ACTOR))


async def test_a_worker_that_lost_its_move_leaves_it_and_takes_the_next(movers: Movers) -> None:
    held = Held(Step.CHUNK_COPIED)
    first = await movers.plan(await movers.tenant("lost"), Tier.PREMIUM, NOW)
    async with running(worker(movers, "one", held)) as going:
        await held.came.wait()
        done = await movers.carry(await movers.steal(await movers.store.move(first.id)))
        held.goes_on.set()
        second = await movers.plan(await movers.tenant("next"), Tier.PREMIUM, NOW)
        await until(movers, second, MoveState.DONE)

        assert done.state is MoveState.DONE
        assert not going.done()


async def test_a_lease_is_kept_while_a_piece_takes_longer_than_it(movers: Movers) -> None:
    held = Held(Step.CHUNK_COPIED)
    move = await movers.plan(await movers.tenant("kept"), Tier.PREMIUM, NOW)
    async with running(worker(movers, "one", held, lease_s=2)):
        await held.came.wait()
        began = (await movers.store.move(move.id)).attempt
        ends_s = time.monotonic() + 3
        await wait_until(lambda: time.monotonic() > ends_s, what="the lease would be over")
        stolen = await movers.store.claim_move("two", for_s=60, only=move.id)
        held.goes_on.set()
        await until(movers, move, MoveState.DONE)

    assert began is not None
    assert stolen is None


async def test_a_move_that_is_paused_is_let_go_and_taken_up_again(movers: Movers) -> None:
    move = await movers.plan(await movers.tenant("paused"), Tier.PREMIUM, WAITS)
    one = worker(movers, "one")
    async with running(one):
        await until(movers, move, MoveState.READY)
        await movers.store.ask_move(move.id, "pause", actor=ACTOR)
        one.wake()
        await wait_until(lambda: _is_free(movers, move), what="the move is let go")
        await movers.store.ask_move(move.id, "resume", actor=ACTOR)
        await movers.store.ask_move(move.id, Wanted.CUTOVER, actor=ACTOR)
        one.wake()
        await until(movers, move, MoveState.SOAKING)


async def _is_free(movers: Movers, move: Move) -> bool:
    return (await movers.store.move(move.id)).worker is None


async def test_a_move_that_soaks_returns_as_soon_as_somebody_says_so(movers: Movers) -> None:
    move = await movers.plan(await movers.tenant("soaks"), Tier.PREMIUM, SOAKS)
    one = worker(movers, "one")
    async with running(one):
        await until(movers, move, MoveState.SOAKING)
        await movers.store.ask_move(move.id, Wanted.ROLLBACK, actor=ACTOR)
        one.wake()
        await until(movers, move, MoveState.ROLLED_BACK)


@asynccontextmanager
async def reached_through_a_proxy(movers: Movers, cluster: str) -> AsyncIterator[Proxy]:
    """The way to a cluster, which a test may close."""
    was = await movers.store.cluster(cluster)
    server = conninfo_to_dict(was.conninfo)

    async def answers_at(conninfo: str) -> None:
        await movers.store.set_cluster_address(
            was.name, conninfo=conninfo, admin_user=was.admin_user, admin_password=was.admin_password,
            actor=ACTOR,
        )  # fmt: skip

    async with open_proxy(str(server["host"]), int(str(server["port"]))) as proxy:
        await answers_at(make_conninfo(was.conninfo, host=proxy.host, port=proxy.port))
        try:
            yield proxy
        finally:
            await answers_at(was.conninfo)


async def test_moves_to_a_cluster_that_says_nothing_hold_no_other_up(movers: Movers) -> None:
    others = [await movers.tenant(f"to-silent-{number}") for number in range(2)]
    up = await movers.tenant("to-up")
    one = Worker(movers.store, movers.mover(), "one", emit=movers.heard, turns=Turns(at_once=1, long_s=1))
    async with reached_through_a_proxy(movers, "premium-1") as proxy, running(one):
        silent = [await movers.plan(tenant, Tier.PREMIUM, WAITS) for tenant in others]
        for move in silent:
            await until(movers, move, MoveState.READY)
        proxy.blackhole()
        await proxy.swallowed.wait()
        one.wake()

        await until(movers, await movers.plan(up, Tier.GOVERNMENT, NOW), MoveState.DONE)
        assert {(await movers.store.move(move.id)).state for move in silent} == {MoveState.READY}

        proxy.flow()
        for move in silent:
            await movers.store.ask_move(move.id, Wanted.ABORT, actor=ACTOR)
        one.wake()
        for move in silent:
            await until(movers, move, MoveState.ABORTED)


async def test_a_worker_by_itself_carries_one_move_and_ends(movers: Movers) -> None:
    move = await movers.plan(await movers.tenant("alone"), Tier.PREMIUM, NOW)
    await expire(movers.world, move.id)

    done = await worker(movers, "alone").run_one(move.id)

    assert done is not None
    assert done.state is MoveState.DONE
