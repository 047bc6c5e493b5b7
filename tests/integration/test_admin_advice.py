"""Who asks for advice is told of the tenants that stand out, by the whole of all processes."""

import httpx

from observe.busiest import Busy, Load, Work
from registry.orders import Holdings, Process
from registry.placement import PlaceId
from tests.support.operators import World, create, error
from tests.support.postgres import run_sql
from tiergate.tenant import TenantId, Tier

HERE = Process("one", "host:8080", "", 1, "0.1.0", forget_after_s=600)
THERE = Process("two", "other:8080", "", 1, "0.1.0", forget_after_s=600)
OLD = Process("old", "old:8080", "", 1, "0.0.9", forget_after_s=600)
Json = dict[str, object]


def loaded(requests: float, *, of: float, tenant: str = "acme") -> Load:
    """A process that has worked for *tenant* among others, on the standard cluster."""
    done, all_done = Work(requests, requests / 10, 1.0), Work(of, of / 10, 2.0)
    return Load(100.0, (("standard-1", all_done),), (Busy(tenant, "standard-1", done, 0.0),), 0.0)


async def advised(api: httpx.AsyncClient, query: str = "") -> Json:
    answer = await api.get(f"/advice{query}")
    assert answer.is_success, answer.text
    told: Json = answer.json()
    return told


def tenants(told: Json) -> dict[str, Json]:
    found = told["tenants"]
    assert isinstance(found, list)
    return {str(each["tenant"]): each for each in found}


def clusters(told: Json) -> dict[str, Json]:
    found = told["clusters"]
    assert isinstance(found, list)
    return {str(each["cluster"]): each for each in found}


async def test_what_all_processes_tell_is_one_whole_and_who_tells_nothing_is_counted(
    ready: httpx.AsyncClient, world: World
) -> None:
    for name in ("acme", "other"):
        assert (await create(ready, name)).is_success
    await world.store.beat(HERE, Holdings(), {}, loaded(900, of=1000))
    await world.store.beat(THERE, Holdings(), {}, loaded(500, of=1000))
    await world.store.beat(OLD, Holdings(), {})

    told = await advised(ready)
    acme = tenants(told)["acme"]
    assert (told["processes"], told["untold"], told["over_s"]) == (2, 1, 100.0)
    assert (acme["requests"], acme["requests_share"], acme["database_share"]) == (1400, 0.7, 0.7)
    assert (acme["connections"], acme["waiting_share"]) == (1.4, 0.5)
    assert (acme["signals"], acme["to"]) == (["requests", "database-time"], "premium")
    assert "makes 70 % of the requests" in str(acme["advice"])
    assert clusters(told)["standard-1"]["connections"] == 2.0


async def test_rows_are_told_of_every_tier_and_tenants_without_any_request_are_found_by_them(
    ready: httpx.AsyncClient, world: World
) -> None:
    homes = {f"rows-{tier}": tier for tier in Tier}
    for name, tier in homes.items():
        assert (await create(ready, name, tier)).is_success
        placement = await world.store.route(TenantId(name))
        assert placement is not None
        place = placement.place
        await run_sql(
            world.clusters.of(tier).conninfo(place.database),
            f"INSERT INTO {place.schema}.members (tenant_id, email, name)"
            f" SELECT '{name}', n || '@example.com', 'm' || n FROM generate_series(1, 70) AS n",
            "SELECT pg_stat_force_next_flush()",
            f"ANALYZE {place.schema}.members",
        )

    told = tenants(await advised(ready))
    assert [told[name]["largest_table"] for name in homes] == [{"table": "members", "rows": 70}] * len(Tier)
    assert {*homes} - {*tenants(await advised(ready, "?tier=premium&cluster=premium-1"))} == {
        "rows-standard", "rows-government",
    }  # fmt: skip
    assert len(tenants(await advised(ready, "?limit=1"))) == 1


async def test_who_must_live_apart_is_named_before_it_has_any_request_or_row(
    ready: httpx.AsyncClient,
) -> None:
    assert (await create(ready, "clinic")).is_success
    before = tenants(await advised(ready))
    assert (await ready.patch("/tenants/clinic", json={"compliance": "hipaa"})).is_success

    clinic = tenants(await advised(ready))["clinic"]
    assert "clinic" not in before
    assert (clinic["compliance"], clinic["signals"], clinic["to"]) == ("hipaa", ["compliance"], "premium")
    assert (await ready.patch("/tenants/clinic", json={"compliance": None})).json()["compliance"] is None
    assert "clinic" not in tenants(await advised(ready))


async def test_a_cluster_that_does_not_answer_is_named_and_the_others_are_told(
    ready: httpx.AsyncClient, world: World
) -> None:
    assert (await create(ready, "here")).is_success
    await world.store.add_cluster(
        "gone", Tier.STANDARD, conninfo="host=127.0.0.1 port=1", database="app", admin_user="postgres",
        admin_password="x", application_schema="app", actor="test",
    )  # fmt: skip
    [site] = await world.store.places("gone")
    await world.store.mark_place_ready(PlaceId(site.place.id), actor="test")

    try:
        told = clusters(await advised(ready))
    finally:
        await world.store.remove_cluster("gone", actor="test")
    failed = told["gone"]["rows_failed"]
    assert isinstance(failed, list)
    assert [each["code"] for each in failed] == ["cluster-unreachable"]
    assert told["standard-1"]["rows_failed"] == []


async def test_what_is_asked_wrongly_is_refused(ready: httpx.AsyncClient) -> None:
    assert error(await ready.get("/advice?cluster=nowhere"))["code"] == "unknown-cluster"
    assert error(await ready.get("/advice?limit=0&tier=gold"))["code"] == "body-invalid"
