"""What one pool has, counted; nothing is decided or changed here."""

import asyncio

from pools.closing import Closing
from pools.demand import Demand
from pools.idle import Idle
from pools.queue import Queue
from pools.sizes import Sizes
from tiergate.tenant import TenantId


class Counts:
    """Its connections, by what they do, and who waits for one.

    Attributes:
        retired: Serves nobody new; goes once who waits is served and what is lent has come back.
        resting: Its connections that wait for work.
        active, opening: Connections lent out, and being dialled.
        demand: How many were lent at once, of late.
        last_used: When a connection last came back, on the event loop's clock.
    """

    def __init__(self, sizes: Sizes, resting: Idle, queue: Queue, closing: Closing) -> None:
        self.sizes = sizes
        self.resting = resting
        self.retired = False
        self.active = self.opening = 0
        self._queue = queue
        self._closing = closing
        self._loop = asyncio.get_running_loop()
        self.last_used = self._loop.time()
        self.demand = Demand(self.last_used)

    @property
    def idle(self) -> int:
        """Connections that wait for work."""
        return len(self.resting)

    @property
    def closing(self) -> int:
        """Connections whose end the server has not confirmed yet."""
        return self._closing.count

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
    def permits(self) -> int:
        """Connections that count against the cluster's budget."""
        return self.size + self.closing

    @property
    def least(self) -> int:
        """Connections that it keeps."""
        return 0 if self.retired else self.sizes.least(self._loop.time(), self.last_used)

    @property
    def wish(self) -> tuple[int, bool]:
        """Connections that it should keep, and whether it is warm."""
        return self.sizes.minimum(self._loop.time(), self.last_used), self.sizes.is_warm

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """How urgently it needs a permit; smaller is sooner."""
        return not self.waiting, self.size >= self.least, self.permits

    @property
    def is_quiet(self) -> bool:
        """Whether nobody uses or awaits a connection, so that the pool may go."""
        return not (self.active or self.opening or self._queue)

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it was used for so long that it should go."""
        has_rested = self._loop.time() - self.last_used > self.sizes.limits.server_idle_timeout
        return self.is_quiet and not self.idle and has_rested and not self.sizes.is_warm
