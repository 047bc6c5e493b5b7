"""What a route of the admin API promises.

There is one value for each route. The routes are built from them, roles are held by them, and the document at
`/openapi.json` is made of them. A route that does not say who may pass cannot be made.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from admin.errors import BodyInvalid, BodyTooLarge, BodyTooSlow, NoSuchRoute, NotAdmitted, RoleMissing
from admin.gate import bearer_of
from admin.shapes import Shape
from registry.admin_keys import Role
from registry.errors import RegistryUnavailable
from tiergate.errors import TiergateError

Does: TypeAlias = Callable[[Request], Awaitable[Response]]

LINES = "application/x-ndjson"


class Entry(StrEnum):
    """Who else may pass."""

    OPEN = "open"
    """Everybody who reaches the port."""
    APART = "apart"
    """Who shows the key across tenants."""


@dataclass(frozen=True, slots=True)
class Act:
    """One route.

    Attributes:
        path: With names in braces, each of which is one part of it.
        needs: Who may pass.
        does: Answers it.
        says: What it does, in one line.
        tells: Shape of the good answer; a text when that is no JSON: its media type.
        status: Of the good answer.
        also: Other good answers, by status.
        takes: Shape of the body; None when it is not read.
        asks: Shape of the query; None when there is none.
        refuses: The errors that may come of it; those of its key, body, query and path are added.
        example: A body.
        is_door: Whether the errors of `/sql` come through, too.
        commands: What of `tiergate` asks it.
    """

    method: str
    path: str
    needs: Role | Entry
    does: Does
    says: str
    tells: type[BaseModel] | str
    status: int = 200
    also: Mapping[int, type[BaseModel]] = field(default_factory=dict)
    takes: type[Shape] | None = None
    asks: type[Shape] | None = None
    refuses: tuple[type[TiergateError], ...] = ()
    example: Mapping[str, object] | None = None
    is_door: bool = False
    commands: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Unique among all, as the reference writes it."""
        return f"{self.method} {self.path}"

    @property
    def errors(self) -> frozenset[type[TiergateError]]:
        """Every error that may come."""
        found = set(self.refuses)
        if self.needs is not Entry.OPEN:
            found |= {NotAdmitted, RegistryUnavailable}  # a key that is not in memory is looked up
        if isinstance(self.needs, Role) and self.needs is not Role.VIEWER:
            found.add(RoleMissing)
        if self.takes is not None:
            found |= {BodyInvalid, BodyTooLarge, BodyTooSlow}
        if self.asks is not None:
            found.add(BodyInvalid)
        if "{" in self.path:
            found.add(NoSuchRoute)
        return frozenset(found)


Note: TypeAlias = Callable[[Request, Act, RoleMissing], Awaitable[None]]
"""Writes down that a bearer was refused."""


def guarded(act: Act, note: Note) -> Does:
    """What *act* does, for those who may: the only way from a route to its work."""
    if isinstance(act.needs, Entry):
        return act.does
    needed = act.needs

    async def does(request: Request) -> Response:
        bearer = bearer_of(request)
        if bearer is None:
            raise NotAdmitted
        if not bearer.role.covers(needed):
            error = RoleMissing(bearer.name or "admin", bearer.role, needed)
            await note(request, act, error)
            raise error
        return await act.does(request)

    return does
