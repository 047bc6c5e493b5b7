"""Keys of operators: what they look like, what their holders may do, and whether one that is shown is valid.

A key is `tga_`, 12 characters of id, `_`, and 43 characters of secret; kept like the keys of tenants
(registry/credentials.py): the id in the clear, of the whole text a digest. The key of the settings is not
here: it must work while the registry does not.
"""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hmac import compare_digest
from typing import Protocol

from registry.cache import Cache
from registry.credentials import digest_of, new_id, new_secret
from registry.limits import Limits
from tiergate.deadline import Deadline

_KEY = re.compile(r"tga_([a-z2-7]{12})_[A-Za-z0-9_-]{43}", re.ASCII)


class Role(StrEnum):
    """What an operator may do; each may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    OWNER = "owner"

    def covers(self, needed: "Role") -> bool:
        """Whether who has this role may do what *needed* may."""
        order = tuple(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class AdminKey:
    """An operator's key.

    Attributes:
        name: Who acts, in the audit; of all keys that are not revoked one alone has it.
        digest: SHA-256 of the whole key text.
    """

    id: str
    name: str
    role: Role
    digest: bytes = field(repr=False)
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None = None

    def is_valid(self, at: datetime) -> bool:
        """Whether the key may be used at that moment."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


def new_admin_key(name: str, role: Role, *, expires_at: datetime | None) -> tuple[str, AdminKey]:
    """A new key: the text, to be shown once, and what the registry keeps of it."""
    key_id = new_id()
    text = f"tga_{key_id}_{new_secret()}"
    return text, AdminKey(key_id, name, role, digest_of(text), datetime.now(UTC), expires_at)


class Ledger(Protocol):
    """What `AdminKeys` needs of the registry."""

    async def admin_key(self, key_id: str) -> AdminKey | None:
        """The key of that id, valid or not."""


class AdminKeys:
    """Whether an operator's key is valid, from memory where possible.

    Args:
        cache: Of keys by id.
        now: The time of day; expiry is told in it.
    """

    def __init__(
        self, cache: Cache[str, AdminKey], *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._cache = cache
        self._now = now

    async def check(self, text: str, deadline: Deadline) -> AdminKey | None:
        """The key of that text; None when it is not valid.

        Raises:
            RegistryUnavailable: That cannot be told now.
        """
        shown = _KEY.fullmatch(text)
        if shown is None:
            return None
        key = await self._cache.get(shown[1], deadline)
        if key is None or not compare_digest(digest_of(text), key.digest):
            return None
        return key if key.is_valid(self._now()) else None

    def forget(self, shown: str) -> None:
        """The key of this id was made or revoked."""
        self._cache.invalidate(shown)

    def doubt(self) -> None:
        """Changes may have been missed: believe nothing without asking."""
        self._cache.doubt()


class Forgetful(Protocol):
    """What forgets keys."""

    def forget(self, shown: str) -> None:
        """The key of this id has changed."""

    def doubt(self) -> None:
        """Any may have changed."""


class Both:
    """Keys of tenants and of operators, as the feed tells them of changes: ids are drawn from one space."""

    def __init__(self, *kinds: Forgetful) -> None:
        self._kinds = kinds

    def forget(self, shown: str) -> None:
        """The key of this id has changed, of whichever kind it is."""
        for kind in self._kinds:
            kind.forget(shown)

    def doubt(self) -> None:
        """Any may have changed."""
        for kind in self._kinds:
            kind.doubt()


@asynccontextmanager
async def open_admin_keys(ledger: Ledger, limits: Limits) -> AsyncIterator[AdminKeys]:
    """Keys over a cache of their own, which loads from *ledger*."""
    async with Cache("admin key", ledger.admin_key, limits, emit=lambda _event: None) as cache:
        yield AdminKeys(cache)
