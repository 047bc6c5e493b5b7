"""How many rows tenants have, as far as the database knows without looking: nothing is scanned or locked.

The size of a table is what its activity counters say, which follow each commit and are lost in a crash;
else what the last ANALYZE has found. Whose rows they are is told by the values of `tenant_id` that ANALYZE
has found most often, a hundred of them unless the column's statistics target says otherwise.

Source:
    PostgreSQL 18, 52.27 "pg_stats", 53.11 "pg_class", and 27.2.25 "Statistics Functions".
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.access import ClusterAccess, bounded, open_admin
from tiergate.deadline import Deadline


@dataclass(frozen=True, slots=True)
class Rows:
    """About how many rows somebody has.

    Attributes:
        of: A tenant where tables are shared, else a schema.
        table: That in which they have most.
        in_table: Rows in that one.
    """

    of: str
    rows: int
    table: str
    in_table: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known of one database.

    Attributes:
        rows: In all tables.
        most: Those who have most rows in one table, most first.
        unlisted: In shared tables, how many each of the others has on average, where that is most.
        unknown: Shared tables with rows that were never analyzed: whose they are is not known.
    """

    rows: int
    most: tuple[Rows, ...]
    unlisted: Rows | None = None
    unknown: tuple[str, ...] = ()


async def estimate_shared(
    cluster: ClusterAccess, database: str, schema: str, *, most: int, deadline: Deadline
) -> Estimate:
    """How many rows the tenants have that share *schema*.

    Raises:
        ClusterUnreachable, NotSuperuser, ProvisioningTimeout, ProvisioningFailed: See fleet/errors.py.
    """
    async with (
        bounded(cluster, f"estimate the rows of schema {schema}", deadline),
        open_admin(cluster, database, deadline) as admin,
    ):
        found = await (await admin.execute(_TENANTS, {"schemas": [schema], "most": most})).fetchall()
        tables = await (await admin.execute(_TABLES, {"schemas": [schema]})).fetchall()
    others = [Rows("", each, table, each) for table, _, each, _ in tables if each]
    return Estimate(
        sum(rows for _, rows, _, _ in tables),
        tuple(Rows(*each) for each in found),
        max(others, key=lambda each: each.in_table, default=None),
        tuple(table for table, _, _, is_known in tables if not is_known),
    )


async def estimate_own(
    cluster: ClusterAccess, database: str, schemas: Sequence[str], *, most: int, deadline: Deadline
) -> Estimate:
    """How many rows are in each of *schemas*.

    Raises:
        ClusterUnreachable, NotSuperuser, ProvisioningTimeout, ProvisioningFailed: See fleet/errors.py.
    """
    async with (
        bounded(cluster, f"estimate the rows of database {database}", deadline),
        open_admin(cluster, database, deadline) as admin,
    ):
        found = await (await admin.execute(_SCHEMAS, {"schemas": list(schemas)})).fetchall()
    return Estimate(sum(rows for _, rows, _, _ in found), tuple(Rows(*each) for each in found[:most]))


# A partition counts for its table. Its own statistics are read: autovacuum keeps no others.
_PARTS = """
WITH part AS (
    SELECT nspname AS schema, c.oid, c.relname,
        (SELECT root.relname FROM pg_class AS root
         WHERE root.oid = CASE WHEN c.relispartition THEN pg_partition_root(c.oid) ELSE c.oid END) AS name,
        greatest(coalesce(nullif(pg_stat_get_live_tuples(c.oid)::float8, 0), c.reltuples), 0) AS rows
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND nspname = ANY (%(schemas)s)
)
"""
_STATISTICS = """
, counted AS (
    SELECT part.*, n_distinct, most_common_vals::text::text[] AS tenants, most_common_freqs AS shares,
        CASE WHEN n_distinct < 0 THEN -n_distinct * rows ELSE n_distinct END AS distinct_tenants
    FROM part LEFT JOIN pg_stats
        ON schemaname = schema AND tablename = relname AND attname = 'tenant_id' AND NOT inherited
)
"""
_TENANTS = f"""{_PARTS} {_STATISTICS}
, tenant AS (
    SELECT each.tenant, name, sum(rows * each.share) AS rows
    FROM counted CROSS JOIN unnest(tenants, shares) AS each (tenant, share) GROUP BY 1, 2
)
SELECT tenant, round(sum(rows))::bigint, (array_agg(name ORDER BY rows DESC))[1]::text,
    round(max(rows))::bigint
FROM tenant GROUP BY 1 ORDER BY 4 DESC, 1 LIMIT %(most)s
"""  # noqa: S608 - constants
_TABLES = f"""{_PARTS} {_STATISTICS}
SELECT name::text, round(sum(rows))::bigint,
    round(sum(rows * (1 - coalesce((SELECT sum(share) FROM unnest(shares) AS share), 0))
        / nullif(greatest(distinct_tenants - coalesce(cardinality(tenants), 0), 0), 0)))::bigint,
    bool_and(rows = 0 OR n_distinct IS NOT NULL)
FROM counted GROUP BY 1 ORDER BY 1
"""  # noqa: S608 - constants
_SCHEMAS = f"""{_PARTS}
, by_table AS (SELECT schema, name, sum(rows) AS rows FROM part GROUP BY 1, 2)
SELECT schema::text, round(sum(rows))::bigint, (array_agg(name ORDER BY rows DESC))[1]::text,
    round(max(rows))::bigint
FROM by_table GROUP BY 1 ORDER BY 4 DESC, 1
"""  # noqa: S608 - constants
