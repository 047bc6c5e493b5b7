"""Clusters are taken in once, mended by the same call, and found again at another address."""

from pathlib import Path

import httpx
import pytest

from admin.app import build_admin
from tests.support.operators import ADMIN_KEY, Side, World, create, error, open_client, open_world
from tests.support.postgres import ThreeClusters, open_database, run_sql, url_of
from tiergate.tenant import TenantId, Tier


def body(world: World, tier: Tier, **changes: str) -> dict[str, str]:
    return {"name": f"{tier}-1", "tier": tier, "region": "eu", "dsn": world.dsn(tier), **changes}


async def is_served(world: World, tenant: str) -> bool:
    """Whether the pool's login still gets in with the password that the registry keeps."""
    placement = await world.store.route(TenantId(tenant))
    assert placement is not None
    place = placement.place
    await run_sql(f"{place.conninfo} dbname={place.database} user={place.login} password={place.password}")
    return True


@pytest.mark.parametrize("tier", Tier)
async def test_a_server_is_refused_under_a_second_name_and_the_first_goes_on(
    ready: httpx.AsyncClient, world: World, tier: Tier
) -> None:
    await create(ready, f"first-{tier}", tier)

    refused = await ready.post("/clusters", json=body(world, tier, name="second"))
    shown = await ready.get("/clusters/second")

    assert (error(refused)["code"], refused.status_code) == ("cluster-taken", 409)
    assert f"cluster '{tier}-1' of this registry" in str(error(refused)["message"])
    assert shown.status_code == 404
    assert await is_served(world, f"first-{tier}")


async def test_a_second_standard_cluster_on_one_server_is_refused_and_the_first_goes_on(
    ready: httpx.AsyncClient, world: World
) -> None:
    await create(ready, "first-gate")
    async with open_database(world.clusters.standard) as conninfo:
        asked = body(world, Tier.STANDARD, name="second", dsn=url_of(conninfo))
        refused = await ready.post("/clusters", json=asked)

    assert error(refused)["code"] == "cluster-taken"
    assert "'tiergate_gate' serves database" in str(error(refused)["message"])
    assert (await ready.get("/clusters/second")).status_code == 404
    assert await is_served(world, "first-gate")


@pytest.mark.parametrize("master_key", ["a master key of the tests, long enough", "another master key"])
async def test_a_server_of_another_registry_is_refused_and_that_one_goes_on(
    ready: httpx.AsyncClient, world: World, side: Side, master_key: str
) -> None:
    await create(ready, "elsewhere")
    async with (
        open_world(world.clusters, master_key=master_key) as stranger,
        open_client(build_admin(stranger.operations, side.seam(), key=ADMIN_KEY)) as api,
    ):
        refused = await api.post("/clusters", json=body(stranger, Tier.STANDARD))
        known = await api.get("/clusters")

    assert error(refused)["code"] == "cluster-taken"
    assert "another registry or master key" in str(error(refused)["message"])
    assert known.json()["clusters"] == []
    assert await is_served(world, "elsewhere")


async def test_a_database_that_was_made_again_is_free_for_another_registry(
    servers: ThreeClusters, side: Side
) -> None:
    """What the advice of `cluster-taken` and docs/how-to/provision.md say to do in order to begin anew."""
    server = servers.premium
    await run_sql(server.conninfo(), "CREATE DATABASE anew")
    asked = {"name": "anew", "tier": "standard", "dsn": url_of(server.conninfo("anew"))}
    statuses = []
    for _ in "ab":
        async with (
            open_world(servers) as world,
            open_client(build_admin(world.operations, side.seam(), key=ADMIN_KEY)) as api,
        ):
            statuses.append((await api.post("/clusters", json=asked)).status_code)
            await create(api, "a-tenant")
            assert await is_served(world, "a-tenant")
        await run_sql(server.conninfo(), "DROP DATABASE anew WITH (FORCE)", "CREATE DATABASE anew")
    await run_sql(server.conninfo(), "DROP DATABASE anew")

    assert statuses == [201, 201]


async def test_a_cluster_that_could_not_be_made_ready_is_completed_by_the_same_call(
    servers: ThreeClusters, side: Side
) -> None:
    async with (
        open_database(servers.government) as conninfo,
        open_world(servers) as world,
        open_client(build_admin(world.operations, side.seam(), key=ADMIN_KEY)) as api,
    ):
        asked = {"name": "half", "tier": "standard", "dsn": url_of(conninfo)}
        await run_sql(conninfo, "CREATE SCHEMA app")
        refused = await api.post("/clusters", json=asked)
        await run_sql(conninfo, "DROP SCHEMA app")
        added = await api.post("/clusters", json=asked)
        created = await create(api, "half-tenant")

    assert (error(refused)["code"], added.status_code, created.status_code) == ("place-taken", 201, 201)


async def test_adding_again_mends_what_is_missing_and_tells_what_is_lost(
    ready: httpx.AsyncClient, world: World
) -> None:
    await create(ready, "mended")
    admin = world.clusters.standard.conninfo()
    await run_sql(admin, "DROP OWNED BY tiergate_gate", "DROP ROLE tiergate_gate", "DROP SCHEMA app CASCADE")

    told = [(await ready.post("/clusters", json=body(world, Tier.STANDARD))).json() for _ in "ab"]

    lost = [[each for each in answer["warnings"] if "made anew, and are empty" in each] for answer in told]
    assert [len(each) for each in lost] == [1, 0]
    assert await is_served(world, "mended")
    assert await run_sql(admin, "SELECT count(*) FROM app.members") == [(0,)]


async def test_changed_files_are_refused_until_the_schema_is_dropped(
    servers: ThreeClusters, side: Side, tmp_path: Path
) -> None:
    (tmp_path / "1.sql").write_text(
        "CREATE TABLE notes (tenant_id text NOT NULL, id int, PRIMARY KEY (tenant_id, id))"
    )
    async with open_database(servers.government) as conninfo, open_world(servers) as world:
        asked = {"name": "changing", "tier": "standard", "dsn": url_of(conninfo)}
        async with open_client(build_admin(world.operations, side.seam(), key=ADMIN_KEY)) as api:
            await api.post("/clusters", json=asked)
        changed = build_admin(world.with_files(tmp_path), side.seam(), key=ADMIN_KEY)
        async with open_client(changed) as api:
            refused = await api.post("/clusters", json=asked)
            await run_sql(conninfo, "DROP SCHEMA app CASCADE")
            added = await api.post("/clusters", json=asked)
        rows = await run_sql(conninfo, "SELECT count(*) FROM app.notes")

    assert (error(refused)["code"], added.status_code, rows) == ("application-changed", 201, [(0,)])


async def test_a_cluster_is_found_again_at_another_address(ready: httpx.AsyncClient, world: World) -> None:
    await create(ready, "moved", Tier.PREMIUM)
    elsewhere = world.dsn(Tier.PREMIUM).replace("127.0.0.1", "localhost")

    by_adding = await ready.post("/clusters", json=body(world, Tier.PREMIUM, dsn=elsewhere))
    moved = await ready.put("/clusters/premium-1/address", json={"dsn": elsewhere})
    placement = await world.store.route(TenantId("moved"))
    back = await ready.put("/clusters/premium-1/address", json={"dsn": world.dsn(Tier.PREMIUM)})
    entries = (await ready.get("/audit", params={"limit": 2})).json()["entries"]

    assert (error(by_adding)["code"], "set-address" in str(error(by_adding)["advice"])) == (
        "cluster-exists",
        True,
    )
    assert (moved.status_code, moved.json()["address"].partition(":")[0]) == (200, "localhost")
    assert placement is not None
    assert "localhost" in placement.place.conninfo
    assert back.json()["address"].startswith("127.0.0.1:")
    assert [(each["act"], each["subject"]) for each in entries] == [("cluster.set-address", "premium-1")] * 2


async def test_an_address_where_the_cluster_is_not_is_refused(ready: httpx.AsyncClient, world: World) -> None:
    premium = world.dsn(Tier.PREMIUM)
    async with open_database(world.clusters.premium) as conninfo:
        fresh = url_of(conninfo)
        told = {
            dsn: await ready.put("/clusters/premium-1/address", json={"dsn": dsn})
            for dsn in (
                world.dsn(Tier.GOVERNMENT),
                fresh,
                "host=db user=u",
                "host=127.0.0.1 port=1 user=u dbname=postgres",
            )
        }
    unknown = await ready.put("/clusters/nowhere/address", json={"dsn": premium})

    assert [error(each)["code"] for each in told.values()] == [
        "cluster-taken",
        "bad-cluster",
        "bad-cluster",
        "cluster-unreachable",
    ]
    assert unknown.status_code == 404
    assert (await ready.get("/clusters/premium-1")).json()["address"] in premium


async def test_an_empty_database_is_not_the_cluster_that_moved(servers: ThreeClusters, side: Side) -> None:
    await run_sql(servers.premium.conninfo(), "CREATE DATABASE moving")
    await run_sql(servers.government.conninfo(), "CREATE DATABASE moving")
    async with (
        open_world(servers) as world,
        open_client(build_admin(world.operations, side.seam(), key=ADMIN_KEY)) as api,
    ):
        asked = {"name": "moving", "tier": "premium", "dsn": url_of(servers.premium.conninfo("moving"))}
        added = await api.post("/clusters", json=asked)
        elsewhere = {"dsn": url_of(servers.government.conninfo("moving"))}
        refused = await api.put("/clusters/moving/address", json=elsewhere)

    assert added.status_code == 201
    assert (error(refused)["code"], refused.status_code) == ("wrong-server", 409)


async def test_a_tenant_that_is_served_is_not_made_twice(ready: httpx.AsyncClient) -> None:
    made = await create(ready, "served", Tier.PREMIUM)
    again = await ready.post("/tenants", json={"name": "served", "tier": "premium", "cluster": "premium-1"})
    other_tier = await create(ready, "served", Tier.STANDARD)
    other_region = await ready.post("/tenants", json={"name": "served", "tier": "premium", "region": "eu"})
    other_cluster = await ready.post("/tenants", json={"name": "served", "tier": "premium", "cluster": "x"})
    await ready.post("/tenants/served/suspend")
    suspended = await create(ready, "served", Tier.PREMIUM)

    assert (made.status_code, again.status_code) == (201, 200)
    assert again.json() == made.json()
    refused = (other_tier, other_region, other_cluster, suspended)
    assert {(error(each)["code"], each.status_code) for each in refused} == {("tenant-exists", 409)}
    assert [str(error(each)["message"]).partition(": ")[2] for each in refused] == [
        "its tier is premium, not standard",
        "its region is none, not eu",
        "its cluster is premium-1, not x",
        "it is suspended",
    ]
