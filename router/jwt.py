"""JSON Web Tokens: whether one that is shown is valid, and whom it is about.

The issuer's settings decide which algorithms and keys count, never the token:
"none" is unknown here, a shared secret verifies HS* alone and is never a public
key, and a public key verifies only the algorithms of its type.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import jwt

from config.settings import Jwt
from registry.credentials import Scope
from router.errors import Unidentified
from router.keyset import KeySet, PublicKey, Read, from_file, from_url
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, tenant_id

_CACHED_TOKENS = 4096
_BY_SECRET = frozenset({"HS256", "HS384", "HS512"})
_OPTIONS: jwt.types.Options = {"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True}

# Whatever a hostile token makes the decoder raise: wrong JSON shapes, numbers without end, deep nesting.
_BROKEN = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError, AttributeError)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says.

    Attributes:
        scopes: Both when the token has no scope claim.
        subject: Its `sub`; "" when it has none.
        expires_at: Seconds since 1970.
    """

    tenant: TenantId
    scopes: frozenset[Scope]
    subject: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class _Issuer:
    settings: Jwt
    key_set: KeySet | None

    async def keys(self, algorithm: str, kid: str | None, deadline: Deadline) -> Sequence[PublicKey | bytes]:
        """The keys that may have signed: a secret for HS*, public ones for all else, never mixed."""
        if algorithm in _BY_SECRET:
            return [self.settings.secret.encode()] if self.settings.secret else []
        if self.key_set is None:
            return []
        return [key.public for key in await self.key_set.find(algorithm, kid, deadline)]


def read_by_settings(settings: Jwt) -> Read | None:
    """Reads the issuer's key set from its file or URL; None when it has neither, only a secret."""
    if settings.jwks_file is not None:
        return from_file(settings.jwks_file)
    return None if settings.jwks_url is None else from_url(settings.jwks_url)


class Tokens:
    """Whether a token is valid; a valid one is believed for some seconds without checking again."""

    def __init__(
        self,
        issuers: Sequence[Jwt],
        *,
        cache_s: float,
        read: Callable[[Jwt], Read | None] = read_by_settings,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take the settings of all issuers.

        Args:
            read: How an issuer's key set is read, where not by its file or URL; None when it has none.
            now: The time of day, in seconds since 1970, for how long a token is believed.
        """
        self._issuers: dict[str, _Issuer] = {}
        for settings in issuers:
            source = read(settings)
            key_set = None if source is None else KeySet(settings.issuer, source, ttl_s=settings.jwks_ttl_s)
            self._issuers[settings.issuer] = _Issuer(settings, key_set)
        self._cache_s = cache_s
        self._now = now
        self._valid: dict[bytes, tuple[float, Claims]] = {}  # by digest, until when; oldest out first

    def check_now(self, token: str) -> Claims | None:
        """The claims of a valid token, when memory has them; never waits.

        None says nothing about the token: ask `check`.
        """
        known = self._valid.get(sha256(token.encode()).digest())
        return known[1] if known is not None and self._now() < known[0] else None

    async def check(self, token: str, deadline: Deadline) -> Claims:
        """The claims of a valid token.

        Raises:
            Unidentified: It is not valid, or names no tenant.
            KeySetUnavailable: That cannot be told now.
        """
        algorithm, kid, name = _unverified(token)
        issuer = self._issuers.get(name)
        if issuer is None or algorithm not in issuer.settings.algorithms:
            raise Unidentified("the token's issuer is unknown, or not by this algorithm")
        failure: BaseException | None = None
        for key in await issuer.keys(algorithm, kid, deadline):
            try:
                payload = _verified(token, key, algorithm, issuer.settings)
            except _BROKEN as exc:
                failure = exc
            else:
                claims = _claims(payload, issuer.settings)
                self._keep(token, claims)
                return claims
        reason = "no key of its issuer fits" if failure is None else type(failure).__name__
        raise Unidentified(f"the token is not valid: {reason}") from failure

    def _keep(self, token: str, claims: Claims) -> None:
        now = self._now()
        until = min(now + self._cache_s, claims.expires_at)
        if until <= now:
            return
        digest = sha256(token.encode()).digest()
        self._valid.pop(digest, None)
        if len(self._valid) >= _CACHED_TOKENS:
            del self._valid[next(iter(self._valid))]
        self._valid[digest] = (until, claims)


def _unverified(token: str) -> tuple[str, str | None, str]:
    """Algorithm, key id and issuer as the token has them; nothing of it is believed yet."""
    try:
        header = jwt.get_unverified_header(token)
        payload = jwt.decode(token, options={"verify_signature": False})
        algorithm, kid, issuer = header["alg"], header.get("kid"), payload["iss"]
    except (*_BROKEN, KeyError) as exc:
        raise Unidentified(f"the token cannot be read: {type(exc).__name__}") from exc
    if not isinstance(algorithm, str) or not isinstance(issuer, str):
        raise Unidentified("the token cannot be read: alg and iss must be strings")
    return algorithm, kid, issuer


# Any: a payload's JSON, here and below.
def _verified(token: str, key: PublicKey | bytes, algorithm: str, settings: Jwt) -> dict[str, Any]:
    return jwt.decode(
        token,
        key,
        algorithms=[algorithm],
        audience=settings.audience,
        issuer=settings.issuer,
        leeway=settings.leeway_s,
        options=_OPTIONS,
    )


def _claims(payload: dict[str, Any], settings: Jwt) -> Claims:
    name = _find(payload, settings.tenant_claim)
    tenant = tenant_id(name) if isinstance(name, str) else None
    if tenant is None:
        raise Unidentified("the token names no tenant")
    return Claims(
        tenant,
        _scopes(_find(payload, settings.scope_claim)),
        str(payload.get("sub", "")),
        int(payload["exp"]),
    )


def _find(claims: Any, path: str) -> Any:
    """The claim at a dotted *path*; a key that itself has dots in it goes before a path through objects."""
    if not isinstance(claims, dict):
        return None
    if path in claims:
        return claims[path]
    at = path.find(".")
    while at >= 0:
        found = _find(claims.get(path[:at]), path[at + 1 :])
        if found is not None:
            return found
        at = path.find(".", at + 1)
    return None


def _scopes(claim: Any) -> frozenset[Scope]:
    """The scopes that are ours; without a claim both, since most issuers only say who, not what for."""
    if claim is None:
        return frozenset(Scope)
    if isinstance(claim, str):
        claim = claim.split()
    if not isinstance(claim, list):
        raise Unidentified("the token's scopes are neither a string nor a list")
    return frozenset(scope for scope in Scope if scope.value in claim)
