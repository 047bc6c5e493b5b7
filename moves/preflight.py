"""What would go wrong with a move, looked for before anything is changed; and how long it would take.

Never changes anything: the copy of the tables that the source is compared with is made in a
transaction that is rolled back.
"""

from dataclasses import dataclass

from fleet.access import Connection, bounded, open_admin
from fleet.application import ApplicationSql
from fleet.identifier import quote_identifier, quote_literal
from moves.ends import End
from moves.finding import Finding
from moves.looks import LOOKS, SIZES, Side, facts_of
from moves.sight import Goal, Seen, see
from moves.unlike import compare_applications, compare_extensions, compare_servers, compare_structures
from tiergate.deadline import Deadline
from tiergate.tenant import Tier

_LARGE_BYTES = 1 << 30
# Rough, of one copier on the development machine; what paces a copy on a busy cluster is its throttle.
_ROWS_PER_S = 20_000
_BYTES_PER_S = 16 << 20
_STEPS_S = 3.0
_CUTOVER_TRIPS = 16
_COMMITS_MS = 20.0


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
        near = await see(here, source.access, place.schema, place.database)
        far = await see(there, goal.access, place.schema, made_from)
        findings = [
            *await _ask(near, Side.SOURCE, source, place.tier),
            *(await _ask(far, Side.TARGET, source, goal.tier) if await _is_laid(there) else ()),
            *compare_servers(near, far, goal),
            *await compare_extensions(near, far, goal, place.schema),
            *await compare_applications(near, far, place.schema, goal, application),
            *await compare_structures(near, far, source, goal, application),
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


async def _ask(seen: Seen, side: Side, source: End, tier: Tier) -> list[Finding]:
    """What the questions for one end find."""
    facts, found = facts_of(source.placement), []
    for each in LOOKS:
        if side in each.sides and tier in each.tiers:
            cursor = await seen.connection.execute(each.query.encode(), facts)
            found += [Finding(each.code, what, seen.where) for (what,) in await cursor.fetchall()]
    return found


async def _is_laid(connection: Connection) -> bool:
    cursor = await connection.execute("SELECT to_regclass('tiergate.import_guard') IS NOT NULL")
    return await cursor.fetchone() == (True,)


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
        f"EXPLAIN (FORMAT json) SELECT FROM {table} WHERE tenant_id = {quote_literal(tenant)}".encode()
    )
    ((plan,),) = (await cursor.fetchone() or ([{}],),)
    return int(plan[0]["Plan"]["Plan Rows"])


async def _rows_there(far: Seen, source: End, goal: Goal) -> list[Finding]:
    """Rows under the tenant's name that lie in shared tables already."""
    if goal.place is None:
        return []
    tenant = source.placement.tenant
    cursor = await far.connection.execute(SIZES.encode(), {"schema": quote_identifier(goal.place.schema)})
    found = []
    for name, table, _rows, _bytes in await cursor.fetchall():
        there = await far.connection.execute(
            f"SELECT FROM {table} WHERE tenant_id = {quote_literal(tenant)} LIMIT 1".encode()
        )
        if await there.fetchone() is not None:
            found.append(Finding("target-rows", f"table {name!r} has rows of tenant {tenant!r}", far.where))
    return found
