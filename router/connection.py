"""One client's connection: uvicorn's HTTP/1.1, with bounds where it has none.

The door bounds a request's body and its time. This bounds what the door never sees:
a head that does not end, a caller that sends nothing or does not read its answer, and
what is no HTTP at all. Each gets the gateway's own kind of refusal where one can be sent.
Knows nothing of what is asked or by whom.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from router.asgi import ABORT
from router.course import new_id
from router.errors import BadRequest, HeadTooLarge, HeadTooSlow, MalformedHttp
from router.problems import problem

MAX_HEAD_BYTES = 65536
"""Of the request line and all headers; of what frames a body of unknown length, between two pieces of it."""

_LINGER_S = 2.0
_NO_LINGER = struct.pack("ii", 1, 0)
_READER_S = 30.0
_UNREAD_BYTES = 65536  # less of an answer than this is soon the kernel's, and no burden

# The parser takes whatever follows a request to upgrade for another protocol, its body included;
# Java's HttpClient and curl --http2 ask so with every first request. A server may ignore the header
# (RFC 9110, 7.8), and one that the parser does not know it does ignore.
_UPGRADES = ((b"\r\nUpgrade:", b"\r\nIgnored:"), (b"\r\nupgrade:", b"\r\nignored:"))


class _Refused(Exception):
    """Makes the parser stop; the reason is in the connection."""


class Connection(HttpToolsProtocol):
    """A client's connection, from its first byte to its last.

    Args:
        head_timeout_s: Time for a request's head to arrive, asked anew for each.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: as uvicorn has it
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        head_timeout_s: Callable[[], float],
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_timeout_s = head_timeout_s
        self._in_head = self._in_body = self._is_deaf = False
        self._frame_bytes = self._chunk_bytes = 0
        self._wrong: BadRequest | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._end_timer: asyncio.TimerHandle | None = None

    # -- what the transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect something to be said within the time that an idle connection has."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, ABORT: self._reset}
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        for timer in (self._head_timer, self._end_timer, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the caller has been refused already."""
        if self._is_deaf:
            return
        if not self._in_body:
            data = _without_upgrade(data)
        self._chunk_bytes = len(data)
        self._frame_bytes += self._chunk_bytes  # the parser's callbacks set it back to 0
        super().data_received(data)
        if self._in_head or self._in_body:
            if self._frame_bytes > MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge(MAX_HEAD_BYTES))
            elif self._in_head and self._head_timer is None:
                limit_s = self._head_timeout_s()
                self._head_timer = self.loop.call_later(limit_s, self._refuse, HeadTooSlow(limit_s))
        elif self.timeout_keep_alive_task is None and not self._is_answering():
            self._await_request()

    def _last(self) -> RequestResponseCycle | None:
        """The request that came last; uvicorn's type leaves out that there may be none yet."""
        return self.cycle

    def _is_answering(self) -> bool:
        cycle = self._last()
        return cycle is not None and not cycle.response_complete

    def _await_request(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    # -- what the parser tells

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head, self._frame_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Hand the request on, if its head is not too large."""
        self._in_head, self._in_body = False, True
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if self._frame_bytes or self._chunk_bytes > MAX_HEAD_BYTES:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > MAX_HEAD_BYTES:
                self._wrong = HeadTooLarge(MAX_HEAD_BYTES)
                raise _Refused
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body is here."""
        self._frame_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here."""
        self._in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's sentence; ours is another
        """The parser has stopped."""
        self._refuse(self._wrong or MalformedHttp())

    def _unsupported_upgrade_warning(self) -> None:
        """The parser has skipped a body, since it took the header for a change of protocol."""
        self._refuse(MalformedHttp())

    # -- how it ends

    def _refuse(self, error: BadRequest) -> None:
        """Say why, where an answer is still owed, and listen no more.

        Until the caller has read the answer or 2 s are over, what it still sends is thrown
        away: closing with something unread would reset the connection, answer and all.

        Source:
            RFC 9112, section 9.6.
        """
        if self._is_deaf or self.transport.is_closing():
            return
        self._is_deaf = True
        cycle = self._last()
        awaits_body = cycle is not None and self._in_body and not cycle.response_started and not self.pipeline
        if cycle is not None and not cycle.response_complete and not awaits_body:
            # What is being answered would get this answer: it ends the connection with its own.
            cycle.keep_alive = False
            if self._in_body or self.pipeline:
                self.transport.close()
            return
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        refusal = problem(error, neon=False)
        stamp = [(b"tiergate-request-id", new_id().encode()), (b"server-timing", b"refused")]
        lines = [*self.server_state.default_headers, *refusal.headers, *stamp, (b"connection", b"close")]
        self.transport.write(
            b"%b%b\r\n%b"
            % (
                STATUS_LINE[refusal.status],
                b"".join(
                    b"%b: %b\r\n" % line for line in (*lines, (b"content-length", b"%d" % len(refusal.body)))
                ),
                refusal.body,
            )
        )
        self.transport.write_eof()
        self._end_timer = self.loop.call_later(_LINGER_S, self.transport.abort)

    def _reset(self) -> None:
        """End it at once; an ordinary close would keep what the caller does not read, in the kernel."""
        listening: socket.socket = self.transport.get_extra_info("socket")
        if listening.fileno() >= 0:  # else it is closed already; while it only closes, that may never end
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()

    def on_response_complete(self) -> None:
        """Go on to the next request; of a large answer, see that it is read."""
        super().on_response_complete()
        if self._end_timer is None and self.transport.get_write_buffer_size() > _UNREAD_BYTES:
            self._watch_reader()

    def _watch_reader(self) -> None:
        self._end_timer = self.loop.call_later(
            _READER_S, self._look_at_reader, self.transport.get_write_buffer_size()
        )

    def _look_at_reader(self, unread_bytes: int) -> None:
        """Cut off a caller that has read nothing of its answer since the last look."""
        self._end_timer = None
        now_bytes = self.transport.get_write_buffer_size()
        if now_bytes >= unread_bytes:
            self.transport.abort()
        elif now_bytes:
            self._watch_reader()


def _without_upgrade(data: bytes) -> bytes:
    """*data*, in whose first head the parser finds no request for another protocol."""
    for asked, ignored in _UPGRADES:
        if asked in data:
            head, end, rest = data.partition(b"\r\n\r\n")
            data = head.replace(asked, ignored) + end + rest
    return data
