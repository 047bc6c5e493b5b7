"""What would go wrong with a move, looked for before anything is changed; and how long it would take.

Never changes anything: the copy of the tables that the source is compared with is made in a
transaction that is rolled back.
"""

import time
from dataclasses import dataclass
from types import SimpleNamespace

from fleet.access import TENANT_LOCKS, ClusterAccess, Connection, bounded, open_admin
from fleet.application import ApplicationSql
from fleet.identifier import quote_identifier
from fleet.own import own_schema
from moves.ends import End
from moves.finding import Finding
from moves.looks import EXTENSIONS, LONG_S, LOOKS, SERVER, SIZES, Side
from registry.placement import Place
from tiergate.deadline import Deadline
from tiergate.tenant import Tier

_LARGE_BYTES = 1 << 30
_SPARE_CONNECTIONS = 20
_MAJOR = 10_000
# Rough, of one copier on the development machine; what paces a copy on a busy cluster is its throttle.
_ROWS_PER_S = 20_000
_BYTES_PER_S = 16 << 20
_STEPS_S = 3.0
_CUTOVER_TRIPS = 16
_COMMITS_MS = 20.0


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a tenant is to live.

    Attributes:
        place: None as long as it is not made: a schema or a database of its own.
        tenants: How many live on that cluster already.
        budget: Connections that one gateway process may have to it.
    """

    access: ClusterAccess
    tier: Tier
    place: Place | None
    tenants: int = 0
    budget: int | None = None

    @property
    def database(self) -> str:
        """What can be entered now."""
        return self.access.database if self.place is None else self.place.database


@dataclass(frozen=True, slots=True)
class TableSize:
    """What a tenant has of one table, by the planner's estimate."""

    table: str
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was seen.

    Attributes:
        duration_s: From the beginning to the cut-over, on an idle cluster; rough.
        pause_ms: For which requests would wait at the cut-over, while no transaction of the tenant is long.
    """

    findings: tuple[Finding, ...]
    tables: tuple[TableSize, ...]
    duration_s: float
    pause_ms: float

    @property
    def is_refused(self) -> bool:
        """Whether the move would fail, or lose something."""
        return any(finding.forbids for finding in self.findings)

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def size_bytes(self) -> int:
        """Of all tables, with their indexes."""
        return sum(table.size_bytes for table in self.tables)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A connection to one end, and what its server says of itself."""

    connection: Connection
    where: str
    server: SimpleNamespace
    trip_s: float


async def look(source: End, goal: Goal, application: ApplicationSql, deadline: Deadline) -> Preflight:
    """Look at both ends for what would make the move of the source's tenant fail.

    Raises:
        ClusterUnreachable, ClusterUnfit, NotSuperuser, ProvisioningTimeout, ProvisioningFailed:
            See fleet/errors.py.
    """
    place = source.placement.place
    async with (
        bounded(source.access, "be looked at", deadline),
        open_admin(source.access, place.database, deadline) as here,
        bounded(goal.access, "be looked at", deadline),
        open_admin(goal.access, goal.database, deadline) as there,
    ):
        # A government tenant's database will be made from template0, and has its locale.
        made_from = "template0" if goal.tier is Tier.GOVERNMENT and goal.place is None else goal.database
        near = await _see(here, source.access, place.schema, place.database)
        far = await _see(there, goal.access, place.schema, made_from)
        findings = [
            *await _ask(near, Side.SOURCE, source, place.tier),
            *(await _ask(far, Side.TARGET, source, goal.tier) if await _is_laid(there) else ()),
            *_compare_servers(near, far, goal),
            *await _compare_extensions(near, far, goal, place.schema),
            *await _compare_applications(near, far, place.schema, goal, application),
        ]
        tables = await _sizes(here, source)
        findings += await _rows_there(far, source, goal)
    size_bytes = sum(table.size_bytes for table in tables)
    if size_bytes > _LARGE_BYTES:
        findings.append(Finding("size", f"about {size_bytes / (1 << 30):.1f} GiB are copied", far.where))
    rows = sum(table.rows for table in tables)
    return Preflight(
        tuple(findings),
        tables,
        round(_STEPS_S + 2 * max(rows / _ROWS_PER_S, size_bytes / _BYTES_PER_S), 1),
        round(_COMMITS_MS + 1000 * _CUTOVER_TRIPS * (near.trip_s + far.trip_s) / 2, 1),
    )


async def _see(connection: Connection, access: ClusterAccess, schema: str, database: str) -> _Seen:
    names = (
        "system", "database", "provider", "collate", "ctype", "collversion",
        "locks", "connections", "relations",
    )  # fmt: skip
    cursor = await connection.execute(SERVER, {"schema": quote_identifier(schema), "database": database})
    row = await cursor.fetchone() or ()
    began = time.monotonic()
    await connection.execute("SELECT")
    trip_s = time.monotonic() - began
    where = f"{access.name}: {connection.info.dbname}"
    return _Seen(connection, where, SimpleNamespace(**dict(zip(names, row, strict=True))), trip_s)


async def _ask(seen: _Seen, side: Side, source: End, tier: Tier) -> list[Finding]:
    """What the questions for one end find."""
    placement = source.placement
    place = placement.place
    facts = {
        "tenant": placement.tenant, "place": place.id, "epoch": placement.epoch,
        "schema": quote_identifier(place.schema), "bare_schema": place.schema, "own": own_schema(place),
        "login": quote_identifier(place.login), "locks": TENANT_LOCKS, "long_s": LONG_S,
    }  # fmt: skip
    found = []
    for each in LOOKS:
        if side in each.sides and tier in each.tiers:
            cursor = await seen.connection.execute(each.query.encode(), facts)
            found += [Finding(each.code, what, seen.where) for (what,) in await cursor.fetchall()]
    return found


async def _is_laid(connection: Connection) -> bool:
    cursor = await connection.execute("SELECT to_regclass('tiergate.import_guard') IS NOT NULL")
    return await cursor.fetchone() == (True,)


def _compare_servers(near: _Seen, far: _Seen, goal: Goal) -> list[Finding]:
    """What the two servers say of themselves."""
    found = []
    here, there = near.server, far.server
    if goal.tier is not Tier.GOVERNMENT and (here.system, here.database) == (there.system, there.database):
        found.append(Finding("same-database", "both ends are in one database", far.where))
    old, new = (seen.connection.info.server_version // _MAJOR for seen in (near, far))
    if old != new:
        code = "server-older" if new < old else "server-newer"
        found.append(Finding(code, f"PostgreSQL {new}, and the source has {old}", far.where))
    differs = [
        f"{name} is {getattr(there, name)}, not {getattr(here, name)}"
        for name in ("provider", "collate", "ctype", "collversion")
        if getattr(here, name) != getattr(there, name)
    ]
    if differs:
        found.append(Finding("locale", "; ".join(differs), far.where))
    for seen in (near, far):
        if 2 * here.relations > seen.server.locks:
            what = (
                f"{here.relations} tables, indexes and sequences; room for {seen.server.locks} locks in all"
            )
            found.append(Finding("locks", what, seen.where))
    if there.connections < _SPARE_CONNECTIONS:
        what = f"{max(0, there.connections)} connections are left of max_connections"
        found.append(Finding("connections", what, far.where))
    if goal.tier is not Tier.STANDARD and goal.budget is not None and goal.tenants >= goal.budget:
        what = f"{goal.tenants + 1} places, and a process may have {goal.budget} connections"
        found.append(Finding("budget", what, far.where))
    return found


async def _compare_extensions(near: _Seen, far: _Seen, goal: Goal, schema: str) -> list[Finding]:
    """What the tables need, and the target has not, or has otherwise."""
    cursor = await near.connection.execute(EXTENSIONS.encode(), {"schema": quote_identifier(schema)})
    needed: dict[str, str] = dict(await cursor.fetchall())
    is_bare = goal.tier is Tier.GOVERNMENT and goal.place is None
    cursor = await far.connection.execute("SELECT extname, extversion FROM pg_extension")
    # template0 has that one, everywhere.
    present: dict[str, str] = {
        name: version for name, version in await cursor.fetchall() if not is_bare or name == "plpgsql"
    }
    found = []
    for name, version in sorted(needed.items()):
        if name not in present:
            found.append(Finding("extensions", f"extension {name!r} is missing", far.where))
        elif present[name] != version:
            what = f"extension {name!r} is {present[name]}, not {version}"
            found.append(Finding("extension-version", what, far.where))
    return found


async def _compare_applications(
    near: _Seen, far: _Seen, schema: str, goal: Goal, application: ApplicationSql
) -> list[Finding]:
    """Whether each end was made from the SQL files that the gateway has."""
    found = []
    made = [(near, schema)]
    if goal.place is not None:
        made.append((far, goal.place.schema))
    for seen, name in made:
        cursor = await seen.connection.execute(
            "SELECT checksum FROM tiergate.application WHERE schema_name = %s", (name,)
        )
        row = await cursor.fetchone()
        if row is None:
            found.append(Finding("application", f"schema {name!r} was not made by tiergate", seen.where))
        elif row[0] != application.checksum:
            what = f"schema {name!r} was made from other SQL files than this gateway's"
            found.append(Finding("application", what, seen.where))
    return found


async def _sizes(here: Connection, source: End) -> tuple[TableSize, ...]:
    """What the tenant has of each table; of shared ones its part, as the planner estimates it."""
    placement = source.placement
    cursor = await here.execute(SIZES.encode(), {"schema": quote_identifier(placement.place.schema)})
    found = []
    for name, table, all_rows, all_bytes in await cursor.fetchall():
        rows = await _estimate(here, table, placement.tenant)
        share = 1.0 if placement.tier is not Tier.STANDARD else min(1.0, rows / max(all_rows, rows, 1))
        found.append(TableSize(name, rows, round(all_bytes * share)))
    return tuple(found)


async def _estimate(connection: Connection, table: str, tenant: str) -> int:
    """How many rows of *table* the planner takes the tenant to have."""
    cursor = await connection.execute(
        f"EXPLAIN (FORMAT json) SELECT FROM {table} WHERE tenant_id = %s".encode(), (tenant,)
    )
    ((plan,),) = (await cursor.fetchone() or ([{}],),)
    return int(plan[0]["Plan"]["Plan Rows"])


async def _rows_there(far: _Seen, source: End, goal: Goal) -> list[Finding]:
    """Rows under the tenant's name that lie in shared tables already."""
    if goal.place is None:
        return []
    tenant = source.placement.tenant
    cursor = await far.connection.execute(SIZES.encode(), {"schema": quote_identifier(goal.place.schema)})
    found = []
    for name, table, _rows, _bytes in await cursor.fetchall():
        there = await far.connection.execute(
            f"SELECT FROM {table} WHERE tenant_id = %s LIMIT 1".encode(), (tenant,)
        )
        if await there.fetchone() is not None:
            found.append(Finding("target-rows", f"table {name!r} has rows of tenant {tenant!r}", far.where))
    return found
