"""The connections of one login to one place, lent out one transaction at a time.

Decides in plain code; dials and closes in tasks that it is given a starter for.

Invariants: a wire is in exactly one of `_idle`, lent, being opened or being closed;
`size` counts all but the closing ones; each opening, open and closing wire holds
one permit of the budget. A waiter that gives up leaves nothing behind.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial

import psycopg
from psycopg.conninfo import make_conninfo

from pools.budget import Budget
from pools.dial import dial
from pools.errors import ConnectionLost, DatabaseUnavailable, DeadlineExceeded, PoolExhausted, QueueFull
from pools.wire import Wire
from registry.placement import Place
from tiergate.deadline import Deadline
from tiergate.events import ConnectionClosed, ConnectionOpened, DialFailed, Emit

Start = Callable[[Coroutine[None, None, None], str], None]
"""Runs a coroutine as a named task that nobody waits for; the switchboard's task group."""

_FIRST_BACKOFF_S = 0.05
_LAST_BACKOFF_S = 1.0


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """What one pool may use, in PgBouncer's words; times in seconds."""

    default_pool_size: int
    max_waiting: int
    query_wait_timeout: float
    server_idle_timeout: float
    server_lifetime: float
    server_connect_timeout: float
    max_prepared_statements: int


class Pool:
    """A bounded set of connections to one place.

    Attributes:
        retired: Serves nobody new; goes once what is lent has come back.
        closing: Connections whose end the server has not confirmed yet.
        is_reachable: Whether the last dial succeeded; None before the first.
        last_used: When a connection last came free, on the event loop's clock.
    """

    def __init__(self, place: Place, limits: PoolLimits, budget: Budget, *, start: Start, emit: Emit) -> None:
        self.place = place
        self.limits = limits
        self.retired = False
        self.closing = 0
        self.is_reachable: bool | None = None
        self._budget = budget
        self._start = start
        self._emit = emit
        self._idle: deque[Wire] = deque()
        self._waiters: deque[asyncio.Future[Wire]] = deque()
        self._lent = 0
        self._opening = 0
        self._backoff_s = 0.0
        self._closed_until = 0.0
        self._loop = asyncio.get_running_loop()
        self.last_used = self._loop.time()

    # -- what the dashboards ask

    @property
    def idle(self) -> int:
        """Connections that wait for work."""
        return len(self._idle)

    @property
    def active(self) -> int:
        """Connections lent out."""
        return self._lent

    @property
    def opening(self) -> int:
        """Connections being dialled."""
        return self._opening

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return len(self._waiters)

    @property
    def size(self) -> int:
        """Connections that count against default_pool_size."""
        return len(self._idle) + self._lent + self._opening

    @property
    def is_quiet(self) -> bool:
        """Whether nobody uses or awaits a connection, so that the pool may go."""
        return not (self._lent or self._opening or self._waiters)

    # -- lending

    def lend_now(self) -> Wire | None:
        """An idle connection, the most recently used first; None when one must be waited for."""
        if not self._idle:
            return None
        wire = self._idle.pop()
        self._lent += 1
        self.last_used = wire.idle_since
        return wire

    async def lend(self, deadline: Deadline) -> Wire:
        """A connection, waited for in the order of asking.

        Raises:
            QueueFull: max_waiting requests wait already.
            PoolExhausted: None came free within query_wait_timeout.
            DeadlineExceeded: The request's own time ended first.
            DatabaseUnavailable: The server cannot be reached.
        """
        if (wire := self.lend_now()) is not None:
            return wire
        now = self._loop.time()
        if self._closed_until > now and not self._lent and not self._opening:
            raise DatabaseUnavailable(self.place.cluster, "a dial failed a moment ago")
        if len(self._waiters) >= self.limits.max_waiting:
            raise QueueFull(self.place.id, len(self._waiters))
        waiter: asyncio.Future[Wire] = self._loop.create_future()
        self._waiters.append(waiter)
        self.grow()
        until = min(now + self.limits.query_wait_timeout, deadline.at_s)
        try:
            async with asyncio.timeout_at(until):
                return await waiter
        except TimeoutError as exc:
            self._leave(waiter)
            if until == deadline.at_s:
                raise DeadlineExceeded("queue") from exc
            raise PoolExhausted(self.place.id, self._loop.time() - now) from exc
        except asyncio.CancelledError:
            self._leave(waiter)
            raise

    def _leave(self, waiter: asyncio.Future[Wire]) -> None:
        """Undo a wait that was given up; a wire that was handed over in that very moment goes back."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self.give_back(waiter.result())
        if not self._waiters:
            self._budget.unwant(self.grow)

    def give_back(self, wire: Wire) -> None:
        """Take a lent connection back: to the next waiter, to rest, or to its end."""
        if wire.in_transaction and not wire.broken:
            self._start(self._roll_back(wire), "roll back")
            return
        self._lent -= 1
        if wire.broken:
            self._close(wire, "broken")
        elif self.retired:
            self._close(wire, "retired")
        elif self._loop.time() > wire.expires_at:
            self._close(wire, "server_lifetime")
        else:
            self._offer(wire)

    async def _roll_back(self, wire: Wire) -> None:
        """End a failed transaction off the request's path; what cannot be ended is closed."""
        try:
            async with asyncio.timeout(self.limits.server_connect_timeout):
                await wire.roll_back()
        except (ConnectionLost, TimeoutError):
            wire.broken = True
        finally:
            wire.broken = wire.broken or wire.in_transaction
            self.give_back(wire)

    def _offer(self, wire: Wire) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._lent += 1
                waiter.set_result(wire)
                return
        if self.size >= self.limits.default_pool_size:
            self._close(wire, "pool shrunk")
        elif self._budget.is_wanted:
            self._close(wire, "evicted")
        else:
            wire.idle_since = self.last_used = self._loop.time()
            self._idle.append(wire)

    # -- growing and shrinking

    def grow(self) -> None:
        """Dial for those who wait, as far as the pool's size and the cluster's budget allow."""
        while self._opening < len(self._waiters) and self.size < self.limits.default_pool_size:
            if not self._budget.take():
                self._budget.want(self.grow)
                return
            self._opening += 1
            self._start(self._open(), f"dial {self.place.cluster}")

    async def _open(self) -> None:
        place, began = self.place, self._loop.time()
        conninfo = make_conninfo(
            place.conninfo, user=place.login, password=place.password, dbname=place.database,
            application_name="tiergate",
        )  # fmt: skip
        wire: Wire | None = None
        try:
            async with asyncio.timeout(self.limits.server_connect_timeout):
                conn = await dial(conninfo)
            wire = Wire(conn, max_prepared=self.limits.max_prepared_statements)
        except (psycopg.Error, OSError, TimeoutError) as exc:
            self._emit(DialFailed(place.cluster, place.tier, str(exc).strip() or type(exc).__name__))
            self._back_off(str(exc).strip() or "no answer in time")
        finally:
            self._opening -= 1
            if wire is None:
                self._budget.give()
        if wire is not None:
            self._backoff_s = 0.0
            self.is_reachable = True
            wire.expires_at = self._loop.time() + self.limits.server_lifetime * random.uniform(0.9, 1.0)
            wire.on_lost = partial(self._lost, wire)
            wire.dial_s = wire.opened_at - began
            self._emit(ConnectionOpened(place.cluster, place.tier, wire.dial_s))
            self._lent += 1
            self.give_back(wire)

    def _back_off(self, reason: str) -> None:
        """Dial no sooner than after a pause that grows; tell those whom no open connection can serve."""
        self.is_reachable = False
        self._backoff_s = min(_LAST_BACKOFF_S, max(_FIRST_BACKOFF_S, self._backoff_s * 2))
        self._closed_until = self._loop.time() + random.uniform(0, self._backoff_s)
        if self._lent or self._opening > 1:
            return
        waiters, self._waiters = self._waiters, deque()
        self._budget.unwant(self.grow)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(DatabaseUnavailable(self.place.cluster, reason))

    def _lost(self, wire: Wire) -> None:
        if wire in self._idle:
            self._idle.remove(wire)
            self._close(wire, "server closed")

    def _close(self, wire: Wire, reason: str) -> None:
        self.closing += 1
        self._budget.ending += 1
        self._start(self._end(wire, reason), "close connection")

    async def _end(self, wire: Wire, reason: str) -> None:
        try:
            await wire.close()
        finally:
            self.closing -= 1
            self._emit(ConnectionClosed(self.place.cluster, self.place.tier, reason))
            self._budget.ending -= 1
            self._budget.give()
            self.grow()

    # -- housekeeping

    def oldest_idle_at(self) -> float | None:
        """Since when the longest resting connection rests; None when none does."""
        return self._idle[0].idle_since if self._idle else None

    def evict_one(self, reason: str) -> None:
        """Close the connection that has rested longest."""
        if self._idle:
            self._close(self._idle.popleft(), reason)

    def tidy(self, now: float) -> None:
        """Close what has rested beyond server_idle_timeout or lived beyond its lifetime."""
        for wire in [w for w in self._idle if now - w.idle_since > self.limits.server_idle_timeout]:
            self._idle.remove(wire)
            self._close(wire, "server_idle_timeout")
        for wire in [w for w in self._idle if now > w.expires_at]:
            self._idle.remove(wire)
            self._close(wire, "server_lifetime")

    def retire(self) -> None:
        """Serve nobody new; what is lent ends when it comes back."""
        self.retired = True
        while self._idle:
            self._close(self._idle.popleft(), "retired")
