"""Holds a table of the example application locked, so that requests run for as long as a test wants."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg

from tests.support.postgres import ThreeClusters

HELD = "SELECT count(*) AS n FROM tasks"
"""Waits while `held` holds the table; for as long as `lock_timeout` lets it, 5 s unless `wait_long`."""
LONG_S = 60

Admin = psycopg.AsyncConnection[tuple[object, ...]]


@dataclass(slots=True)
class Held:
    """A table that no request gets at, until it is let go."""

    _holder: Admin
    _observer: Admin

    async def waiting(self) -> int:
        """How many connections of the gateway stand before it."""
        return await self._count("AND wait_event_type = 'Lock'")

    async def connections(self) -> int:
        """How many connections the gateway has."""
        return await self._count("")

    async def _count(self, condition: str) -> int:
        query = f"SELECT count(*) FROM pg_stat_activity WHERE usename = 'tiergate_gate' {condition}"
        found = await (await self._observer.execute(query.encode())).fetchone()
        assert found is not None
        return int(str(found[0]))

    async def let_go(self) -> None:
        """Let every request through."""
        await self._holder.rollback()


async def wait_long(conninfo: str) -> None:
    """Let `HELD` wait for LONG_S on every connection that the gateway opens from now on."""
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await connection.execute(f"ALTER ROLE tiergate_gate SET lock_timeout = '{LONG_S}s'".encode())


@asynccontextmanager
async def held(clusters: ThreeClusters, mode: str = "ACCESS EXCLUSIVE") -> AsyncIterator[Held]:
    """The table that `HELD` reads on the standard tier, locked; a weaker *mode* may let readers through."""
    conninfo = clusters.standard.conninfo()
    async with (
        await psycopg.AsyncConnection.connect(conninfo) as holder,
        await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as observer,
    ):
        await holder.execute(f"LOCK TABLE app.tasks IN {mode} MODE".encode())
        yield Held(holder, observer)
