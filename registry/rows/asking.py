"""How the registry is asked: within a deadline, in one transaction, with errors of our own."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from sqlalchemy import Executable, RowMapping, event, exc, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from registry.errors import RegistryUnavailable
from registry.failures import DRIVER_ERRORS, translated
from registry.records import AuditEntry, Entry
from registry.tables import AUDIT, CHANNEL
from registry.vault import Vault
from tiergate.deadline import Deadline


class _Dialled(Protocol):
    """SQLAlchemy's record of a connection in its pool."""

    info: dict[str, float]


class _Driver(Protocol):
    def is_closed(self) -> bool: ...


class _Adapted(Protocol):
    """SQLAlchemy's wrapping of a driver's connection."""

    driver_connection: _Driver


class Asking:
    """An engine, the rules for using it, and the audit that every change leaves.

    Args:
        timeout_s: For what is asked without a deadline; no deadline makes it longer.
    """

    def __init__(self, engine: AsyncEngine, vault: Vault, *, timeout_s: float = 2.0) -> None:
        self._vault = vault
        self._writer = engine
        # A read alone is its own transaction: one round trip, not three.
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._timeout_s = timeout_s
        self._doubted_s = 0.0
        event.listen(engine.sync_engine, "connect", self._stamp)
        event.listen(engine.sync_engine, "checkout", self._refuse_dead)

    async def record(self, entry: Entry) -> None:
        """Write down an act that changed nothing here."""
        async with self._changing() as connection:
            await write_down(connection, entry)

    async def audit_entries(self, limit: int = 100, before: int | None = None) -> list[AuditEntry]:
        """The latest acts, newest first; those written before entry *before*, when it is given."""
        statement = select(AUDIT).order_by(AUDIT.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(AUDIT.c.id < before)
        async with self._reading() as connection:
            return [_audited(row) for row in await rows(connection, statement)]

    def _reading(self, deadline: Deadline | None = None) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for one statement that changes nothing.

        Raises:
            RegistryUnavailable: No answer in time, or no connection.
            RegistryFailed: The registry refused the statement.
        """
        return self._bounded(self._reader.connect(), deadline)

    def _changing(self, deadline: Deadline | None = None) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction; committed at the end, rolled back by any error.

        Raises:
            RegistryUnavailable: No answer in time, or no connection. Whether the change was made is then
                not known; every change here may be asked for again.
            RegistryFailed: The registry refused a statement.
        """
        return self._bounded(self._writer.begin(), deadline)

    @asynccontextmanager
    async def _bounded(
        self, opening: AbstractAsyncContextManager[AsyncConnection], deadline: Deadline | None
    ) -> AsyncIterator[AsyncConnection]:
        within_s = self._timeout_s if deadline is None else min(self._timeout_s, deadline.left_s())
        is_connected = False
        try:
            async with asyncio.timeout(within_s), opening as connection:
                is_connected = True
                yield connection
        except TimeoutError as error:
            if is_connected and within_s == self._timeout_s:
                # The server's own limit is shorter, and would have come first had it heard us: take
                # the network for broken, and every connection dialled before now for dead.
                self._doubted_s = time.monotonic()
            raise RegistryUnavailable(f"nothing came within {within_s:.2f} s") from error
        except DRIVER_ERRORS as error:
            raise translated(error) from error

    @staticmethod
    def _stamp(_connection: _Adapted, dialled: _Dialled) -> None:
        dialled.info["dialled_s"] = time.monotonic()

    def _refuse_dead(self, connection: _Adapted, dialled: _Dialled, _proxy: object) -> None:
        # asyncpg knows when the server hung up, so no ping is needed to find out.
        if connection.driver_connection.is_closed() or dialled.info["dialled_s"] < self._doubted_s:
            raise exc.DisconnectionError


async def row(connection: AsyncConnection, statement: Executable) -> RowMapping | None:
    """The one row of the answer, or None."""
    return (await connection.execute(statement)).mappings().one_or_none()


async def rows(connection: AsyncConnection, statement: Executable) -> Sequence[RowMapping]:
    """All rows of the answer."""
    return (await connection.execute(statement)).mappings().all()


async def tell(connection: AsyncConnection, **change: str | bool) -> None:
    """Tell every gateway of *change*, once the transaction has committed; never when it has not."""
    await connection.execute(select(func.pg_notify(CHANNEL, json.dumps(change))))


async def write_down(connection: AsyncConnection, entry: Entry) -> None:
    """Write *entry* into the audit, in the transaction of the change it tells of."""
    await connection.execute(
        insert(AUDIT).values(
            actor=entry.actor,
            act=entry.act,
            subject=entry.subject,
            outcome=entry.outcome,
            detail=entry.detail,
        )
    )


def _audited(row: RowMapping) -> AuditEntry:
    entry = Entry(row["actor"], row["act"], row["subject"], row["outcome"], row["detail"])
    return AuditEntry(row["id"], row["at"], entry)
