"""API keys, as the registry keeps them."""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import RowMapping, bindparam, func, insert, or_, select, update

from registry.credentials import Credential, KnownCredential, Scope
from registry.errors import UnknownCredential, UnknownTenant
from registry.records import Entry
from registry.rows.asking import Asking, row, rows, tell
from registry.tables import CREDENTIAL, TENANT
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId

_COARSE = timedelta(hours=1)
# Built once, as `_ROUTE` of the tenants.
_OF_ID = select(CREDENTIAL).where(CREDENTIAL.c.id == bindparam("id"))


class Credentials(Asking):
    """Who may call."""

    async def credential(self, key_id: str, deadline: Deadline | None = None) -> Credential | None:
        """The credential of that id, valid or not; None when there is none."""
        async with self._reading(deadline) as connection:
            found = (await connection.execute(_OF_ID, {"id": key_id})).mappings().one_or_none()
        return _credential(found) if found is not None else None

    async def credentials(self, tenant: TenantId | None) -> list[KnownCredential]:
        """The tenant's keys, oldest first, invalid ones too; for None, those of no tenant."""
        statement = (
            select(CREDENTIAL)
            .where(CREDENTIAL.c.tenant.is_not_distinct_from(tenant))
            .order_by(CREDENTIAL.c.created_at, CREDENTIAL.c.id)
        )
        async with self._reading() as connection:
            return [_known(found) for found in await rows(connection, statement)]

    async def add_credential(self, credential: Credential, *, actor: str, note: str = "") -> None:
        """Keep a new key's credential; a tenant may have several valid ones, for rotation.

        Raises:
            UnknownTenant: There is no such tenant.
        """
        async with self._changing() as connection:
            if credential.tenant is not None:
                owner = select(TENANT.c.name).where(TENANT.c.name == credential.tenant)
                if await row(connection, owner.with_for_update(key_share=True)) is None:
                    raise UnknownTenant(credential.tenant)
            await connection.execute(
                insert(CREDENTIAL).values(
                    id=credential.id,
                    tenant=credential.tenant,
                    digest=credential.digest,
                    scopes=sorted(credential.scopes),
                    note=note,
                    expires_at=credential.expires_at,
                )
            )
            detail = {"tenant": credential.tenant, "scopes": sorted(credential.scopes)}
            await self._write_down(connection, Entry(actor, "key.create", credential.id, detail=detail))
            await tell(connection, credential=credential.id)

    async def expire_credential(self, key_id: str, at: datetime, *, actor: str) -> None:
        """The key is valid until *at*, and no longer; how an old key ends when a new one took its place.

        Raises:
            UnknownCredential: There is none of that id, or it is revoked.
        """
        async with self._changing() as connection:
            changed = await row(
                connection,
                update(CREDENTIAL)
                .where(CREDENTIAL.c.id == key_id, CREDENTIAL.c.revoked_at.is_(None))
                .values(expires_at=at)
                .returning(CREDENTIAL.c.tenant),
            )
            if changed is None:
                raise UnknownCredential(key_id)
            detail = {"tenant": changed["tenant"], "at": at.isoformat()}
            await self._write_down(connection, Entry(actor, "key.expire", key_id, detail=detail))
            await tell(connection, credential=key_id)

    async def revoke_credential(self, key_id: str, *, actor: str) -> None:
        """The key is valid no more, from now on. Again is no harm.

        Raises:
            UnknownCredential: There is none of that id.
        """
        async with self._changing() as connection:
            changed = await row(
                connection,
                update(CREDENTIAL)
                .where(CREDENTIAL.c.id == key_id)
                .values(revoked_at=func.coalesce(CREDENTIAL.c.revoked_at, func.now()))
                .returning(CREDENTIAL.c.tenant),
            )
            if changed is None:
                raise UnknownCredential(key_id)
            await self._write_down(
                connection, Entry(actor, "key.revoke", key_id, detail={"tenant": changed["tenant"]})
            )
            await tell(connection, credential=key_id)

    async def touch_credentials(self, key_ids: Collection[str]) -> None:
        """Note that those keys are in use now; nothing is written where that was noted within the hour."""
        stale = or_(
            CREDENTIAL.c.last_used_at.is_(None),
            CREDENTIAL.c.last_used_at < func.now() - _COARSE,
        )
        async with self._changing() as connection:
            await connection.execute(
                update(CREDENTIAL)
                .where(CREDENTIAL.c.id.in_(sorted(key_ids)), stale)
                .values(last_used_at=func.now())
            )


def _credential(found: RowMapping) -> Credential:
    return Credential(
        id=found["id"],
        tenant=TenantId(found["tenant"]) if found["tenant"] is not None else None,
        digest=found["digest"],
        scopes=frozenset(Scope(scope) for scope in found["scopes"]),
        expires_at=found["expires_at"],
        revoked_at=found["revoked_at"],
    )


def _known(found: RowMapping) -> KnownCredential:
    return KnownCredential(_credential(found), found["note"], found["created_at"], found["last_used_at"])
