"""What an operator may do with API keys."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from admin.acting import Acting
from registry.credentials import KnownCredential, Scope, new_key
from registry.errors import UnknownCredential
from tiergate.tenant import TenantId


@dataclass(frozen=True, slots=True)
class KeyMade:
    """A new key.

    Attributes:
        text: The key itself; it is nowhere else and cannot be had again.
    """

    known: KnownCredential
    text: str = field(repr=False)


class Keys(Acting):
    """Acts on keys."""

    async def create_key(
        self,
        tenant: TenantId,
        scopes: Collection[Scope],
        *,
        note: str,
        expires_at: datetime | None,
        actor: str,
        replaces: str | None = None,
        overlap_s: int = 0,
    ) -> KeyMade:
        """Make a key; the one that it replaces ends *overlap_s* seconds from now, or when it would have.

        Raises:
            UnknownTenant: There is none of that name.
            UnknownCredential: The tenant has no valid key of the id *replaces*.
        """
        async with self._witnessed(actor, "key.create", tenant):
            old = await self._valid_key(tenant, replaces) if replaces is not None else None
            text, credential = new_key(tenant, scopes, expires_at=expires_at)
            await self._store.add_credential(credential, actor=actor, note=note)
            if old is not None:
                ends_at = datetime.now(UTC) + timedelta(seconds=overlap_s)
                if (planned := old.credential.expires_at) is None or ends_at < planned:
                    await self._store.expire_credential(old.credential.id, ends_at, actor=actor)
            return KeyMade(await self._key(tenant, credential.id), text)

    async def keys(self, tenant: TenantId) -> list[KnownCredential]:
        """The tenant's keys, oldest first, those that are no longer valid too.

        Raises:
            UnknownTenant: There is none of that name.
        """
        await self._store.tenant(tenant)
        return await self._store.credentials(tenant)

    async def revoke_key(self, key_id: str, *, actor: str) -> None:
        """End a key at once. Again is no harm.

        Raises:
            UnknownCredential: There is none of that id.
        """
        async with self._witnessed(actor, "key.revoke", key_id):
            await self._store.revoke_credential(key_id, actor=actor)

    async def _valid_key(self, tenant: TenantId, key_id: str) -> KnownCredential:
        known = await self._key(tenant, key_id)
        if not known.credential.is_valid(datetime.now(UTC)):
            raise UnknownCredential(key_id)
        return known

    async def _key(self, tenant: TenantId, key_id: str) -> KnownCredential:
        for known in await self._store.credentials(tenant):
            if known.credential.id == key_id:
                return known
        raise UnknownCredential(key_id)
