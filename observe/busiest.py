"""Which tenants are busiest, in bounded memory, for whoever asks which of them should live apart.

Invariants. No more than `2 * most` tenants are remembered. A tenant that is not has done no more work than
`_floor_s`, which is never more than all work divided by `most`; of one that is, no more is missing than its
`missed_s` tells. What is forgotten still counts for its cluster. All of it fades by half each `HALF_LIFE_S`,
so that shares are those of lately.

Source:
    Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams
    (2005), "Space-Saving"; here the least are let go by `most` at a time, so that a request costs no search.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter

from observe.lately import Span
from tiergate.events import Event, RequestAnswered

HALF_LIFE_S = 3600.0
REQUEST_S = 0.001
"""Work that a request is besides its time in the database."""

_MOST = 512
_LEAST_S = 1e-6
_TOLD_CLUSTERS = 200
_TOLD_TENANTS = 50


@dataclass(frozen=True, slots=True)
class Work:
    """What was done lately.

    Attributes:
        requests: How many were answered; what is old counts less.
        database_s: For how long they had a connection.
        waiting_s: For how long they waited for one.
    """

    requests: float = 0.0
    database_s: float = 0.0
    waiting_s: float = 0.0

    @property
    def work_s(self) -> float:
        """By what tenants are compared."""
        return self.database_s + REQUEST_S * self.requests


@dataclass(frozen=True, slots=True)
class Busy:
    """What was done for one tenant on one cluster, at least.

    Attributes:
        missed_s: How much work may be missing.
    """

    tenant: str
    cluster: str
    done: Work
    missed_s: float


@dataclass(frozen=True, slots=True)
class Load:
    """What one process has done lately.

    Attributes:
        over_s: For how long it would have done so at an even pace.
        clusters: All that was done, by cluster; of the busiest of them.
        tenants: The busiest of each cluster.
        unlisted_s: No other tenant's work is more.
        lately: The last few seconds of it.
    """

    over_s: float = 0.0
    clusters: tuple[tuple[str, Work], ...] = ()
    tenants: tuple[Busy, ...] = ()
    unlisted_s: float = 0.0
    lately: Span = field(default_factory=Span)


class _Sum:
    """One tenant's work, or one cluster's, as it grows."""

    __slots__ = ("cluster", "database_s", "missed_s", "requests", "waiting_s")

    def __init__(self, cluster: str, missed_s: float = 0.0) -> None:
        self.cluster = cluster
        self.requests = self.database_s = self.waiting_s = 0.0
        self.missed_s = missed_s

    @property
    def most_s(self) -> float:
        return self.database_s + REQUEST_S * self.requests + self.missed_s

    def add(self, other: "_Sum") -> None:
        self.requests += other.requests
        self.database_s += other.database_s
        self.waiting_s += other.waiting_s

    def fade(self, by: float) -> None:
        self.requests *= by
        self.database_s *= by
        self.waiting_s *= by
        self.missed_s *= by

    def done(self) -> Work:
        return Work(round(self.requests, 2), round(self.database_s, 4), round(self.waiting_s, 4))


class Busiest:
    """Folds answered requests into the busiest tenants of this process.

    Args:
        most: Tenants that are remembered for certain; up to twice as many are.
    """

    def __init__(self, most: int = _MOST, *, now: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._now = now
        self._tenants: dict[str, _Sum] = {}
        self._gone: dict[str, _Sum] = {}
        self._floor_s = 0.0
        self._faded_at_s = now()
        self._over_s = 0.0

    def __len__(self) -> int:
        return len(self._tenants)

    def __call__(self, event: Event) -> None:
        """Fold one event."""
        if type(event) is not RequestAnswered:
            return
        tenant, cluster = event.tenant, event.cluster
        if tenant is None or cluster is None:
            return
        found = self._tenants.get(tenant)
        if found is None or found.cluster != cluster:
            found = self._begin(tenant, cluster)
        found.requests += 1
        found.database_s += event.database_s
        if event.queue_s:
            found.waiting_s += event.queue_s

    def load(self) -> Load:
        """What was done lately, as far as it is told."""
        self._fade()
        clusters = sorted(self._all().values(), key=attrgetter("most_s"), reverse=True)[:_TOLD_CLUSTERS]
        told = _told(self._tenants, {each.cluster for each in clusters})
        names = {name for name, _ in told}
        unlisted = (found.most_s for name, found in self._tenants.items() if name not in names)
        return Load(
            round(self._over_s, 1),
            tuple((each.cluster, each.done()) for each in clusters),
            tuple(Busy(name, found.cluster, found.done(), round(found.missed_s, 4)) for name, found in told),
            round(max(self._floor_s, *unlisted, 0.0), 4),
        )

    def _begin(self, tenant: str, cluster: str) -> _Sum:
        """Remember *tenant*, from nothing; what it did on another cluster is no work of this one."""
        if (moved := self._tenants.get(tenant)) is not None:
            self._forget(moved)
        elif len(self._tenants) >= 2 * self._most:
            self._let_go()
        found = self._tenants[tenant] = _Sum(cluster, self._floor_s)
        return found

    def _let_go(self) -> None:
        by_work = sorted(self._tenants.items(), key=lambda each: each[1].most_s, reverse=True)
        for _, found in by_work[self._most :]:
            self._forget(found)
        self._tenants = dict(by_work[: self._most])
        self._floor_s = max(self._floor_s, by_work[self._most][1].most_s)

    def _forget(self, found: _Sum) -> None:
        self._gone.setdefault(found.cluster, _Sum(found.cluster)).add(found)

    def _all(self) -> dict[str, _Sum]:
        """All that was done, by cluster."""
        clusters: dict[str, _Sum] = {}
        for found in (*self._gone.values(), *self._tenants.values()):
            clusters.setdefault(found.cluster, _Sum(found.cluster)).add(found)
        return clusters

    def _fade(self) -> None:
        now = self._now()
        by = 0.5 ** ((now - self._faded_at_s) / HALF_LIFE_S)
        self._faded_at_s = now
        # The integral of the same curve: what is even has faded to its pace times this.
        self._over_s = self._over_s * by + (1 - by) * HALF_LIFE_S / math.log(2)
        self._floor_s *= by
        for sums in (self._tenants, self._gone):
            for name, found in list(sums.items()):
                found.fade(by)
                if found.most_s < _LEAST_S:
                    del sums[name]


def _told(tenants: dict[str, _Sum], clusters: set[str]) -> list[tuple[str, _Sum]]:
    """The first of each cluster, then the second of each, until there are enough."""
    rank: defaultdict[str, int] = defaultdict(int)
    turns: list[tuple[int, float, str, _Sum]] = []
    for name, found in sorted(tenants.items(), key=lambda each: each[1].most_s, reverse=True):
        if found.cluster in clusters:
            rank[found.cluster] += 1
            turns.append((rank[found.cluster], -found.most_s, name, found))
    return [(name, found) for *_, name, found in sorted(turns, key=lambda turn: turn[:3])[:_TOLD_TENANTS]]
