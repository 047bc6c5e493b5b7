"""What a connection is asked when it is new, or comes back from work: never on a request's way."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from pools.clock import Clock
from pools.errors import ConnectionLost
from pools.protection import Protection
from pools.wire import Wire

Work = Callable[[], Awaitable[None]]

_SMALL_BYTES = 65536
# Is refused, since no key has this number: by then the server has loaded the function and its first table.
_REHEARSAL = b"SELECT tiergate.enter('', '', 0, -1, 0, '', 1)"


class Upkeep:
    """What is to be done for the connections of one pool."""

    def __init__(self, clock: Clock, protection: Protection, *, via_pgbouncer: bool) -> None:
        self._clock = clock
        self._protection = protection
        self._via_pgbouncer = via_pgbouncer

    async def welcome(self, wire: Wire, *, is_ahead: bool) -> None:
        """Ask a new connection what is not known yet: each question costs it a round trip.

        A pooler lets us in whether or not there is a database beyond it, so there something is always asked.

        Args:
            is_ahead: Nobody waits for it. Then its server loads what every request begins with, which would
                take the first one longer than all the rest of it.

        Raises:
            PlaceUnprotected: Nobody may be served by it.
            ConnectionLost: It is broken.
        """
        if self._clock.is_due or self._via_pgbouncer:
            await self._clock.read(wire)
        await self._protection.check(wire)
        if is_ahead and not self._via_pgbouncer:
            wire.ask(_REHEARSAL)
            await wire.fly(max_bytes=_SMALL_BYTES)

    def due(self, wire: Wire) -> Work | None:
        """What *wire* should do before it serves again; it raises what `welcome` does."""
        if wire.in_transaction:
            return wire.roll_back
        if self._clock.is_due:
            return partial(self._clock.read, wire)
        if self._protection.is_due:
            return partial(self._protection.check, wire)
        return None

    async def run(self, wire: Wire, work: Work, *, within_s: float) -> None:
        """Do what is due; if it fails, *wire* is broken.

        Raises:
            PlaceUnprotected: As `welcome`.
        """
        try:
            async with asyncio.timeout(within_s):
                await work()
        except (ConnectionLost, TimeoutError):
            wire.broken = True
        finally:
            wire.broken = wire.broken or wire.in_transaction
