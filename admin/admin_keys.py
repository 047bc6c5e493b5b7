"""Keys of operators: made, listed, revoked; and what is refused to their holders, which is written down."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime
from starlette.requests import Request
from starlette.responses import Response

from admin.acting import Acting
from admin.answers import JsonAnswer
from admin.errors import AdminKeyTaken
from admin.gate import actor_of, read_limited
from admin.shapes import Json, Label, Shape, read_body, to_come
from registry.admin_keys import AdminKey, Role, new_admin_key
from registry.credentials import is_key_id
from registry.errors import UnknownCredential

_CREATED = 201


class NewAdminKey(Shape):
    """`POST /admin-keys`."""

    name: Label
    role: Role
    expires_at: Annotated[AwareDatetime, AfterValidator(to_come)] | None = None


@dataclass(frozen=True, slots=True)
class AdminKeyMade:
    """A new key.

    Attributes:
        text: The key itself; it is nowhere else and cannot be had again.
    """

    known: AdminKey
    text: str = field(repr=False)


class AdminKeyActs(Acting):
    """Acts on operators' keys."""

    async def create_admin_key(
        self, name: str, role: Role, *, expires_at: datetime | None, actor: str
    ) -> AdminKeyMade:
        """Make a key; the audit tells its holder by *name*.

        Raises:
            AdminKeyTaken: A key of that name is not revoked.
        """
        async with self._witnessed(actor, "admin-key.create", name):
            text, key = new_admin_key(name, role, expires_at=expires_at)
            if not await self._store.add_admin_key(key, actor=actor):
                raise AdminKeyTaken(name)
            return AdminKeyMade(key, text)

    async def admin_keys(self) -> list[AdminKey]:
        """All of them, oldest first, those that are no longer valid too."""
        return await self._store.admin_keys()

    async def revoke_admin_key(self, key_id: str, *, actor: str) -> AdminKey:
        """End a key at once. Again is no harm.

        Raises:
            UnknownCredential: There is none of that id.
        """
        async with self._witnessed(actor, "admin-key.revoke", key_id):
            return await self._store.revoke_admin_key(key_id, actor=actor)


class AdminKeyRoutes:
    """Routes of operators' keys."""

    def __init__(self, acts: Callable[[], AdminKeyActs]) -> None:
        self._acts = acts

    async def create(self, request: Request) -> Response:
        """`POST /admin-keys`."""
        asked = read_body(NewAdminKey, await read_limited(request))
        made = await self._acts().create_admin_key(
            asked.name, asked.role, expires_at=asked.expires_at, actor=actor_of(request)
        )
        return JsonAnswer({**_told(made.known), "key": made.text}, _CREATED)

    async def list_keys(self, _request: Request) -> Response:
        """`GET /admin-keys`."""
        return JsonAnswer({"admin_keys": [_told(key) for key in await self._acts().admin_keys()]})

    async def revoke(self, request: Request) -> Response:
        """`DELETE /admin-keys/{id}`."""
        key_id = request.path_params["id"]
        if not is_key_id(key_id):
            raise UnknownCredential(key_id)
        return JsonAnswer(_told(await self._acts().revoke_admin_key(key_id, actor=actor_of(request))))


def _told(key: AdminKey) -> Json:
    state = "revoked" if key.revoked_at else "valid" if key.is_valid(datetime.now(UTC)) else "expired"
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "state": state,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }
