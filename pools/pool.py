"""The connections of one login to one place, lent out one transaction at a time.

Decides in plain code; dials and closes in tasks that it is given a starter for.
Invariants: a wire is in exactly one of `resting`, lent, being opened or being closed, and
holds one permit of the budget. A waiter that gives up leaves nothing behind.
"""

import asyncio
from functools import partial

from pools.bounds import PoolLimits
from pools.closing import Closing, Start
from pools.cluster import Cluster
from pools.counts import Counts
from pools.dialling import Dial, Dialling
from pools.errors import DatabaseUnavailable, DeadlineExceeded, PlaceUnprotected, PoolExhausted
from pools.growth import Growth
from pools.idle import Idle
from pools.opening import Opening
from pools.protection import Protection
from pools.queue import Queue, Waiter
from pools.sizes import Sizes
from pools.upkeep import Upkeep, Work
from pools.wire import Wire
from registry.placement import Place, TenantLimits
from tiergate.deadline import Deadline
from tiergate.events import ConnectionOpened, Emit
from tiergate.tenant import TenantId


class Pool(Counts):
    """A bounded set of connections to one place."""

    def __init__(
        self, place: Place, limits: PoolLimits, cluster: Cluster, *,
        is_warm: bool = False, start: Start, emit: Emit,
    ) -> None:  # fmt: skip
        super().__init__(
            Sizes(limits, cluster.promises, is_warm=is_warm),
            Idle(self._close),
            Queue(limits.max_tenant_inflight),
            Closing(place, cluster.budget, over=self._ended, start=start, emit=emit),
        )
        self.place = place
        self.cluster = cluster
        self._budget = cluster.budget
        self._start = start
        self._emit = emit
        self._dialling = Dialling(place, cluster, self, emit)
        self._upkeep = Upkeep(cluster.clock, Protection(place, emit), via_pgbouncer=place.via_pgbouncer)
        self._growth = Growth(self.grow)
        self._since = self._loop.time()

    @property
    def limits(self) -> PoolLimits:
        """What the settings say of it."""
        return self.sizes.limits

    def lend_now(self, tenant: TenantId, own: TenantLimits) -> Wire | None:
        """An idle connection, the most recently used first; None when one must be waited for."""
        if not self.resting or not self._queue.may_have(tenant, own.max_tenant_inflight):
            return None
        if self._queue.waiting(tenant):  # its limit was raised: who asked before goes first
            return None
        wire = self.resting.pop()
        self._queue.hold(tenant)
        self._lent()
        return wire

    def _lent(self) -> None:
        self.active += 1
        self.demand.count(self.active)

    def admit(self, tenant: TenantId, own: TenantLimits) -> None:
        """Let *tenant* wait here, if that is to any purpose; nobody need who finds a connection at rest.

        Raises:
            QueueFull: As many wait as may, of all or of this tenant, besides those that a dial may serve.
            DatabaseUnavailable: The server lets nobody in, or not us, or tenants are not kept apart there.
        """
        if (refusal := self._despair()) is not None:
            raise refusal.again()
        room = max(0, self.sizes.most - self.active)
        self._queue.admit(self.place.id, tenant, self.limits, own, room=room)

    async def lend(self, tenant: TenantId, own: TenantLimits, deadline: Deadline) -> Wire:
        """A connection, waited for in turn with the pool's other tenants.

        Args:
            own: What *tenant* may use instead of what everybody may.

        Raises:
            QueueFull, DatabaseUnavailable: As `admit`.
            PoolExhausted: None came free within query_wait_timeout.
            DeadlineExceeded: The request's own time ended first.
        """
        if (wire := self.lend_now(tenant, own)) is not None:
            return wire
        self.admit(tenant, own)
        now = self._loop.time()
        waiter = self._queue.join(tenant, own)
        self.sizes.wait(waiter, self.grow)
        self._serve_idle()  # by its own limits of now, another of *tenant* may have what rests
        self.grow()
        until = min(now + self.limits.query_wait_timeout, deadline.at_s)
        try:
            async with asyncio.timeout_at(until):
                return await waiter
        except TimeoutError as exc:
            self._leave(waiter, tenant)
            if until == deadline.at_s:
                raise DeadlineExceeded("queue") from exc
            if (refusal := self.cluster.breaker.refusal) is not None:
                raise refusal.again() from exc
            raise PoolExhausted(self.place.id, self._loop.time() - now) from exc
        except asyncio.CancelledError:
            self._leave(waiter, tenant)
            raise
        finally:
            self.sizes.end(waiter)
            self._want_no_more()

    def _despair(self) -> DatabaseUnavailable | None:
        """Why nobody should wait here; None when a connection may come."""
        return self._dialling.despair(has_any=bool(self.active or self.opening), last_used=self.last_used)

    def _leave(self, waiter: Waiter, tenant: TenantId) -> None:
        """Undo a wait that was given up."""
        if (wire := self._queue.leave(waiter, tenant)) is not None:
            self.give_back(wire, tenant)

    def give_back(self, wire: Wire, tenant: TenantId) -> None:
        """Take *tenant*'s connection back, once nothing of the transaction is left on it."""
        wire.broken = wire.broken or wire.doubtful
        if not wire.broken and (work := self._upkeep.due(wire)) is not None:
            self._start(self._first(wire, tenant, work), "look after a connection")
            return
        self.active -= 1
        if wire.broken:
            self._close(wire, "broken", tenant)  # whose it is until the server has let go of it
            self.grow()
            return
        self.last_used = self._loop.time()
        self._queue.release(tenant)
        self._take_in(wire, self.last_used)
        self._serve_idle()  # it may be *tenant*'s turn now, where it was not before
        if self._queue:
            self.grow()  # it may have been closed instead of lent

    def _take_in(self, wire: Wire, now: float) -> None:
        """Put a connection that is nobody's: to the next waiter, to rest, or to its end."""
        size = self.size
        if wire.broken:
            self._close(wire, "broken")
        elif now > wire.expires_at:
            self._close(wire, "server_lifetime")
        elif wire.opened_at < self._since:
            self._close(wire, "reconnect")
        elif size >= self.sizes.limit:
            self._close(wire, "pool shrunk")
        elif self._budget.is_exceeded:
            self._close(wire, "evicted")
        elif self._queue and not self._owes(wire, now) and self._queue.serve(wire):
            self._lent()
            self._want_no_more()
        elif self.retired:
            self._close(wire, "retired")
        elif size >= self.limits.default_pool_size:
            self._close(wire, "pool shrunk")
        else:
            self.resting.add(wire, now)
            self._budget.press()

    def _owes(self, wire: Wire, now: float) -> bool:
        """Whether *wire* is to give way, though somebody waits for it."""
        return self._budget.is_owed(self, self.permits + 1, now - wire.opened_at)

    async def _first(self, wire: Wire, tenant: TenantId, work: Work) -> None:
        """Look after a wire before it comes back, off the request's path."""
        try:
            await self._upkeep.run(wire, work, within_s=self.limits.server_connect_timeout)
        except PlaceUnprotected as exc:
            self._dialling.fail(exc, self._loop.time())
            self._give_up(exc)
        finally:
            self.give_back(wire, tenant)

    def _serve_idle(self) -> None:
        """Lend what rests to who may have it since a moment ago."""
        while self.resting and self._queue and self._queue.serve(self.resting.last()):
            self.resting.pop()
            self._lent()

    def _want_no_more(self) -> None:
        """Leave the line for a permit that is not needed: another's wire would give way for nothing."""
        if not self._queue:
            self._growth.end()
        if self._budget.awaits(self) and not self._is_short:
            self._budget.unwant(self)

    # -- growing and shrinking

    def grow(self) -> None:
        """Dial for those who wait, as far as the pool's size, the cluster's budget and its server allow."""
        while self._is_short:
            if (dial := self._dialling.begin()) is None:
                break
            self.opening += 1
            self._start(self._open(dial), f"dial {self.place.cluster}")
        else:
            self._budget.unwant(self)
        if self._queue and 0 < self.size < self.sizes.most and not self._budget.awaits(self):
            self._growth.stand(self.sizes.most)

    @property
    def _is_short(self) -> bool:
        """Whether one more connection should be dialled: for who waits, or to find the server again."""
        most, kept = self.sizes.most, len(self.resting) + self.active
        waiting = min(self._queue.servable(most), self._growth.dials(has_any=kept > 0))
        wanted = max(waiting, self.least - kept, self.cluster.breaker.is_open and not self.retired)
        return self.opening < wanted and self.size < most

    async def _open(self, dial: Dial) -> None:
        opening, wire, failed = Opening(self.place, self.limits, self._upkeep), None, None
        try:
            wire = await opening.run(is_ahead=not self._queue)
        except DatabaseUnavailable as exc:
            failed = exc
        finally:
            self.opening -= 1
            if wire is None:
                self._closing.begin(opening.undo(), None)
            else:
                self._welcome(wire)  # before another is dialled for the same waiter
            self._dialling.end(dial, failed)
        if isinstance(failed, PlaceUnprotected):
            self._give_up(failed)
        else:
            self.look_again()

    def _welcome(self, wire: Wire) -> None:
        self._dialling.succeed()
        wire.on_lost = partial(self.resting.lose, wire)
        self._emit(ConnectionOpened(self.place.cluster, self.place.tier, wire.dial_s))
        self._take_in(wire, wire.opened_at)

    def look_again(self) -> None:
        """Go on dialling, or tell who waits that nothing will come."""
        if (refusal := self._despair()) is None:
            self.grow()
        else:
            self.refuse(refusal)

    def _give_up(self, refusal: PlaceUnprotected) -> None:
        """Serve nobody until a new connection has found all well: an older one may not have looked yet."""
        self.reconnect()
        self.refuse(refusal)

    def refuse(self, refusal: DatabaseUnavailable) -> None:
        """Tell everybody who waits that nothing will come."""
        self._queue.fail(refusal.again)
        self._budget.unwant(self)

    def _close(self, wire: Wire, reason: str, tenant: TenantId | None = None) -> None:
        self._closing.begin(wire.close(), reason, tenant, is_prompt=not wire.broken)

    def _ended(self, tenant: TenantId | None) -> None:
        """A connection is gone, that was *tenant*'s until now."""
        if tenant is not None:
            self._queue.release(tenant)
            self._serve_idle()
        self.grow()

    def tidy(self, now: float) -> None:
        """Close what has rested or lived too long, and see to it that there is as much as it keeps."""
        self.demand.fade(now)
        self.resting.tidy(now, self.limits.server_idle_timeout, spare=self.size - self.least)
        self.grow()

    def retire(self) -> None:
        """Serve nobody new; what is lent ends when it comes back."""
        self.retired = True
        self.resting.close_all("retired")
        self._want_no_more()

    def reconnect(self) -> None:
        """Replace what is open: what rests at once, what is lent when it comes back."""
        self._since = self._loop.time()
        self.resting.close_all("reconnect")

    def resize(self, limits: PoolLimits) -> None:
        """Go on with other limits; what rests beyond them is closed, what works when it comes back."""
        self.sizes.limits = limits
        self._queue.max_inflight = limits.max_tenant_inflight
        self._serve_idle()
        while self.resting and self.size > limits.default_pool_size:
            self.resting.close_oldest("pool shrunk")
        self.grow()
