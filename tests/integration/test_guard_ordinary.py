"""Ordinary application SQL: the server takes it, and so does the guard."""

from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg.pq import ExecStatus

from bench.corpora import Ordinary, ordinary
from tests.support.postgres import open_database, run_sql
from tiergate.embedded import Cluster

TABLES = (
    "CREATE TYPE task_state AS ENUM ('open', 'done')",
    """
    CREATE TABLE projects (
        tenant_id text NOT NULL DEFAULT 'acme',
        id uuid NOT NULL DEFAULT gen_random_uuid(),
        parent_id uuid,
        name text NOT NULL DEFAULT 'unnamed',
        visits integer NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (tenant_id, id),
        UNIQUE (tenant_id, name)
    )""",
    """
    CREATE TABLE tasks (
        tenant_id text NOT NULL DEFAULT 'acme',
        id uuid NOT NULL DEFAULT gen_random_uuid(),
        project_id uuid,
        title text,
        body text,
        state task_state NOT NULL DEFAULT 'open',
        minutes integer,
        price numeric(12, 2),
        labels text[] NOT NULL DEFAULT '{}',
        details jsonb NOT NULL DEFAULT '{}',
        during tstzrange,
        search tsvector,
        due_at timestamptz,
        changed_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (tenant_id, id)
    )""",
)
STATEMENTS = list(ordinary())


@pytest.fixture(scope="module")
async def connection(postgres: Cluster) -> AsyncIterator[psycopg.Connection]:
    async with open_database(postgres) as conninfo:
        await run_sql(conninfo, *TABLES)
        with psycopg.connect(conninfo, autocommit=True) as opened:
            yield opened


@pytest.mark.parametrize("statement", STATEMENTS, ids=range(len(STATEMENTS)))
def test_it_is_sql_that_the_server_takes(connection: psycopg.Connection, statement: Ordinary) -> None:
    if connection.info.server_version < statement.since * 10_000:
        pytest.skip(f"since {statement.since}")

    answer = connection.pgconn.prepare(b"", statement.text.encode())

    assert answer.status == ExecStatus.COMMAND_OK, answer.error_message.decode()
