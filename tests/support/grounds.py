"""Clusters that tenants move between, each a server of its own, behind a registry with gateways."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import psycopg

from registry.moves import Move, MoveId, MoveState, Timing, Wanted
from registry.placement import Placement
from registry.store import Store
from tests.support.gateways import PROGRAM, Changes, Serving, Site, open_gateway, open_site
from tests.support.judging import Place, Verdict, judge, left_behind
from tests.support.ledgers import APPLICATION, Ledger
from tests.support.postgres import SETTINGS, chosen_binaries, server_folder
from tests.support.proxy import Proxy, open_proxy
from tests.support.waiting import wait_until
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster, open_clusters
from tiergate.tenant import TenantId, Tier

SOAK_S = 0.0
ENDS_S = 60.0
_STEP_S = 60.0
_REGISTRY = "registry"


@dataclass(slots=True)
class Ground:
    """A registry and clusters, whose databases bear their names; everything can be reached and broken.

    Attributes:
        proxies: Through which gateways and movers reach each cluster.
    """

    site: Site
    servers: Mapping[str, Cluster]
    proxies: Mapping[str, Proxy]
    _made: int = 0

    @property
    def store(self) -> Store:
        """The registry."""
        return self.site.store

    @property
    def registry(self) -> Cluster:
        """The registry's server."""
        return self.servers[_REGISTRY]

    async def create_tenant(self, cluster: str) -> TenantId:
        """A tenant on that cluster, with a key."""
        self._made += 1
        name, tier = TenantId(f"mover-{self._made}"), Tier(cluster.partition("-")[0])
        await self.site.operations.create_tenant(
            name, tier, region=None, cluster=cluster, actor="test", deadline=Deadline.after(_STEP_S)
        )
        self.site.keys[name] = await self.site.create_key(name)
        return name

    @asynccontextmanager
    async def gateways(
        self, count: int, changes: Changes | None = None, *, program: str = PROGRAM
    ) -> AsyncIterator[list[Serving]]:
        """Gateways, each a process that runs *program*."""
        known = {"application.sql": str(APPLICATION), **(changes or {})}
        async with AsyncExitStack() as stack:
            url, folder = self.site.registry_url, self.site.folder
            yield [
                await stack.enter_async_context(open_gateway(folder, url, known, program=program))
                for _ in range(count)
            ]

    async def plan(
        self, tenant: TenantId, cluster: str, *, soak_s: float = SOAK_S, holds: bool = False
    ) -> Move:
        """A move of the tenant to that cluster."""
        tier, timing = Tier(cluster.partition("-")[0]), Timing(holds=holds, soak_s=soak_s)
        return await self.store.plan_move(
            tenant, tier, cluster=cluster, timing=timing, application_schema="app", actor="test"
        )

    async def comes_to(self, move: MoveId, *states: MoveState, within_s: float = ENDS_S) -> Move:
        """The move, once it is in one of *states*, or over."""
        found: list[Move] = []

        async def look() -> str:
            found[:] = [await self.store.move(move)]
            there = found[0].state in states or found[0].state.is_over
            return "there" if there else ""

        try:
            await wait_until(look, within_s=within_s, what=f"{states or 'the end of the move'}")
        except AssertionError as exc:
            raise AssertionError(f"{exc}; {found[0]}") from exc
        return found[0]

    async def ask(self, move: MoveId, wanted: Wanted) -> None:
        """Ask as an operator does."""
        await self.store.ask_move(move, wanted, actor="test")

    async def place_of(self, tenant: TenantId) -> Place:
        """Where the registry says that the tenant lives."""
        placement = await self.store.route(tenant)
        assert placement is not None
        return self.place(placement)

    def place(self, placement: Placement) -> Place:
        """The superuser's way to a place, past every proxy."""
        place, server = placement.place, self.servers[placement.place.cluster]
        login = None if placement.tier is Tier.STANDARD else place.login
        return Place(
            server.conninfo(), server.conninfo(place.database), place.database, place.schema,
            placement.tenant, login,
        )  # fmt: skip


@asynccontextmanager
async def open_ground(
    names: Sequence[str], *, is_proxied: bool = False, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Ground]:
    """A cluster for each name, whose first word is its tier, and a registry on a server of its own."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(server_folder())
        ports: dict[str, int | None] = dict.fromkeys((_REGISTRY, *names))
        opened = open_clusters(
            folder / "clusters", ports, settings=SETTINGS | dict(settings or {}), binaries=chosen_binaries()
        )
        servers = await stack.enter_async_context(opened)
        site = await stack.enter_async_context(open_site(folder, servers[_REGISTRY].url(), APPLICATION))
        proxies: dict[str, Proxy] = {}
        for name in names:
            proxies[name] = await stack.enter_async_context(
                open_proxy(servers[name].host, servers[name].port)
            )
            await _take_in(site, name, servers[name], proxies[name] if is_proxied else None)
        yield Ground(site, servers, proxies)


async def _take_in(site: Site, name: str, server: Cluster, proxy: Proxy | None) -> None:
    tier, database = Tier(name.partition("-")[0]), name.replace("-", "_")
    if tier is Tier.GOVERNMENT:
        database = "postgres"
    else:
        async with await psycopg.AsyncConnection.connect(server.conninfo(), autocommit=True) as connection:
            await connection.execute(f"CREATE DATABASE {database}".encode())
            await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC".encode())
    dsn = server.url(database)
    if proxy is not None:
        dsn = dsn.replace(f":{server.port}/", f":{proxy.port}/")
    await site.operations.add_cluster(
        name, tier, dsn, region=None, actor="test", deadline=Deadline.after(_STEP_S)
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found after a move, while nobody wrote.

    Attributes:
        left: Behind at either end, that should be gone.
    """

    verdict: Verdict
    left: list[str]

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong and nothing is left."""
        return self.verdict.is_good and not self.left


@dataclass(slots=True)
class Course:
    """One tenant on its way from place to place while its clients write.

    Attributes:
        lived: The databases that it has lived in since it was last judged.
        marks: The last number that each client had used then.
    """

    ground: Ground
    tenant: TenantId
    ledger: Ledger
    lived: list[str] = field(default_factory=list)
    marks: dict[int, int] = field(default_factory=dict)
    ends: tuple[Place, Place] | None = None
    moves: list[MoveId] = field(default_factory=list)

    async def begin(self, cluster: str, *, soak_s: float = SOAK_S, holds: bool = False) -> Move:
        """Plan a move of the tenant."""
        self.lived = [(await self.ground.place_of(self.tenant)).database]
        move = await self.ground.plan(self.tenant, cluster, soak_s=soak_s, holds=holds)
        source, target = await self.ground.store.ends(move)
        self.ends = self.ground.place(source), self.ground.place(target)
        self.moves.append(move.id)
        return move

    async def judged(self, *, went_and_returned: bool = False) -> Judged:
        """What the move has come to, which is over.

        Args:
            went_and_returned: Entries may have been written at the target, and then at the source again.
        """
        assert self.ends is not None, "nothing has been moved"
        async with self.ledger.still():
            here = await self.ground.place_of(self.tenant)
            target = self.ends[1].database
            path = [*self.lived, target] if here.database == target else list(self.lived)
            if went_and_returned:
                path += [target, here.database]
            verdict = await judge(here, self.ledger.books, path, self.marks)
            left: list[str] = []
            for name, end in zip(("source", "target"), self.ends, strict=True):
                found = await left_behind(end, self.moves, serves=end.conninfo == here.conninfo)
                left += [f"{name}: {what}" for what in found]
            self.marks = {name: max(book.numbers, default=0) for name, book in self.ledger.books.items()}
        return Judged(verdict, left)
