"""A tenant that is deleted leaves nothing: no row, no schema, no database, no login, and no way back in."""

import httpx
import pytest

from fleet.errors import FenceConflict
from fleet.fence import insert_fence
from registry.errors import UnknownTenant
from tests.support.operators import World, create
from tests.support.places import open_admin
from tests.support.postgres import run_sql
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier

MEMBER = "INSERT INTO {}.members (tenant_id, email, name) VALUES ('{}', 'a@b.example', 'Ann')"


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

    await world.operations.delete_tenant(gone, actor="test", deadline=Deadline.after(60))

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
    assert (await create(ready, gone, tier)).status_code == 201
    with pytest.raises(UnknownTenant):
        await world.operations.delete_tenant(TenantId("nobody"), actor="test", deadline=Deadline.after(60))


async def test_a_fence_that_was_closed_for_good_is_not_opened_by_who_comes_late(
    ready: httpx.AsyncClient, world: World
) -> None:
    (await create(ready, "late")).raise_for_status()
    placed = await world.store.route(TenantId("late"))
    assert placed is not None
    await world.operations.delete_tenant(TenantId("late"), actor="test", deadline=Deadline.after(60))

    async with open_admin(world.clusters.standard.conninfo(placed.place.database)) as admin:
        with pytest.raises(FenceConflict, match="deleted"):
            await insert_fence(admin, placed)
