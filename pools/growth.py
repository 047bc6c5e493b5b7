"""How many connections a pool has dialled at a time for those who wait."""

import asyncio
from collections.abc import Callable

PATIENCE_S = 0.02
"""About as long as a dial takes, and the work it makes at the server."""


class Growth:
    """The first connection is dialled at once, and no second one before the queue has stood for a while.

    Most who wait are served sooner by what comes back than by a dial, which takes a server as long as some
    dozens of requests: a crowd that has been held up would else have each of its members dial. While the
    queue stands on, twice as many are dialled at a time after each `PATIENCE_S`.

    Args:
        grow: Called when more may be dialled than a moment ago.
    """

    def __init__(self, grow: Callable[[], None]) -> None:
        self._grow = grow
        self._dials = 0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def dials(self, *, has_any: bool) -> int:
        """How many may be under way; *has_any* says whether there are connections that may come back."""
        return self._dials if has_any else max(1, self._dials)

    def stand(self, most: int) -> None:
        """Somebody waits, who may use a connection of *most*; with so many dials nobody waits for another."""
        if self._timer is None and self._dials < most:
            self._timer = self._loop.call_later(PATIENCE_S, self._double)

    def end(self) -> None:
        """Nobody waits any more."""
        self._dials = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _double(self) -> None:
        self._dials = max(1, 2 * self._dials)
        self._timer = None
        self._grow()
