"""What a connection is asked when it is new, or comes back from work: never on a request's way."""

from collections.abc import Awaitable, Callable
from functools import partial

from pools.clock import Clock
from pools.protection import Protection
from pools.wire import Wire


class Upkeep:
    """What is to be done for the connections of one pool."""

    def __init__(self, clock: Clock, protection: Protection) -> None:
        self._clock = clock
        self._protection = protection

    async def welcome(self, wire: Wire) -> None:
        """Ask a new connection all there is to ask.

        Raises:
            PlaceUnprotected: Nobody may be served by it.
            ConnectionLost: It is broken.
        """
        await self._clock.read(wire)
        await self._protection.check(wire)

    def due(self, wire: Wire) -> Callable[[], Awaitable[None]] | None:
        """What *wire* should do before it serves again; it raises what `welcome` does."""
        if wire.in_transaction:
            return wire.roll_back
        if self._clock.is_due:
            return partial(self._clock.read, wire)
        if self._protection.is_due:
            return partial(self._protection.check, wire)
        return None
