"""The registry's tables come to be, once, however many gateways start."""

import asyncio

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from registry.errors import RegistryFailed, RegistryTooNew, RegistryUnavailable
from registry.link import new_engine
from registry.migrations import migrate, scripts
from registry.tables import METADATA, SCHEMA
from registry.vault import Vault
from tests.support.postgres import run_sql, url_of
from tiergate.embedded import Cluster

VAULT = Vault("a master key of the tests")


async def test_an_empty_database_gets_every_revision_in_order(database: str) -> None:
    applied = await migrate(url_of(database), VAULT)

    known = [script.revision for script in scripts().walk_revisions()]
    assert applied == known[::-1]
    assert applied[0] == "0001"


async def test_a_second_start_finds_nothing_to_do(database: str) -> None:
    await migrate(url_of(database), VAULT)

    assert await migrate(url_of(database), VAULT) == []


async def test_several_gateways_may_start_at_once(database: str) -> None:
    async with asyncio.TaskGroup() as tasks:
        starts = [tasks.create_task(migrate(url_of(database), VAULT)) for _ in range(5)]

    assert sorted(len(start.result()) for start in starts) == [
        0,
        0,
        0,
        0,
        len(list(scripts().walk_revisions())),
    ]


async def test_the_migrated_tables_are_those_that_the_code_means(database: str) -> None:
    await migrate(url_of(database), VAULT)

    def differences(connection: Connection) -> object:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda name, kind, _parents: kind != "schema" or name == SCHEMA,
                "version_table": "revision",
                "version_table_schema": SCHEMA,
                "compare_server_default": True,
            },
        )
        return compare_metadata(context, METADATA)

    engine = new_engine(url_of(database), pool_size=1, timeout_s=10)
    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()

    assert found == []


async def test_names_of_constraints_are_those_that_the_code_means(database: str) -> None:
    await migrate(url_of(database), VAULT)

    rows = await run_sql(
        database,
        f"SELECT conname FROM pg_constraint WHERE connamespace = '{SCHEMA}'::regnamespace AND contype <> 'n'",
    )
    engine = new_engine(url_of(database), pool_size=1, timeout_s=10)
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f"DROP SCHEMA {SCHEMA} CASCADE")
        await connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")
        await connection.run_sync(METADATA.create_all)
    await engine.dispose()
    meant = await run_sql(
        database,
        f"SELECT conname FROM pg_constraint WHERE connamespace = '{SCHEMA}'::regnamespace AND contype <> 'n'",
    )

    assert {row[0] for row in rows} - {"revision_pkc"} == {row[0] for row in meant}


async def test_tables_of_a_later_tiergate_are_refused_and_left_alone(database: str) -> None:
    await migrate(url_of(database), VAULT)
    await run_sql(database, f"UPDATE {SCHEMA}.revision SET version_num = '9999'")

    with pytest.raises(RegistryTooNew, match="9999"):
        await migrate(url_of(database), VAULT)

    assert await run_sql(database, f"SELECT version_num FROM {SCHEMA}.revision") == [("9999",)]


async def test_who_waits_too_long_for_another_migration_says_so(database: str) -> None:
    holder = await asyncpg.connect(url_of(database))
    await holder.execute("SELECT pg_advisory_lock($1)", 0x7469_6572_6761_7465)

    with pytest.raises(RegistryUnavailable):
        await migrate(url_of(database), VAULT, timeout_s=0.2)

    await holder.close()
    assert await migrate(url_of(database), VAULT) != []


async def test_a_role_that_may_not_create_the_schema_is_told(database: str, postgres: Cluster) -> None:
    await run_sql(postgres.conninfo(), "CREATE ROLE registry_reader LOGIN PASSWORD 'abc'")
    host, _, tail = url_of(database).rpartition("@")

    with pytest.raises(RegistryFailed, match="permission denied"):
        await migrate(f"{host.split('//')[0]}//registry_reader:abc@{tail}", VAULT)

    await run_sql(postgres.conninfo(), "DROP ROLE registry_reader")
