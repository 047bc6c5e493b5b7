"""The usual way: tables under a policy on `current_setting('app.tenant')`, and a driver that sends any text.

Standard tenants share a role and a pool; premium ones have a schema and a role each, government ones
a database and a role each, made with the rights that Postgres gives by itself.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg
from psycopg.conninfo import make_conninfo

from fleet.application import read_application
from fleet.scram import verifier
from tests.attacks.ground import LOOK_ROWS, LOOK_SESSION, Party, database_of, open_ground
from tests.attacks.ring import Reply, Ring
from tests.integration.test_fleet_door import EXAMPLES
from tests.support.postgres import open_database, run_sql, url_of
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

_TENANT = "current_setting('app.tenant', true)"
_PASSWORD = "plain"
_LIMIT = "ALTER ROLE \"{}\" SET statement_timeout = '4s'"
_TABLES = ("members", "projects", "tasks")
# What few think of: keys, references and sequences over all tenants tell each what the others have.
_CARELESS = (
    "CREATE UNIQUE INDEX ON {0}.members (email)",
    "CREATE UNIQUE INDEX ON {0}.members (id)",
    "ALTER TABLE {0}.projects ADD FOREIGN KEY (owner_id) REFERENCES {0}.members (id)",
    "CREATE SEQUENCE {0}.numbers",
    "GRANT ALL ON SEQUENCE {0}.numbers TO {1}",
)
Judge = Callable[[str, Tier], str]
"""Says why a text must not run on a tier; nothing when it may."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant and the login of its service."""

    party: Party
    login: str


async def _make_tables(conninfo: str, schema: str, login: str, *, careless: bool) -> None:
    texts = [text for _name, text in read_application(EXAMPLES / "application").files]
    await run_sql(
        conninfo,
        f'CREATE SCHEMA IF NOT EXISTS "{schema}"',
        *(f'SET search_path = "{schema}"; {text}'.replace("tiergate.tenant()", _TENANT) for text in texts),
        f'GRANT USAGE ON SCHEMA "{schema}" TO "{login}"',
        f'GRANT ALL ON ALL TABLES IN SCHEMA "{schema}" TO "{login}"',
        *(
            f'ALTER TABLE "{schema}".{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;'
            f'CREATE POLICY tenant ON "{schema}".{table} USING (tenant_id = {_TENANT})'
            for table in _TABLES
        ),
        *((text.format(f'"{schema}"', f'"{login}"') for text in _CARELESS) if careless else ()),
    )


async def _make_login(conninfo: str, name: str, schema: str) -> None:
    await run_sql(
        conninfo,
        f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{verifier(_PASSWORD, iterations=1)}'",
        f'ALTER ROLE "{name}" SET search_path = "{schema}"',
        _LIMIT.format(name),
    )


@asynccontextmanager
async def _open_tenants(server: Cluster, tier: Tier, *, careless: bool) -> AsyncIterator[list[Tenant]]:
    """An attacker, a victim and one whom no attack names."""
    async with AsyncExitStack() as logins, AsyncExitStack() as stack:
        conninfo = await stack.enter_async_context(open_database(server, prefix="plain"))
        shared = f"role_{secrets.token_hex(6)}"
        tenants = []
        for number in range(3):
            name = f"pl_{secrets.token_hex(6)}"
            tenant = f"t-{secrets.token_hex(6)}"
            schema, names = "app", frozenset({name})
            match tier:
                case Tier.STANDARD:
                    name, names = shared, frozenset()
                case Tier.PREMIUM:
                    schema = name
                case Tier.GOVERNMENT:
                    if number:
                        conninfo = await stack.enter_async_context(open_database(server, prefix="plain"))
            if tier is not Tier.STANDARD or number == 0:
                await _make_login(server.conninfo(), name, schema)
                logins.push_async_callback(run_sql, server.conninfo(), f'DROP ROLE "{name}"')
                await _make_tables(conninfo, schema, name, careless=careless)
            tenants.append(Tenant(Party(tenant, conninfo, schema, names), name))
        yield tenants


@dataclass(slots=True)
class _Service:
    """A service as most are written: a pool, and the tenant in a setting of the transaction."""

    conninfo: str
    pool: asyncpg.Pool | None = None

    async def run(self, tenant: str, texts: Sequence[str]) -> list[asyncpg.Record]:
        if self.pool is None:
            self.pool = await asyncpg.create_pool(url_of(self.conninfo), min_size=1, max_size=2)
        rows: list[asyncpg.Record] = []
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT set_config('app.tenant', $1, true)", tenant)
            for text in texts:
                try:
                    rows = await connection.fetch(text)
                except asyncpg.PostgresSyntaxError as exc:
                    if "multiple commands" not in str(exc):
                        raise
                    await connection.execute(text)
                    rows = []
        return rows

    async def renew(self) -> None:
        if self.pool is not None:
            self.pool.terminate()
            self.pool = None


@asynccontextmanager
async def open_plain(
    server: Cluster, tier: Tier, judge: Judge | None = None, *, careless: bool = True
) -> AsyncIterator[Ring]:
    """The duel of the usual way.

    Args:
        judge: Stands before the attacker's texts.
        careless: With keys that do not begin with the tenant.
    """
    async with _open_tenants(server, tier, careless=careless) as (attacker, victim, hidden):
        ways = {
            tenant.login: make_conninfo(tenant.party.conninfo, user=tenant.login, password=_PASSWORD)
            for tenant in (attacker, victim)
        }
        services = {login: _Service(way) for login, way in ways.items()}

        async def strike(texts: Sequence[str]) -> Reply:
            refusal = next((why for text in texts if judge is not None and (why := judge(text, tier))), "")
            if refusal:
                return Reply(refusal)
            try:
                rows = await services[attacker.login].run(attacker.party.tenant, texts)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, OSError) as exc:
                return Reply(f"{exc!r} {vars(exc)}")
            last = tuple(None if value is None else str(value) for row in rows for value in row.values())
            return Reply(str(rows), last)

        async def look() -> str:
            try:
                service = services[victim.login]
                seen = await service.run(victim.party.tenant, [LOOK_ROWS])
                seen += await service.run(victim.party.tenant, [LOOK_SESSION])
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as exc:
                return repr(exc)
            return str(seen)

        opened = open_ground(attacker.party, victim.party, hidden.party, ways[victim.login])
        async with opened as ground:

            async def renew() -> None:
                for service in services.values():
                    await service.renew()
                await ground.admin.execute(_LIMIT.format(attacker.login).encode())  # it may change its own

            words = {
                "setting": "app.tenant", "forged": victim.party.tenant, "replayed": victim.party.tenant,
                "login": victim.login, "database": database_of(victim.party.conninfo),
                "place": victim.party.schema, "epoch": "1", "token": "0" * 64, "token_expires": "9999999999",
            }  # fmt: skip
            try:
                yield Ring(strike, look, ground, words, renew, is_frail=tier is not Tier.STANDARD)
            finally:
                for service in services.values():
                    await service.renew()
