"""An issuer's public keys (JWKS), from a file or a URL, kept while they cannot be read anew."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWTError

from router.errors import KeySetUnavailable
from tiergate.deadline import Deadline

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey
Read = Callable[[], Awaitable[bytes]]
"""Reads a key set's JSON text.

Raises:
    OSError, httpx.HTTPError, ValueError: It cannot be had.
"""

READ_TIMEOUT_S = 5.0
MIN_INTERVAL_S = 10.0
"""Between two readings, however many tokens name unknown keys and however often reading fails."""

_MAX_BYTES = 1 << 20
_MAX_TRIED = 16
_MIN_RSA_BITS = 2048
_PUBLIC_MEMBERS = frozenset({"kty", "crv", "x", "y", "n", "e"})

# A key serves the algorithms of its type (and curve) alone. Shared secrets ("oct") are not
# among them: a key set is public.
_TYPE_OF_ALGORITHM = {
    "RS256": ("RSA", None), "RS384": ("RSA", None), "RS512": ("RSA", None),
    "PS256": ("RSA", None), "PS384": ("RSA", None), "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Key:
    """One public key.

    Attributes:
        algorithm: The only one it may verify, where the set says so.
    """

    kid: str | None
    kty: str
    crv: str | None
    algorithm: str | None
    public: PublicKey = field(repr=False)

    def fits(self, algorithm: str) -> bool:
        """Whether the key may verify signatures by *algorithm*."""
        kty, crv = _TYPE_OF_ALGORITHM[algorithm]
        return (
            self.kty == kty
            and (crv is None or self.crv == crv)
            and (self.algorithm is None or self.algorithm == algorithm)
        )


def read_keys(text: bytes) -> tuple[Key, ...]:
    """The keys in a key set that can verify signatures; others are left out.

    Raises:
        ValueError: It is no key set, or there is no usable key in it.

    Source:
        RFC 7517, section 5 (unknown and unusable keys are ignored).
    """
    document = orjson.loads(text)
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list):
        raise ValueError("it is no key set: there is no list `keys`")  # noqa: TRY004 - it is the text that is wrong
    keys = tuple(key for member in members if isinstance(member, dict) and (key := _key(member)) is not None)
    if not keys:
        raise ValueError("there is no usable public key in it")
    return keys


def _key(member: dict[str, Any]) -> Key | None:  # Any: JSON
    kty, crv, kid, algorithm = (member.get(name) for name in ("kty", "crv", "kid", "alg"))
    if (kty, crv if kty != "RSA" else None) not in _TYPE_OF_ALGORITHM.values() or member.get(
        "use", "sig"
    ) != "sig":
        return None
    if not isinstance(kid, str | None) or algorithm not in (None, *_TYPE_OF_ALGORITHM):
        return None
    default = next(
        name for name, kind in _TYPE_OF_ALGORITHM.items() if kind == (kty, crv if kty != "RSA" else None)
    )
    try:
        # Without its private members, should someone have put them there.
        public = PyJWK({name: member[name] for name in _PUBLIC_MEMBERS & member.keys()}, default).key
    except (PyJWTError, ValueError, TypeError):
        return None
    if not isinstance(public, PublicKey) or (
        isinstance(public, RSAPublicKey) and public.key_size < _MIN_RSA_BITS
    ):
        return None
    return Key(kid, str(kty), crv, algorithm, public)


class KeySet:
    """The keys as last read; read anew when old, and when a token names one that is not there.

    One reading at a time, and at most one every 10 s. While it cannot be read, the last good one serves.
    """

    def __init__(
        self, issuer: str, read: Read, *, ttl_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._read = read
        self._ttl_s = ttl_s
        self._now = now
        self._keys: tuple[Key, ...] = ()
        self._read_at: float | None = None
        self._tried_at: float | None = None
        self._failure = "it is still being read"
        self._reading: asyncio.Event | None = None

    async def find(self, algorithm: str, kid: str | None, deadline: Deadline) -> list[Key]:
        """The keys that may have signed a token, 16 at most; none when the issuer has no such key.

        Raises:
            KeySetUnavailable: The set was never read, and cannot be now.
        """
        if self._read_at is None or self._now() - self._read_at >= self._ttl_s:
            await self._refresh(deadline, join=self._read_at is None)
        found = self._fitting(algorithm, kid)
        if not found:
            await self._refresh(deadline, join=True)
            found = self._fitting(algorithm, kid)
        if self._read_at is None:
            raise KeySetUnavailable(self._issuer, self._failure)
        return found[:_MAX_TRIED]

    def _fitting(self, algorithm: str, kid: str | None) -> list[Key]:
        return [key for key in self._keys if key.fits(algorithm) and (kid is None or key.kid == kid)]

    async def _refresh(self, deadline: Deadline, *, join: bool) -> None:
        """Read the set, if it is time to; *join* waits for a reading that is under way."""
        while self._reading is not None:
            if not join:
                return
            try:
                async with asyncio.timeout_at(deadline.at_s):
                    await self._reading.wait()
            except TimeoutError:
                return
        if self._tried_at is not None and self._now() - self._tried_at < MIN_INTERVAL_S:
            return
        self._reading = asyncio.Event()
        try:
            self._tried_at = self._now() if await self._try(deadline) else None
        finally:
            self._reading.set()
            self._reading = None

    async def _try(self, deadline: Deadline) -> bool:
        """Read the set; False when this request's time was too short to tell anything of the issuer."""
        left_s = deadline.left_s()
        try:
            async with asyncio.timeout(min(READ_TIMEOUT_S, left_s)):
                self._keys = read_keys(await self._read())
        except TimeoutError:
            self._failure = "it did not come in time"
            return left_s >= READ_TIMEOUT_S
        except (OSError, httpx.HTTPError, ValueError) as exc:
            self._failure = f"{type(exc).__name__}: {exc}"
        else:
            self._read_at = self._now()
        return True


def from_file(path: Path) -> Read:
    """Reads the file, in a thread."""

    async def read() -> bytes:
        return await asyncio.to_thread(path.read_bytes)

    return read


def from_url(url: str) -> Read:
    """Fetches the URL; redirects are not followed, and 1 MiB is enough for any key set."""

    async def read() -> bytes:
        text = bytearray()
        async with httpx.AsyncClient(timeout=READ_TIMEOUT_S) as client, client.stream("GET", url) as response:
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"status {response.status_code}")
            async for chunk in response.aiter_bytes():
                text += chunk
                if len(text) > _MAX_BYTES:
                    raise ValueError(f"more than {_MAX_BYTES} bytes")
        return bytes(text)

    return read
