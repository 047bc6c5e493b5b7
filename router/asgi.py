"""The few words of ASGI that the door needs: headers, a bounded body, an answer, and noticing a hang-up.

Source:
    ASGI specification 3.0, "HTTP & WebSocket ASGI Message Format".
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from router.errors import BadHeader, BodyTooSlow, RequestTooLarge

Scope = MutableMapping[str, Any]  # Any: what ASGI says
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

ABORT = "tiergate.abort"
"""In the scope's state: resets the connection."""

_LOOK_AFTER_S = 0.02
_LENGTH_DIGITS = 18
_LINGER_S = 5.0


class HungUp(Exception):
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


async def read_body(headers: Headers, receive: Receive, *, max_bytes: int) -> bytes:
    """The whole body.

    Raises:
        BadHeader: Content-Length is no number.
        RequestTooLarge: It is, or says it is, larger than *max_bytes*.
        HungUp: The caller went away in the middle of it.
    """
    length = headers.get(b"content-length")
    if length is not None and (not length.isdigit() or len(length) > _LENGTH_DIGITS):
        raise BadHeader("Content-Length", "is no number")
    if length is not None and int(length) > max_bytes:
        raise RequestTooLarge(max_bytes)
    parts: list[bytes] = []
    size, more = 0, True
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
    headers.is_read = True
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def respond(send: Send, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
    """Send a whole answer."""
    framed = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": framed})
    await send({"type": "http.response.body", "body": body})


async def dismiss(
    receive: Receive, send: Send, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes
) -> None:
    """Send a whole answer to a request whose body is still on its way, and end the connection.

    What comes of the body meanwhile is thrown away, for 5 s at most: a connection that is
    closed with something unread is reset, and a caller that is busy sending never sees the answer.

    Source:
        RFC 9112, section 9.6.
    """
    framed = [*headers, (b"connection", b"close"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": framed})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while (await receive()).get("more_body", False):
                pass
    await send({"type": "http.response.body", "body": b""})


async def cut_off(scope: Scope, receive: Receive) -> None:
    """Reset the caller's connection in the middle of an answer; what waits to be sent is thrown away."""
    abort = scope.get("state", {}).get(ABORT)
    if abort is None:
        return
    abort()
    while (await receive())["type"] != "http.disconnect":
        pass


class Attention:
    """Ends the work inside its `with` when the caller is too slow, or gone.

    Costs two timers on the usual path; it begins to listen for a hang-up only when
    the work has taken 20 ms.
    """

    __slots__ = ("_listening", "_loop", "_receive", "_task", "_timer", "_why")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(self._loop)
        self._timer: asyncio.TimerHandle | None = None
        self._listening: asyncio.Task[None] | None = None
        self._why: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def await_body(self, within_s: float) -> None:
        """From here on the body must come, within *within_s*."""
        self._timer = self._loop.call_later(within_s, self._end, BodyTooSlow(within_s))

    def await_answer(self) -> None:
        """The body is here; from here on a message from the server means that the caller is gone."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(_LOOK_AFTER_S, self._listen)

    def _listen(self) -> None:
        # Not in a task group: it only ever waits, and is cancelled in __exit__.
        self._listening = self._loop.create_task(self._wait(), name="wait for a hang-up")

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._end(HungUp())

    def _end(self, why: Exception) -> None:
        # The work is suspended inside the `with`, so that is where the cancellation arrives.
        if self._why is None and self._task is not None:
            self._why = why
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching.

        Raises:
            BodyTooSlow, HungUp: That is why the work was ended.
        """
        # These refer to us in turn. A circle stays until all memory is looked through for it, which holds up
        # every request: 100 ms and more, every 1.5 s, was what a noisy tenant's neighbours noticed most.
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
        if self._why is not None and self._task is not None:
            self._task.uncancel()
            if kind is asyncio.CancelledError:
                raise self._why from None
