"""The few words of ASGI that the door needs: headers, a bounded body, an answer, and noticing a hang-up.

Source:
    ASGI specification 3.0, "HTTP & WebSocket ASGI Message Format".
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from types import TracebackType
from typing import Any, Self

from router.errors import BadHeader, BodyTooSlow, RequestTooLarge

Scope = MutableMapping[str, Any]  # Any: what ASGI says
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_LOOK_AFTER_S = 0.02


class HungUp(Exception):  # noqa: N818 - as every error of ours
    """The caller is gone; there is nobody to tell."""


class Headers:
    """A request's headers, by lower-case name.

    Attributes:
        is_read: Whether the whole body has been read.
    """

    __slots__ = ("_all", "is_read")

    def __init__(self, scope: Scope) -> None:
        self._all: dict[bytes, bytes] = dict(scope["headers"])
        self.is_read = False

    def get(self, name: bytes) -> bytes | None:
        """The header's value; the last one when it came several times."""
        return self._all.get(name)


async def read_body(headers: Headers, receive: Receive, *, max_bytes: int, within_s: float) -> bytes:
    """The whole body.

    Raises:
        RequestTooLarge: It is, or says it is, larger than *max_bytes*.
        BodyTooSlow: It did not come within *within_s*.
        HungUp: The caller went away in the middle of it.
    """
    length = headers.get(b"content-length")
    if length is not None and (not length.isdigit() or len(length) > 18):
        raise BadHeader("Content-Length", "is no number")
    if length is not None and int(length) > max_bytes:
        raise RequestTooLarge(max_bytes)
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(within_s):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise HungUp
                part = message.get("body", b"")
                more = message.get("more_body", False)
                parts.append(part)
                size += len(part)
                if size > max_bytes:
                    raise RequestTooLarge(max_bytes)
    except TimeoutError as exc:
        raise BodyTooSlow(within_s) from exc
    headers.is_read = True
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def respond(send: Send, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
    """Send a whole answer."""
    framed = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": framed})
    await send({"type": "http.response.body", "body": body})


class Absence:
    """Ends the work inside its `async with` when the caller hangs up.

    Costs a timer on the usual path: it begins to listen only for requests that
    take longer than 20 ms.

    Attributes:
        is_certain: The caller has hung up; the work was cancelled, and nobody waits for an answer.
    """

    __slots__ = ("_listening", "_receive", "_timer", "_work", "is_certain")

    def __init__(self, receive: Receive) -> None:
        self.is_certain = False
        self._receive = receive
        self._work = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._work.__aenter__()
        return self

    def watch(self) -> None:
        """From here on, with the body read, a message from the server means that the caller is gone."""
        self._timer = asyncio.get_running_loop().call_later(_LOOK_AFTER_S, self._listen)

    def _listen(self) -> None:
        # Not in a task group: it only ever waits, and is cancelled in __aexit__.
        self._listening = asyncio.get_running_loop().create_task(self._wait(), name="wait for a hang-up")

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_certain = True
        self._work.reschedule(asyncio.get_running_loop().time())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._timer is not None:
            self._timer.cancel()
        if self._listening is not None:
            self._listening.cancel()
        try:
            await self._work.__aexit__(kind, error, trace)
        except TimeoutError:
            return True
        return False
