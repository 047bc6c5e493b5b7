"""How much storage tenants take: exactly where they have a schema or a database, else by their share.

A share is that of a table's rows, by what ANALYZE has found of them; see `fleet.estimates`. Nothing is
scanned; a table that is locked for a change is waited for, a few seconds at most.

Source:
    PostgreSQL 18, 9.28.7 "Database Object Management Functions" and 52.27 "pg_stats".
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from fleet.access import ClusterAccess, bounded, open_admin
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId

_AT_ONCE = 50
_REST_S = 0.05
"""After each 50 schemas: looking at a file's size is cheap, looking at 100,000 in a row is not."""

_SCHEMAS = """
SELECT nspname::text, coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'S') AND nspname = ANY (%s) GROUP BY 1
"""
_DATABASES = "SELECT datname::text, pg_database_size(oid)::bigint FROM pg_database WHERE datname = ANY (%s)"
_SHARED = """
SELECT pg_total_relation_size(c.oid)::bigint,
    coalesce(most_common_vals::text::text[], '{}'), coalesce(most_common_freqs, '{}')::float8[]
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_stats ON schemaname = nspname AND tablename = relname AND attname = 'tenant_id' AND NOT inherited
WHERE c.relkind = 'r' AND nspname = %s
"""


async def schema_sizes(
    cluster: ClusterAccess, database: str, schemas: Sequence[str], deadline: Deadline
) -> Mapping[str, int]:
    """Bytes of each of *schemas*: tables with their indexes and TOAST, materialized views, sequences.

    Raises:
        ClusterUnreachable, NotSuperuser, ProvisioningTimeout, ProvisioningFailed: See fleet/errors.py.
    """
    sizes = dict.fromkeys(schemas, 0)
    async with (
        bounded(cluster, f"measure the schemas of database {database}", deadline),
        open_admin(cluster, database, deadline) as admin,
    ):
        for at in range(0, len(schemas), _AT_ONCE):
            found = await admin.execute(_SCHEMAS, (list(schemas[at : at + _AT_ONCE]),))
            sizes |= dict(await found.fetchall())
            await asyncio.sleep(_REST_S)
    return sizes


async def database_sizes(
    cluster: ClusterAccess, databases: Sequence[str], deadline: Deadline
) -> Mapping[str, int]:
    """Bytes of each of *databases* that is there.

    Raises:
        ClusterUnreachable, NotSuperuser, ProvisioningTimeout, ProvisioningFailed: See fleet/errors.py.
    """
    sizes: dict[str, int] = {}
    async with (
        bounded(cluster, "measure databases", deadline),
        open_admin(cluster, cluster.database, deadline) as admin,
    ):
        for at in range(0, len(databases), _AT_ONCE):
            found = await admin.execute(_DATABASES, (list(databases[at : at + _AT_ONCE]),))
            sizes |= dict(await found.fetchall())
            await asyncio.sleep(_REST_S)
    return sizes


async def shared_sizes(
    cluster: ClusterAccess, database: str, schema: str, tenants: Collection[TenantId], deadline: Deadline
) -> Mapping[TenantId, int]:
    """About how many bytes each of *tenants*, who are all that share *schema*, has in it.

    Of each table that was ever analyzed each has its share; what ANALYZE does not list is divided evenly
    among those whom it does not list.

    Raises:
        ClusterUnreachable, NotSuperuser, ProvisioningTimeout, ProvisioningFailed: See fleet/errors.py.
    """
    async with (
        bounded(cluster, f"measure schema {schema}", deadline),
        open_admin(cluster, database, deadline) as admin,
    ):
        tables = await (await admin.execute(_SHARED, (schema,))).fetchall()
    known, even, own = frozenset(tenants), 0.0, defaultdict[str, float](float)
    for size, listed, shares in tables:
        unlisted = len(known.difference(listed))
        rest = size * max(0.0, 1.0 - sum(shares)) / unlisted if unlisted else 0.0
        even += rest
        for tenant, share in zip(listed, shares, strict=True):
            own[tenant] += size * share - rest
    return {tenant: max(0, round(even + own.get(tenant, 0.0))) for tenant in tenants}
