"""The socket beneath a libpq connection, by a descriptor of our own.

libpq closes its descriptor whenever it gives a connection up, and the number may be
somebody else's at once. Ours lives until we close it: so the event loop never stops
listening to a stranger, and we see the server's own close.
"""

import asyncio
import os
import socket
from collections.abc import Callable

from psycopg.pq.abc import PGconn

from pools.sluice import Sluice


class Line:
    """One socket: listened to, measured once an answer is long, and watched to its end."""

    def __init__(self, conn: PGconn) -> None:
        """Share the socket that *conn* has.

        Raises:
            psycopg.OperationalError, OSError: It has none.
        """
        self._loop = asyncio.get_running_loop()
        self._conn = conn
        self._socket = socket.socket(fileno=os.dup(conn.socket))
        self._socket.setblocking(False)  # noqa: FBT003 - the socket's own way
        self._is_writing = self._is_reset = False
        self._readable: Callable[[], None] | None = None
        self._again: asyncio.Handle | None = None
        self._sluice: Sluice | None = None

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
        if self._is_reset:
            self._call_again()

    def _call_again(self) -> None:
        if self._again is not None:
            self._again.cancel()
        if self._readable is not None:
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

    # -- what passes; libpq shows a result only once it is whole, and may hold any amount until then

    def read(self, *, is_short: bool) -> int:
        """Have libpq read what has come; how many bytes have since `count_from_here`, if they are counted.

        Args:
            is_short: libpq has little room. Else there is a sluice from now on.

        Raises:
            psycopg.OperationalError: The connection is lost, or there are no descriptors for a sluice.
        """
        if self._sluice is None and is_short:
            self._conn.consume_input()
            return 0
        sluice = self._dam()
        sluice.let_in()
        return sluice.passed

    def count_from_here(self) -> None:
        """Begin to count anew."""
        if self._sluice is not None:
            self._sluice.passed = 0

    def send(self) -> bool:
        """Have libpq send what it has; whether there was no room for all of it.

        Raises:
            psycopg.OperationalError: As `read`.
        """
        is_left = self._conn.flush() != 0
        if is_left:
            self._dam()  # libpq reads whenever it cannot send
        return self._pass_on() or is_left

    def _dam(self) -> Sluice:
        if self._sluice is None:
            self._sluice = Sluice(self._conn, self._socket)
        return self._sluice

    def _pass_on(self) -> bool:
        if self._sluice is None:
            return False
        try:
            return self._sluice.let_out()
        except OSError:
            self._is_reset = True
            self._call_again()
            return False

    # -- the end

    async def end(self) -> None:
        """Tell the other end that we are done, and return when it has closed, however long that takes.

        Source:
            PostgreSQL 18, pqcomm.c, socket_close: a server process leaves the socket open to its very end.
        """
        self.ignore()
        self._pass_on()  # libpq's goodbye
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
        if self._sluice is not None:
            self._sluice.close()
