"""A registry, three clusters, and tenants that are moved between them by movers that a test drives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg

from fleet.application import read_application
from fleet.provision import Provisioner
from moves.mover import Mover
from moves.steps import Reached, Step, nowhere
from pools.errors import DatabaseUnavailable, StaleRoute
from pools.switchboard import Switchboard
from registry.moves import Move, MoveId, MoveState, Timing
from registry.placement import Placement
from registry.store import Store
from tests.support.operators import EXAMPLES, World, open_world
from tests.support.places import Heard, open_admin, open_pools, run
from tests.support.postgres import ThreeClusters
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier

ACTOR = "a test"
NOW = Timing(soak_s=0)
"""Cut over as soon as it can be, and clean up at once."""
SOAKS = Timing(soak_s=3600)
WAITS = Timing(holds=True, soak_s=3600)


_LEFT = {
    "a guard": "SELECT place FROM tiergate.import_guard WHERE tenant_id = %(tenant)s",
    "progress": "SELECT table_name FROM tiergate.import_progress WHERE move_id = %(move)s",
    "a log": "SELECT DISTINCT table_name FROM tiergate.dirty WHERE move_id = %(move)s",
    "functions": "SELECT proname FROM pg_proc WHERE pronamespace = 'tiergate_moves'::regnamespace"
    " AND starts_with(proname, 'm' || replace(%(move)s, '-', ''))",
    "a stamp": "SELECT state FROM tiergate.fence WHERE tenant_id = %(tenant)s AND move_id IS NOT NULL",
}


@dataclass(slots=True)
class Movers:
    """What tests of moves stand in: everything is real but the clock of the workers."""

    world: World
    pools: Switchboard
    provisioner: Provisioner
    heard: Heard = field(default_factory=Heard)

    @property
    def store(self) -> Store:
        return self.world.store

    def mover(self, reached: Reached = nowhere, *, piece_s: float = 2.0) -> Mover:
        """A mover of its own, as another process has it."""
        return Mover(self.store, self.provisioner, emit=self.heard, reached=reached, piece_s=piece_s)

    async def tenant(self, name: str, tier: Tier = Tier.STANDARD, *, cluster: str | None = None) -> TenantId:
        """A tenant that is served, with a few rows."""
        await self.world.operations.create_tenant(
            TenantId(name), tier, region=None, cluster=cluster, actor=ACTOR, deadline=Deadline.after(60)
        )
        await self.write(TenantId(name), 1, 2, 3)
        return TenantId(name)

    async def placed(self, tenant: TenantId) -> Placement:
        """Where the registry says that it lives."""
        found = await self.store.route(tenant)
        assert found is not None
        return found

    async def write(self, tenant: TenantId, *numbers: int) -> None:
        """Insert rows where it lives."""
        rows = ", ".join(f"('member-{number}@example.com', 'M {number}')" for number in numbers)
        await run(self.pools, await self.placed(tenant), f"INSERT INTO members (email, name) VALUES {rows}")

    async def write_wherever(self, tenant: TenantId, *numbers: int) -> None:
        """The same while it is being moved: as a gateway does, which is sent on until it is there."""
        async with asyncio.timeout(60):
            while True:
                try:
                    return await self.write(tenant, *numbers)
                except StaleRoute as stale:
                    if stale.forward_epoch is not None:
                        await self.store.follow_move(tenant, stale.forward_epoch)
                except DatabaseUnavailable:
                    pass
                await asyncio.sleep(0.05)

    async def members(self, tenant: TenantId) -> list[int]:
        """The numbers of the rows that are there now, where it lives."""
        [result] = await run(self.pools, await self.placed(tenant), "SELECT substr(name, 3) FROM members")
        return sorted(int(row[0] or 0) for row in result.rows)

    async def plan(self, tenant: TenantId, tier: Tier, timing: Timing = NOW) -> Move:
        """A move that nobody has yet."""
        return await self.store.plan_move(
            tenant, tier, cluster=None, timing=timing, application_schema="app", actor=ACTOR
        )

    async def claim(self, move: Move, *, for_s: float = 60) -> Move:
        """The move in the hands of a new worker; the one before has let it go."""
        if move.attempt is not None:
            await self.store.release_move(move)
        return await self.steal(move, for_s=for_s)

    async def steal(self, move: Move, *, for_s: float = 60) -> Move:
        """The same, when the lease of the one before has run out without its knowing."""
        await expire(self.world, move.id)
        claimed = await self.store.claim_move("a worker", for_s=for_s, only=move.id)
        assert claimed is not None
        return claimed

    async def carry(self, move: Move, until: MoveState | None = None, mover: Mover | None = None) -> Move:
        """Claim the move, and go on until it is over, or in that state."""
        mover = mover or self.mover()
        if move.attempt is None or move.leased_s <= 0:
            move = await self.claim(move)
        async with asyncio.timeout(120):
            while not move.state.is_over and move.state is not until:
                move = await mover.run_once(
                    await self.store.renew_move(move, for_s=60, progress=move.progress)
                )
        return move

    async def left_behind(self, tenant: TenantId, move: MoveId) -> list[str]:
        """What can be found of the move anywhere, and of the tenant where it does not live."""
        home, found = (await self.placed(tenant)).tier, []
        for tier in (Tier.STANDARD, Tier.PREMIUM):
            async with open_admin(self.admin(tier)) as admin:
                for what, query in _LEFT.items():
                    cursor = await admin.execute(query.encode(), {"tenant": tenant, "move": move})
                    if rows := await cursor.fetchall():
                        found.append(f"{tier}: {what}: {rows}")
                if tier is Tier.STANDARD and home is not tier:
                    for table in ("members", "projects", "tasks"):
                        gone = f"SELECT FROM app.{table} WHERE tenant_id = %s"
                        if await (await admin.execute(gone.encode(), (tenant,))).fetchall():
                            found.append(f"{tier}: rows in {table}")
        return found

    def admin(self, tier: Tier) -> str:
        """The superuser's conninfo of a tier's cluster."""
        return self.world.clusters.of(tier).conninfo()


async def expire(world: World, move: MoveId) -> None:
    """Let the lease of a move run out."""
    async with await psycopg.AsyncConnection.connect(world.registry_url, autocommit=True) as connection:
        await connection.execute(
            "UPDATE tiergate_registry.move SET leased_until = NULL WHERE id = %s", (move,)
        )


@asynccontextmanager
async def open_movers(clusters: ThreeClusters) -> AsyncIterator[Movers]:
    """A fresh registry that knows a cluster of each tier."""
    async with open_world(clusters) as world, open_pools() as pools:
        for tier in Tier:
            await world.operations.add_cluster(
                f"{tier}-1", tier, world.dsn(tier), region=None, actor=ACTOR, deadline=Deadline.after(60)
            )
        yield Movers(world, pools, Provisioner(read_application(EXAMPLES / "application")))


class Held:
    """Holds a mover up when it has come to a step, as SIGSTOP would; hand it over as `reached`."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self.came = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def __call__(self, _move: MoveId, step: Step) -> None:
        if step is self._step and not self.came.is_set():
            self.came.set()
            await self.goes_on.wait()


class Killed(BaseException):
    """The worker is no more."""


class Killing:
    """Ends a mover when it has come to a step for the *times*-th time."""

    def __init__(self, step: Step, times: int = 1) -> None:
        self._step = step
        self._left = times

    async def __call__(self, _move: MoveId, step: Step) -> None:
        if step is self._step:
            self._left -= 1
            if self._left == 0:
                raise Killed
