"""How many connections one pool may have, and how many it keeps."""

import asyncio
from collections.abc import Callable

from pools.bounds import PoolLimits
from pools.promises import Promises
from pools.queue import Waiter


class Sizes:
    """One pool's, in PgBouncer's words.

    Attributes:
        limits: What the settings say.
        is_warm: It is kept connected, used or not.
    """

    def __init__(self, limits: PoolLimits, promises: Promises, *, is_warm: bool) -> None:
        self.limits = limits
        self.is_warm = is_warm
        self._promises = promises
        self._loop = asyncio.get_running_loop()
        self._timers: dict[Waiter, asyncio.TimerHandle] = {}
        self._overdue: set[Waiter] = set()

    @property
    def most(self) -> int:
        """Connections at most: default_pool_size, and the reserve while somebody has waited too long."""
        return self.limits.default_pool_size + (self.limits.reserve_pool_size if self._overdue else 0)

    @property
    def limit(self) -> int:
        """Connections beyond which even those that are waited for are closed: the limits were lowered."""
        return self.limits.default_pool_size + self.limits.reserve_pool_size

    def minimum(self, now: float, last_used: float) -> int:
        """Connections that the pool should keep; none once it rests for server_idle_timeout, unless warm."""
        limits = self.limits
        if self.is_warm:
            return min(max(1, limits.min_pool_size), limits.default_pool_size)
        if limits.min_pool_size and now - last_used < limits.server_idle_timeout:
            return min(limits.min_pool_size, limits.default_pool_size)
        return 0

    def least(self, now: float, last_used: float) -> int:
        """Connections that it keeps: its minimum, as long as the cluster can promise that."""
        minimum = self.minimum(now, last_used)
        return minimum if minimum and self._promises.hold(is_warm=self.is_warm) else 0

    def wait(self, waiter: Waiter, overdue: Callable[[], None]) -> None:
        """*waiter* begins to wait; *overdue* is called when the reserve is opened for it."""
        if self.limits.reserve_pool_size:
            self._timers[waiter] = self._loop.call_later(
                self.limits.reserve_pool_timeout, self._open_reserve, waiter, overdue
            )

    def _open_reserve(self, waiter: Waiter, overdue: Callable[[], None]) -> None:
        if not waiter.done():
            self._overdue.add(waiter)
            overdue()

    def end(self, waiter: Waiter) -> None:
        """*waiter* waits no more."""
        if self._timers and (timer := self._timers.pop(waiter, None)) is not None:
            timer.cancel()
            self._overdue.discard(waiter)
