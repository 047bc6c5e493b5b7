"""What is told of each cluster: its budget, whether it lets us in, and its clock."""

from collections.abc import Iterable

from prometheus_client import Metric

from observe.book import Book
from observe.snapshot import BudgetCount, PoolSnapshot
from observe.tally import MOST_VALUES, NamedGauge

BREAKER = "tiergate_breaker_state"
STATES = ("closed", "half-open", "open")
"""Of a circuit breaker; of several processes the one counts that stands last here."""


class ClusterGauges:
    """Gauges with a value for each cluster; of at most `MOST_VALUES` clusters."""

    def __init__(self, book: Book) -> None:
        self._seen: set[str] = set()
        self._budget = book.gauge(
            "tiergate_pool_budget", "Server connections allowed and used, by cluster.", ["cluster", "kind"]
        )
        self._up = book.gauge(
            "tiergate_cluster_up",
            "1 while a cluster lets us in, as far as is known; 0 while nobody but one dial at a time tries.",
            ["cluster"],
            over="min",
        )
        self._breaker = book.gauge(
            BREAKER,
            "Circuit breaker of a cluster: 1 for the state that it is in.",
            ["cluster", "state"],
            over="max",
        )
        self._clock_offset = NamedGauge(
            book.gauge(
                "tiergate_clock_offset_seconds",
                "How far a cluster's clock is ahead of this gateway's, when it was last read.",
                ["cluster"],
                over="mostrecent",
            )
        )

    def fold_clock(self, cluster: str, offset_s: float) -> None:
        """A clock was read."""
        self._clock_offset.set((cluster,), offset_s)

    def refresh(self, now: PoolSnapshot) -> None:
        """Show what was counted; of a cluster that is no more, nothing."""
        budgets = {budget.cluster: budget for budget in now.budgets[:MOST_VALUES]}
        self._seen |= budgets.keys()
        for cluster in self._seen:
            budget = budgets.get(cluster) or BudgetCount(cluster, 0, 0)
            self._budget.labels(cluster, "max").set(budget.max)
            self._budget.labels(cluster, "used").set(budget.used)
            self._budget.labels(cluster, "opening").set(budget.opening)
            self._budget.labels(cluster, "reserve").set(now.reserves.get(cluster, 0))
            self._up.labels(cluster).set(budget.is_up)
            is_in = now.breakers.get(cluster, "closed")
            for state in STATES:
                self._breaker.labels(cluster, state).set(state == is_in)


def worst(metrics: Iterable[Metric]) -> Iterable[Metric]:
    """*metrics*, with each breaker in one state, where that of several processes was put together."""
    for metric in metrics:
        if metric.name == BREAKER:
            at: dict[str, int] = {}
            for sample in metric.samples:
                if sample.value:
                    cluster, rank = sample.labels["cluster"], STATES.index(sample.labels["state"])
                    at[cluster] = max(at.get(cluster, 0), rank)
            metric.samples = [
                sample._replace(
                    value=float(STATES[at.get(sample.labels["cluster"], 0)] == sample.labels["state"])
                )
                for sample in metric.samples
            ]
        yield metric
