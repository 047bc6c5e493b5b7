"""The door of the admin port: who asks, what they may do, and how much they may bring."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from admin.errors import BodyTooLarge, BodyTooSlow, NotAdmitted
from admin.problems import refusal
from registry.admin_keys import AdminKey, Role
from tiergate.deadline import Deadline
from tiergate.errors import TiergateError

LARGEST_BODY_BYTES = 1024 * 1024
OPEN_PATHS = frozenset({"/metrics", "/livez", "/readyz", "/openapi.json"})

_BODY_S = 10.0
_CHECK_S = 5.0
_LONGEST_ACTOR = 80
_BEARER = "tiergate.bearer"

Check = Callable[[str, Deadline], Awaitable[AdminKey | None]]
"""Tells the valid key of a text, as `registry.admin_keys.AdminKeys.check`."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who shows a key.

    Attributes:
        name: The key's; None of the one in the settings, whose holder may say a name.
    """

    name: str | None
    role: Role


class Key:
    """A secret that a caller shows as `Authorization: Bearer KEY`."""

    def __init__(self, key: str) -> None:
        # Digests have one length, so that comparing them takes the same time for any key shown.
        self._digest = sha256(key.encode()).digest()

    def is_shown(self, headers: Headers) -> bool:
        """Whether *headers* carry it."""
        digest = sha256(_shown(headers).encode("latin-1")).digest()
        return hmac.compare_digest(digest, self._digest)


class KeyGate:
    """Finds out who asks; who shows no valid key passes to `OPEN_PATHS` and *apart* alone.

    What a bearer may do is held by each route (`admin.contract.guarded`).

    Args:
        key: Of the settings, an owner's; it works while the registry does not.
        check: For all other keys.
        apart: A path that asks for a key of its own.
    """

    def __init__(self, app: ASGIApp, key: Key, check: Check, apart: str) -> None:
        self._app = app
        self._key = key
        self._check = check
        self._apart = apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            bearer = await self._bearer(Headers(scope=scope))
            if bearer is None and scope["path"] != self._apart:
                raise NotAdmitted
        except TiergateError as error:
            await refusal(error)(scope, receive, send)
            return
        scope[_BEARER] = bearer
        await self._app(scope, receive, send)

    async def _bearer(self, headers: Headers) -> Bearer | None:
        if self._key.is_shown(headers):
            return Bearer(None, Role.OWNER)
        known = await self._check(_shown(headers), Deadline.after(_CHECK_S))
        return None if known is None else Bearer(known.name, known.role)


def _shown(headers: Headers) -> str:
    """What is shown as a bearer's key; empty when nothing is."""
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    return shown.strip() if scheme.lower() == "bearer" else ""


def bearer_of(request: Request) -> Bearer | None:
    """Who asks; None for who has shown no key of an operator."""
    found: Bearer | None = request.scope.get(_BEARER)
    return found


async def read_limited(request: Request) -> bytes:
    """The request's body.

    Raises:
        BodyTooLarge: It is larger than `LARGEST_BODY_BYTES`.
        BodyTooSlow: It took longer than 10 s.
    """
    parts: list[bytes] = []
    left = LARGEST_BODY_BYTES
    try:
        async with asyncio.timeout(_BODY_S):
            async for part in request.stream():
                left -= len(part)
                if left < 0:
                    raise BodyTooLarge(LARGEST_BODY_BYTES)
                parts.append(part)
    except TimeoutError as error:
        raise BodyTooSlow(_BODY_S) from error
    return b"".join(parts)


def actor_of(request: Request) -> str:
    """Who acts, for the audit: the name of the key that is shown.

    Of the key in the settings, and of the one across tenants, it is what the request says: a claim.
    """
    bearer = bearer_of(request)
    if bearer is not None and bearer.name is not None:
        return bearer.name
    said = request.headers.get("tiergate-actor", "")
    name = "".join(character for character in said if character.isascii() and character.isprintable())
    return name.strip()[:_LONGEST_ACTOR] or "admin"
