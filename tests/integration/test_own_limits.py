"""What an operator sets for one tenant alone: it reaches the placement, the audit, and nobody else."""

import asyncio

import asyncpg
import httpx
import pytest

from registry.errors import UnknownTenant
from registry.feed import Feed
from registry.placement import TenantLimits, TenantState
from tests.support.operators import World, create, error
from tiergate.events import Event, RegistryFound
from tiergate.tenant import TenantId, Tier


class Unmoved:
    """Forgets nothing."""

    def forget(self, name: str) -> None: ...

    def doubt(self) -> None: ...


ALL = {
    "requests_per_s": 50,
    "burst": 100,
    "max_tenant_inflight": 20,
    "max_tenant_waiting": 0,
    "weight": 4,
}
NONE = dict.fromkeys(ALL)


async def limits_of(world: World, name: str) -> TenantLimits:
    placement = await world.store.route(TenantId(name))
    assert placement is not None
    return placement.limits


async def last_act(world: World) -> tuple[str, str, str, object]:
    [audited] = await world.store.audit_entries(1)
    said = audited.entry
    return said.act, said.subject, said.outcome, said.detail


async def test_limits_of_a_tenants_own_are_in_its_placement_and_in_nobody_elses(
    ready: httpx.AsyncClient, world: World
) -> None:
    for name in ("limited", "bystander"):
        (await create(ready, name)).raise_for_status()

    changed = await ready.patch("/tenants/limited", json={**ALL, "warm": True})
    shown = (await ready.get("/tenants/limited")).json()
    other = (await ready.get("/tenants/bystander")).json()
    placed = await limits_of(world, "limited")
    cooled = await ready.patch("/tenants/limited", json={"warm": False})

    assert changed.json() == shown
    assert (shown["limits"], shown["warm"]) == (ALL, True)
    assert (other["limits"], other["warm"]) == (NONE, False)
    assert cooled.json() == {**shown, "warm": False}
    assert placed == TenantLimits(50, 100, 20, 0, 4)
    assert await limits_of(world, "bystander") == TenantLimits()


async def test_what_is_not_said_stays_and_null_gives_the_tiers_back(
    ready: httpx.AsyncClient, world: World
) -> None:
    (await create(ready, "partly")).raise_for_status()
    await ready.patch("/tenants/partly", json=ALL)

    await ready.patch("/tenants/partly", json={"burst": 7})
    once = await limits_of(world, "partly")
    await ready.patch("/tenants/partly", json={"burst": None, "requests_per_s": None})
    twice = await limits_of(world, "partly")

    assert once == TenantLimits(50, 7, 20, 0, 4)
    assert twice == TenantLimits(None, None, 20, 0, 4)


async def test_the_audit_says_what_it_was_and_what_it_is_and_nothing_when_nothing_changed(
    ready: httpx.AsyncClient, world: World
) -> None:
    (await create(ready, "audited")).raise_for_status()
    await ready.patch("/tenants/audited", json={"requests_per_s": 0.5, "burst": 3})
    first = await last_act(world)
    await ready.patch("/tenants/audited", json={"requests_per_s": 2.0, "burst": 3, "warm": False})
    second = await last_act(world)
    before = len(await world.store.audit_entries(1000))
    await ready.patch("/tenants/audited", json={"requests_per_s": 2})

    assert first == (
        "tenant.set", "audited", "ok",
        {"burst": {"is": 3, "was": None}, "requests_per_s": {"is": "0.5", "was": None}},
    )  # fmt: skip
    assert second == ("tenant.set", "audited", "ok", {"requests_per_s": {"is": 2, "was": "0.5"}})
    assert len(await world.store.audit_entries(1000)) == before
    assert (await world.store.verify_audit()).broken is None


@pytest.mark.parametrize(
    ("body", "mistake"),
    [
        ({"requests_per_s": 0}, "requests_per_s: should be greater than or equal to 0.01"),
        ({"requests_per_s": 1e9}, "requests_per_s: should be less than or equal to 1000000"),
        ({"burst": 0}, "burst: should be greater than or equal to 1"),
        ({"burst": 1.5}, "burst: should be a valid integer"),
        ({"max_tenant_inflight": 0}, "max_tenant_inflight: should be greater than or equal to 1"),
        ({"max_tenant_waiting": -1}, "max_tenant_waiting: should be greater than or equal to 0"),
        ({"weight": 1001}, "weight: should be less than or equal to 1000"),
        ({"weight": "4"}, "weight: should be a valid integer"),
        ({"warm": None}, "warm: should be a valid boolean"),
        ({"state": "active"}, "state: is not known here"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(
    ready: httpx.AsyncClient, world: World, body: dict[str, object], mistake: str
) -> None:
    await create(ready, "sensible")
    refused = await ready.patch("/tenants/sensible", json=body)

    assert refused.status_code == 422
    assert [told.split(",")[0] for told in error(refused)["mistakes"]] == [mistake]  # type: ignore[attr-defined]
    assert await limits_of(world, "sensible") == TenantLimits()


async def test_nobody_who_is_not_there_is_limited(ready: httpx.AsyncClient, world: World) -> None:
    refused = await ready.patch("/tenants/nobody", json={"burst": 3})

    assert (refused.status_code, error(refused)["code"]) == (404, "unknown-tenant")
    assert await last_act(world) == ("tenant.set", "nobody", "unknown-tenant", {})
    with pytest.raises(UnknownTenant):
        await world.store.set_own(TenantId("nobody"), {"burst": 3}, actor="test")


async def test_changes_at_once_are_all_kept(ready: httpx.AsyncClient, world: World) -> None:
    (await create(ready, "busy")).raise_for_status()

    await asyncio.gather(*(ready.patch("/tenants/busy", json={name: ALL[name]}) for name in ALL))

    assert await limits_of(world, "busy") == TenantLimits(50, 100, 20, 0, 4)


@pytest.mark.parametrize("wrong", ["requests_per_s = 'NaN'", "burst = 0", "weight = 1001"])
async def test_the_registry_itself_refuses_what_makes_no_sense(
    ready: httpx.AsyncClient, world: World, wrong: str
) -> None:
    await create(ready, "checked")
    connection = await asyncpg.connect(world.registry_url)

    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute(f"UPDATE tiergate_registry.tenant SET {wrong} WHERE name = 'checked'")
    await connection.close()


async def test_warm_is_one_placement_for_each_place_of_tenants_that_are_served(
    ready: httpx.AsyncClient, world: World
) -> None:
    made = {"w-std-1": Tier.STANDARD, "w-std-2": Tier.STANDARD, "w-own": Tier.PREMIUM, "w-cold": Tier.PREMIUM}
    for name, tier in made.items():
        (await create(ready, name, tier)).raise_for_status()
        if name != "w-cold":
            await ready.patch(f"/tenants/{name}", json={"warm": True})

    async def warm() -> set[str]:
        return {placement.tenant for placement in await world.store.warm() if placement.tenant in made}

    at_first = await warm()
    await world.store.set_state(TenantId("w-own"), TenantState.SUSPENDED, actor="test")
    suspended = await warm()
    await ready.patch("/tenants/w-std-1", json={"warm": False})
    cooler = await warm()

    assert at_first == {"w-std-1", "w-own"}
    assert suspended == {"w-std-1"}
    assert cooler == {"w-std-2"}


async def test_a_mark_is_heard_by_the_feed_of_every_gateway(ready: httpx.AsyncClient, world: World) -> None:
    (await create(ready, "marked")).raise_for_status()
    heard, finds = asyncio.Event(), asyncio.Event()
    nobody = Unmoved()

    def emit(event: Event) -> None:
        if isinstance(event, RegistryFound):
            finds.set()

    feed = Feed(world.registry_url, nobody, nobody, emit=emit, on_tenant=heard.set)
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(10):
        listening = tasks.create_task(feed.run())
        await finds.wait()
        at_first = heard.is_set()
        heard.clear()
        await ready.patch("/tenants/marked", json={"warm": True})
        await heard.wait()
        await ready.patch("/tenants/marked", json={"warm": False})
        listening.cancel()

    assert at_first
