"""What tenants use, added up between two writings, for whoever is to be billed for it.

Invariants. Every answered request whose tenant and tier are known is in exactly one of three: in what is
held here, in what `take` has given out, or in `lost`. No more than `most` rows are held: a request that
would begin one more is lost, and one whose row is there already is counted all the same. What is sealed
grows no more.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

from tiergate.events import Event, RequestAnswered
from tiergate.tenant import TenantId, Tier

MOST_ROWS = 50_000
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Used:
    """What one tenant has used in one hour on one tier.

    Attributes:
        hour_s: When the hour began, in seconds since 1970.
        failed: How many of the requests were answered with an error, or not to the end.
        rows, in_bytes, out_bytes: As of `RequestAnswered`.
        database_us: Microseconds of work for it at the database.
        connection_us: Microseconds for which it held a server connection.
    """

    tenant: TenantId
    hour_s: int
    tier: Tier
    requests: int
    failed: int
    rows: int
    in_bytes: int
    out_bytes: int
    database_us: int
    connection_us: int


class _Sum:
    """One tenant's use of one tier in one hour, as it grows."""

    __slots__ = ("connection_s", "failed", "in_bytes", "out_bytes", "requests", "rows", "stalled_s")

    def __init__(self) -> None:
        self.requests = self.failed = self.rows = self.in_bytes = self.out_bytes = 0
        self.connection_s = self.stalled_s = 0.0


class Meter:
    """Folds answered requests into what each tenant has used.

    Attributes:
        lost: How many requests were not counted, or given up by whoever was to write them.

    Args:
        most: Rows that are held at most.
        now: Seconds since 1970: a request counts for the hour in which it was answered.
    """

    def __init__(self, most: int = MOST_ROWS, *, now: Callable[[], float] = time.time) -> None:
        self.lost = 0
        self._most = most
        self._now = now
        self._count = 0
        self._hours: dict[int, dict[tuple[TenantId, Tier], _Sum]] = {}
        self._sealed: list[tuple[int, dict[tuple[TenantId, Tier], _Sum]]] = []
        self._open: dict[tuple[TenantId, Tier], _Sum] = {}
        self._begins_s = self._ends_s = 0.0

    def __len__(self) -> int:
        return self._count

    def __call__(self, event: Event) -> None:
        """Fold one event."""
        if type(event) is not RequestAnswered:
            return
        tenant, tier = event.tenant, event.tier
        if tenant is None or tier is None:
            return
        if not self._begins_s <= self._now() < self._ends_s:
            self._turn()
        found = self._open.get((tenant, tier))
        if found is None:
            if self._count >= self._most:
                self.lost += 1
                return
            found = self._open[tenant, tier] = _Sum()
            self._count += 1
        found.requests += 1
        found.rows += event.rows
        found.in_bytes += event.bytes_in
        found.out_bytes += event.bytes_out
        found.connection_s += event.database_s
        if event.outcome != "ok":
            found.failed += 1
        if event.stalled_s:
            found.stalled_s += event.stalled_s

    def seal(self) -> None:
        """Make what was counted so far ready to be taken; what is counted from now on comes after it."""
        self._sealed += sorted(self._hours.items(), key=itemgetter(0))
        self._hours, self._open, self._ends_s = {}, {}, self._begins_s

    def take(self, most: int) -> list[Used]:
        """No more than *most* rows of what is sealed, the oldest first; they are held here no longer."""
        taken: list[Used] = []
        while self._sealed and len(taken) < most:
            hour_s, sums = self._sealed[0]
            while sums and len(taken) < most:
                (tenant, tier), found = sums.popitem()
                taken.append(_used(tenant, hour_s, tier, found))
            if not sums:
                del self._sealed[0]
        self._count -= len(taken)
        return taken

    def _turn(self) -> None:
        """Begin another hour, or go on with one that was begun before."""
        hour_s = int(self._now() // HOUR_S) * HOUR_S
        self._begins_s, self._ends_s = hour_s, hour_s + HOUR_S
        self._open = self._hours.setdefault(hour_s, {})


def _used(tenant: TenantId, hour_s: int, tier: Tier, found: _Sum) -> Used:
    database_s = max(0.0, found.connection_s - found.stalled_s)
    return Used(
        tenant, hour_s, tier, found.requests, found.failed, found.rows, found.in_bytes, found.out_bytes,
        round(database_s * 1e6), round(found.connection_s * 1e6),
    )  # fmt: skip
