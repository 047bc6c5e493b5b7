"""How long a server that could not be reached is left alone."""

import asyncio
import random
from collections.abc import Callable

from pools.errors import DatabaseUnavailable

_FIRST_S = 0.05
_LAST_S = 1.0


class Backoff:
    """Pauses between dials: each failure may double the next one, a success forgets them all.

    Attributes:
        refusal: What the last failure was; None before the first.
    """

    def __init__(self) -> None:
        self.refusal: DatabaseUnavailable | None = None
        self._loop = asyncio.get_running_loop()
        self._until = self._pause_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_on(self) -> bool:
        """Whether a pause is on."""
        return self._until > self._loop.time()

    def fail(self, refusal: DatabaseUnavailable) -> None:
        """Begin a pause; of random length, so that many processes do not come back together."""
        self.refusal = refusal
        self._pause_s = min(_LAST_S, max(_FIRST_S, self._pause_s * 2))
        self._until = self._loop.time() + random.uniform(0, self._pause_s)  # noqa: S311 - jitter

    def succeed(self) -> None:
        """Forget every failure."""
        self._until = self._pause_s = 0.0

    def call_after(self, retry: Callable[[], None]) -> None:
        """Call *retry* when the pause is over; asking again before that changes nothing."""
        if self._timer is None:
            self._timer = self._loop.call_at(self._until, self._end, retry)

    def _end(self, retry: Callable[[], None]) -> None:
        self._timer = None
        retry()
