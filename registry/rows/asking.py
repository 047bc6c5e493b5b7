"""How the registry is asked: within a deadline, in one transaction, with errors of our own."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Protocol

from sqlalchemy import ColumnElement, Executable, RowMapping, event, exc, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from registry.chain import GENESIS, Head, code_of
from registry.errors import RegistryUnavailable
from registry.failures import DRIVER_ERRORS, translated
from registry.records import Entry
from registry.tables import AUDIT, CHANNEL, SCHEMA
from registry.vault import Vault
from tiergate.deadline import Deadline
from tiergate.events import AuditCut, AuditGrew, Emit

_HEAD = text(f"SELECT registry, id, digest, at FROM {SCHEMA}.audit_head()")  # noqa: S608 - a constant
_WRITTEN = "tiergate_written"
"""Among what a connection carries: the entry that its transaction wrote, until it has committed."""


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
        emit: Told of each entry of the audit, once it is committed.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        vault: Vault,
        *,
        timeout_s: float = 2.0,
        emit: Emit = lambda _event: None,
    ) -> None:
        self._vault = vault
        self._emit = emit
        self._head: Head | None = None
        self._writer = engine
        # A read alone is its own transaction: one round trip, not three.
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._timeout_s = timeout_s
        self._doubted_s = 0.0
        event.listen(engine.sync_engine, "connect", self._stamp)
        event.listen(engine.sync_engine, "checkout", self._refuse_dead)

    async def record(self, entry: Entry) -> int:
        """Write down an act that changed nothing here; the entry's number."""
        async with self._changing() as connection:
            return await self._write_down(connection, entry)

    async def audit_head(self) -> Head | None:
        """The audit's newest entry, which is remembered from now on; None when there is none."""
        newest = select(AUDIT.c.id, AUDIT.c.digest).order_by(AUDIT.c.id.desc()).limit(1)
        async with self._reading() as connection:
            found = await row(connection, newest)
        if found is not None:
            self._remember(Head(found["id"], found["digest"]), act=None)
        return self._head

    def _reading(self, deadline: Deadline | None = None) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for one statement that changes nothing.

        Raises:
            RegistryUnavailable: No answer in time, or no connection.
            RegistryFailed: The registry refused the statement.
        """
        return self._bounded(self._reader.connect(), deadline)

    @asynccontextmanager
    async def _changing(self, deadline: Deadline | None = None) -> AsyncIterator[AsyncConnection]:
        """A transaction; committed at the end, rolled back by any error.

        Raises:
            RegistryUnavailable: No answer in time, or no connection. Whether the change was made is then
                not known; every change here may be asked for again.
            RegistryFailed: The registry refused a statement.
        """
        async with self._bounded(self._writer.begin(), deadline) as connection:
            kept = connection.info
            kept.pop(_WRITTEN, None)  # of a transaction that did not come to its end
            yield connection
        if (written := kept.pop(_WRITTEN, None)) is not None:
            self._remember(*written)

    async def _write_down(self, connection: AsyncConnection, entry: Entry) -> int:
        """Write *entry* into the audit, in the transaction of the change it tells of; its number.

        Once in each transaction. Takes the lock under which the chain grows, and holds it until the
        commit: the change's own locks come before, and nothing that could wait comes after.
        """
        found = (await connection.execute(_HEAD)).one()
        newest = Head(found.id or 0, found.digest or GENESIS)
        if (known := self._head) is not None and (
            newest.id < known.id or (newest.id == known.id and newest.digest != known.digest)
        ):
            self._emit(AuditCut(str(known), str(newest)))
        number = newest.id + 1
        digest = code_of(self._vault.audit_key(found.registry), number, found.at, entry, newest.digest)
        await connection.execute(
            insert(AUDIT).values(
                id=number,
                at=datetime.fromisoformat(found.at),
                actor=entry.actor,
                act=entry.act,
                subject=entry.subject,
                outcome=entry.outcome,
                detail=entry.detail,
                previous=newest.digest,
                digest=digest,
            )
        )
        connection.info[_WRITTEN] = (Head(number, digest), entry.act)
        return number

    def _remember(self, head: Head, act: str | None) -> None:
        """Tell of the newest entry, and keep it for `verify_audit`."""
        if self._head is None or head.id > self._head.id:
            self._head = head
            self._emit(AuditGrew(head.id, str(head), act))

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


async def tell(connection: AsyncConnection, **change: object) -> None:
    """Tell every gateway of *change*, once the transaction has committed; never when it has not."""
    await connection.execute(select(told(**change)))


def told(**change: object) -> ColumnElement[None]:
    """`tell` as a part of another statement."""
    return func.pg_notify(CHANNEL, json.dumps(change))
