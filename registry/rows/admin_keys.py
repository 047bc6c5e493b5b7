"""Operators' keys, as the registry keeps them."""

from sqlalchemy import RowMapping, func, select, update
from sqlalchemy.dialects.postgresql import insert

from registry.admin_keys import AdminKey, Role
from registry.errors import UnknownCredential
from registry.records import Entry
from registry.rows.asking import Asking, row, rows, tell
from registry.tables import ADMIN_KEY


class AdminKeys(Asking):
    """Who may administer."""

    async def admin_key(self, key_id: str) -> AdminKey | None:
        """The key of that id, valid or not; None when there is none."""
        async with self._reading() as connection:
            found = await row(connection, select(ADMIN_KEY).where(ADMIN_KEY.c.id == key_id))
        return _admin_key(found) if found is not None else None

    async def admin_keys(self) -> list[AdminKey]:
        """All of them, oldest first, invalid ones too."""
        wanted = select(ADMIN_KEY).order_by(ADMIN_KEY.c.created_at, ADMIN_KEY.c.id)
        async with self._reading() as connection:
            return [_admin_key(found) for found in await rows(connection, wanted)]

    async def add_admin_key(self, key: AdminKey, *, actor: str) -> bool:
        """Keep a new key; False when one of that name is not revoked."""
        kept = {
            "id": key.id, "name": key.name, "role": key.role, "digest": key.digest,
            "created_at": key.created_at, "expires_at": key.expires_at,
        }  # fmt: skip
        async with self._changing() as connection:
            # No index is named: any that says no means that the name, or by a miracle the id, is taken.
            added = insert(ADMIN_KEY).values(kept).on_conflict_do_nothing().returning(ADMIN_KEY.c.id)
            if await row(connection, added) is None:
                return False
            detail = {"id": key.id, "role": key.role}
            await self._write_down(connection, Entry(actor, "admin-key.create", key.name, detail=detail))
            await tell(connection, credential=key.id)
        return True

    async def revoke_admin_key(self, key_id: str, *, actor: str) -> AdminKey:
        """The key is valid no more, from now on. Again is no harm.

        Raises:
            UnknownCredential: There is none of that id.
        """
        async with self._changing() as connection:
            changed = await row(
                connection,
                update(ADMIN_KEY)
                .where(ADMIN_KEY.c.id == key_id)
                .values(revoked_at=func.coalesce(ADMIN_KEY.c.revoked_at, func.now()))
                .returning(*ADMIN_KEY.c),
            )
            if changed is None:
                raise UnknownCredential(key_id)
            entry = Entry(actor, "admin-key.revoke", changed["name"], detail={"id": key_id})
            await self._write_down(connection, entry)
            await tell(connection, credential=key_id)
        return _admin_key(changed)


def _admin_key(found: RowMapping) -> AdminKey:
    return AdminKey(
        id=found["id"],
        name=found["name"],
        role=Role(found["role"]),
        digest=found["digest"],
        created_at=found["created_at"],
        expires_at=found["expires_at"],
        revoked_at=found["revoked_at"],
    )
