"""The socket beneath a libpq connection, by a descriptor of our own.

libpq closes its descriptor whenever it gives a connection up, and the number may be
somebody else's at once. Ours lives until we close it: so the event loop never stops
listening to a stranger, and we see the server's own close.
"""

import array
import asyncio
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Callable

_HELD_READY = 128 * 1024
# struct tcp_info, linux/tcp.h: tcpi_bytes_received stands behind 128 bytes, since Linux 4.1.
_TCP_INFO = struct.Struct("=128xQ")


class Line:
    """One socket: listened to, measured, and watched to its end."""

    def __init__(self, descriptor: int) -> None:
        """Share the socket that libpq has under *descriptor*."""
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._socket.setblocking(False)  # noqa: FBT003 - the socket's own way
        # libpq reads as long as there is something to read. The less the kernel holds ready, the sooner
        # there is nothing for a moment, and we can look how much came in.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _HELD_READY)
        self._tells = self._can_tell()
        self._is_writing = self._is_reset = False
        self._readable: Callable[[], None] | None = None
        self._again: asyncio.Handle | None = None
        self._arrived = self._left = self._start = 0

    def listen(self, readable: Callable[[], None]) -> None:
        """Call *readable* whenever something has come in."""
        self._readable = readable
        self._loop.add_reader(self._socket.fileno(), readable)

    def mind_reset(self) -> None:
        """Call again and again, if the other end has reset the connection; to be asked at each call.

        uvloop calls once then, and never again. That call may have read what had arrived before the reset,
        and not met the end; and libpq does not tell that it can no longer send.
        """
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # asking takes it away
        self._is_reset = self._is_reset or error != 0
        if self._is_reset and self._readable is not None:
            self._again = self._loop.call_soon(self._readable)

    def await_room(self, writable: Callable[[], None] | None) -> None:
        """Call *writable* while there is room to send, until told None."""
        if writable is not None and not self._is_writing:
            self._loop.add_writer(self._socket.fileno(), writable)
        elif writable is None and self._is_writing:
            self._loop.remove_writer(self._socket.fileno())
        self._is_writing = writable is not None

    def rest(self) -> None:
        """Leave what comes in where it is, until `listen`."""
        self._readable = None
        if self._again is not None:
            self._again.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())

    def ignore(self) -> None:
        """Call nobody any more."""
        self.rest()
        if self._socket.fileno() >= 0:
            self.await_room(None)

    # -- how much came in: libpq shows a result only once it is whole, and may hold any amount until then

    def count_from_here(self) -> None:
        """Begin to count; what waits to be read belongs to it."""
        self._arrived = self._left = 0
        self._start = self._received() - self._waiting() if self._tells else 0

    def before_read(self) -> None:
        """Look at what waits, before libpq reads it."""
        if not self._tells:
            # Unix sockets, other systems: what arrives while libpq reads goes uncounted.
            self._arrived += max(0, self._waiting() - self._left)

    def after_read(self) -> int:
        """Bytes that have come in since the count began."""
        if self._tells:
            return self._received() - self._start
        self._left = self._waiting()
        return self._arrived

    def _received(self) -> int:
        size: int = _TCP_INFO.unpack(self._tcp_info())[0]
        return size

    def _waiting(self) -> int:
        waiting = array.array("i", [0])
        fcntl.ioctl(self._socket, termios.FIONREAD, waiting)
        return waiting[0]

    def _tcp_info(self) -> bytes:
        return self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)

    def _can_tell(self) -> bool:
        try:
            return len(self._tcp_info()) == _TCP_INFO.size
        except (AttributeError, OSError):
            return False

    # -- the end

    async def end(self) -> None:
        """Tell the other end that we are done, and return when it has closed, however long that takes.

        Source:
            PostgreSQL 18, pqcomm.c, socket_close: a server process leaves the socket open to its very end.
        """
        self.ignore()
        try:
            self._socket.shutdown(socket.SHUT_WR)
            while await self._loop.sock_recv(self._socket, 65536):
                pass
        except OSError:
            pass  # a reset is as good a confirmation as a close

    def close(self) -> None:
        """Let go of the socket."""
        self.ignore()
        self._socket.close()
