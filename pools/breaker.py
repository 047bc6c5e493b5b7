"""Whether a server is believed to let anybody in: a circuit breaker.

Closed, dials go as the budget has it. The first that fails by the server's own fault opens it: then nobody
dials, until a pause is over. Then it is half open: one dial may try, and its end decides for all.
"""

import asyncio
import math
from collections.abc import Callable

from observe.snapshot import BreakerState
from pools.backoff import Backoff
from pools.errors import DatabaseUnavailable
from tiergate.events import Emit, ServerFound, ServerLost

_LAST_PAUSE_S = 1.0


class Breaker:
    """One cluster's.

    Attributes:
        silent_since: When the dial began that got no answer at all, on the event loop's clock; -inf when
            the server did answer, or its machine.
    """

    def __init__(self, cluster: str, emit: Emit) -> None:
        self.silent_since = -math.inf
        self._cluster = cluster
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._backoff = Backoff(_LAST_PAUSE_S)
        self._is_probed = False
        self._opened_at = self._turned_at = -math.inf

    @property
    def refusal(self) -> DatabaseUnavailable | None:
        """Why it is open; None while it is closed."""
        return self._backoff.refusal

    @property
    def is_open(self) -> bool:
        """Whether the last that was heard of the server is that it lets nobody in."""
        return self._backoff.refusal is not None

    @property
    def state(self) -> BreakerState:
        """In words."""
        if not self.is_open:
            return "closed"
        return "open" if self._backoff.is_on and not self._is_probed else "half-open"

    def allows(self) -> bool:
        """Whether a dial may begin now."""
        return not (self.is_open and (self._is_probed or self._backoff.is_on))

    def begin(self) -> bool:
        """A dial begins; whether it is the one that tries for all."""
        if not self.is_open:
            return False
        self._is_probed = True
        return True

    def end(self, *, is_probe: bool) -> None:
        """A dial is over, however it ended."""
        if is_probe:
            self._is_probed = False
            self._backoff.wake()

    def fail(self, failed: DatabaseUnavailable, began: float) -> bool:
        """A dial failed by the server's fault; whether that is news to the pools.

        What began before the last turn says nothing of what holds since.
        """
        if began < self._turned_at:
            return False
        now = self._loop.time()
        if not self.is_open:
            self._opened_at = now
            self._emit(ServerLost(self._cluster, failed.reason))
        self._turned_at = now
        self.silent_since = began if failed.is_silent else -math.inf
        self._backoff.fail(failed)
        return True

    def succeed(self) -> None:
        """The server has let somebody in, or told that it would."""
        if not self.is_open:
            return
        now = self._loop.time()
        self._turned_at, self.silent_since = now, -math.inf
        self._emit(ServerFound(self._cluster, now - self._opened_at))
        self._backoff.succeed()

    def call_after(self, retry: Callable[[], None]) -> None:
        """Call *retry* when a dial may begin: when the pause and the one that tries are over."""
        self._backoff.call_after(retry)
