"""Gateways that hear nothing of a move: they write nothing at the old place, and are sent on by its fence.

Their caches are frozen on purpose; the old place still has all its rows, since the move only soaks. Whatever
the isolation level, what was open when the tenant left has been taken along, and what comes later is refused
at the old place by one round trip and written at the new one.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql

from registry.moves import Move, MoveState, Wanted
from tests.support.gateways import Serving
from tests.support.grounds import Course, Ground, open_ground
from tests.support.judging import Place
from tests.support.ledgers import open_ledger
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.workers import Task, open_worker
from tiergate.tenant import TenantId

DEAF = "tests.support.deaf"
FROZEN = {
    "registry.ttl_s": 600,
    "pools.tiers.standard.min_pool_size": 1,
    "pools.tiers.premium.min_pool_size": 1,
}
LEVELS = [None, "ReadCommitted", "RepeatableRead", "Serializable"]
INSERT = "INSERT INTO entries (client, number, body) VALUES ($1, $2, 'late') RETURNING written_in"
COUNT = "UPDATE accounts SET count = count + 1 WHERE client = $1 RETURNING count"
OPEN = "INSERT INTO accounts (client) VALUES ($1)"
SLOW_S = 1.0
PREPARED = 6
"""Times that a statement is asked for before the flip, so that it is prepared on the connections."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """Gateways that hear nothing, over two clusters that are reached through proxies."""

    ground: Ground
    gateways: list[Serving]
    client: httpx.AsyncClient

    async def write(
        self, gateway: Serving, tenant: TenantId, number: int, level: str | None = None
    ) -> httpx.Response:
        """One transaction that writes."""
        steps = [{"query": INSERT, "params": [1, number]}, {"query": COUNT, "params": [1]}]
        headers = {"authorization": f"Bearer {self.ground.site.keys[tenant]}"}
        if level is not None:
            headers["neon-batch-isolation-level"] = level
        return await self.client.post(f"{gateway.url}/sql", json={"queries": steps}, headers=headers)

    async def takes(self, gateway: Serving, tenant: TenantId, number: int) -> float:
        """How long such a transaction takes."""
        began_s = time.monotonic()
        assert (await self.write(gateway, tenant, number)).status_code == 200
        return time.monotonic() - began_s

    async def settle(self, tenant: TenantId) -> None:
        """Have every gateway know where the tenant lives, and its statements be prepared there."""
        headers = {"authorization": f"Bearer {self.ground.site.keys[tenant]}"}
        opened = {"query": OPEN, "params": [1]}
        url = self.gateways[0].url
        assert (await self.client.post(f"{url}/sql", json=opened, headers=headers)).status_code == 200
        for gateway in self.gateways:
            for number in range(PREPARED):
                assert (await self.write(gateway, tenant, -1 - number)).status_code == 200


@pytest.fixture(scope="module")
async def frozen() -> AsyncIterator[Frozen]:
    async with (
        open_ground(("standard-a", "premium-a"), is_proxied=True) as ground,
        ground.gateways(2, FROZEN, program=DEAF) as gateways,
        httpx.AsyncClient(timeout=60, trust_env=False) as client,
    ):
        yield Frozen(ground, gateways, client)


@asynccontextmanager
async def working(ground: Ground, move: Move) -> AsyncIterator[Task]:
    """A worker that carries the move meanwhile."""
    task = Task(ground.site.registry_url, move.id, move.tenant, ground.site.folder / f"{move.id}.log")
    task.log.touch()
    async with open_worker(task) as (_, worker):
        carrying = asyncio.create_task(worker.run_one(only=move.id), name="a worker")
        try:
            yield task
        finally:
            carrying.cancel()
            await asyncio.gather(carrying, return_exceptions=True)


async def moved(ground: Ground, tenant: TenantId) -> tuple[Place, Place]:
    """Move the tenant to premium, where it soaks and nobody goes on with it; its old and its new place."""
    old = await ground.place_of(tenant)
    move = await ground.plan(tenant, "premium-a", soak_s=3600)
    async with working(ground, move):
        await ground.comes_to(move.id, MoveState.SOAKING, within_s=120)
    return old, await ground.place_of(tenant)


@contextmanager
def slowed(way: Proxy) -> Iterator[None]:
    """Meanwhile whatever goes to that cluster takes SLOW_S, and so does what comes back."""
    way.delay_s = SLOW_S
    try:
        yield
    finally:
        way.delay_s = 0.0


async def entries(place: Place) -> list[tuple[Any, ...]]:
    """Number and database of all entries that lie there, in their order."""
    async with await psycopg.AsyncConnection.connect(place.conninfo) as connection:
        asked = sql.SQL("SELECT number, written_in FROM {}.entries WHERE tenant_id = %s ORDER BY 1")
        cursor = await connection.execute(asked.format(sql.Identifier(place.schema)), [place.tenant])
        return await cursor.fetchall()


async def until_it_waits(blocker: psycopg.AsyncConnection) -> None:
    """Somebody waits for what *blocker* holds."""

    async def look() -> bool:
        cursor = await blocker.execute(
            "SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        )
        return cursor.rowcount > 0

    await wait_until(look, what="a request that waits")


@pytest.mark.parametrize("level", LEVELS, ids=str)
async def test_a_gateway_that_heard_nothing_writes_at_the_new_place_only(
    frozen: Frozen, level: str | None
) -> None:
    tenant = await frozen.ground.create_tenant("standard-a")
    await frozen.settle(tenant)
    old, new = await moved(frozen.ground, tenant)
    before = await entries(old)

    for number, gateway in enumerate(frozen.gateways, 1):
        answer = await frozen.write(gateway, tenant, number, level)
        assert answer.status_code == 200, answer.text
        assert answer.json()["results"][0]["rows"] == [{"written_in": new.database}]

    assert await entries(old) == before
    assert len(before) == PREPARED * len(frozen.gateways)
    assert [number for number, _ in await entries(new) if number > 0] == [1, 2]


async def test_a_gateway_that_heard_nothing_goes_one_way_too_many_and_only_once(frozen: Frozen) -> None:
    tenant = await frozen.ground.create_tenant("standard-a")
    await frozen.settle(tenant)
    await moved(frozen.ground, tenant)
    way = frozen.ground.proxies["standard-a"]

    for number, gateway in enumerate(frozen.gateways, 1):
        before = way.round_trips
        with slowed(way):
            first_s = await frozen.takes(gateway, tenant, number)
            second_s = await frozen.takes(gateway, tenant, 10 + number)

            # There and back is 2 s: once for the refusal. The rollback after it keeps nobody waiting.
            assert 2 * SLOW_S <= first_s < 4 * SLOW_S
            assert second_s < 2 * SLOW_S
        assert way.round_trips - before <= 2


@pytest.mark.parametrize("level", LEVELS, ids=str)
async def test_a_transaction_that_was_open_is_waited_for_and_taken_along(
    frozen: Frozen, level: str | None
) -> None:
    tenant = await frozen.ground.create_tenant("standard-a")
    await frozen.settle(tenant)
    ground, old = frozen.ground, await frozen.ground.place_of(tenant)
    move = await ground.plan(tenant, "premium-a", soak_s=3600, holds=True)
    async with (
        working(ground, move) as task,
        await psycopg.AsyncConnection.connect(old.conninfo) as blocker,
    ):
        await ground.comes_to(move.id, MoveState.READY, within_s=120)
        holds = sql.SQL("SELECT FROM {}.accounts WHERE tenant_id = %s FOR UPDATE")
        await blocker.execute(holds.format(sql.Identifier(old.schema)), [tenant])
        slow = asyncio.create_task(frozen.write(frozen.gateways[0], tenant, 1, level))
        await until_it_waits(blocker)
        await ground.ask(move.id, Wanted.CUTOVER)
        await wait_until(
            lambda: "move-cutover-missed" in task.log.read_text(encoding="utf-8"),
            within_s=120, what="an attempt that was put off",
        )  # fmt: skip
        read = await frozen.gateways[1].sql(
            ground.site.keys[tenant], "SELECT count(*) AS n FROM entries", client=frozen.client
        )
        await blocker.rollback()
        answer = await slow
        await ground.comes_to(move.id, MoveState.SOAKING, within_s=120)
    new = await ground.place_of(tenant)

    assert read.status_code == 200, read.text
    assert answer.status_code == 200, answer.text
    assert answer.json()["results"][0]["rows"] == [{"written_in": old.database}]
    assert [number for number, _ in await entries(new) if number > 0] == [1]


async def test_nothing_is_lost_by_gateways_that_hear_nothing_while_the_tenant_goes_there_and_back(
    frozen: Frozen,
) -> None:
    ground = frozen.ground
    tenant = await ground.create_tenant("standard-a")
    urls = [gateway.url for gateway in frozen.gateways]
    async with open_ledger(urls, ground.site.keys[tenant], clients=4) as ledger:
        course = Course(ground, tenant, ledger)
        for target in ("premium-a", "standard-a"):
            move = await course.begin(target)
            async with working(ground, move):
                over = await ground.comes_to(move.id, within_s=180)

            judged = await course.judged()
            assert over.state is MoveState.DONE
            assert judged.is_good, judged

    assert ledger.failed() == [], json.dumps(ledger.said)
