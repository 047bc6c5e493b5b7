"""Whom this process has worked for in the last few seconds, for whoever looks on while it happens.

Invariants. No more than `_MOST` tenants are counted in one span; those that come later in it are left out.
A span is told whole, or not at all, so that a pace is never that of a moment.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from heapq import nlargest

from tiergate.events import Event, RequestAnswered

_MOST = 4096
_TOLD = 32
_SHORTEST_S = 2.0


@dataclass(frozen=True, slots=True)
class InLine:
    """Who waits for a connection at this moment.

    Attributes:
        requests: How many of its requests do.
        oldest_s: For how long the first of them has.
    """

    tier: str
    cluster: str
    requests: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class Recent:
    """What was done for one tenant in one span, and what waits.

    Attributes:
        failed: How many of the *requests* were not answered with `ok`.
        database_s, waiting_s: As of `observe.busiest.Work`.
        waiting, oldest_s: As of `InLine`, when it is told.
        error: The code with which the last of them failed.
    """

    tenant: str
    tier: str | None = None
    cluster: str | None = None
    requests: int = 0
    failed: int = 0
    database_s: float = 0.0
    waiting_s: float = 0.0
    waiting: int = 0
    oldest_s: float = 0.0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """The last few seconds of one process.

    Attributes:
        over_s: How long they were; 0 before the first are over.
        tenants: Who had most requests, failures, database time or waiting; each is there for one of these.
    """

    over_s: float = 0.0
    tenants: tuple[Recent, ...] = ()


class _Count:
    __slots__ = ("cluster", "database_s", "error", "failed", "requests", "tier", "waiting_s")

    def __init__(self) -> None:
        self.tier: str | None = None
        self.cluster: str | None = None
        self.requests = self.failed = 0
        self.database_s = self.waiting_s = 0.0
        self.error: str | None = None


class Lately:
    """Folds answered requests into what was done for each tenant, span by span."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._began_s = now()
        self._counts: dict[str, _Count] = {}
        self._over_s = 0.0
        self._whole: dict[str, _Count] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def __call__(self, event: Event) -> None:
        """Fold one event."""
        if type(event) is not RequestAnswered or (tenant := event.tenant) is None:
            return
        found = self._counts.get(tenant)
        if found is None:
            if len(self._counts) >= _MOST:
                return
            found = self._counts[tenant] = _Count()
        found.requests += 1
        if event.cluster is not None:  # a refusal before its place was known tells of none
            found.tier, found.cluster = event.tier, event.cluster
        found.database_s += event.database_s
        if event.queue_s:
            found.waiting_s += event.queue_s
        if event.outcome != "ok":
            found.failed += 1
            found.error = event.outcome

    def span(self, in_line: Mapping[str, InLine]) -> Span:
        """The last span that is over, and who is *in_line* now. A new one begins unless this one is short."""
        now = self._now()
        if now - self._began_s >= _SHORTEST_S:
            self._over_s, self._whole = now - self._began_s, self._counts
            self._began_s, self._counts = now, {}
        names = _foremost(self._whole, in_line)
        told = (_recent(name, self._whole.get(name), in_line.get(name)) for name in names)
        return Span(round(self._over_s, 3), tuple(told))


def _foremost(counts: Mapping[str, _Count], in_line: Mapping[str, InLine]) -> list[str]:
    """Those with most of anything."""
    busy: list[Callable[[str], float]] = [
        lambda name: counts[name].requests,
        lambda name: counts[name].failed,
        lambda name: counts[name].database_s,
        lambda name: counts[name].waiting_s,
    ]
    names: dict[str, None] = {}
    for measure in busy:
        names |= dict.fromkeys(_most(counts, measure))
    return [*(names | dict.fromkeys(_most(in_line, lambda name: in_line[name].requests)))]


def _most(names: Iterable[str], measure: Callable[[str], float]) -> list[str]:
    return [name for name in nlargest(_TOLD, names, key=measure) if measure(name)]


def _recent(name: str, count: _Count | None, line: InLine | None) -> Recent:
    count = count or _Count()
    return Recent(
        name,
        line.tier if line else count.tier,
        line.cluster if line else count.cluster,
        count.requests,
        count.failed,
        round(count.database_s, 4),
        round(count.waiting_s, 4),
        line.requests if line else 0,
        round(line.oldest_s, 3) if line else 0.0,
        count.error,
    )
