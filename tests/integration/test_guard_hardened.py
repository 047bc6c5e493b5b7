"""What the guard lets through, the hardened catalog lets run."""

from collections.abc import AsyncIterator

import psycopg
import pytest

from guard.lists import extensions
from tests.integration.test_fleet_door import Fleet, open_fleet, soon
from tests.support.builtins import ALLOWED_FUNCTIONS, ALLOWED_TYPES, add_extensions
from tests.support.postgres import run_sql
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

CLOSED = """
    SELECT DISTINCT p.proname::text, p.oid::regprocedure::text
    FROM pg_proc AS p
        LEFT JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        LEFT JOIN pg_extension AS x ON x.oid = d.refobjid
    WHERE (p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY (%(built_in)s)
            OR x.extname || '.' || p.proname = ANY (%(brought)s))
        AND NOT has_function_privilege('tiergate_app', p.oid, 'EXECUTE')"""


@pytest.fixture(scope="module")
async def fleet(postgres: Cluster) -> AsyncIterator[Fleet]:
    async with open_fleet(postgres) as opened:
        yield opened


async def test_a_hardened_database_runs_every_function_that_is_allowed_or_can_be_added(fleet: Fleet) -> None:
    """But the one that tells how many transactions there were, which has the name of a harmless one."""
    admin = fleet.admin(fleet.shared.database)
    await add_extensions(admin)
    await run_sql(admin, "COMMENT ON SCHEMA tiergate IS ''")
    await fleet.provisioner.prepare_cluster(fleet.access, Tier.STANDARD, soon(), shared=fleet.shared)

    names = {
        "built_in": list(ALLOWED_FUNCTIONS | ALLOWED_TYPES),
        "brought": [f"{name}.{each}" for name, listed in extensions().items() for each in listed.functions],
    }
    async with await psycopg.AsyncConnection.connect(admin) as connection:
        closed = await (await connection.execute(CLOSED.encode(), names)).fetchall()

    assert {signature for _, signature in closed} == {"age(xid)"}
