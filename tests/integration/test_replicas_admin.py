"""An operator names standbys of a cluster, and only what is one is taken."""

from collections.abc import AsyncIterator

import httpx
import pytest

from registry.placement import Replica
from tests.support.operators import World, create, error
from tests.support.postgres import run_sql
from tests.support.standby import open_standby
from tiergate.embedded import Cluster
from tiergate.tenant import TenantId, Tier

PATH = "/clusters/standard-1/replicas"


@pytest.fixture(scope="module")
async def standby(world: World) -> AsyncIterator[Cluster]:
    async with open_standby(world.clusters.standard) as opened:
        yield opened


async def replicas(world: World, name: str) -> tuple[Replica, ...]:
    """What a gateway hears of them with a tenant's route."""
    placement = await world.store.route(TenantId(name))
    assert placement is not None
    return placement.place.replicas


async def test_a_standby_becomes_a_replica_and_ceases_to_be_one(
    ready: httpx.AsyncClient, world: World, standby: Cluster
) -> None:
    await create(ready, "reader")
    body = {"address": standby.address}

    added = [(await ready.put(f"{PATH}/{name}", json=body)).json() for name in ("r2", "r1", "r1")]
    known = await replicas(world, "reader")
    removed = [await ready.delete(f"{PATH}/{name}") for name in ("r1", "r1")]
    left = await replicas(world, "reader")
    entries = (await ready.get("/audit", params={"limit": 5})).json()["entries"]
    await ready.delete(f"{PATH}/r2")

    where = f"{standby.host}:{standby.port}"
    assert added[-1]["replicas"] == [{"name": "r1", "address": where}, {"name": "r2", "address": where}]
    assert [replica.name for replica in known] == ["r1", "r2"]
    assert {replica.conninfo for replica in known} == {standby.address}
    assert [each.status_code for each in removed] == [200, 404]
    assert error(removed[1])["code"] == "unknown-replica"
    assert [replica.name for replica in left] == ["r2"]
    assert [(each["act"], each["outcome"]) for each in entries] == [
        ("cluster.remove-replica", "unknown-replica"),
        ("cluster.remove-replica", "ok"),
        *[("cluster.add-replica", "ok")] * 3,
    ]


async def test_what_is_no_standby_of_the_cluster_is_refused_and_nothing_changes(
    ready: httpx.AsyncClient, world: World, standby: Cluster
) -> None:
    await create(ready, "unread")
    told = {
        world.clusters.standard.address: ("replica-unfit", "it takes writes"),
        world.clusters.premium.address: ("cluster-unreachable", "password authentication failed"),
        f"host=127.0.0.1,127.0.0.1 port={standby.port}": ("replica-unfit", "one host"),
        "host=127.0.0.1 port=9": ("cluster-unreachable", "does not answer"),
        "host=x user=me": ("bad-cluster", "must not give user"),
    }
    for address, (code, words) in told.items():
        refused = error(await ready.put(f"{PATH}/r1", json={"address": address}))
        assert (refused["code"], words in str(refused["message"])) == (code, True)
    body = {"address": standby.address}
    badly_named = await ready.put(f"{PATH}/R_1", json=body)
    nowhere = await ready.put("/clusters/nowhere/replicas/r1", json=body)

    assert error(badly_named)["code"] == "bad-cluster"
    assert error(nowhere)["code"] == "unknown-cluster"
    assert await replicas(world, "unread") == ()


async def test_another_server_is_refused_though_its_login_is_the_same(
    ready: httpx.AsyncClient, world: World
) -> None:
    premium, password = world.clusters.premium, world.clusters.standard.password
    await run_sql(premium.conninfo(), f"ALTER ROLE postgres PASSWORD '{password}'")
    refused = error(await ready.put(f"{PATH}/r1", json={"address": premium.address}))
    same = premium.conninfo(user="postgres", password=password)
    await run_sql(same, f"ALTER ROLE postgres PASSWORD '{premium.password}'")

    assert (refused["code"], "another server" in str(refused["message"])) == ("replica-unfit", True)


async def test_several_hosts_must_say_which_one_is_the_cluster(
    ready: httpx.AsyncClient, world: World, standby: Cluster
) -> None:
    primary = world.clusters.standard
    several = f"host={primary.host},{standby.host} port={primary.port},{standby.port} dbname=postgres"
    login = f"user=postgres password={primary.password}"
    path = "/clusters/standard-1/address"

    unsaid = await ready.put(path, json={"dsn": f"{several} {login}"})
    said = await ready.put(path, json={"dsn": f"{several} {login} target_session_attrs=read-write"})
    await ready.put(path, json={"dsn": world.dsn(Tier.STANDARD)})

    assert error(unsaid)["code"] == "bad-cluster"
    assert said.json()["address"] == f"{primary.host}:{primary.port}, {standby.host}:{standby.port}"
