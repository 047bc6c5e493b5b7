"""What every act of an operator has in common: it is written down, done or refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fleet.access import ClusterAccess, access_of
from registry.chain import Head, Verified
from registry.errors import RegistryFailed, RegistryUnavailable
from registry.records import Asked, AuditEntry, Entry
from registry.store import Store
from tiergate.errors import TiergateError


class Acting:
    """The registry, and the audit of what is done through it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def access(self, cluster: str) -> ClusterAccess:
        """The administrator's way into a cluster.

        Raises:
            UnknownCluster: There is none of that name.
        """
        return access_of(await self._store.cluster(cluster))

    async def note(self, actor: str, act: str, subject: str) -> None:
        """Write an act into the audit that changes nothing in the registry."""
        await self._store.record(Entry(actor, act, subject))

    async def note_refused(self, actor: str, act: str, error: TiergateError, tenant: str | None) -> None:
        """Write down what was refused before it began; not while the registry cannot take it."""
        detail = {} if tenant is None else {"tenant": tenant}
        with suppress(RegistryUnavailable, RegistryFailed):
            await self._store.record(Entry(actor, "role.refused", act, error.code, detail))

    async def audit(self, asked: Asked, *, limit: int) -> list[AuditEntry]:
        """The latest acts that are meant, newest first; after *asked.newer* the next ones, oldest first."""
        return await self._store.audit_entries(limit, asked)

    async def verify_audit(self, expected: Head | None) -> Verified:
        """Whether the audit is as it was written, with *expected* in it."""
        return await self._store.verify_audit(expected)

    @asynccontextmanager
    async def _witnessed(self, actor: str, act: str, subject: str) -> AsyncIterator[None]:
        """Note what is refused inside; what succeeds notes itself, in its own transaction."""
        try:
            yield
        except TiergateError as error:
            with suppress(RegistryUnavailable, RegistryFailed):
                await self._store.record(Entry(actor, act, subject, outcome=error.code))
            raise
