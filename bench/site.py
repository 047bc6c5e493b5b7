"""A gateway of our own over Postgres clusters of its own, with as many tenants as a load needs.

On loopback, in a folder that goes away. Made the way an operator makes them, but for all standard
tenants after the first: to the databases those are rows, and are written as rows.
"""

import asyncio
import os
import random
import secrets
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import yaml
from psycopg import sql

import examples
from admin.operations import Operations
from bench.gateway import DATABASE, SCHEMA, Running
from bench.load import Call
from bench.progress import step
from bench.serving import free_port, server_folder, stop, wait_listening
from config.settings import Registry
from fleet.application import read_application
from fleet.provision import Provisioner
from registry.credentials import Scope, new_key
from registry.migrations import migrate
from registry.store import Store, open_store
from registry.tables import SCHEMA as REGISTRY_SCHEMA
from registry.vault import Vault
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster, open_clusters
from tiergate.tenant import TenantId, Tier

READ = "SELECT id, email, name FROM members WHERE email = $1"
MEMBERS = 5
_REGISTRY = "registry"
_APPLICATION = Path(examples.__file__).parent / "application"
_ACTOR = "bench"
_AT_ONCE = 4
_STEP_S = 120.0
# Nothing here outlives the run, so nothing need reach the disk.
_POSTGRES = {"fsync": "off", "max_connections": "300", "max_wal_size": "2GB", "checkpoint_timeout": "1h"}
_IN_REGISTRY = {
    what: sql.SQL(text).format(registry=sql.Identifier(REGISTRY_SCHEMA))
    for what, text in {
        "tenant": """
            INSERT INTO {registry}.tenant (name, tier, state)
            SELECT name, 'standard', 'active' FROM unnest(%s::text[]) AS name
        """,
        "placement": """
            INSERT INTO {registry}.placement (tenant, place, epoch)
            SELECT name, known.place, nextval('{registry}.epoch')
            FROM unnest(%s::text[]) AS name, {registry}.placement AS known WHERE known.tenant = %s
            RETURNING tenant, place, epoch
        """,
        "key": "COPY {registry}.credential (id, tenant, digest, scopes) FROM STDIN",
    }.items()
}
_FILL = sql.SQL("""
    INSERT INTO {} (tenant_id, email, name)
    SELECT tenant, format('member-%%s@example.com', n), format('Member %%s of %%s', n, tenant)
    FROM unnest(%s::text[]) AS tenant, generate_series(1, %s) AS n
""")


@dataclass(slots=True)
class Site:
    """Clusters, one for each tier that was asked for, and a registry that knows them on a server of its own.

    Attributes:
        keys: Of every tenant.
    """

    folder: Path
    clusters: Mapping[str, Cluster]
    store: Store
    operations: Operations
    master_key: str = field(repr=False)
    keys: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def registry(self) -> str:
        """The registry's URL."""
        return self.clusters[_REGISTRY].url()

    @property
    def tiers(self) -> dict[str, Cluster]:
        """The clusters that tenants live on."""
        return {name: cluster for name, cluster in self.clusters.items() if name != _REGISTRY}

    @property
    def postgres(self) -> str:
        """Version of the servers."""
        return self.clusters[_REGISTRY].version

    async def add_cluster(self, tier: Tier) -> None:
        """Take the tier's server in."""
        server = self.clusters[tier]
        database = "postgres" if tier is Tier.GOVERNMENT else DATABASE
        if database != "postgres":
            async with await psycopg.AsyncConnection.connect(
                server.conninfo(), autocommit=True
            ) as connection:
                await connection.execute(f"CREATE DATABASE {DATABASE}")
                await connection.execute(f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
        deadline = Deadline.after(_STEP_S)
        await self.operations.add_cluster(
            tier, tier, server.conninfo(database), region=None, actor=_ACTOR, deadline=deadline
        )

    async def add(self, tier: Tier, names: list[str]) -> None:
        """Make tenants, with MEMBERS members each and a key."""
        mine = names[:1] if tier is Tier.STANDARD else names
        gate = asyncio.Semaphore(_AT_ONCE)
        places: dict[str, tuple[str, str]] = {}

        async def make(name: str) -> None:
            async with gate:
                deadline = Deadline.after(_STEP_S)
                await self.operations.create_tenant(
                    TenantId(name), tier, region=None, cluster=tier, actor=_ACTOR, deadline=deadline
                )
                placement = await self.store.route(TenantId(name))
                assert placement is not None  # noqa: S101 - it was made just now
                places[name] = placement.place.database, placement.place.schema
                made()

        with step(f"Making {len(names):,} {tier} tenants", len(mine)) as made:
            async with asyncio.TaskGroup() as tasks:
                for name in mine:
                    tasks.create_task(make(name), name=f"make {name}")
            if tier is Tier.STANDARD:
                await self._add_rows(names[0], names[1:])
                places = dict.fromkeys(names, (DATABASE, SCHEMA))
            await self._fill(tier, places)
            await self._add_keys(names)

    async def _add_rows(self, like: str, names: list[str]) -> None:
        """More standard tenants, placed like one that is there."""
        async with await psycopg.AsyncConnection.connect(self.registry) as connection:
            await connection.execute(_IN_REGISTRY["tenant"], [names])
            rows = await (await connection.execute(_IN_REGISTRY["placement"], [names, like])).fetchall()
        conninfo = self.clusters[Tier.STANDARD].conninfo(DATABASE)
        async with (
            await psycopg.AsyncConnection.connect(conninfo) as connection,
            connection.cursor() as cursor,
            cursor.copy("COPY tiergate.fence (tenant_id, place, epoch, state) FROM STDIN") as copy,
        ):
            for row in rows:
                await copy.write_row((*row, "active"))

    async def _fill(self, tier: Tier, places: Mapping[str, tuple[str, str]]) -> None:
        """Give tenants their members: *places* are their databases and schemas."""
        tenants: dict[str, dict[str, list[str]]] = {}
        for name, (database, schema) in places.items():
            tenants.setdefault(database, {}).setdefault(schema, []).append(name)
        for database, schemas in tenants.items():
            conninfo = self.clusters[tier].conninfo(database)
            async with await psycopg.AsyncConnection.connect(conninfo) as connection:
                for schema, there in schemas.items():
                    members = sql.Identifier(schema, "members")
                    await connection.execute(_FILL.format(members), [there, MEMBERS])
                    await connection.execute(sql.SQL("ANALYZE {}").format(members))

    async def _add_keys(self, names: list[str]) -> None:
        async with (
            await psycopg.AsyncConnection.connect(self.registry) as connection,
            connection.cursor() as cursor,
            cursor.copy(_IN_REGISTRY["key"]) as copy,
        ):
            for name in names:
                self.keys[name], kept = new_key(TenantId(name), list(Scope))
                await copy.write_row((kept.id, name, kept.digest, sorted(kept.scopes)))

    @asynccontextmanager
    async def serve(
        self, settings: Mapping[str, object] | None = None, *, program: str = "tiergate.cli"
    ) -> AsyncIterator[Running]:
        """A gateway in one process.

        Args:
            settings: By dotted name, as {"pools.max_pools": 500}.
            program: The module to run in place of ours; takes the same arguments.

        Raises:
            NotReady: It did not come up.
        """
        port, admin_port = free_port(), free_port()
        known = {
            "gateway.port": port,
            "admin.port": admin_port,
            "admin.key": secrets.token_urlsafe(32),
            "registry.url": self.registry,
            "secrets.master_key": self.master_key,
            "application.sql": str(_APPLICATION),
            "logging.level": "error",
            **(settings or {}),
        }
        config = self.folder / f"{port}.yaml"
        config.write_text(yaml.safe_dump(_tree(known)), encoding="utf-8")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", program, "serve", "--config", str(config)), env=dict(os.environ)
        )
        try:
            await wait_listening(port, process)
            yield Running(port, admin_port, process.pid, self.keys)
        finally:
            await stop(process)


def names(tier: Tier, count: int) -> list[str]:
    """What tenants are called here."""
    return [f"{tier}-{n:05}" for n in range(count)]


def reads(gateway: Running, tenants: Iterable[str], *, seed: int = 1) -> tuple[Call, ...]:
    """A point read of one member for each of *tenants*, whose answer nobody else can give."""
    drawn = random.Random(seed)
    calls: dict[tuple[str, int], Call] = {}

    def read(tenant: str, n: int) -> Call:
        call = calls.get((tenant, n))
        if call is None:
            expected = f"Member {n} of {tenant}".encode()
            call = calls[tenant, n] = gateway.call(tenant, READ, [f"member-{n}@example.com"], expected)
        return call

    return tuple(read(tenant, drawn.randint(1, MEMBERS)) for tenant in tenants)


def _tree(known: Mapping[str, object]) -> dict[str, object]:
    tree: dict[str, object] = {}
    for path, value in known.items():
        *sections, name = path.split(".")
        inner = tree
        for section in sections:
            below = inner.setdefault(section, {})
            assert isinstance(below, dict)  # noqa: S101 - no setting is a section
            inner = below
        inner[name] = value
    return tree


@asynccontextmanager
async def open_site(tiers: Iterable[Tier]) -> AsyncIterator[Site]:
    """Clusters for *tiers*, known to a registry; no tenants yet."""
    master_key = secrets.token_urlsafe(32)
    vault = Vault(master_key)
    tiers = list(tiers)
    names = (_REGISTRY, *tiers)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(server_folder())
        with step(f"Starting {len(names)} Postgres servers"):
            clusters = await stack.enter_async_context(
                open_clusters(folder / "clusters", dict.fromkeys(names), settings=_POSTGRES)
            )
            await migrate(clusters[_REGISTRY].url(), vault, timeout_s=_STEP_S)
            asked = Registry(
                url=clusters[_REGISTRY].url(),
                pool_size=_AT_ONCE,
                timeout_s=_STEP_S,
                cache_size=1,
                ttl_s=1,
                negative_ttl_s=1,
                stale_for_s=0,
            )
            store = await stack.enter_async_context(open_store(asked, vault))
            operations = Operations(store, Provisioner(read_application(_APPLICATION)), SCHEMA)
            site = Site(folder, clusters, store, operations, master_key)
            for tier in tiers:
                await site.add_cluster(tier)
        yield site
