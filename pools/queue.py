"""Who waits for a connection, in the order of asking."""

import asyncio
from collections import deque

from pools.wire import Wire

Waiter = asyncio.Future[Wire]


class Queue:
    """Waiters of one pool. One that gave up may stand here until it has left."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiters: deque[Waiter] = deque()

    def __len__(self) -> int:
        return len(self._waiters)

    def join(self) -> Waiter:
        """A place at the end."""
        waiter: Waiter = self._loop.create_future()
        self._waiters.append(waiter)
        return waiter

    def serve(self, wire: Wire) -> bool:
        """Hand *wire* to the first who still waits; False when nobody does."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(wire)
                return True
        return False

    def leave(self, waiter: Waiter) -> Wire | None:
        """Give up the place; a wire that was handed over in that very moment comes back."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            return waiter.result()
        return None

    def fail(self, error: Exception) -> None:
        """Tell everybody that nothing will come."""
        waiters, self._waiters = self._waiters, deque()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)
