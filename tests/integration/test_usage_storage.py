"""How much storage tenants take is measured where their rows are, by one process, once a day; and told."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from fleet.errors import ClusterUnreachable
from fleet.measuring import Measurer
from registry.usage import Period, Wanted
from tests.support.operators import World, create
from tests.support.postgres import run_sql
from tiergate.events import Event
from tiergate.tenant import TenantId, Tier

MIB = 1024 * 1024
CLUSTER = "tiergate_registry.cluster"
DUE = f"UPDATE {CLUSTER} SET storage_due_at = now()"
HOURS_TO_GO = f"SELECT name, round(extract(epoch FROM storage_due_at - now()) / 3600) FROM {CLUSTER}"


@pytest.fixture
async def measurer(world: World, ready: httpx.AsyncClient) -> AsyncIterator[Measurer]:
    """Every cluster is due, and nothing was measured."""
    await ready.get("/clusters")
    await world.registry(DUE)
    await world.registry("DELETE FROM tiergate_registry.usage")
    told: list[Event] = []
    yield Measurer(world.store, emit=told.append)
    assert told == []


async def fill(world: World, tenant: str, tier: Tier, size_bytes: int) -> None:
    """Give *tenant* about that much, in rows of 1 kB that nothing makes smaller."""
    placement = await world.store.route(TenantId(tenant))
    assert placement is not None
    place = placement.place
    rows = size_bytes // 1024
    await run_sql(
        world.clusters.of(tier).conninfo(place.database),
        f"INSERT INTO {place.schema}.members (tenant_id, email, name) SELECT '{tenant}', n || '@example.com',"
        f" (SELECT string_agg(md5(n || '-' || k), '') FROM generate_series(1, 30) AS k)"
        f" FROM generate_series(1, {rows}) AS n",
        f"ANALYZE {place.schema}.members",
    )


async def hours_to_go(world: World) -> dict[object, object]:
    """Until each cluster is due."""
    return {row[0]: row[1] for row in await world.registry(HOURS_TO_GO)}


async def measured(world: World) -> dict[str, int | None]:
    found = await world.store.usage(Wanted(Period.HOUR), limit=100)
    return {each.mark.tenant: each.storage_bytes for each in found}


async def test_storage_is_that_of_the_schema_the_database_or_the_share_of_the_tables(
    world: World, ready: httpx.AsyncClient, measurer: Measurer
) -> None:
    homes = {
        "large": (Tier.STANDARD, 3 * MIB), "small": (Tier.STANDARD, MIB), "empty": (Tier.STANDARD, 0),
        "apart": (Tier.PREMIUM, 2 * MIB), "alone": (Tier.GOVERNMENT, 2 * MIB),
    }  # fmt: skip
    for name, (tier, size_bytes) in homes.items():
        assert (await create(ready, name, tier)).is_success
        if size_bytes:
            await fill(world, name, tier, size_bytes)
    done = [await measurer.run_once() for _ in range(4)]

    assert sorted(str(each) for each in done) == ["None", "government-1", "premium-1", "standard-1"]
    found = {name: size / MIB for name, size in (await measured(world)).items() if size is not None}
    assert 2.5 < found["large"] / found["small"] < 3.5
    assert 3.0 < found["large"] < 5.0
    assert found["empty"] < 0.1
    assert 2.0 < found["apart"] < 3.5
    assert 9.0 < found["alone"] < 14.0  # an empty database has seven
    [row] = (await ready.get("/usage?tenant=apart")).json()["usage"]
    assert (row["tier"], row["requests"], row["storage_bytes"] / MIB) == ("premium", 0, found["apart"])


async def test_what_is_due_is_measured_by_one_process_and_not_again_that_day(
    world: World, measurer: Measurer
) -> None:
    others = [Measurer(world.store, emit=lambda _event: None) for _ in range(5)]
    async with asyncio.TaskGroup() as tasks:
        looks = [tasks.create_task(each.run_once()) for each in (measurer, *others)]

    done = [look.result() for look in looks]
    assert sorted(name for name in done if name) == ["government-1", "premium-1", "standard-1"]
    assert await hours_to_go(world) == dict.fromkeys(filter(None, done), 24)


async def test_what_cannot_be_measured_is_due_again_in_an_hour(
    world: World, ready: httpx.AsyncClient, measurer: Measurer
) -> None:
    assert (await create(ready, "beyond", Tier.PREMIUM)).is_success
    [(conninfo,)] = await world.registry(f"SELECT conninfo FROM {CLUSTER} WHERE name = 'premium-1'")
    await world.registry(f"{DUE} + interval '1 day'")
    await world.registry(f"{DUE}, conninfo = 'host=127.0.0.1 port=1' WHERE name = 'premium-1'")
    try:
        with pytest.raises(ClusterUnreachable):
            await measurer.run_once()
        waits = await hours_to_go(world)
    finally:
        await world.registry(f"UPDATE {CLUSTER} SET conninfo = '{conninfo}' WHERE name = 'premium-1'")

    assert waits["premium-1"] == 1
    assert await measurer.run_once() is None
    assert "beyond" not in await measured(world)
