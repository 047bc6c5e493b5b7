"""Paces the copy, so that everybody else keeps their throughput.

What the copy costs others is measured, not guessed: a small probe at the source tells how much slower the
server is while a chunk is copied than while the copy rests. From that follows how much of the time the copy
may work.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from statistics import median
from typing import TypeVar

from fleet.access import Connection
from moves.together import together

T = TypeVar("T")

_REMEMBERED = 40
_ENOUGH = 3
_LONGEST_REST_S = 5.0
_AFTER_S = 0.02
"""Work, or rest, is in full swing by then."""
_EVERY_S = 0.2
_CHUNK_S = 0.2
_CHUNK_BYTES = 4 << 20
_FEWEST_ROWS, _MOST_ROWS = 50, 20_000


class Pace:
    """How much of the time the copy may work; knows no clock and no server.

    While it works, others are slower by some factor, and it works for some share of the time: what they lose
    is the product, which is kept at *loss*.

    Attributes:
        share: Of the time, between *least* and *most*: it never stops for good, and always rests enough to
            know how fast the server is without it.
    """

    def __init__(self, *, loss: float = 0.03, least: float = 0.05, most: float = 0.9) -> None:
        self.share = 0.2
        self._loss, self._least, self._most = loss, least, most
        self._working: deque[float] = deque(maxlen=_REMEMBERED)
        self._resting: deque[float] = deque(maxlen=_REMEMBERED)

    def hear(self, probe_s: float, *, is_working: bool) -> None:
        """A probe took that long, while the copy worked or while it rested."""
        (self._working if is_working else self._resting).append(probe_s)
        if min(len(self._working), len(self._resting)) < _ENOUGH:
            return
        slower = max(median(self._working) / max(median(self._resting), 1e-9) - 1, 1e-9)
        self.share = min(max(self._loss / slower, self._least), self._most)

    def rest_s(self, worked_s: float) -> float:
        """How long to rest after having worked that long."""
        return min(worked_s * (1 / self.share - 1), _LONGEST_REST_S)


def rows_for(rows: int, took_s: float, size_bytes: int) -> int:
    """How many rows the next chunk should have, after one of *rows* that took so long and was that large.

    At most twice as many as before; short enough that no snapshot is held for long, and small enough for
    memory.
    """
    fits = min(_CHUNK_S / max(took_s, 1e-6), _CHUNK_BYTES / max(size_bytes, 1), 2.0)
    return min(max(int(rows * fits), _FEWEST_ROWS), _MOST_ROWS)


class Throttle:
    """Runs chunks at a pace, probing meanwhile."""

    def __init__(self, probe: Callable[[], Awaitable[float]], pace: Pace | None = None) -> None:
        self._probe = probe
        self.pace = pace or Pace()

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do *work*, then rest as long as that has earned."""
        began_s = time.monotonic()
        done = await self._probing(work(), is_working=True)
        rest_s = self.pace.rest_s(time.monotonic() - began_s)
        await self._probing(asyncio.sleep(rest_s), is_working=False)
        return done

    async def _probing(self, meanwhile: Awaitable[T], *, is_working: bool) -> T:
        over = asyncio.Event()

        async def listen() -> None:
            # Told to end rather than cancelled: a query that is cancelled costs a connection.
            wait_s = _AFTER_S
            while not await _comes(over, within_s=wait_s):
                self.pace.hear(await self._probe(), is_working=is_working)
                wait_s = _EVERY_S

        async with together() as tasks:
            tasks.create_task(listen(), name="probe the source")
            try:
                return await meanwhile
            finally:
                over.set()


# A process that mostly waits is let in at once by the system's scheduler, however many want to run, and would
# notice nothing. So it works for some 3 ms first, and then sleeps for 1 ms: what counts is how long that is,
# until it runs again.
_PROBE = b"""
SELECT extract(epoch FROM clock_timestamp() - rested.since)::float8
FROM (SELECT clock_timestamp() AS since FROM (
    SELECT count(*) AS number FROM generate_series(1, 20000) OFFSET 0
) AS worked WHERE number > 0 OFFSET 0) AS rested,
LATERAL (SELECT pg_sleep(0.001) WHERE rested.since IS NOT NULL OFFSET 0) AS slept
"""


async def _comes(event: asyncio.Event, *, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def probe_of(connection: Connection) -> Callable[[], Awaitable[float]]:
    """A probe on a connection of its own: how long a server process waits until it runs again, 2 ms or more.

    By the server's clock, since ours also runs while the copy keeps us busy.
    """

    async def probe() -> float:
        cursor = await connection.execute(_PROBE)
        row = await cursor.fetchone()
        return float(row[0]) if row else 0.0

    return probe
