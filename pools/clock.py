"""What time it is at a database, as far as this process knows.

What a gateway signs ends at a moment of the database's clock. That clock is read once a minute, on a
connection that opens or comes back from work, and when the database finds a signature out of its time; in
between time goes on by the monotonic clock. So our own wall clock may be hours off, or jump, and no
request notices. It never asks on a request's way, unless that was refused.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from psycopg import pq

from pools.errors import ConnectionLost
from pools.wire import Wire
from tiergate.events import ClockOff, ClockRead, Emit

FAR_OFF_S = 5.0
_JUMP_S = 1.0
_READ_EVERY_S = 60.0
_QUESTION = b"SELECT extract(epoch FROM clock_timestamp())"
_SMALL_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Ours:
    """The clocks of this machine, in seconds."""

    wall: Callable[[], float] = time.time
    ticks: Callable[[], float] = time.monotonic


class Clock:
    """One cluster's clock.

    Attributes:
        error_s: How far the last reading may be from the truth: half of its round trip.
    """

    def __init__(self, cluster: str, ours: Ours, emit: Emit) -> None:
        self.error_s = 0.0
        self._cluster = cluster
        self._ours = ours
        self._emit = emit
        self._ahead_s = ours.wall() - ours.ticks()
        self._offset_s: float | None = None
        self._due_s = -math.inf

    @property
    def is_due(self) -> bool:
        """Whether the last reading is a minute old."""
        return self._ours.ticks() >= self._due_s

    def now_s(self) -> float:
        """Seconds since 1970 at the database; by our own clock as long as nothing was read."""
        return self._ours.ticks() + self._ahead_s

    async def read(self, wire: Wire, *, until: float | None = None) -> None:
        """Ask the database for its time; one round trip on *wire*, outside of a transaction.

        Raises:
            ConnectionLost, DeadlineExceeded: As `Wire.fly`.
        """
        asked_s = self._ours.ticks()
        self._due_s = asked_s + _READ_EVERY_S  # from now on: nobody else need ask meanwhile
        wire.ask(_QUESTION)
        [[answer]] = await wire.fly(max_bytes=_SMALL_BYTES, until=until)
        answered_s = self._ours.ticks()
        said = answer.get_value(0, 0) if answer.status == pq.ExecStatus.TUPLES_OK else None
        if said is None:
            wire.broken = True
            raise ConnectionLost(answer.get_error_message().strip())
        self._learn(float(said), asked_s, answered_s)

    def _learn(self, read_s: float, asked_s: float, answered_s: float) -> None:
        error_s = (answered_s - asked_s) / 2
        ahead_s = read_s - (asked_s + error_s)
        if self._offset_s is None or abs(ahead_s - self._ahead_s) > error_s or error_s <= self.error_s:
            self._ahead_s, self.error_s = ahead_s, error_s  # else it says less exactly what we know
        offset_s, known_s = self._ahead_s + answered_s - self._ours.wall(), self._offset_s
        self._offset_s = offset_s
        self._emit(ClockRead(self._cluster, offset_s, error_s))
        jumped_s = 0.0 if known_s is None else offset_s - known_s
        was_far_off = known_s is not None and abs(known_s) > FAR_OFF_S
        if abs(jumped_s) > _JUMP_S + error_s or (abs(offset_s) > FAR_OFF_S and not was_far_off):
            self._emit(ClockOff(self._cluster, offset_s, jumped_s))
