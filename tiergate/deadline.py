"""The moment by which one request or step must end."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment by which one request must be answered.

    Made once, at the edge, and handed down unchanged: each await asks how much
    is left, so timeouts never add up along the path.

    Attributes:
        at_s: Point on the monotonic clock, in seconds; the event loop's clock is the same one.
    """

    at_s: float

    @classmethod
    def after(cls, seconds: float, *, now: Callable[[], float] = time.monotonic) -> "Deadline":
        """The deadline that lies *seconds* from now."""
        return cls(now() + seconds)

    def left_s(self, *, now: Callable[[], float] = time.monotonic) -> float:
        """Seconds left; 0.0 once the moment has passed, never negative."""
        return max(0.0, self.at_s - now())


async def finish(cleanup: Coroutine[Any, Any, T], *, within_s: float) -> T:
    """Run *cleanup* to its end, even if we are cancelled while it runs.

    The one place that may hold a cancellation back, and only for *within_s*.

    Raises:
        TimeoutError: It took longer than *within_s* and was cancelled.
        CancelledError: We were cancelled meanwhile; *cleanup* has ended by now.
    """

    async def bounded() -> T:
        async with asyncio.timeout(within_s):
            return await cleanup

    task = asyncio.create_task(bounded(), name="finish")
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})  # unlike `await task`, leaves it running
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        raise cancelled from task.exception()
    return task.result()
