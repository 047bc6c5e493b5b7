"""How long what could not be reached is left alone."""

import asyncio
import random
from collections.abc import Callable

from pools.errors import DatabaseUnavailable

_FIRST_S = 0.05


class Backoff:
    """Pauses between dials: each failure may double the next one, a success forgets them all.

    Attributes:
        refusal: What the last failure was; None when the last dial succeeded.
    """

    def __init__(self, last_s: float) -> None:
        """*last_s* is the longest pause."""
        self.refusal: DatabaseUnavailable | None = None
        self._loop = asyncio.get_running_loop()
        self._last_s = last_s
        self._until = self._pause_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._retries: dict[Callable[[], None], None] = {}

    @property
    def is_on(self) -> bool:
        """Whether a pause is on."""
        return self._until > self._loop.time()

    def has_rested(self, now: float, rest_s: float) -> bool:
        """Whether the last pause ended *rest_s* ago."""
        return now > self._until + rest_s

    def fail(self, refusal: DatabaseUnavailable) -> None:
        """Begin a pause; of random length, so that many processes do not come back together."""
        self.refusal = refusal
        self._pause_s = min(self._last_s, max(_FIRST_S, self._pause_s * 2))
        self._until = self._loop.time() + random.uniform(0, self._pause_s)  # noqa: S311 - jitter

    def succeed(self) -> None:
        """Forget every failure."""
        self.refusal = None
        self._until = self._pause_s = 0.0
        self.wake()

    def call_after(self, retry: Callable[[], None]) -> None:
        """Call *retry* when the pause is over, else at the next `wake`; asking again changes nothing."""
        self._retries[retry] = None
        if self.is_on:
            self.wake()

    def wake(self) -> None:
        """See to it that who waits is called as soon as no pause is on."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._until, self._end) if self._retries else None

    def _end(self) -> None:
        self._timer = None
        retries, self._retries = self._retries, {}
        for retry in retries:
            retry()
