"""Real places for tenants on every tier, and pools that reach them."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from fleet.access import ClusterAccess
from fleet.application import ApplicationSql
from fleet.provision import Provisioner
from pools.bounds import PoolLimits, SwitchboardLimits
from pools.lease import Isolation, RequestLimits, Transaction
from pools.result import Result
from pools.statement import Statement
from pools.switchboard import Switchboard, open_switchboard
from registry.placement import Place, PlaceId, Placement, TenantState
from tests.support.postgres import open_database
from tests.support.proxy import Proxy, open_proxy
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.events import Event
from tiergate.tenant import TenantId, Tier

E = TypeVar("E")

TABLES = """
CREATE TABLE notes (
    tenant_id text NOT NULL DEFAULT tiergate.tenant(),
    id integer NOT NULL,
    body text CHECK (body <> 'bad'),
    PRIMARY KEY (tenant_id, id)
);
CREATE TABLE replies (
    tenant_id text NOT NULL DEFAULT tiergate.tenant(),
    id integer NOT NULL,
    note_id integer NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT replies_to_a_note FOREIGN KEY (tenant_id, note_id) REFERENCES notes (tenant_id, id)
        DEFERRABLE INITIALLY DEFERRED
);
"""
SMALL = ApplicationSql((("tables.sql", TABLES),))
POOL = PoolLimits(
    default_pool_size=4,
    min_pool_size=0,
    reserve_pool_size=0,
    reserve_pool_timeout=1,
    max_waiting=1000,
    max_tenant_inflight=1000,
    max_tenant_waiting=1000,
    query_wait_timeout=20,
    server_idle_timeout=600,
    server_lifetime=3600,
    server_connect_timeout=5,
    max_prepared_statements=50,
)
ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n"
_epochs = count(1)


@dataclass(frozen=True, slots=True)
class Places:
    """One database that serves as the cluster of every tier, and who makes places in it."""

    access: ClusterAccess
    provisioner: Provisioner
    shared: Place

    async def create(self, tier: Tier) -> Placement:
        """A new tenant of *tier*, with its place made and its fence open."""
        placement = self.placement(TenantId(f"t-{secrets.token_hex(4)}"), tier)
        await self.provisioner.create(self.access, placement, Deadline.after(60))
        return placement

    def placement(self, tenant: TenantId, tier: Tier) -> Placement:
        """Where *tenant* could live, in an epoch of its own; nothing is made."""
        name, epoch = f"pl_{secrets.token_hex(6)}", next(_epochs)
        own = replace(
            self.shared, id=PlaceId(name), tier=tier, login=name, password=secrets.token_urlsafe(32)
        )
        place = {
            Tier.STANDARD: self.shared,
            Tier.PREMIUM: replace(own, schema=name),
            Tier.GOVERNMENT: replace(own, database=name),
        }[tier]
        return Placement(tenant, tier, TenantState.ACTIVE, place, epoch, None)

    def admin(self, place: Place) -> str:
        """The superuser's conninfo for the database that *place* is in."""
        access = self.access
        return make_conninfo(
            access.conninfo, user=access.user, password=access.password, dbname=place.database
        )


@asynccontextmanager
async def open_places(
    server: Cluster,
    application: ApplicationSql = SMALL,
    *,
    full_sql: frozenset[Tier] = frozenset(),
    name: str = "main",
) -> AsyncIterator[Places]:
    """An application, on a fresh database that is a prepared cluster of all three tiers."""
    async with open_database(server) as conninfo:
        part = {key: str(value) for key, value in conninfo_to_dict(conninfo).items()}
        address = make_conninfo("", host=part["host"], port=part["port"])
        access = ClusterAccess(name, address, part["dbname"], part["user"], part["password"])
        shared = Place(
            id=PlaceId(f"pl_shared_{name}"),
            tier=Tier.STANDARD,
            cluster=access.name,
            conninfo=address,
            database=access.database,
            schema="app",
            login=f"gate_{secrets.token_hex(6)}",
            password=secrets.token_urlsafe(32),
            context_key=secrets.token_bytes(32),
            context_kid=1,
        )
        places = Places(access, Provisioner(application, full_sql), shared)
        for tier in Tier:
            own = shared if tier is Tier.STANDARD else None
            await places.provisioner.prepare_cluster(access, tier, Deadline.after(60), shared=own)
        yield places


def login_of(place: Place) -> str:
    """The conninfo of the role that serves a place."""
    return make_conninfo(place.conninfo, user=place.login, password=place.password, dbname=place.database)


@asynccontextmanager
async def open_way(placement: Placement) -> AsyncIterator[tuple[Proxy, Placement]]:
    """A proxy in front of *placement*'s server, and the same placement by way of it."""
    part = conninfo_to_dict(placement.place.conninfo)
    async with open_proxy(str(part["host"]), int(str(part["port"]))) as proxy:
        conninfo = make_conninfo(placement.place.conninfo, host=proxy.host, port=proxy.port)
        yield proxy, replace(placement, place=replace(placement.place, conninfo=conninfo))


class Heard:
    """Remembers events, and wakes who waits for one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()

    def __call__(self, event: Event) -> None:
        """Hear of *event*."""
        self.events.append(event)
        self._news.set()

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(self, kind: type[E], *, times: int = 1, within_s: float = 20) -> E:
        """The *times*-th event of a kind, once it has happened."""
        async with asyncio.timeout(within_s):
            while len(self.of(kind)) < times:
                self._news.clear()
                await self._news.wait()
        return self.of(kind)[times - 1]


def pool_limits(
    pool: PoolLimits = POOL, *, budget: int = 10, dials: int = 10, pools: int = 20
) -> SwitchboardLimits:
    """The same limits for a pool of any tier."""
    return SwitchboardLimits(budget, dials, pools, dict.fromkeys(Tier, pool))


@asynccontextmanager
async def open_pools(
    limits: SwitchboardLimits | None = None, heard: Heard | None = None
) -> AsyncIterator[Switchboard]:
    """Pools that end with the test."""
    opened = open_switchboard(limits or pool_limits(), heard or Heard(), drain_timeout_s=20)
    async with opened as switchboard:
        yield switchboard


async def run(
    switchboard: Switchboard,
    placement: Placement,
    *statements: str | Statement,
    isolation: Isolation | None = None,
    read_only: bool = False,
    deferrable: bool = False,
    within_s: float = 30,
    statement_timeout_s: float = 30,
    max_bytes: int = 64 << 20,
    full_sql: bool = False,
    note: bytes = b"",
) -> list[Result]:
    """Run statements as *placement*'s tenant in one transaction on a lease of their own."""
    told = [Statement(text) if isinstance(text, str) else text for text in statements]
    transaction = Transaction(told, isolation, read_only=read_only, deferrable=deferrable, note=note)
    async with switchboard.lease(placement, Deadline.after(within_s)) as lease:
        return await lease.run(transaction, RequestLimits(statement_timeout_s, max_bytes, full_sql=full_sql))


async def value(switchboard: Switchboard, placement: Placement, statement: str | Statement) -> str | None:
    """The one value that a statement gives."""
    [result] = await run(switchboard, placement, statement)
    [[only]] = result.rows
    return only


@asynccontextmanager
async def open_admin(conninfo: str) -> AsyncIterator[psycopg.AsyncConnection[TupleRow]]:
    """A superuser's connection in autocommit, to look on or to interfere."""
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        yield connection


async def sessions(admin: psycopg.AsyncConnection[TupleRow], *logins: str) -> dict[int, str]:
    """The server processes of some logins, in any database: pid and what it is doing.

    Only a tenant's statement counts as active, not what a pool asks for itself.
    """
    cursor = await admin.execute(
        "SELECT pid, coalesce(wait_event_type, '') || ':' || CASE WHEN state = 'active'"
        " AND query NOT LIKE '%%tiergate_q%%' THEN 'at the gate' ELSE coalesce(state, '') END"
        " FROM pg_stat_activity WHERE usename = ANY(%s)",
        (list(logins),),
    )
    return dict(await cursor.fetchall())


async def until(holds: Callable[[], Awaitable[bool]], *, within_s: float = 20) -> None:
    """Return once *holds* does; it is asked a few hundred times a second."""
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110 - a server tells nobody what it does
            await asyncio.sleep(0.003)
