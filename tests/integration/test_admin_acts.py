"""What an operator may do to clusters, tenants and keys, on real servers."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from registry.credentials import key_id
from registry.placement import TenantState
from tests.support.operators import (
    Json,
    World,
    create,
    error,
)
from tests.support.postgres import run_sql, url_of
from tiergate.tenant import TenantId, Tier


@pytest.mark.parametrize("tier", Tier)
async def test_a_tenant_is_created_in_its_place_and_served(
    ready: httpx.AsyncClient, world: World, tier: Tier
) -> None:
    response = await create(ready, f"made-{tier}", tier)
    shown = (await ready.get(f"/tenants/made-{tier}")).json()

    assert response.status_code == 201
    assert shown == response.json()
    assert (shown["tier"], shown["state"], shown["cluster"]) == (tier, "active", f"{tier}-1")
    placement = await world.store.route(TenantId(f"made-{tier}"))
    assert placement is not None
    assert placement.state is TenantState.ACTIVE
    admin = world.clusters.of(tier).conninfo(placement.place.database)
    assert await run_sql(admin, f"SELECT state FROM tiergate.fence WHERE tenant_id = 'made-{tier}'") == [
        ("active",)
    ]
    assert await run_sql(admin, f"SELECT count(*) FROM {placement.place.schema}.tasks") == [(0,)]


async def test_adding_a_cluster_again_goes_on_and_another_of_its_name_is_refused(
    ready: httpx.AsyncClient, world: World
) -> None:
    body = {"name": "premium-1", "tier": "premium", "region": "eu", "dsn": world.dsn(Tier.PREMIUM)}

    again = await ready.post("/clusters", json=body)
    elsewhere = await ready.post("/clusters", json={**body, "dsn": world.dsn(Tier.GOVERNMENT)})
    other_tier = await ready.post("/clusters", json={**body, "tier": "government"})

    assert again.status_code == 201
    assert (error(elsewhere)["code"], elsewhere.status_code) == ("cluster-exists", 409)
    assert error(other_tier)["code"] == "cluster-exists"


async def test_a_new_login_of_a_clusters_administrator_is_taken_over(
    ready: httpx.AsyncClient, world: World
) -> None:
    await run_sql(
        world.clusters.premium.conninfo(), "CREATE ROLE chief LOGIN SUPERUSER PASSWORD 'new-secret'"
    )
    part = url_of(world.clusters.premium.conninfo()).partition("@")[2]
    body = {"name": "premium-1", "tier": "premium", "region": "eu"}

    wrong = await ready.post("/clusters", json={**body, "dsn": f"postgresql://chief:wrong@{part}"})
    right = await ready.post("/clusters", json={**body, "dsn": f"postgresql://chief:new-secret@{part}"})
    back = await ready.post("/clusters", json={**body, "dsn": world.dsn(Tier.PREMIUM)})

    assert (error(wrong)["code"], wrong.status_code) == ("cluster-unreachable", 503)
    assert right.json()["admin_user"] == "chief"
    assert back.json()["admin_user"] != "chief"


async def test_a_cluster_that_cannot_be_used_is_not_kept(ready: httpx.AsyncClient) -> None:
    dsn = "postgresql://postgres:s3cret-word@127.0.0.1:1/postgres"
    response = await ready.post("/clusters", json={"name": "broken", "tier": "standard", "dsn": dsn})

    assert response.status_code == 503
    assert "s3cret-word" not in response.text
    assert (await ready.get("/clusters/broken")).status_code == 404


@pytest.mark.parametrize(
    ("dsn", "word"),
    [
        ("http://example.com", "neither"),
        ("host=db user=postgres", "dbname"),
        ("user=postgres dbname=app", "host"),
        ("host=db dbname=app password=s3cret-word", "user"),
        ("host=db user=u dbname=app passfile=/etc/passwd", "passfile"),
        ("host=db user=u dbname=app options=-csearch_path=x", "options"),
        ("host=db user=u dbname=app sslpassword=s3cret-word", "sslpassword"),
        ("host=db user=u dbname=app password='s3cret-word", "neither"),
    ],
)
async def test_a_dsn_that_no_gateway_can_follow_is_refused(
    api: httpx.AsyncClient, dsn: str, word: str
) -> None:
    response = await api.post("/clusters", json={"name": "some", "tier": "standard", "dsn": dsn})

    assert response.status_code == 422
    assert error(response)["code"] == "bad-cluster"
    assert word in str(error(response)["message"])
    assert "s3cret-word" not in response.text


async def test_no_answer_shows_a_password(ready: httpx.AsyncClient, world: World) -> None:
    listed = (await ready.get("/clusters")).text
    shown = (await ready.get("/clusters/standard-1")).text

    assert "standard-1" in listed
    password = world.dsn(Tier.STANDARD).split("@")[0].rsplit(":", 1)[1]
    assert password not in listed + shown


async def test_lists_come_page_by_page(ready: httpx.AsyncClient) -> None:
    for name in ("page-a", "page-b", "page-c"):
        await create(ready, name)

    first = (await ready.get("/tenants", params={"limit": 2, "after": "page"})).json()
    second = (
        await ready.get("/tenants", params={"limit": 2, "after": first["next"], "tier": "standard"})
    ).json()
    clusters = (await ready.get("/clusters", params={"limit": 2})).json()

    assert [tenant["name"] for tenant in first["tenants"]] == ["page-a", "page-b"]
    assert second["tenants"][0]["name"] == "page-c"
    assert ([each["name"] for each in clusters["clusters"]], clusters["next"]) == (
        ["government-1", "premium-1"],
        "premium-1",
    )


async def test_a_suspended_tenant_is_fenced_until_it_is_resumed(
    ready: httpx.AsyncClient, world: World
) -> None:
    await create(ready, "pausing", Tier.PREMIUM)
    placement = await world.store.route(TenantId("pausing"))
    assert placement is not None
    admin = world.clusters.premium.conninfo(placement.place.database)
    fence = "SELECT state FROM tiergate.fence WHERE tenant_id = 'pausing'"

    suspended = await ready.post("/tenants/pausing/suspend")
    again = await ready.post("/tenants/pausing/suspend", json={})
    closed = await run_sql(admin, fence)
    resumed = await ready.post("/tenants/pausing/resume")

    assert (suspended.json()["state"], suspended.json()["drained"]) == ("suspended", True)
    assert again.status_code == 200
    assert closed == [("suspended",)]
    assert resumed.json()["state"] == "active"
    assert await run_sql(admin, fence) == [("active",)]


async def test_a_tenant_whose_creation_failed_is_completed_by_the_same_call(
    ready: httpx.AsyncClient, world: World
) -> None:
    await world.store.create_tenant(TenantId("halfway"), Tier.GOVERNMENT, application_schema="app", actor="x")
    refused = await ready.post("/tenants/halfway/suspend")

    completed = await create(ready, "halfway", Tier.GOVERNMENT)

    assert (error(refused)["code"], refused.status_code) == ("wrong-state", 409)
    assert (completed.status_code, completed.json()["state"]) == (201, "active")


@pytest.mark.parametrize("place", ["standard", "premium"])
async def test_creating_a_tenant_twice_at_once_makes_one(ready: httpx.AsyncClient, place: str) -> None:
    body = {"name": f"twice-{place}", "tier": place}

    both = await asyncio.gather(*(ready.post("/tenants", json=body) for _ in range(2)))

    # Whoever comes while it is being made helps; whoever comes later hears that it is there.
    assert {response.status_code for response in both} <= {201, 200}
    assert (await ready.get(f"/tenants/twice-{place}")).json()["state"] == "active"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "x1", "tier": "standard", "cluster": "nowhere"}, 404, "unknown-cluster"),
        ({"name": "x2", "tier": "standard", "cluster": "premium-1"}, 409, "wrong-tier"),
        ({"name": "x3", "tier": "premium", "region": "us"}, 409, "no-cluster"),
        (
            {"name": "x4", "tier": "premium", "region": "us", "cluster": "premium-1"},
            409,
            "residency-violated",
        ),
    ],
)
async def test_a_tenant_that_can_be_put_nowhere_is_refused(
    ready: httpx.AsyncClient, body: Json, status: int, code: str
) -> None:
    response = await ready.post("/tenants", json=body)

    assert (response.status_code, error(response)["code"]) == (status, code)
    assert (await ready.get(f"/tenants/{body['name']}")).status_code == 404


async def test_a_key_is_shown_once_and_never_again(ready: httpx.AsyncClient) -> None:
    await create(ready, "keyed")

    made = await ready.post("/tenants/keyed/keys", json={"scopes": ["read"], "note": "for reports"})
    listed = await ready.get("/tenants/keyed/keys")

    assert made.status_code == 201
    assert key_id(made.json()["key"]) == made.json()["id"]
    assert made.headers["cache-control"] == "no-store"
    (shown,) = listed.json()["keys"]
    assert (shown["state"], shown["scopes"], shown["note"]) == ("valid", ["read"], "for reports")
    assert made.json()["key"] not in listed.text
    assert made.json()["key"].rsplit("_", 1)[1] not in json.dumps(shown)


async def test_a_key_that_is_replaced_ends_after_the_overlap(ready: httpx.AsyncClient) -> None:
    await create(ready, "rotating")
    old = (await ready.post("/tenants/rotating/keys", json={})).json()["id"]

    made = await ready.post("/tenants/rotating/keys", json={"replaces": old, "overlap_s": 3600})
    stranger = await ready.post("/tenants/rotating/keys", json={"replaces": "aaaaaaaaaaaa"})
    keys = {key["id"]: key for key in (await ready.get("/tenants/rotating/keys")).json()["keys"]}

    assert made.status_code == 201
    left = datetime.fromisoformat(keys[old]["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=50) < left <= timedelta(hours=1)
    assert keys[made.json()["id"]]["expires_at"] is None
    assert (stranger.status_code, len(keys)) == (404, 2)


async def test_a_key_that_would_be_over_already_is_refused_and_not_kept(ready: httpx.AsyncClient) -> None:
    await create(ready, "too-late")
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    response = await ready.post("/tenants/too-late/keys", json={"expires_at": past})

    assert (response.status_code, error(response)["code"]) == (422, "body-invalid")
    assert error(response)["mistakes"] == ["expires_at: lies in the past"]
    assert (await ready.get("/tenants/too-late/keys")).json()["keys"] == []


async def test_a_revoked_key_stays_in_the_list_as_revoked(ready: httpx.AsyncClient) -> None:
    await create(ready, "revoking")
    made = (await ready.post("/tenants/revoking/keys", json={})).json()["id"]

    revoked = [await ready.delete(f"/keys/{made}") for _ in range(2)]
    (shown,) = (await ready.get("/tenants/revoking/keys")).json()["keys"]

    assert [response.status_code for response in revoked] == [200, 200]
    assert shown["state"] == "revoked"
    assert (await ready.delete("/keys/aaaaaaaaaaaa")).status_code == 404


async def test_acts_are_written_down_with_who_did_them_and_how_they_ended(ready: httpx.AsyncClient) -> None:
    name = {"tiergate-actor": "cli:alice\x07\x7f" + "x" * 200}
    await ready.post("/tenants", json={"name": "audited", "tier": "standard"}, headers=name)
    await ready.post("/tenants", json={"name": "audited", "tier": "premium"}, headers=name)

    entries = (await ready.get("/audit", params={"limit": 50})).json()["entries"]
    acts = [(entry["act"], entry["outcome"]) for entry in entries if entry["subject"] == "audited"]

    assert acts == [("tenant.create", "tenant-exists"), ("tenant.activate", "ok"), ("tenant.create", "ok")]
    assert entries[0]["actor"] == ("cli:alice" + "x" * 200)[:80]


async def test_the_audit_is_filtered_by_tenant_actor_act_and_time(ready: httpx.AsyncClient) -> None:
    actor = {"tiergate-actor": "cli:filter"}
    await ready.post("/tenants", json={"name": "filtered", "tier": "standard"}, headers=actor)
    key = (await ready.post("/tenants/filtered/keys", json={}, headers=actor)).json()["id"]
    await create(ready, "filtered-too")

    async def found(**query: str) -> list[tuple[str, str]]:
        entries = (await ready.get("/audit", params=query)).json()["entries"]
        return [(entry["act"], entry["subject"]) for entry in entries]

    mine = [("key.create", key), ("tenant.activate", "filtered"), ("tenant.create", "filtered")]
    assert await found(tenant="filtered") == mine
    assert await found(actor="cli:filter") == mine
    assert await found(actor="cli:filter", act="tenant") == mine[1:]
    assert await found(actor="cli:filter", act="tenant.create") == mine[2:]
    assert await found(actor="cli:filter", act="tenant_") == []
    assert await found(actor="cli:filter", since=(datetime.now(UTC) + timedelta(hours=1)).isoformat()) == []
    assert await found(actor="cli:filter", newer="0", limit="2") == mine[:0:-1]


async def test_the_chain_is_verified_over_the_api(ready: httpx.AsyncClient) -> None:
    newest = (await ready.get("/audit", params={"limit": 1})).json()["entries"][0]
    good = (await ready.get("/audit/verify", params={"expect": newest["head"]})).json()
    cut = (await ready.get("/audit/verify", params={"expect": f"99999:{'ab' * 32}"})).json()
    mistyped = await ready.get("/audit/verify", params={"expect": "7:xyz"})

    assert good == {"entries": newest["id"], "head": newest["head"], "broken": None}
    assert (cut["broken"]["id"], cut["broken"]["damage"]) == (newest["id"] + 1, "cut")
    assert (mistyped.status_code, error(mistyped)["code"]) == (422, "body-invalid")
