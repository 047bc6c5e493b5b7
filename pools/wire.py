"""One libpq connection, driven by the event loop, always in pipeline mode.

Knows the protocol and nothing of tenants: it sends what it is given in one
flight, collects the answers, cancels, and closes so that the server confirms it.

Invariants: between flights nothing is outstanding; a flight that fails half-way
leaves the wire `broken`, and a broken wire is only ever closed.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGconn, PGresult

from pools.dial import cancel
from pools.errors import ConnectionLost, DeadlineExceeded, ResponseTooLarge
from pools.line import Line
from pools.names import Names

_CHUNK_ROWS = 512
_SMALL_BYTES = 65536
_SYNC = pq.ExecStatus.PIPELINE_SYNC
_OK = pq.ExecStatus.COMMAND_OK
_FATAL = pq.ExecStatus.FATAL_ERROR
_COPIES = frozenset({pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH})
_BAD = pq.ConnStatus.BAD
_ABORTED = pq.PipelineStatus.ABORTED
_LAST_WORDS = frozenset({b"FATAL", b"PANIC"})

Answer = list[PGresult]
"""What one statement gave: 1 result; with rows, 1 per chunk of 512 and a last one without rows."""


class _Kind(Enum):
    ASK = auto()
    ROWS = auto()
    PREPARE = auto()
    CLOSE = auto()


@dataclass(slots=True)
class _Step:
    kind: _Kind
    text: bytes
    answer: Answer = field(default_factory=list)


class Wire:
    """A connection to one database as one role.

    Attributes:
        pid: The server process at the other end, as the server named it at login.
        broken, ended: Nothing more can be asked of it; the server has let go of it, too.
        doubtful: Something may be left on it, so that nobody else shall have it.
        opened_at, dial_s: When its dial had succeeded, on the event loop's clock, and how long it took.
        expires_at: When it is closed at the next occasion, on the same clock.
        idle_since: When it last came free, on the same clock.
        on_lost: Called once when the server hangs up while nothing is outstanding.
    """

    def __init__(self, conn: PGconn, *, max_prepared: int) -> None:
        """Take over *conn*, which is connected; *max_prepared* 0 prepares nothing (PgBouncer < 1.21)."""
        self._loop = asyncio.get_running_loop()
        self._conn = conn
        conn.nonblocking = 1
        conn.enter_pipeline_mode()
        conn.notice_handler = self._hear
        self._line = Line(conn.socket)
        self._names = Names(max_prepared)
        self._steps: list[_Step] = []
        self._at = 0
        self._flight: asyncio.Future[None] | None = None
        self._max_bytes = self._reads = 0
        self.pid = conn.backend_pid
        self.broken = self.doubtful = self.ended = False
        self.opened_at = self.idle_since = self._loop.time()
        self.expires_at = math.inf
        self.dial_s = 0.0
        self.on_lost: Callable[[], None] | None = None
        self._line.listen(self._readable)

    @property
    def in_transaction(self) -> bool:
        """Whether the server still has a transaction open, by its last word."""
        return self._conn.transaction_status != pq.TransactionStatus.IDLE

    def ask(self, text: bytes, params: Sequence[bytes | None] = (), *, rows: bool = False) -> None:
        """Put one statement into the next flight; parameters and results travel as text.

        A text that comes for the second time is prepared by name, so that the
        server parses and plans it once.
        """
        try:
            self._ask(text, params, _Kind.ROWS if rows else _Kind.ASK)
        except psycopg.OperationalError as exc:
            self.lose(ConnectionLost(str(exc).strip()))  # `fly` tells

    def _ask(self, text: bytes, params: Sequence[bytes | None], kind: _Kind) -> None:
        conn, names, steps = self._conn, self._names, self._steps
        if not steps and names.evicted:
            for evicted in names.take_evicted():
                conn.send_close_prepared(evicted)
                steps.append(_Step(_Kind.CLOSE, b""))
        name = names.get(text)
        if name is None:
            name = names.make(text)
            if name is not None:
                conn.send_prepare(name, text)
                steps.append(_Step(_Kind.PREPARE, text))
        if name is None:
            conn.send_query_params(text, params)
        else:
            conn.send_query_prepared(name, params)
        steps.append(_Step(kind, text))

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
        if self.broken:
            self._steps = []
            raise ConnectionLost(self._reason())
        self._max_bytes, self._reads, self._at = max_bytes, 0, 0
        self._flight = flight = self._loop.create_future()
        timer = None if until is None else self._loop.call_at(until, self.lose, DeadlineExceeded("database"))
        landed = False
        try:
            self._conn.pipeline_sync()
            self._flush()
            await flight
            landed = True
        except psycopg.OperationalError as exc:
            raise ConnectionLost(str(exc).strip()) from exc
        finally:
            if timer is not None:
                timer.cancel()
            if not landed:
                self.broken = True
                if flight.done() and not flight.cancelled():
                    flight.exception()  # cancelled in the same moment: nobody else will ask
            self._flight = None
            steps, self._steps = self._steps, []
        return self._sort(steps)

    def _sort(self, steps: list[_Step]) -> list[Answer]:
        """The answers to what was asked; a failed Parse answers for its statement."""
        answers: list[Answer] = []
        failed: Answer | None = None
        for step in steps:
            if step.kind is _Kind.PREPARE:
                if step.answer[0].status != _OK:
                    self._names.forget(step.text, prepared=False)
                if step.answer[0].status == _FATAL:
                    failed = step.answer
            elif step.kind is not _Kind.CLOSE:
                answers.append(failed or step.answer)
                failed = None
        return answers

    def _flush(self) -> None:
        unsent = self._conn.flush()
        self._line.await_room(self._flush_more if unsent else None)

    def _flush_more(self) -> None:
        try:
            self._flush()
        except psycopg.OperationalError as exc:
            self.lose(ConnectionLost(str(exc).strip()))

    def _readable(self) -> None:
        try:
            self._read()
            self._collect()
        except psycopg.OperationalError as exc:
            self.lose(ConnectionLost(str(exc).strip()))
            return
        if self._conn.status == _BAD:
            self.lose(ConnectionLost(self._reason()))

    def _read(self) -> None:
        """Take in what has come, and give up a flight that brings more than it may."""
        self._reads += 1
        if self._reads == 1:  # most answers come in one piece, and asking the socket costs 4 µs
            self._conn.consume_input()
            return
        if self._reads == 2:  # noqa: PLR2004 - the first has told nothing of the size
            self._line.count_from_here()
        self._line.before_read()
        self._conn.consume_input()
        if self._line.after_read() > self._max_bytes and self._flight is not None:
            self.lose(ResponseTooLarge(self._max_bytes))

    def _hear(self, notice: PGresult) -> None:
        """The server speaks unasked; its last words come some milliseconds before its close."""
        if notice.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) in _LAST_WORDS:
            self.lose(ConnectionLost(notice.get_error_message()))

    def _collect(self) -> None:
        conn, flight, steps = self._conn, self._flight, self._steps
        if flight is None or flight.done():
            conn.is_busy()  # makes libpq look at what has come
            self._line.expect_more()
            return
        while not conn.is_busy():
            result = conn.get_result()
            if result is None:
                self._at += 1
                # libpq refuses the mode for a statement that the server skips.
                wants_rows = self._at < len(steps) and steps[self._at].kind is _Kind.ROWS
                if wants_rows and conn.pipeline_status != _ABORTED:
                    conn.set_chunked_rows_mode(_CHUNK_ROWS)
            elif result.status == _SYNC:
                flight.set_result(None)
                return
            elif result.status in _COPIES:  # libpq has no COPY in a pipeline, and would say this for ever
                self.lose(ConnectionLost("the server began to copy"))
                return
            else:
                steps[self._at].answer.append(result)
                if conn.status == _BAD:
                    return
        self._line.expect_more()

    def lose(self, error: Exception) -> None:
        """Give it up, and tell whoever waits; `close` ends what runs."""
        if self.broken:
            return
        self.broken = True
        self._line.ignore()
        if self._flight is not None:
            if not self._flight.done():
                self._flight.set_exception(error)
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
