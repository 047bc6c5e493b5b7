"""What every act of an operator has in common: it is written down, done or refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from registry.errors import RegistryFailed, RegistryUnavailable
from registry.records import AuditEntry, Entry
from registry.store import Store
from tiergate.errors import TiergateError


class Acting:
    """The registry, and the audit of what is done through it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def note(self, actor: str, act: str, subject: str) -> None:
        """Write an act into the audit that changes nothing in the registry."""
        await self._store.record(Entry(actor, act, subject))

    async def audit(self, *, limit: int, before: int | None = None) -> list[AuditEntry]:
        """The latest acts, newest first; those before entry *before*, when it is given."""
        return await self._store.audit_entries(limit, before)

    @asynccontextmanager
    async def _witnessed(self, actor: str, act: str, subject: str) -> AsyncIterator[None]:
        """Note what is refused inside; what succeeds notes itself, in its own transaction."""
        try:
            yield
        except TiergateError as error:
            with suppress(RegistryUnavailable, RegistryFailed):
                await self._store.record(Entry(actor, act, subject, outcome=error.code))
            raise
