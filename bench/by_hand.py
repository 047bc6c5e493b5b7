"""The same move as one does it by hand: nobody writes while rows are dumped, loaded and counted."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.support.judging import Place
from tests.support.postgres import chosen_binaries, run_sql
from tiergate.embedded import Cluster

TABLES = ("accounts", "entries")
_SCRATCH = "by_hand"
_STUB = """
    CREATE SCHEMA tiergate;
    CREATE FUNCTION tiergate.tenant() RETURNS text LANGUAGE sql AS $$SELECT 'nobody'::text$$;
"""


class Failed(Exception):
    """A program that one would have used did not do it."""


@dataclass(frozen=True, slots=True)
class ByHand:
    """How long nobody could write.

    Attributes:
        how: With which program.
        rows: Counted at both ends.
    """

    how: str
    rows: int
    outage_s: float


async def copy_out_and_in(source: Place, target: Cluster, folder: Path) -> ByHand:
    """A tenant's rows out of shared tables: no program dumps some rows of a table, so COPY it is."""
    database = await _scratch(target)
    structure = await _dump(source, folder, "--section=pre-data", "--no-policies")
    await _load(structure, target, database)
    began_s = time.monotonic()
    rows = 0
    # No override: what was GENERATED ALWAYS is told anew, as in any load by COPY.
    async with (
        await psycopg.AsyncConnection.connect(source.conninfo) as here,
        await psycopg.AsyncConnection.connect(target.conninfo(database)) as there,
    ):
        for table in TABLES:
            name = sql.Identifier(source.schema, table)
            out = sql.SQL("COPY (SELECT * FROM {} WHERE tenant_id = {}) TO STDOUT")
            async with (
                here.cursor().copy(out.format(name, sql.Literal(source.tenant))) as read,
                there.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(name)) as written,
            ):
                async for piece in read:
                    await written.write(piece)
        await there.commit()
        indices = await _dump(source, folder, "--section=post-data", "--no-policies")
        await _load(indices, target, database)
        for table in TABLES:
            rows += await _counted(here, there, source, table)
    return ByHand("COPY", rows, time.monotonic() - began_s)


async def dump_and_restore(source: Place, target: Cluster, folder: Path) -> ByHand:
    """A whole schema, by pg_dump and pg_restore."""
    database = await _scratch(target)
    began_s = time.monotonic()
    whole = await _dump(source, folder, "--no-policies")
    await _load(whole, target, database)
    rows = 0
    async with (
        await psycopg.AsyncConnection.connect(source.conninfo) as here,
        await psycopg.AsyncConnection.connect(target.conninfo(database)) as there,
    ):
        for table in TABLES:
            rows += await _counted(here, there, source, table)
    return ByHand("pg_dump, pg_restore", rows, time.monotonic() - began_s)


async def _counted(
    here: psycopg.AsyncConnection, there: psycopg.AsyncConnection, source: Place, table: str
) -> int:
    count = sql.SQL("SELECT count(*) FROM {} WHERE tenant_id = %s").format(
        sql.Identifier(source.schema, table)
    )
    found = [
        (await (await connection.execute(count, [source.tenant])).fetchall())[0][0]
        for connection in (here, there)
    ]
    if found[0] != found[1]:
        raise Failed(f"{found[1]} rows of {found[0]} in {table}")
    return int(found[0])


async def _scratch(target: Cluster) -> str:
    """A fresh database for it."""
    await run_sql(
        target.conninfo(),
        f"DROP DATABASE IF EXISTS {_SCRATCH} WITH (FORCE)", f"CREATE DATABASE {_SCRATCH}",
    )  # fmt: skip
    await run_sql(target.conninfo(_SCRATCH), _STUB)
    return _SCRATCH


async def _dump(source: Place, folder: Path, *arguments: str) -> Path:
    file = folder / "by-hand.dump"
    only = ["--format=custom", f"--schema={source.schema}", "--no-owner", "--no-acl"]
    await _run("pg_dump", source.conninfo, [*only, f"--file={file}", *arguments])
    return file


async def _load(file: Path, target: Cluster, database: str) -> None:
    await _run(
        "pg_restore", target.conninfo(database), ["--no-owner", "--no-acl", "--exit-on-error", str(file)]
    )


async def _run(program: str, conninfo: str, arguments: Sequence[str]) -> None:
    """Run one of Postgres's programs; the password travels by the environment."""
    part = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    env = os.environ | {"PGPASSWORD": part["password"]}
    where = ["-h", part["host"], "-p", part["port"], "-U", part["user"], "-d", part["dbname"]]
    process = await asyncio.create_subprocess_exec(
        str(chosen_binaries().program(program)), *where, *arguments,
        env=env, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    if process.returncode:
        raise Failed(f"{program}: {said.decode(errors='replace')[-500:]}")
