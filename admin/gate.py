"""The door of the admin port: who may pass, and how much they may bring."""

import asyncio
import hmac
from hashlib import sha256

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from admin.errors import BodyTooLarge, BodyTooSlow, NotAdmitted
from admin.problems import refusal

LARGEST_BODY_BYTES = 1024 * 1024
OPEN_PATHS = frozenset({"/metrics", "/livez", "/readyz", "/openapi.json"})

_BODY_S = 10.0
_LONGEST_ACTOR = 80


class Key:
    """A secret that a caller shows as `Authorization: Bearer KEY`."""

    def __init__(self, key: str) -> None:
        # Digests have one length, so that comparing them takes the same time for any key shown.
        self._digest = sha256(key.encode()).digest()

    def is_shown(self, headers: Headers) -> bool:
        """Whether *headers* carry it."""
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        digest = sha256(shown.strip().encode("latin-1")).digest()
        return hmac.compare_digest(digest, self._digest) and scheme.lower() == "bearer"


class KeyGate:
    """Lets pass who shows the admin key, and everybody to `OPEN_PATHS` and *apart*.

    Args:
        apart: A path that asks for a key of its own.
    """

    def __init__(self, app: ASGIApp, key: Key, apart: str) -> None:
        self._app = app
        self._key = key
        self._passing = OPEN_PATHS | {apart}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if (
            scope["type"] != "http"
            or scope["path"] in self._passing
            or self._key.is_shown(Headers(scope=scope))
        ):
            await self._app(scope, receive, send)
        else:
            await refusal(NotAdmitted())(scope, receive, send)


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
    """Who says to be acting, for the audit: a claim of somebody who has the admin key."""
    shown = request.headers.get("tiergate-actor", "")
    name = "".join(character for character in shown if character.isascii() and character.isprintable())
    return name.strip()[:_LONGEST_ACTOR] or "admin"
