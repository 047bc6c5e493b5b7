"""Who waits for a connection of one pool: tenants in turn, each tenant's requests in the order of asking."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pools.bounds import PoolLimits
from pools.errors import QueueFull
from pools.wire import Wire
from registry.placement import TenantLimits
from tiergate.tenant import TenantId

_LIKE_ALL = TenantLimits()
Waiter = asyncio.Future[Wire]


@dataclass(slots=True)
class _Line:
    """One tenant's requests; *credit* of them may still be served in this turn, *weight* in each.

    Attributes:
        max_inflight: The tenant's own; None for what everybody has.
    """

    weight: int = 1
    credit: int = 1
    max_inflight: int | None = None
    waiters: deque[Waiter] = field(default_factory=deque)


class Queue:
    """Waiters of one pool, and how many of its connections each tenant has.

    Deficit round robin: with each turn a tenant is served as often as its weight says, whatever it
    asks for more stands behind the others. Who has max_inflight connections is passed over.

    Source:
        M. Shreedhar and G. Varghese, "Efficient Fair Queuing using Deficit Round Robin", 1996; here a
        request costs one.

    Attributes:
        max_inflight: Connections that one tenant may have at a time, unless it has a limit of its own.
    """

    def __init__(self, max_inflight: int) -> None:
        self.max_inflight = max_inflight
        self._loop = asyncio.get_running_loop()
        self._lines: OrderedDict[TenantId, _Line] = OrderedDict()
        self._inflight: Counter[TenantId] = Counter()
        self._length = 0

    def __len__(self) -> int:
        """Requests that wait; one that gave up may count until it has left."""
        return self._length

    def waiting(self, tenant: TenantId) -> int:
        """Requests of *tenant* that wait."""
        line = self._lines.get(tenant)
        return 0 if line is None else len(line.waiters)

    def servable(self, most: int) -> int:
        """Requests that could be served at once if there were connections, counted up to *most*."""
        found = 0
        for tenant, line in self._lines.items():
            found += min(len(line.waiters), self._room(tenant, line.max_inflight))
            if found >= most:
                return most
        return found

    # -- connections that a tenant has

    def may_have(self, tenant: TenantId, own: int | None = None) -> bool:
        """Whether *tenant* may have one more connection; *own* is its own max_inflight, if it has one."""
        return self._inflight[tenant] < (self.max_inflight if own is None else own)

    def _room(self, tenant: TenantId, own: int | None) -> int:
        return max(0, (self.max_inflight if own is None else own) - self._inflight[tenant])

    def inflight(self, tenant: TenantId | None) -> int:
        """Connections that *tenant* has, or everybody."""
        return sum(self._inflight.values()) if tenant is None else self._inflight[tenant]

    def hold(self, tenant: TenantId) -> None:
        """*tenant* has one more."""
        self._inflight[tenant] += 1

    def release(self, tenant: TenantId) -> None:
        """*tenant* has one less."""
        self._inflight[tenant] -= 1
        if not self._inflight[tenant]:
            del self._inflight[tenant]

    # -- waiting

    def admit(self, pool: str, tenant: TenantId, limits: PoolLimits, own: TenantLimits, *, room: int) -> None:
        """Let *tenant* join, if not as many wait as may, besides those whom *room* may serve at once.

        Raises:
            QueueFull: As many do, of all or of this tenant.
        """
        if len(self) >= limits.max_waiting + room:
            raise QueueFull(pool, len(self))
        most = limits.max_tenant_waiting if own.max_tenant_waiting is None else own.max_tenant_waiting
        if self.waiting(tenant) >= most + room:
            raise QueueFull(pool, self.waiting(tenant), tenant)

    def join(self, tenant: TenantId, own: TenantLimits = _LIKE_ALL) -> Waiter:
        """A place behind *tenant*'s other requests; by its own weight as many are served in one turn."""
        waiter: Waiter = self._loop.create_future()
        weight = own.weight or 1
        line = self._lines.get(tenant)
        if line is None:
            line = self._lines[tenant] = _Line(credit=weight)
        line.weight, line.max_inflight = weight, own.max_tenant_inflight
        line.waiters.append(waiter)
        self._length += 1
        return waiter

    def serve(self, wire: Wire) -> bool:
        """Hand *wire* to whoever's turn it is, and count it as theirs; False when nobody may have it."""
        for _ in range(len(self._lines)):
            tenant, line = next(iter(self._lines.items()))
            if self.may_have(tenant, line.max_inflight) and self._hand_over(line, wire):
                self.hold(tenant)
                line.credit -= 1
                if line.credit < 1 or not line.waiters:
                    self._next_turn(tenant, line)
                return True
            self._next_turn(tenant, line)
        return False

    def _hand_over(self, line: _Line, wire: Wire) -> bool:
        while line.waiters:
            waiter = line.waiters.popleft()
            self._length -= 1
            if not waiter.done():
                waiter.set_result(wire)
                return True
        return False

    def _next_turn(self, tenant: TenantId, line: _Line) -> None:
        if line.waiters:
            line.credit = line.weight
            self._lines.move_to_end(tenant)
        else:
            del self._lines[tenant]

    def leave(self, waiter: Waiter, tenant: TenantId) -> Wire | None:
        """Give up the place; a wire that was handed over in that very moment comes back, still *tenant*'s."""
        line = self._lines.get(tenant)
        if line is not None and waiter in line.waiters:
            line.waiters.remove(waiter)
            self._length -= 1
            if not line.waiters:
                del self._lines[tenant]
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            return waiter.result()
        return None

    def fail(self, error: Callable[[], Exception]) -> None:
        """Tell everybody that nothing will come, each by an *error* of its own: it grows as it is raised."""
        lines, self._lines = self._lines, OrderedDict()
        self._length = 0
        for line in lines.values():
            for waiter in line.waiters:
                if not waiter.done():
                    waiter.set_exception(error())
