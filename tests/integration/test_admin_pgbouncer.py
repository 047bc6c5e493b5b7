"""An operator sends a cluster's requests through PgBouncer and back, and nobody is refused meanwhile."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from registry.placement import Placement
from tests.support.operators import World, create, error
from tests.support.pgbouncer import Pooler, open_pgbouncer
from tests.support.places import open_pools, value
from tests.support.postgres import run_sql
from tiergate.tenant import TenantId, Tier


@pytest.fixture(params=Tier)
def tier(request: pytest.FixtureRequest) -> Tier:
    return Tier(request.param)


@pytest.fixture
async def pooler(world: World, tier: Tier) -> AsyncIterator[Pooler]:
    async with open_pgbouncer(world.clusters.of(tier)) as opened:
        yield opened


async def placed(world: World, name: str) -> Placement:
    placement = await world.store.route(TenantId(name))
    assert placement is not None
    return placement


async def marked(world: World, placement: Placement) -> list[tuple[object, ...]]:
    """Whether the database believes what comes through a pooler."""
    there = world.clusters.of(placement.tier).conninfo(placement.place.database)
    return await run_sql(there, "SELECT DISTINCT pooled FROM tiergate.context_key")


@asynccontextmanager
async def through(api: httpx.AsyncClient, tier: Tier, pooler: Pooler) -> AsyncIterator[httpx.Response]:
    path = f"/clusters/{tier}-1/pgbouncer"
    body = {"address": pooler.address, "prepared_statements": pooler.prepares}
    try:
        yield await api.put(path, json=body)
    finally:
        assert (await api.delete(path)).is_success


async def test_requests_go_through_and_directly_again(
    ready: httpx.AsyncClient, world: World, tier: Tier, pooler: Pooler
) -> None:
    await create(ready, f"here-{tier}", tier)
    direct = await placed(world, f"here-{tier}")
    async with open_pools() as pools:
        async with through(ready, tier, pooler) as done:
            assert done.json()["pgbouncer"] == pooler.address.split("host=")[1].replace(" port=", ":")
            assert await marked(world, direct) == [(True,)]
            placement = await placed(world, f"here-{tier}")
            assert placement.place.via_pgbouncer
            assert placement.place.prepares is pooler.prepares
            assert await value(pools, placement, "SELECT tiergate.tenant()") == f"here-{tier}"
            # A tenant who comes while the cluster is behind the pooler is provisioned directly.
            assert (await create(ready, f"later-{tier}", tier)).status_code == 201
            later = await placed(world, f"later-{tier}")
            assert await value(pools, later, "SELECT tiergate.tenant()") == f"later-{tier}"
            # Whoever has not heard of the change still goes directly.
            assert await value(pools, direct, "SELECT tiergate.tenant()") == f"here-{tier}"

        assert await marked(world, direct) == await marked(world, later) == [(False,)]
        assert await placed(world, f"here-{tier}") == direct
        assert await value(pools, direct, "SELECT tiergate.tenant()") == f"here-{tier}"


async def test_an_address_that_requests_cannot_use_is_refused_and_nothing_changes(
    ready: httpx.AsyncClient, world: World
) -> None:
    await create(ready, "unmoved")
    before = await placed(world, "unmoved")
    path = "/clusters/standard-1/pgbouncer"
    for address, code in (
        ("host=127.0.0.1 port=9", "pooler-unfit"), ("host=x user=me", "bad-cluster"),
        ("port=6432", "bad-cluster"),
        ("host=x password=p", "bad-cluster"), ("%", "bad-cluster"), ("", "body-invalid"),
    ):  # fmt: skip
        refused = await ready.put(path, json={"address": address})
        assert error(refused)["code"] == code

    assert error(await ready.delete("/clusters/nowhere/pgbouncer"))["code"] == "unknown-cluster"
    assert await placed(world, "unmoved") == before
    assert await marked(world, before) == [(False,)]
