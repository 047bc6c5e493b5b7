"""Who sends a request: told by its headers, never by its body.

The credential says which tenant it is; the connection string's user and host and
the subdomain that the request came to may only agree with it. For a key that
serves any tenant they choose one. What does not fit together is `Unidentified`,
after the credential was checked, so that a wrong name costs what a wrong key costs.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote_to_bytes

from registry.credentials import Credential, Scope
from registry.errors import UnknownKey
from router.errors import BadHeader, NoCredential, Unidentified
from router.jwt import Claims
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, tenant_id

MAX_HEADER_BYTES = 8192
"""Of one header that tells who calls; a token with many claims has 2 KiB."""

_CACHED_CLAIMS = 1024
_DOTS_IN_TOKEN = 2  # header.payload.signature; a key has none
_AUTHORIZATION, _CONNECTION, _HOST = "Authorization", "Neon-Connection-String", "Host"

# Neon's driver sends its requests to these labels in place of the first one of the string's host.
_NO_TENANTS = frozenset({"api", "apiauth"})

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/=-]+)", re.IGNORECASE)
_URL = re.compile(
    r"postgres(?:ql)?://(?P<userinfo>[^/?#]*)@(?P<host>\[[0-9a-f:.]+\]|[^/?#@:\[\]]+)(?::[0-9]*)?(?:[/?#].*)?",
    re.IGNORECASE,
)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_IP_V4 = re.compile(r"[0-9.]+")
_UNPRINTABLE = re.compile(rb"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request, and what for.

    Attributes:
        scopes: What the credential allows; may be empty.
        actor: "key:" and the key's id, or "jwt:" and the token's subject; for logs.
    """

    tenant: TenantId
    scopes: frozenset[Scope]
    actor: str


class Keys(Protocol):
    """What is asked of `registry.credentials.Keys`."""

    def check_now(self, text: str) -> Credential | None:
        """The valid key's credential, when memory has it."""

    async def check(self, text: str, deadline: Deadline) -> Credential:
        """The valid key's credential."""


class Tokens(Protocol):
    """What is asked of `router.jwt.Tokens`."""

    def check_now(self, token: str) -> Claims | None:
        """The valid token's claims, when memory has them."""

    async def check(self, token: str, deadline: Deadline) -> Claims:
        """The valid token's claims."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """What the headers say, unchecked.

    Attributes:
        credential: A key, or a token (two dots).
        names: All that are given for the tenant; some may be no possible name.
    """

    credential: str = field(repr=False)
    is_token: bool
    names: frozenset[str]


class Identifier:
    """Tells who sends a request.

    Args:
        domain: Where subdomains are tenants; None where the Host header says nothing.
    """

    def __init__(self, keys: Keys, tokens: Tokens, *, domain: str | None) -> None:
        self._keys = keys
        self._tokens = tokens
        self._domain = None if domain is None else domain.strip(".").lower()
        # Whoever calls once calls again with the same headers. Bounded by 24 MiB; oldest out first.
        self._claims: dict[tuple[bytes | None, bytes | None, bytes | None], _Claim] = {}

    def identify_now(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller | None:
        """The caller, when memory is enough to tell; never waits.

        None says nothing about the request: ask `identify`.

        Raises:
            BadHeader, NoCredential, Unidentified: As `identify`.
        """
        claim = self._claim(headers)
        if claim.is_token:
            claims = self._tokens.check_now(claim.credential)
            return None if claims is None else _by_token(claims, claim.names)
        credential = self._keys.check_now(claim.credential)
        return None if credential is None else _by_key(credential, claim.names)

    async def identify(self, headers: Iterable[tuple[bytes, bytes]], deadline: Deadline) -> Caller:
        """The caller.

        Args:
            headers: As ASGI has them, names in lower case.

        Raises:
            BadHeader: A header cannot be understood, or there are two where one must be.
            NoCredential: There is no key and no token.
            Unidentified: The credential is not valid, or not for the tenant that is named.
            KeySetUnavailable, RegistryUnavailable: That cannot be told now.
        """
        claim = self._claim(headers)
        if claim.is_token:
            return _by_token(await self._tokens.check(claim.credential, deadline), claim.names)
        try:
            credential = await self._keys.check(claim.credential, deadline)
        except UnknownKey as exc:
            raise Unidentified("the key is not valid") from exc
        return _by_key(credential, claim.names)

    def _claim(self, headers: Iterable[tuple[bytes, bytes]]) -> _Claim:
        authorization = connection = host = None
        for name, value in headers:
            if name == b"authorization":
                authorization = _once(authorization, value, _AUTHORIZATION)
            elif name == b"neon-connection-string":
                connection = _once(connection, value, _CONNECTION)
            elif name == b"host" and self._domain is not None:
                host = _once(host, value, _HOST)
        seen = (authorization, connection, host)
        claim = self._claims.get(seen)
        if claim is None:
            claim = self._parse(*seen)
            if len(self._claims) >= _CACHED_CLAIMS:
                del self._claims[next(iter(self._claims))]
            self._claims[seen] = claim
        return claim

    def _parse(self, authorization: bytes | None, connection: bytes | None, host: bytes | None) -> _Claim:
        credential = None if authorization is None else _bearer(authorization)
        names: set[str] = set()
        if connection is not None:
            user, password, server = _connection(connection)
            names |= self._names(user, server)
            if password and credential is not None:
                raise BadHeader(
                    _CONNECTION, "there is a password in it and an Authorization header as well; give one"
                )
            credential = credential or password
        if host is not None:
            subdomain = self._subdomain(re.sub(r":[0-9]*$", "", _text(host, _HOST)))
            names |= set() if subdomain is None else {subdomain}
        if not credential:
            raise NoCredential
        is_token = credential.count(".") == _DOTS_IN_TOKEN
        return _Claim(credential, is_token, frozenset(names))

    def _names(self, user: str, server: str) -> set[str]:
        """The tenants that a connection string names: its user, where that can be one; else by its host."""
        subdomain = self._subdomain(server)
        if tenant_id(user) is None:
            return {subdomain or _first_label(server) or user}
        return {user} if subdomain is None else {user, subdomain}

    def _subdomain(self, host: str) -> str | None:
        """What stands before our domain in *host*; None where that names no tenant."""
        if self._domain is None:
            return None
        label, dot, domain = host.lower().rstrip(".").rpartition("." + self._domain)
        return label if dot and not domain and label not in _NO_TENANTS else None


def _by_key(credential: Credential, names: frozenset[str]) -> Caller:
    tenant = credential.tenant
    if tenant is None:
        if len(names) != 1:
            raise Unidentified("the key serves any tenant, and the request does not name exactly one")
        tenant = tenant_id(next(iter(names)))
        if tenant is None:
            raise Unidentified("what is named can be no tenant")
    elif names and names != {tenant}:
        raise Unidentified("the key is another tenant's")
    return Caller(tenant, credential.scopes, f"key:{credential.id}")


def _by_token(claims: Claims, names: frozenset[str]) -> Caller:
    if names and names != {claims.tenant}:
        raise Unidentified("the token is another tenant's")
    return Caller(claims.tenant, claims.scopes, f"jwt:{claims.subject}")


def _once(known: bytes | None, value: bytes, name: str) -> bytes:
    if known is not None:
        raise BadHeader(name, "is there more than once")
    if len(value) > MAX_HEADER_BYTES:
        raise BadHeader(name, f"is too long (max is {MAX_HEADER_BYTES} bytes)")
    return value


def _text(value: bytes, name: str) -> str:
    if _UNPRINTABLE.search(value):
        raise BadHeader(name, "holds a character other than printable ASCII; percent-encode it")
    return value.decode("ascii").strip()


def _bearer(value: bytes) -> str:
    found = _BEARER.fullmatch(_text(value, _AUTHORIZATION))
    if found is None:
        raise BadHeader(_AUTHORIZATION, "must be `Bearer`, a space, and a key or a token")
    return found[1]


def _connection(value: bytes) -> tuple[str, str, str]:
    """User, password and host. The database's name and all options are left alone: the tenant decides."""
    found = _URL.fullmatch(_text(value, _CONNECTION))
    if found is None:
        raise BadHeader(_CONNECTION, "must be postgresql://TENANT:KEY@HOST/DB")
    user, _, password = found["userinfo"].partition(":")
    if not user:
        raise BadHeader(_CONNECTION, "names no user")
    return _decoded(user), _decoded(password), found["host"]


def _decoded(text: str) -> str:
    """*text* without its percent escapes. A plus sign is itself here."""
    if _BAD_ESCAPE.search(text):
        raise BadHeader(_CONNECTION, "holds a percent sign that begins no escape; write %25")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise BadHeader(_CONNECTION, "holds escapes that are not UTF-8") from None


def _first_label(host: str) -> str | None:
    """The first label of a name with several; of addresses and bare names None."""
    label, dot, _ = host.lower().partition(".")
    return label if dot and not host.startswith("[") and not _IP_V4.fullmatch(host) else None
