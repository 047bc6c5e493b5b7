"""No place is left of a move that is over, whenever the worker that was to make it goes on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from fleet.access import ClusterAccess
from fleet.provision import Provisioner
from moves.mover import Mover
from registry.errors import MoveLost
from registry.moves import MoveState, Wanted
from registry.placement import Placement
from tests.support.movers import ACTOR, SOAKS, Movers, open_movers
from tests.support.moves_engine import anybody
from tests.support.places import open_admin
from tests.support.postgres import ThreeClusters
from tiergate.deadline import Deadline
from tiergate.errors import TiergateError
from tiergate.tenant import Tier

OWN = [Tier.PREMIUM, Tier.GOVERNMENT]
_LEFT = """
SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = %(schema)s
UNION ALL SELECT 'database ' || datname FROM pg_database WHERE datname = %(database)s AND %(is_own)s
UNION ALL SELECT 'login ' || rolname FROM pg_roles WHERE rolname = %(login)s
"""


@pytest.fixture(scope="module")
async def movers(servers: ThreeClusters) -> AsyncIterator[Movers]:
    async with open_movers(servers) as opened:
        yield opened


class StandsStill(Provisioner):
    """Stands still before it makes a place, or when it has asked whether it may, as SIGSTOP would."""

    def __init__(self, real: Provisioner, *, has_asked: bool) -> None:
        super().__init__(real.application, real.full_sql)
        self._has_asked = has_asked
        self.came, self.goes_on = asyncio.Event(), asyncio.Event()

    async def make_place(
        self,
        cluster: ClusterAccess,
        placement: Placement,
        deadline: Deadline,
        *,
        allowed: Callable[[], Awaitable[None]] = anybody,
    ) -> None:
        """As the real one does."""

        async def asked() -> None:
            await allowed()
            if self._has_asked:
                await self._stand()

        if not self._has_asked:
            await self._stand()
        await super().make_place(cluster, placement, deadline, allowed=asked)

    async def _stand(self) -> None:
        self.came.set()
        await self.goes_on.wait()


async def left(movers: Movers, at: Placement) -> list[str]:
    place = at.place
    async with open_admin(movers.admin(at.tier)) as admin:
        cursor = await admin.execute(
            _LEFT.encode(),
            {
                "schema": place.schema, "database": place.database, "login": place.login,
                "is_own": at.tier is Tier.GOVERNMENT,
            },
        )  # fmt: skip
        return [what for (what,) in await cursor.fetchall()]


@pytest.mark.parametrize("tier", OWN)
@pytest.mark.parametrize("has_asked", [False, True])
async def test_one_that_stood_still_makes_no_place_for_a_move_that_was_aborted(
    movers: Movers, tier: Tier, *, has_asked: bool
) -> None:
    tenant = await movers.tenant(f"still-{tier}-{int(has_asked)}")
    still = StandsStill(movers.provisioner, has_asked=has_asked)
    first = await movers.claim(await movers.plan(tenant, tier, SOAKS))
    _, there = await movers.store.ends(first)
    standing = asyncio.create_task(movers.carry(first, mover=Mover(movers.store, still, emit=movers.heard)))
    async with asyncio.timeout(60):
        await still.came.wait()

    await movers.store.ask_move(first.id, Wanted.ABORT, actor=ACTOR)
    over = await movers.carry(await movers.steal(first))
    still.goes_on.set()
    with suppress(MoveLost, TiergateError):
        await standing

    assert over.state is MoveState.ABORTED
    assert await left(movers, there) == []
    assert await movers.left_behind(tenant, over.id) == []
    assert await movers.members(tenant) == [1, 2, 3]


@pytest.mark.parametrize("tier", OWN)
async def test_nor_harms_it_the_move_that_went_on_without_it(movers: Movers, tier: Tier) -> None:
    tenant = await movers.tenant(f"goes-on-{tier}")
    still = StandsStill(movers.provisioner, has_asked=True)
    first = await movers.claim(await movers.plan(tenant, tier, SOAKS))
    standing = asyncio.create_task(movers.carry(first, mover=Mover(movers.store, still, emit=movers.heard)))
    async with asyncio.timeout(60):
        await still.came.wait()

    going = asyncio.create_task(movers.carry(await movers.steal(first), until=MoveState.SOAKING))
    still.goes_on.set()
    with suppress(MoveLost):
        await standing

    assert (await going).state is MoveState.SOAKING
    assert await movers.members(tenant) == [1, 2, 3]
