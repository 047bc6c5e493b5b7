"""One libpq connection, driven by the event loop, always in pipeline mode.

Knows the protocol and nothing of tenants: it sends what it is given in one
flight, collects the answers, cancels, and closes so that the server confirms it.

Invariants: between flights nothing is outstanding; a flight that fails half-way
leaves the wire `broken`, and a broken wire is only ever closed.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGconn, PGresult

from pools.dial import cancel
from pools.errors import ConnectionLost, DeadlineExceeded, ResponseTooLarge
from pools.flight import Answer, Come, Flight, Params
from pools.line import Line
from pools.names import Names

_SMALL_BYTES = 65536
_BAD = pq.ConnStatus.BAD
_LAST_WORDS = frozenset({b"FATAL", b"PANIC"})

Take = Callable[[list[PGresult]], Awaitable[None]]
"""Takes out of the list what statements give: rows, each a result, and after a statement's last its end."""


class Wire:
    """A connection to one database as one role.

    Attributes:
        pid: The server process at the other end, as the server named it at login.
        broken, ended: Nothing more can be asked of it; the server has let go of it, too.
        doubtful: Something may be left on it, so that nobody else shall have it.
        opened_at, dial_s: When its dial had succeeded, on the event loop's clock, and how long it took.
        expires_at: When it is closed at the next occasion, on the same clock.
        idle_since: When it last came free, on the same clock.
        flown: How many flights it has begun.
        is_strange: The server has run something else than a query or a change of rows.
        on_lost: Called once when the server hangs up while nothing is outstanding.
    """

    def __init__(self, conn: PGconn, *, max_prepared: int) -> None:
        """Take over *conn*, which is connected; *max_prepared* 0 prepares nothing (PgBouncer < 1.21)."""
        self._loop = asyncio.get_running_loop()
        self._conn = conn
        conn.nonblocking = 1
        conn.enter_pipeline_mode()
        conn.notice_handler = self._hear
        self._line = Line(conn)
        self._names = Names(max_prepared)
        self._next = Flight(conn, self._names)
        self._flight: Flight | None = None
        self._news: asyncio.Future[bool] = self._loop.create_future()
        self._max_bytes, self._is_first = 0, True
        self.pid = conn.backend_pid
        self.broken = self.doubtful = self.ended = self.is_strange = False
        self.opened_at = self.idle_since = self._loop.time()
        self.expires_at = math.inf
        self.dial_s, self.flown = 0.0, 0
        self.on_lost: Callable[[], None] | None = None
        self._line.listen(self._readable)

    @property
    def in_transaction(self) -> bool:
        """Whether the server still has a transaction open, by its last word."""
        return self._conn.transaction_status != pq.TransactionStatus.IDLE

    def ask(self, text: bytes, params: Params = (), *, rows: bool = False, note: bytes = b"") -> None:
        """Put one statement into the next flight; parameters and results travel as text."""
        try:
            self._next.ask(text, params, rows=rows, note=note)
        except psycopg.OperationalError as exc:
            self.lose(ConnectionLost(str(exc).strip()))  # `fly` tells

    def is_prepared(self, text: bytes) -> bool:
        """Whether *text* runs under a name, so that its plan may have gone stale."""
        return self._names.get(text) is not None

    def forget(self, text: bytes) -> None:
        """Parse *text* anew when it is asked again."""
        self._names.forget(text, prepared=True)

    async def fly(self, *, max_bytes: int, until: float | None = None) -> list[Answer]:
        """Send what was asked for and wait for every answer, in the order of asking.

        One network round trip. A statement behind a failed one is skipped by the
        server and answers with status PIPELINE_ABORTED.

        Args:
            until: When to give up, on the event loop's clock. By a timer of its own, since
                `asyncio.timeout` costs four times as much.

        Raises:
            DeadlineExceeded: It was not over by then. The wire is broken.
            ConnectionLost: The server hung up; whether the flight ran is unknown.
            ResponseTooLarge: The answers passed *max_bytes* on the wire. The wire is broken.
            CancelledError: The wire is broken; `close` ends what still runs.
        """
        flight, landed = self._begin(max_bytes), False
        timer = None if until is None else self._loop.call_at(until, self.lose, DeadlineExceeded("database"))
        try:
            self._conn.pipeline_sync()
            self._flush()
            landed = await self._news
        except psycopg.OperationalError as exc:
            raise ConnectionLost(str(exc).strip()) from exc
        finally:
            if timer is not None:
                timer.cancel()
            self._end(landed=landed)
        return flight.answers()

    async def stream(self, take: Take, *, max_bytes: int, patience_s: float) -> list[Answer]:
        """As `fly`, but what statements give is handed to *take* while it comes; the answers have no rows.

        Nothing more is read until *take* is done with what it has, so that the server waits, too.

        Args:
            max_bytes: Of one row, not of all.
            patience_s: For how long the server may have us wait, in each statement.
        """
        flight, landed, taken = self._begin(max_bytes), False, False
        given: list[PGresult] = []
        flight.given = given
        at, left_s = 0, patience_s
        try:
            self._conn.pipeline_sync()
            self._flush()
            while not landed:
                if at != flight.at:
                    at, left_s = flight.at, patience_s
                left_s -= await self._wait(left_s)
                landed = self._news.result()
                self._line.rest()
                if given:
                    await take(given)
                if not landed:
                    await self._go_on()
            taken = True
        except psycopg.OperationalError as exc:
            raise ConnectionLost(str(exc).strip()) from exc
        finally:
            self._end(landed=taken)
        if not self.broken:
            self._line.listen(self._readable)
        return flight.answers()

    def _begin(self, max_bytes: int) -> Flight:
        flight, self._next = self._next, Flight(self._conn, self._names)
        if self.broken:
            raise ConnectionLost(self._reason())
        self._max_bytes, self._is_first = max_bytes, True
        self._line.count_from_here()
        self.flown += 1
        self._flight, self._news = flight, self._loop.create_future()
        return flight

    async def _wait(self, within_s: float) -> float:
        """Wait for news; how long that took."""
        began = time.monotonic()
        timer = self._loop.call_later(within_s, self._tire)
        try:
            await self._news
        finally:
            timer.cancel()
        return time.monotonic() - began

    def _tire(self) -> None:
        if not self._news.done():
            self.lose(DeadlineExceeded("database"))

    async def _go_on(self) -> None:
        """Await what else a stream brings, now that all of it so far has been taken."""
        if self.broken:
            raise ConnectionLost(self._reason())
        self._line.count_from_here()
        self._news = self._loop.create_future()
        self._collect()
        if self._news.done():  # libpq had it already
            await asyncio.sleep(0)
        else:
            self._line.listen(self._readable)

    def _end(self, *, landed: bool) -> None:
        self._flight = None
        if not landed:
            self.broken = True
            if self._news.done() and not self._news.cancelled():
                self._news.exception()  # cancelled in the same moment: nobody else will ask

    def _flush(self) -> None:
        self._line.await_room(self._flush_more if self._line.send() else None)

    def _flush_more(self) -> None:
        try:
            self._flush()
        except psycopg.OperationalError as exc:
            self.lose(ConnectionLost(str(exc).strip()))

    def _readable(self) -> None:
        try:
            self._read()
            self._collect()
            self._line.mind_reset()
        except psycopg.OperationalError as exc:
            self.lose(ConnectionLost(str(exc).strip()))
            return
        if self._conn.status == _BAD:
            self.lose(ConnectionLost(self._reason()))

    def _read(self) -> None:
        """Take in what has come, and give up a flight that brings more than it may."""
        # Most answers come in one piece. It is small: libpq has room for 16 KB until it knows of more.
        is_short, self._is_first = self._is_first or self._flight is None, False
        size_bytes = self._line.read(is_short=is_short)
        if size_bytes and self._conn.ssl_in_use:
            self._flush()  # TLS may have to answer to what it reads
        if size_bytes > self._max_bytes and self._flight is not None:
            self.lose(ResponseTooLarge(self._max_bytes))

    def _hear(self, notice: PGresult) -> None:
        """The server speaks unasked; its last words come some milliseconds before its close."""
        if notice.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) in _LAST_WORDS:
            self.lose(ConnectionLost(notice.get_error_message()))

    def _collect(self) -> None:
        if self._flight is None or self._news.done():
            self._conn.is_busy()  # makes libpq look at what has come
            return
        come = self._flight.collect()
        if self._news.done():  # it has said its last words
            return
        if come is Come.LANDED:
            self._news.set_result(True)
        elif come is Come.GIVEN:
            self._news.set_result(False)
        elif come is Come.COPYING:
            self.lose(ConnectionLost("the server began to copy"))
        elif come is Come.GARBLED:
            self.lose(ConnectionLost("the server's answers are not to what was asked"))

    def lose(self, error: Exception) -> None:
        """Give it up, and tell whoever waits; `close` ends what runs."""
        if self.broken:
            return
        self.broken = True
        self._line.ignore()
        if self._flight is not None:
            if not self._news.done():
                self._news.set_exception(error)
        elif self.on_lost is not None:
            self.on_lost()

    def _reason(self) -> str:
        return self._conn.get_error_message().strip() or "the server closed the connection"

    async def roll_back(self, *, until: float | None = None) -> None:
        """End the transaction that a failed flight left open.

        Raises:
            ConnectionLost: As `fly`.
        """
        self.ask(b"ROLLBACK")
        await self.fly(max_bytes=_SMALL_BYTES, until=until)

    async def close(self) -> None:
        """End the server process at the other end, and return when the server has confirmed it.

        Cancels what still runs first. Not bounded: the server process counts
        against the server's limit for as long as it lives.
        """
        self.broken = True
        self._line.ignore()
        conn = self._conn
        try:
            if conn.status != _BAD and conn.transaction_status == pq.TransactionStatus.ACTIVE:
                await self._cancel()
            conn.finish()
            await self._line.end()
        finally:
            conn.finish()
            conn.notice_handler = None
            self._line.close()
            self.ended = True

    async def _cancel(self) -> None:
        """Ask the server to end what runs; returns when it has taken note, or cannot be asked."""
        try:
            async with asyncio.timeout(5):
                await cancel(self._conn)
        except (TimeoutError, OSError, psycopg.OperationalError):
            pass  # closing will do
