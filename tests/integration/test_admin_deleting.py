"""A tenant that is deleted leaves nothing: no row, no schema, no database, no login, and no way back in."""

import asyncio

import httpx
import pytest

from fleet.access import access_of
from fleet.errors import FenceConflict
from fleet.fence import insert_fence
from fleet.removal import remove
from registry.errors import UnknownTenant
from registry.placement import TenantState
from registry.records import Asked
from tests.support.operators import World, create, error
from tests.support.places import open_admin
from tests.support.postgres import open_database, run_sql, url_of
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier

MEMBER = "INSERT INTO {}.members (tenant_id, email, name) VALUES ('{}', 'a@b.example', 'Ann')"


async def delete(api: httpx.AsyncClient, name: str) -> httpx.Response:
    """Suspend a tenant, and delete it."""
    await api.post(f"/tenants/{name}/suspend")
    return await api.delete(f"/tenants/{name}", params={"confirm": name})


async def outcomes(world: World, act: str, subject: str) -> list[str]:
    """How the acts of one kind on one subject came out, oldest first."""
    entries = await world.store.audit_entries(1000, Asked(act=act))
    return [each.entry.outcome for each in reversed(entries) if each.entry.subject == subject]


@pytest.mark.parametrize("tier", Tier)
async def test_a_deleted_tenant_leaves_nothing_and_its_name_may_be_used_again(
    ready: httpx.AsyncClient, world: World, tier: Tier
) -> None:
    gone, stays = TenantId(f"gone-{tier}"), TenantId(f"stays-{tier}")
    for name in (gone, stays):
        (await create(ready, name, tier)).raise_for_status()
    placed, kept = await world.store.route(gone), await world.store.route(stays)
    assert placed is not None
    assert kept is not None
    server = world.clusters.of(tier)
    for each in (placed, kept):
        await run_sql(server.conninfo(each.place.database), MEMBER.format(each.place.schema, each.tenant))

    assert (await delete(ready, gone)).json() == {"name": gone, "state": "deleted"}

    assert (await ready.get(f"/tenants/{gone}")).status_code == 404
    left = await run_sql(
        server.conninfo(kept.place.database), f"SELECT tenant_id FROM {kept.place.schema}.members"
    )
    assert ("gone-" + tier,) not in left
    assert ("stays-" + tier,) in left
    if tier is not Tier.STANDARD:
        named = (
            f"SELECT rolname FROM pg_roles WHERE rolname = '{placed.place.login}'",
            f"SELECT datname FROM pg_database WHERE datname = '{placed.place.id}'",
            f"SELECT nspname FROM pg_namespace WHERE nspname LIKE '{placed.place.id}%'",
        )
        assert await run_sql(server.conninfo(), " UNION ALL ".join(named)) == []
    assert (await delete(ready, gone)).status_code == 404
    assert (await create(ready, gone, tier)).status_code == 201


async def test_a_fence_that_was_closed_for_good_is_not_opened_by_who_comes_late(
    ready: httpx.AsyncClient, world: World
) -> None:
    (await create(ready, "late")).raise_for_status()
    placed = await world.store.route(TenantId("late"))
    assert placed is not None
    (await delete(ready, "late")).raise_for_status()

    async with open_admin(world.clusters.standard.conninfo(placed.place.database)) as admin:
        with pytest.raises(FenceConflict, match="deleted"):
            await insert_fence(admin, placed)


async def test_only_a_suspended_tenant_whose_name_is_repeated_is_deleted(
    ready: httpx.AsyncClient, world: World
) -> None:
    (await create(ready, "kept")).raise_for_status()

    served = await ready.delete("/tenants/kept", params={"confirm": "kept"})
    await ready.post("/tenants/kept/suspend")
    other = await ready.delete("/tenants/kept", params={"confirm": "other"})
    unsaid = await ready.delete("/tenants/kept")
    nobody = await ready.delete("/tenants/nobody", params={"confirm": "nobody"})
    resumed = await ready.post("/tenants/kept/resume")

    assert (served.status_code, error(served)["code"]) == (409, "tenant-served")
    assert (other.status_code, error(other)["mistakes"]) == (
        422, ["confirm: should be 'kept', the name of what is to go"],
    )  # fmt: skip
    assert (unsaid.status_code, error(unsaid)["mistakes"]) == (422, ["confirm: is missing"])
    assert (nobody.status_code, error(nobody)["code"]) == (404, "unknown-tenant")
    assert resumed.json()["state"] == "active"
    assert await outcomes(world, "tenant.delete", "kept") == ["tenant-served"]


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("gone_already", [False, True])
async def test_a_deletion_that_was_killed_is_completed_by_the_same_request(
    ready: httpx.AsyncClient, world: World, tier: Tier, *, gone_already: bool
) -> None:
    """Killed when it was begun, or when the place was gone and the registry had not heard of it."""
    name = TenantId(f"killed-{tier}-{gone_already}".lower())
    (await create(ready, name, tier)).raise_for_status()
    await ready.post(f"/tenants/{name}/suspend")
    placement = await world.store.begin_deletion(name, actor="test")
    if gone_already:
        home = await world.store.cluster(placement.place.cluster)
        await remove(access_of(home), placement, Deadline.after(60))

    shown = (await ready.get(f"/tenants/{name}")).json()
    resumed = await ready.post(f"/tenants/{name}/resume")
    made = await create(ready, name, tier)
    deleted = await ready.delete(f"/tenants/{name}", params={"confirm": name})

    assert shown["state"] == TenantState.DELETING
    assert (resumed.status_code, error(resumed)["code"]) == (409, "wrong-state")
    assert (made.status_code, error(made)["code"]) == (409, "tenant-exists")
    assert deleted.status_code == 200
    assert await world.store.route(name) is None
    assert await outcomes(world, "tenant.delete", name) == ["begun", "ok"]


async def test_who_comes_late_with_a_deletion_does_not_touch_a_new_tenant_of_that_name(
    ready: httpx.AsyncClient, world: World
) -> None:
    """Two delete at once, and a third makes the name anew before the slower one is through."""
    name = TenantId("again")
    (await create(ready, name, Tier.GOVERNMENT)).raise_for_status()
    old = await world.store.route(name)
    assert old is not None
    (await delete(ready, name)).raise_for_status()
    (await create(ready, name, Tier.GOVERNMENT)).raise_for_status()

    with pytest.raises(UnknownTenant):
        await world.store.delete_tenant(name, old.epoch, actor="slow")

    assert (await ready.get(f"/tenants/{name}")).json()["state"] == "active"


async def test_more_rows_than_one_step_takes_are_deleted_in_partitions_too(
    ready: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.removal._AT_ONCE", 2)
    for name in ("many", "few"):
        (await create(ready, name)).raise_for_status()
    placed = await world.store.route(TenantId("many"))
    assert placed is not None
    there, schema = world.clusters.standard.conninfo(placed.place.database), placed.place.schema
    await run_sql(
        there,
        f"CREATE TABLE {schema}.logs (tenant_id text, at int) PARTITION BY RANGE (at)",
        f"CREATE TABLE {schema}.logs_1 PARTITION OF {schema}.logs FOR VALUES FROM (0) TO (4)",
        f"CREATE TABLE {schema}.logs_2 PARTITION OF {schema}.logs FOR VALUES FROM (4) TO (9)",
        f"INSERT INTO {schema}.logs SELECT * FROM (VALUES ('many'), ('few')) t, generate_series(0, 8) n",
    )

    deleted = await delete(ready, "many")
    left = await run_sql(there, f"SELECT tenant_id, count(*) FROM {schema}.logs GROUP BY 1")
    await run_sql(there, f"DROP TABLE {schema}.logs")

    assert deleted.status_code == 200
    assert left == [("few", 9)]


async def test_a_cluster_is_removed_when_nobody_lives_there_and_may_come_back(
    ready: httpx.AsyncClient, world: World
) -> None:
    async with open_database(world.clusters.premium, prefix="second") as conninfo:
        body = {"name": "standard-2", "tier": "standard", "region": "us", "dsn": url_of(conninfo)}
        (await ready.post("/clusters", json=body)).raise_for_status()
        new = {"name": "lodger", "tier": "standard", "region": "us"}
        (await ready.post("/tenants", json=new)).raise_for_status()

        in_use = await ready.delete("/clusters/standard-2", params={"confirm": "standard-2"})
        (await delete(ready, "lodger")).raise_for_status()
        unsaid = await ready.delete("/clusters/standard-2")
        replica = "INSERT INTO tiergate_registry.replica VALUES ('standard-2', 'reads', 'host=h')"
        await run_sql(world.registry_url, replica)
        removed = await ready.delete("/clusters/standard-2", params={"confirm": "standard-2"})
        again = await ready.delete("/clusters/standard-2", params={"confirm": "standard-2"})
        homeless = await ready.post("/tenants", json=new)
        back = await ready.post("/clusters", json=body)
        served = await ready.post("/tenants", json=new)
        (await delete(ready, "lodger")).raise_for_status()
        await ready.delete("/clusters/standard-2", params={"confirm": "standard-2"})

    assert (in_use.status_code, error(in_use)["code"]) == (409, "cluster-in-use")
    assert unsaid.status_code == 422
    assert removed.json() == {"name": "standard-2", "state": "removed"}
    assert (again.status_code, error(homeless)["code"]) == (404, "no-cluster")
    assert (back.status_code, served.status_code) == (201, 201)
    assert await outcomes(world, "cluster.remove", "standard-2") == [
        "cluster-in-use", "ok", "unknown-cluster", "ok",
    ]  # fmt: skip


async def test_a_cluster_is_not_removed_under_a_tenant_that_is_just_coming(
    ready: httpx.AsyncClient, world: World
) -> None:
    async with open_database(world.clusters.premium, prefix="third") as conninfo:
        body = {"name": "premium-3", "tier": "premium", "region": "ap", "dsn": url_of(conninfo)}
        for number in range(3):
            (await ready.post("/clusters", json=body)).raise_for_status()
            new = {"name": f"coming-{number}", "tier": "premium", "region": "ap"}
            made, removed = await asyncio.gather(
                ready.post("/tenants", json=new),
                ready.delete("/clusters/premium-3", params={"confirm": "premium-3"}),
            )
            if made.status_code == 201:
                (await delete(ready, new["name"])).raise_for_status()

            assert (made.status_code, removed.status_code) in {(201, 409), (409, 200)}
        await ready.delete("/clusters/premium-3", params={"confirm": "premium-3"})
