"""Who asks across tenants counts a moving tenant once, or is told that he does not."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from admin.across import Asked
from registry.moves import MoveState
from tests.support.movers import ACTOR, SOAKS, WAITS, Movers, open_movers
from tests.support.postgres import ThreeClusters
from tiergate.tenant import TenantId, Tier

Line = dict[str, Any]  # Any: JSON


@pytest.fixture(scope="module")
async def movers(servers: ThreeClusters) -> AsyncIterator[Movers]:
    async with open_movers(servers) as opened:
        yield opened


async def ask(movers: Movers, tenant: TenantId) -> tuple[dict[str, int], dict[str, list[str]]]:
    """How many of the tenant's rows each tier shows, and who is told to have copies there."""
    query = f"SELECT count(*) AS n FROM members WHERE tenant_id = '{tenant}'"
    asked = Asked(
        query, "a test of the door", writes=False, tier=None, cluster=None, tenants=(), max_rows=1000,
        timeout_s=30.0,
    )  # fmt: skip
    lines: list[Line] = []

    async def tell(line: Line) -> int:
        lines.append(line)
        return 1

    across = movers.world.operations.across
    await across.run(await across.begin(asked, actor=ACTOR), tell)
    counts = {line["tier"]: int(line["row"]["n"]) for line in lines if line["kind"] == "row"}
    copies = {line["tier"]: line["copies"] for line in lines if line["kind"] == "place" and "copies" in line}
    return {tier: count for tier, count in counts.items() if count}, copies


@pytest.mark.parametrize("state", [MoveState.READY, MoveState.SOAKING])
async def test_a_place_of_its_own_that_does_not_serve_the_tenant_is_left_out(
    movers: Movers, state: MoveState
) -> None:
    tenant = await movers.tenant(f"own-{state}", Tier.PREMIUM)
    timing = WAITS if state is MoveState.READY else SOAKS
    move = await movers.carry(await movers.plan(tenant, Tier.GOVERNMENT, timing), until=state)

    counts, copies = await ask(movers, tenant)

    assert counts == {(await movers.placed(tenant)).tier: 3}
    assert tenant not in copies.get(Tier.STANDARD, [])
    await movers.store.release_move(move)


@pytest.mark.parametrize(
    ("here", "there", "state"),
    [(Tier.STANDARD, Tier.PREMIUM, MoveState.SOAKING), (Tier.PREMIUM, Tier.STANDARD, MoveState.READY)],
)
async def test_shared_tables_tell_whose_rows_are_there_too(
    movers: Movers, here: Tier, there: Tier, state: MoveState
) -> None:
    tenant = await movers.tenant(f"shared-{state}", here)
    timing = WAITS if state is MoveState.READY else SOAKS
    move = await movers.carry(await movers.plan(tenant, there, timing), until=state)

    counts, copies = await ask(movers, tenant)

    assert counts == {Tier.STANDARD: 3, Tier.PREMIUM: 3}
    assert tenant in copies[Tier.STANDARD]
    await movers.store.release_move(move)
