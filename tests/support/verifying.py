"""A verification of an operator's world, and what it finds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from guard.additions import Additions
from guard.catalog import catalog
from guard.verdict import Guard
from tests.support.operators import World
from tests.support.places import open_pools
from tiergate.tenant import Tier
from verify.finding import Checked
from verify.run import Verification
from verify.site import Asked

CATALOGS = {
    tier: catalog(Additions(), schemas=frozenset({"public", "app"}), explain=tier is not Tier.STANDARD)
    for tier in Tier
}
GUARD = Guard(CATALOGS)


@asynccontextmanager
async def open_verification(world: World, guard: Guard = GUARD) -> AsyncIterator[Verification]:
    """Verifies *world*, with pools of its own."""
    async with open_pools() as pools:
        yield Verification(
            world.store, world.operations, pools, schema="app", full_sql=frozenset, guard=lambda: guard
        )


async def look(verification: Verification, asked: Asked) -> list[Checked]:
    """Every check that was made."""
    told: list[Checked] = []
    await verification.run(asked, actor="test", tell=told.append)
    return told
