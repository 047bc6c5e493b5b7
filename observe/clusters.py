"""What is told of each cluster: its budget, whether it lets us in, and its clock."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Gauge

from observe.snapshot import BudgetCount
from observe.tally import MOST_VALUES


class ClusterGauges:
    """Gauges with a value for each cluster; of at most `MOST_VALUES` clusters."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seen: set[str] = set()
        self._clocks_seen: set[str] = set()
        self._budget = Gauge(
            "tiergate_pool_budget",
            "Server connections allowed and used, by cluster.",
            ["cluster", "kind"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._up = Gauge(
            "tiergate_cluster_up",
            "1 while a cluster lets us in, as far as is known; 0 while nobody but one dial at a time tries.",
            ["cluster"],
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._clock_offset = Gauge(
            "tiergate_clock_offset_seconds",
            "How far a cluster's clock is ahead of this gateway's, when it was last read.",
            ["cluster"],
            registry=registry,
            multiprocess_mode="mostrecent",
        )

    def fold_clock(self, cluster: str, offset_s: float) -> None:
        """A clock was read."""
        if cluster in self._clocks_seen or len(self._clocks_seen) < MOST_VALUES:
            self._clocks_seen.add(cluster)
            self._clock_offset.labels(cluster).set(offset_s)

    def refresh(self, counted: Iterable[BudgetCount]) -> None:
        """Show what was counted; of a cluster that is no more, nothing."""
        budgets = {budget.cluster: budget for budget in counted}
        self._seen |= budgets.keys()
        for cluster in self._seen:
            budget = budgets.get(cluster) or BudgetCount(cluster, 0, 0)
            self._budget.labels(cluster, "max").set(budget.max)
            self._budget.labels(cluster, "used").set(budget.used)
            self._budget.labels(cluster, "opening").set(budget.opening)
            self._up.labels(cluster).set(budget.is_up)
