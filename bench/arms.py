"""The same rows three times on one server, and three ways to ask for them as one tenant.

All three send one flight through `pools.wire`, over logins with the same settings, so that the
isolation alone differs. Two are as most services write them; the third is what the gateway does.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from psycopg import pq
from psycopg.pq.abc import PGconn

from fleet import roles
from fleet.access import ClusterAccess, Connection, open_admin
from fleet.application import ApplicationSql
from fleet.identifier import quote_identifier
from fleet.provision import Provisioner
from pools.clock import Clock, Ours
from pools.dial import dial, hang_up
from pools.lease import RequestLimits, Transaction, run
from pools.result import Result, pg_error, result
from pools.statement import Statement
from pools.wire import Wire
from registry.placement import Place, PlaceId, Placement, TenantState
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import TenantId, Tier

TENANT = TenantId("tenant-7")
TENANTS = 20
ROWS = 10_000
_BY_HAND, _BY_SETTING = "by_hand", "by_setting"
_PREPARE_S = 120.0
_TIMEOUT_S = 30.0
_PREPARED = 100
_DIAL_S = 10.0
_LIMITS = RequestLimits(_TIMEOUT_S, 1 << 20)
_TABLES = """
CREATE TABLE items (
    tenant_id text NOT NULL{default},
    id integer NOT NULL,
    amount integer NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE TABLE entries (LIKE items INCLUDING ALL);
"""
_FILL = """
INSERT INTO {schema}.items
SELECT 'tenant-' || t, i, i % 1000, 'item ' || i
FROM generate_series(1, {tenants}) t, generate_series(1, {rows}) i;
INSERT INTO {schema}.entries SELECT * FROM {schema}.items;
VACUUM ANALYZE {schema}.items, {schema}.entries
"""
_POLICIES = """
ALTER TABLE by_setting.items ENABLE ROW LEVEL SECURITY;
ALTER TABLE by_setting.entries ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON by_setting.items USING (tenant_id = current_setting('app.tenant'));
CREATE POLICY tenant ON by_setting.entries USING (tenant_id = current_setting('app.tenant'));
GRANT EXECUTE ON FUNCTION set_config(text, text, boolean) TO by_setting;
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the statements that are measured, in its two spellings, and its parameters.

    Attributes:
        by_hand: Names the tenant itself, as its last parameter.
        by_policy: Leaves that to the database.
        draw: The parameters of the n-th request, but for the tenant.
        requests: In one round.
        tag: What Postgres calls a right answer.
    """

    name: str
    by_hand: str
    by_policy: str
    draw: Callable[[int], tuple[int, ...]]
    requests: int
    tag: str


def _any_id(number: int) -> int:
    return number * 7919 % ROWS + 1


KINDS = (
    Kind(
        "point read",
        "SELECT id, amount, body FROM items WHERE id = $1 AND tenant_id = $2",
        "SELECT id, amount, body FROM items WHERE id = $1",
        lambda n: (_any_id(n),),
        requests=200,
        tag="SELECT 1",
    ),
    Kind(
        "50-row range",
        "SELECT id, amount, body FROM items WHERE id BETWEEN $1 AND $2 AND tenant_id = $3",
        "SELECT id, amount, body FROM items WHERE id BETWEEN $1 AND $2",
        lambda n: (first := min(_any_id(n), ROWS - 49), first + 49),
        requests=150,
        tag="SELECT 50",
    ),
    Kind(
        "insert",
        "INSERT INTO entries (id, amount, body, tenant_id) VALUES ($1, 1, 'new', $2)",
        "INSERT INTO entries (id, amount, body) VALUES ($1, 1, 'new')",
        lambda n: (ROWS + 1 + n,),
        requests=150,
        tag="INSERT 0 1",
    ),
    Kind(
        "update",
        "UPDATE entries SET amount = amount + 1 WHERE id = $1 AND tenant_id = $2",
        "UPDATE entries SET amount = amount + 1 WHERE id = $1",
        lambda n: (_any_id(n),),
        requests=150,
        tag="UPDATE 1",
    ),
    Kind(
        "10k-row aggregate",
        "SELECT count(*), sum(amount) FROM items WHERE amount >= $1 AND tenant_id = $2",
        "SELECT count(*), sum(amount) FROM items WHERE amount >= $1",
        lambda _: (0,),
        requests=10,
        tag="SELECT 1",
    ),
)


class Failed(Exception):
    """A statement did not do what is measured."""


Ask = Callable[[Kind, int], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Arm:
    """A way of asking, on a connection of its own; *ask* sends the n-th request of a kind."""

    name: str
    pid: int
    ask: Ask


def ask_by_hand(wire: Wire) -> Ask:
    """No isolation: each statement names the tenant, and one that forgets to reads all of them."""

    async def ask(kind: Kind, number: int) -> Result:
        return await _fly(wire, None, kind.by_hand, *kind.draw(number), TENANT)

    return ask


def ask_by_setting(wire: Wire) -> Ask:
    """Plain row-level security, by a setting that any SQL may change."""

    async def ask(kind: Kind, number: int) -> Result:
        prelude = (b"SELECT set_config('app.tenant',$1,true)", TENANT.encode())
        return await _fly(wire, prelude, kind.by_policy, *kind.draw(number))

    return ask


def ask_by_signature(wire: Wire, placement: Placement) -> Ask:
    """As the gateway asks: everything that it sends to a database, as it sends it."""
    clock = Clock("bench", Ours(), lambda _event: None)

    async def ask(kind: Kind, number: int) -> Result:
        params = tuple(b"%d" % value for value in kind.draw(number))
        transaction = Transaction((Statement(kind.by_policy, params),))
        [answer] = await run(wire, clock, placement, transaction, _LIMITS, Deadline.after(_TIMEOUT_S))
        return answer

    return ask


async def _fly(wire: Wire, prelude: tuple[bytes, bytes] | None, text: str, *params: int | str) -> Result:
    wire.ask(b"BEGIN")
    if prelude is not None:
        wire.ask(prelude[0], (prelude[1],))
    wire.ask(text.encode(), tuple(str(param).encode() for param in params), rows=True)
    wire.ask(b"COMMIT")
    answers = await wire.fly(max_bytes=_LIMITS.max_bytes)
    for answer in answers:
        if answer[-1].status == pq.ExecStatus.FATAL_ERROR:
            raise Failed(pg_error(answer[-1]).message)
    return result(answers[-2])


@asynccontextmanager
async def open_arms(server: Cluster) -> AsyncIterator[tuple[Arm, Arm, Arm]]:
    """Fill an empty server and connect to it in three ways: by hand, by setting, by signature."""
    access = ClusterAccess("bench", server.address, "bench", server.superuser, server.password)
    async with open_admin(access, "postgres", Deadline.after(_PREPARE_S)) as admin:
        await admin.execute("CREATE DATABASE bench")
    placement = await _provision(access)
    ours = placement.place
    async with AsyncExitStack() as stack:
        async with open_admin(access, access.database, Deadline.after(_PREPARE_S)) as admin:
            await _fill(admin, ours.schema)
            passwords = [await _make_peer(admin, login) for login in (_BY_HAND, _BY_SETTING)]
            await admin.execute(_POLICIES.encode())
        wires = [
            await stack.enter_async_context(_open_wire(access, login, password))
            for login, password in zip(
                (_BY_HAND, _BY_SETTING, ours.login), (*passwords, ours.password), strict=True
            )
        ]
        yield (
            Arm("none", wires[0].pid, ask_by_hand(wires[0])),
            Arm("setting", wires[1].pid, ask_by_setting(wires[1])),
            Arm("tiergate", wires[2].pid, ask_by_signature(wires[2], placement)),
        )


async def _provision(access: ClusterAccess) -> Placement:
    """A standard cluster with our tenant on it, made as the gateway makes it."""
    place = Place(
        id=PlaceId("pl_bench"),
        tier=Tier.STANDARD,
        cluster=access.name,
        conninfo=access.conninfo,
        database=access.database,
        schema="by_signature",
        login="tiergate_gate",
        password=secrets.token_urlsafe(32),
        context_key=secrets.token_bytes(32),
        context_kid=1,
    )
    placement = Placement(TENANT, place.tier, TenantState.ACTIVE, place, epoch=1, region=None)
    tables = _TABLES.format(default=" DEFAULT tiergate.tenant()")
    provisioner = Provisioner(ApplicationSql((("tables.sql", tables),)))
    await provisioner.prepare_cluster(access, place.tier, Deadline.after(_PREPARE_S), shared=place)
    await provisioner.create(access, placement, Deadline.after(_PREPARE_S))
    return placement


async def _make_peer(admin: Connection, login: str) -> str:
    """A login with a schema of that name and our tables in it; its password."""
    password = secrets.token_urlsafe(32)
    default = " DEFAULT current_setting('app.tenant')" if login == _BY_SETTING else ""
    name = quote_identifier(login)
    async with admin.transaction():
        await roles.put_login(admin, "bench", roles.Login(login, password, None, inherits=True))
        await roles.put_session(admin, login, "bench", login)
        await admin.execute(
            f"CREATE SCHEMA {name}; SET LOCAL search_path = {name};"
            f"{_TABLES.format(default=default)}"
            f"GRANT USAGE ON SCHEMA {name} TO {name}; GRANT CONNECT ON DATABASE bench TO {name};"
            f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {name} TO {name}".encode()
        )
    await _fill(admin, name)
    return password


async def _fill(admin: Connection, schema: str) -> None:
    for statement in _FILL.format(schema=schema, tenants=TENANTS, rows=ROWS).split(";"):
        await admin.execute(statement.encode())


@asynccontextmanager
async def _open_wire(access: ClusterAccess, login: str, password: str) -> AsyncIterator[Wire]:
    begun: list[PGconn] = []
    try:
        conn = await dial(
            access.conninfo, login, password, access.database, within_s=_DIAL_S, begun=begun.append
        )
    except BaseException:
        await hang_up(*begun)
        raise
    wire = Wire(conn, max_prepared=_PREPARED)
    try:
        yield wire
    finally:
        await wire.close()
