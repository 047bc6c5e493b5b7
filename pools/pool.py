"""The connections of one login to one place, lent out one transaction at a time.

Decides in plain code; dials and closes in tasks that it is given a starter for.
Invariants: a wire is in exactly one of `resting`, lent, being opened or being closed;
`size` counts all but the closing ones; each opening, open and closing wire holds
one permit of the budget. A waiter that gives up leaves nothing behind.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial

from pools.backoff import Backoff
from pools.bounds import PoolLimits
from pools.cluster import Cluster
from pools.errors import (
    ConnectionLost,
    DatabaseUnavailable,
    DeadlineExceeded,
    PlaceUnprotected,
    PoolExhausted,
    QueueFull,
)
from pools.idle import Idle
from pools.opening import Opening
from pools.protection import Protection
from pools.queue import Queue, Waiter
from pools.upkeep import Upkeep
from pools.wire import Wire
from registry.placement import Place
from tiergate.deadline import Deadline
from tiergate.events import ConnectionClosed, ConnectionOpened, DialFailed, Emit
from tiergate.tenant import TenantId

Work = Coroutine[None, None, None]
Start = Callable[[Work, str], None]  # as a named task that nobody waits for, in the switchboard's task group


class Pool:
    """A bounded set of connections to one place.

    Attributes:
        retired: Serves nobody new; goes once who waits is served and what is lent has come back.
        resting: Its connections that wait for work.
        active, opening: Connections lent out, and being dialled.
        closing: Connections whose end the server has not confirmed yet.
        is_reachable: Whether the last dial succeeded; None before the first.
        last_used: When a connection last came free, on the event loop's clock.
    """

    def __init__(
        self, place: Place, limits: PoolLimits, cluster: Cluster, *, start: Start, emit: Emit
    ) -> None:
        self.place = place
        self.cluster = cluster
        self.limits = limits
        self.retired = False
        self.active = self.opening = self.closing = 0
        self.is_reachable: bool | None = None
        self._budget = cluster.budget
        self._start = start
        self._emit = emit
        self.resting = Idle(self._close)
        self._queue, self._backoff = Queue(limits.max_tenant_inflight), Backoff()
        self._upkeep = Upkeep(cluster.clock, Protection(place, emit))
        self._loop = asyncio.get_running_loop()
        self._since = self.last_used = self._loop.time()

    @property
    def idle(self) -> int:
        """Connections that wait for work."""
        return len(self.resting)

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return len(self._queue)

    def inflight(self, tenant: TenantId | None) -> int:
        """Connections that *tenant*, or anybody, has, or has left to a server that has not let go of them."""
        return self._queue.inflight(tenant)

    @property
    def size(self) -> int:
        """Connections that count against default_pool_size."""
        return len(self.resting) + self.active + self.opening

    @property
    def is_quiet(self) -> bool:
        """Whether nobody uses or awaits a connection, so that the pool may go."""
        return not (self.active or self.opening or self._queue)

    def lend_now(self, tenant: TenantId) -> Wire | None:
        """An idle connection, the most recently used first; None when one must be waited for."""
        if not self.resting or not self._queue.may_have(tenant):
            return None
        wire = self.resting.pop()
        self._queue.hold(tenant)
        self.active += 1
        self.last_used = wire.idle_since
        return wire

    async def lend(self, tenant: TenantId, deadline: Deadline) -> Wire:
        """A connection, waited for in turn with the pool's other tenants.

        Raises:
            QueueFull: As many wait as may, of all or of this tenant, besides those that a dial may serve.
            PoolExhausted: None came free within query_wait_timeout.
            DeadlineExceeded: The request's own time ended first.
            DatabaseUnavailable: The server cannot be reached, or tenants are not kept apart there.
        """
        if (wire := self.lend_now(tenant)) is not None:
            return wire
        now = self._loop.time()
        if self._backoff.is_on and self._backoff.refusal and not self.active and not self.opening:
            raise self._backoff.refusal.with_traceback(None)
        may_be_opened = max(0, self.limits.default_pool_size - self.active)
        if len(self._queue) >= self.limits.max_waiting + may_be_opened:
            raise QueueFull(self.place.id, len(self._queue))
        if self._queue.waiting(tenant) >= self.limits.max_tenant_waiting + may_be_opened:
            raise QueueFull(self.place.id, self._queue.waiting(tenant), tenant)
        waiter = self._queue.join(tenant)
        self.grow()
        until = min(now + self.limits.query_wait_timeout, deadline.at_s)
        try:
            async with asyncio.timeout_at(until):
                return await waiter
        except TimeoutError as exc:
            self._leave(waiter, tenant)
            if until == deadline.at_s:
                raise DeadlineExceeded("queue") from exc
            raise PoolExhausted(self.place.id, self._loop.time() - now) from exc
        except asyncio.CancelledError:
            self._leave(waiter, tenant)
            raise

    def _leave(self, waiter: Waiter, tenant: TenantId) -> None:
        """Undo a wait that was given up."""
        if (wire := self._queue.leave(waiter, tenant)) is not None:
            self.give_back(wire, tenant)
        self._want_no_more()

    def give_back(self, wire: Wire, tenant: TenantId) -> None:
        """Take *tenant*'s connection back: to the next waiter, to rest, or to its end."""
        wire.broken = wire.broken or wire.doubtful
        if not wire.broken and (work := self._upkeep.due(wire)) is not None:
            self._start(self._first(wire, tenant, work), "look after a connection")
            return
        self.active -= 1
        if wire.broken:
            self._close(wire, "broken", tenant)  # whose it is until the server has let go of it
            self.grow()
            return
        self._queue.release(tenant)
        self._take_in(wire)
        self._serve_idle()  # it may be *tenant*'s turn now, where it was not before

    def _take_in(self, wire: Wire) -> None:
        """Put a connection that is nobody's to use."""
        if wire.broken:
            self._close(wire, "broken")
        elif self._loop.time() > wire.expires_at:
            self._close(wire, "server_lifetime")
        elif wire.opened_at < self._since:
            self._close(wire, "reconnect")
        else:
            self._offer(wire)

    async def _first(self, wire: Wire, tenant: TenantId, do: Callable[[], Awaitable[None]]) -> None:
        """Do something on a wire before it comes back, off the request's path; else it is closed."""
        try:
            async with asyncio.timeout(self.limits.server_connect_timeout):
                await do()
        except (ConnectionLost, TimeoutError):
            wire.broken = True
        except PlaceUnprotected as exc:
            self._back_off(exc)
        finally:
            wire.broken = wire.broken or wire.in_transaction
            self.give_back(wire, tenant)

    def _offer(self, wire: Wire) -> None:
        now = self._loop.time()
        is_owed = self._budget.is_owed(self.grow, self.size + self.closing + 1, now - wire.opened_at)
        if not is_owed and self._queue.serve(wire):
            self.active += 1
            self._want_no_more()
        elif self.retired:
            self._close(wire, "retired")
        elif self.size >= self.limits.default_pool_size:
            self._close(wire, "pool shrunk")
        elif self._budget.is_wanted:
            self._close(wire, "evicted")
        else:
            self.last_used = now
            self.resting.add(wire)

    def _serve_idle(self) -> None:
        """Lend what rests to who may have it since a moment ago."""
        while self.resting and self._queue and self._queue.serve(self.resting.last()):
            self.resting.pop()
            self.active += 1

    def _want_no_more(self) -> None:
        """Leave the line for a permit, if no waiter could use a connection now."""
        if not self._queue.servable(1):
            self._budget.unwant(self.grow)

    # -- growing and shrinking

    def grow(self) -> None:
        """Dial for those who wait, as far as the pool's size and the cluster's budget allow."""
        wanted = self._queue.servable(self.limits.default_pool_size)
        while self.opening < wanted and self.size < self.limits.default_pool_size:
            if self._backoff.is_on:
                self._backoff.call_after(self.grow)
                return
            if not self._budget.take():
                self._budget.want(self.grow, lambda: self.size + self.closing)
                return
            self.opening += 1
            self._start(self._open(), f"dial {self.place.cluster}")

    async def _open(self) -> None:
        opening, wire = Opening(self.place, self.limits, self._upkeep), None
        try:
            wire = await opening.run()
        except DatabaseUnavailable as exc:
            self._back_off(exc)
        finally:
            self.opening -= 1
            if wire is None:
                self.closing += 1
                self._start(self._end(opening.undo(), None, None, is_prompt=False), "close connection")
        if wire is not None:
            self._backoff.succeed()
            self.is_reachable = True
            wire.on_lost = partial(self.resting.lose, wire)
            self._emit(ConnectionOpened(self.place.cluster, self.place.tier, wire.dial_s))
            self._take_in(wire)

    def _back_off(self, refusal: DatabaseUnavailable) -> None:
        """Dial no sooner than after a pause that grows; tell those whom no open connection can serve."""
        self._emit(DialFailed(self.place.cluster, self.place.tier, refusal.reason))
        self._backoff.fail(refusal)
        if isinstance(refusal, PlaceUnprotected):
            self.reconnect()  # it may be an older one that goes on working there
        else:
            self.is_reachable = False
            if self.active or self.opening > 1:
                self._backoff.call_after(self.grow)
                return
        self._queue.fail(refusal)
        self._budget.unwant(self.grow)

    def _close(self, wire: Wire, reason: str, tenant: TenantId | None = None) -> None:
        is_prompt = not wire.broken  # else it may wait for a statement that nothing can interrupt
        self.closing += 1
        self._budget.ending += is_prompt
        self._start(self._end(wire.close(), reason, tenant, is_prompt=is_prompt), "close connection")

    async def _end(
        self, closing: Work, reason: str | None, tenant: TenantId | None, *, is_prompt: bool
    ) -> None:
        try:
            await closing
        finally:
            self.closing -= 1
            if tenant is not None:
                self._queue.release(tenant)
                self._serve_idle()
            if reason is not None:
                self._emit(ConnectionClosed(self.place.cluster, self.place.tier, reason))
            self._budget.ending -= is_prompt
            self._budget.give()
            self.grow()

    def tidy(self, now: float) -> None:
        """Close what has rested beyond server_idle_timeout or lived beyond its lifetime."""
        self.resting.tidy(now, self.limits.server_idle_timeout)

    def retire(self) -> None:
        """Serve nobody new; what is lent ends when it comes back."""
        self.retired = True
        self.resting.close_all("retired")

    def reconnect(self) -> None:
        """Replace what is open: what rests at once, what is lent when it comes back."""
        self._since = self._loop.time()
        self.resting.close_all("reconnect")

    def resize(self, limits: PoolLimits) -> None:
        """Go on with other limits; what rests beyond them is closed, what works when it comes back."""
        self.limits = limits
        self._queue.max_inflight = limits.max_tenant_inflight
        self._serve_idle()
        while self.resting and self.size > limits.default_pool_size:
            self.resting.close_oldest("pool shrunk")
        self.grow()
