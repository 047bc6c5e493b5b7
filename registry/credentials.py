"""API keys: what they look like, and whether one that is shown is valid.

A key is `tg_`, 12 characters of id, `_`, and 43 characters of secret. The
registry keeps the id in the clear and a digest of the whole text, so who
reads the registry can use none. One round of SHA-256 is enough for a secret
of 256 random bits: there is nothing to guess that stretching would slow down.
"""

import asyncio
import re
import secrets
from base64 import b32encode
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest
from typing import Protocol

from registry.cache import Cache
from registry.errors import RegistryUnavailable, UnknownKey
from registry.limits import Limits
from tiergate.deadline import Deadline
from tiergate.events import Emit, LoopFailed
from tiergate.tenant import TenantId

_KEY = re.compile(r"tg_([a-z2-7]{12})_[A-Za-z0-9_-]{43}")
_ID = slice(3, 15)
_TOUCH_EVERY_S = 60.0
_TOUCHES_PER_HOUR_S = 3600.0


class Scope(StrEnum):
    """What a key allows."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Credential:
    """What must be known of an API key to believe it.

    Attributes:
        tenant: Whose key it is; None for one that serves any tenant, as the request names it.
        digest: SHA-256 of the whole key text.
    """

    id: str
    tenant: TenantId | None
    digest: bytes = field(repr=False)
    scopes: frozenset[Scope]
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, at: datetime) -> bool:
        """Whether the key may be used at that moment."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


@dataclass(frozen=True, slots=True)
class KnownCredential:
    """A key as operators see it.

    Attributes:
        last_used_at: To the hour, roughly; None when never.
    """

    credential: Credential
    note: str
    created_at: datetime
    last_used_at: datetime | None


def new_key(
    tenant: TenantId | None, scopes: Collection[Scope], *, expires_at: datetime | None = None
) -> tuple[str, Credential]:
    """A new key: the text, to be shown once, and what the registry keeps of it."""
    key_id = new_id()
    text = f"tg_{key_id}_{new_secret()}"
    return text, Credential(key_id, tenant, digest_of(text), frozenset(scopes), expires_at, None)


def new_id() -> str:
    """12 characters that no other key's id is."""
    return b32encode(secrets.token_bytes(8)).decode().lower()[:12]


def new_secret() -> str:
    """43 characters that nobody can guess."""
    return secrets.token_urlsafe(32)


def key_id(text: str) -> str | None:
    """The id in a key's text, or None when it is no possible key."""
    found = _KEY.fullmatch(text)
    return found[1] if found else None


def is_key_id(text: str) -> bool:
    """Whether *text* can be a key's id."""
    return re.fullmatch(r"[a-z2-7]{12}", text) is not None


def digest_of(text: str) -> bytes:
    """What is kept of a key's text."""
    return sha256(text.encode()).digest()


class Ledger(Protocol):
    """What `Keys` needs of the registry."""

    async def credential(self, key_id: str) -> Credential | None:
        """The credential of that id."""

    async def touch_credentials(self, key_ids: Collection[str]) -> None:
        """Note that those keys are in use."""


class Keys:
    """Whether a key is valid, from memory where possible.

    Args:
        cache: Of credentials by id.
        now: The time of day; expiry is told in it.
    """

    def __init__(
        self,
        cache: Cache[str, Credential],
        ledger: Ledger,
        *,
        emit: Emit,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.cache = cache
        self._ledger = ledger
        self._emit = emit
        self._now = now
        self._used: set[str] = set()
        self._touched: set[str] = set()
        self._touched_since: datetime = now()

    def check_now(self, text: str) -> Credential | None:
        """The credential of a valid key, when memory has it; never waits, about 1 µs.

        None says nothing about the key: ask `check`.
        """
        credential = self.cache.peek(text[_ID])
        return credential if credential is not None and self._believes(credential, text) else None

    async def check(self, text: str, deadline: Deadline) -> Credential:
        """The credential of a valid key.

        Raises:
            UnknownKey: It is not valid.
            RegistryUnavailable: That cannot be told now.
        """
        shown = key_id(text)
        if shown is None:
            raise UnknownKey
        credential = await self.cache.get(shown, deadline)
        if credential is None or not self._believes(credential, text):
            raise UnknownKey
        return credential

    def forget(self, shown: str) -> None:
        """The key of this id was changed or revoked."""
        self.cache.invalidate(shown)

    def doubt(self) -> None:
        """Changes may have been missed: believe nothing without asking."""
        self.cache.doubt()

    async def run_once(self) -> int:
        """Note in the registry which keys are in use; a key at most once an hour.

        Returns:
            How many keys were noted.

        Raises:
            RegistryUnavailable: Nothing was noted; they are kept for the next time.
        """
        now = self._now()
        if (now - self._touched_since).total_seconds() >= _TOUCHES_PER_HOUR_S:
            self._touched.clear()
            self._touched_since = now
        used, self._used = self._used, set()
        fresh = used - self._touched
        if not fresh:
            return 0
        try:
            await self._ledger.touch_credentials(fresh)
        except RegistryUnavailable:
            self._used |= fresh
            raise
        self._touched |= fresh
        return len(fresh)

    async def run(self) -> None:
        """Note which keys are in use, every minute, for ever."""
        while True:
            await asyncio.sleep(_TOUCH_EVERY_S)
            try:
                with suppress(RegistryUnavailable):  # told where it was lost
                    await self.run_once()
            except Exception as error:  # noqa: BLE001 - a note that is missed harms nobody
                self._emit(LoopFailed(loop="keys in use", error=str(error)))

    def _believes(self, credential: Credential, text: str) -> bool:
        if not text.isascii() or not compare_digest(digest_of(text), credential.digest):
            return False
        # Asking the time of day costs as much as half a digest; most keys never expire.
        is_bounded = credential.expires_at is not None or credential.revoked_at is not None
        if is_bounded and not credential.is_valid(self._now()):
            return False
        self._used.add(credential.id)
        return True


@asynccontextmanager
async def open_keys(ledger: Ledger, limits: Limits, *, emit: Emit) -> AsyncIterator[Keys]:
    """Keys over a cache of their own, which loads from *ledger*."""
    async with Cache("credential", ledger.credential, limits, emit=emit) as cache:
        yield Keys(cache, ledger, emit=emit)
