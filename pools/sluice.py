"""Between libpq and its server: lets through what comes in piece by piece, and counts it.

libpq reads a message that has begun for as long as the server keeps up with it, and makes room for
all of it at once; it knows no limit. So its descriptor becomes one end of a pair whose other end is ours.

Invariants: nothing that came in is left in the pair between two calls, so what libpq does not have yet, the
server or the kernel has. What libpq sends goes on in its order and without a hole, or not at all: a server
that met a hole would take the values of a statement for messages. So libpq never gets its socket back.
"""

import array
import fcntl
import os
import socket
import termios

import psycopg
from psycopg.pq.abc import PGconn

_PIECE_BYTES = 64 * 1024


class Sluice:
    """One connection's, from its first long answer until its end.

    Attributes:
        passed: Bytes that have come in since this was last set to 0.
    """

    __slots__ = ("_conn", "_near", "_server", "_unsent", "_waiting", "passed")

    def __init__(self, conn: PGconn, server: socket.socket) -> None:
        """Come between *conn* and *server*, the socket that was beneath it until now.

        Raises:
            psycopg.OperationalError: The connection is lost, or there are no descriptors left.
        """
        self._conn = conn
        self._server = server
        self._unsent = b""
        self._waiting = array.array("i", [0])
        self.passed = 0
        number = conn.socket
        try:
            self._near, far = socket.socketpair()
        except OSError as exc:
            raise psycopg.OperationalError(str(exc)) from exc
        with far:
            for end in (self._near, far):
                end.setblocking(False)  # noqa: FBT003 - the socket's own way
            os.dup2(far.fileno(), number, inheritable=False)

    def let_in(self) -> None:
        """Give libpq the next piece that has come, or the end.

        Raises:
            psycopg.OperationalError: It is the end, or libpq cannot make sense of what has come.
        """
        try:
            piece = self._server.recv(_PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError as exc:
            raise psycopg.OperationalError(str(exc)) from exc
        if not piece:
            self._near.shutdown(socket.SHUT_WR)
            self._conn.consume_input()
        self.passed += len(piece)
        while piece:
            piece = piece[self._near.send(piece) :]
            self._conn.consume_input()
            while self._is_waiting():  # libpq had no room for all, or takes one record of TLS at a time
                self._conn.consume_input()
        if self._conn.ssl_in_use:
            # fe-misc.c, pqReadData: there is room for 8 KB at least; the rest of a record waits in OpenSSL.
            self._conn.consume_input()

    def _is_waiting(self) -> bool:
        fcntl.ioctl(self._conn.socket, termios.FIONREAD, self._waiting)
        return self._waiting[0] > 0

    def let_out(self) -> bool:
        """Pass on what libpq has sent; whether there was no room for all of it.

        Raises:
            OSError: The connection is broken; what the server has said until then may still be let in.
        """
        try:
            while True:
                is_last = False
                if not self._unsent:
                    self._unsent = self._near.recv(_PIECE_BYTES)
                    is_last = len(self._unsent) < _PIECE_BYTES  # to ask again costs as much as to send
                self._unsent = self._unsent[self._server.send(self._unsent) :]
                if is_last and not self._unsent:
                    break
        except BlockingIOError:
            pass
        return bool(self._unsent)

    def close(self) -> None:
        """Let go of our end."""
        self._near.close()
