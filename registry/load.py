"""What all processes have done lately, put together from what each has written down."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from observe.busiest import Busy, Load, Work
from observe.lately import Recent, Span


@dataclass(slots=True)
class Total:
    """What was done for one tenant on one cluster, or on one cluster in all, by every process.

    Attributes:
        requests, database_s, waiting_s: As of `observe.busiest.Work`.
        connections: How many were in use, on average.
        missed_s: How much work may be missing.
    """

    requests: float = 0.0
    database_s: float = 0.0
    waiting_s: float = 0.0
    connections: float = 0.0
    missed_s: float = 0.0

    @property
    def done(self) -> Work:
        """The same without what is derived from it."""
        return Work(self.requests, self.database_s, self.waiting_s)

    def add(self, done: Work, over_s: float) -> None:
        """Add what one process has done in *over_s*."""
        self.requests += done.requests
        self.database_s += done.database_s
        self.waiting_s += done.waiting_s
        self.connections += done.database_s / over_s if over_s else 0.0


@dataclass(slots=True)
class Whole:
    """What all processes have done.

    Attributes:
        processes: How many have told it.
        over_s: Of how much time; of the oldest process.
        tenants: By tenant and cluster.
    """

    processes: int = 0
    over_s: float = 0.0
    clusters: dict[str, Total] = field(default_factory=dict)
    tenants: dict[tuple[str, str], Total] = field(default_factory=dict)


def merge(loads: Iterable[Load]) -> Whole:
    """One whole of the loads of all processes."""
    loads = list(loads)
    whole = Whole(len(loads), max((load.over_s for load in loads), default=0.0))
    for load in loads:
        for cluster, done in load.clusters:
            whole.clusters.setdefault(cluster, Total()).add(done, load.over_s)
        for busy in load.tenants:
            whole.tenants.setdefault((busy.tenant, busy.cluster), Total()).add(busy.done, load.over_s)
    for load in loads:
        clusters = {cluster: done.work_s for cluster, done in load.clusters}
        listed = {(busy.tenant, busy.cluster): busy.missed_s for busy in load.tenants}
        for name, total in whole.tenants.items():
            unlisted_s = min(load.unlisted_s, clusters.get(name[1], 0.0))
            total.missed_s += listed.get(name, unlisted_s)
    return whole


def read_load(told: Mapping[str, Any]) -> Load:  # Any: JSON
    """The load that a process has written down as JSON."""
    return Load(
        told["over_s"],
        tuple((cluster, Work(**done)) for cluster, done in told["clusters"]),
        tuple(
            Busy(each["tenant"], each["cluster"], Work(**each["done"]), each["missed_s"])
            for each in told["tenants"]
        ),
        told["unlisted_s"],
        _read_span(told.get("lately") or {}),
    )


def _read_span(
    told: Mapping[str, Any],
) -> Span:  # Any: JSON
    # Earlier versions tell none, later ones perhaps more of each.
    known = [each.name for each in fields(Recent)]
    return Span(
        told.get("over_s", 0.0),
        tuple(
            Recent(**{name: each[name] for name in known if name in each}) for each in told.get("tenants", ())
        ),
    )
