"""What metrics say of replicas."""

import math

from observe.book import Book
from observe.tally import NamedGauge
from tiergate.events import ReplicaFound, ReplicaLost, ReplicaMeasured, StaleRead
from tiergate.tenant import Tier

SERVED_BY = ("replica", "no-replica", "unknown-lag", "too-stale", "serializable", "failed")
ReplicaEvent = ReplicaMeasured | ReplicaLost | ReplicaFound | StaleRead


class ReplicaMetrics:
    """How old they are, and where reads went that accepted that."""

    def __init__(self, book: Book) -> None:
        self._staleness = NamedGauge(
            book.gauge(
                "tiergate_replica_staleness_seconds",
                "How old what a replica shows is; NaN when that is not known, or nobody asks.",
                ["cluster", "replica"],
                over="mostrecent",
            )
        )
        self._reads = book.counter(
            "tiergate_stale_reads_total",
            "Requests that accepted staleness, and where they were read.",
            ["tier", "served_by"],
            [(tier, served_by) for tier in Tier for served_by in SERVED_BY],
        )

    def __call__(self, event: ReplicaEvent) -> None:
        """Fold one event."""
        match event:
            case ReplicaMeasured(cluster, replica, staleness_s):
                self._staleness.set((cluster, replica), math.nan if staleness_s is None else staleness_s)
            case StaleRead(tier, served_by):
                self._reads.add((tier, served_by))
            case ReplicaLost() | ReplicaFound():
                pass  # its staleness is unknown meanwhile
