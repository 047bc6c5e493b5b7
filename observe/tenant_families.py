"""One tenant's sums as metrics, which hold its name; no metric of `/metrics` does."""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from observe.tenant_sums import BOUNDS_S, PHASES, Sums

Values = Mapping[tuple[str, ...], float]


class TenantFamilies(Collector):
    """What is told of one tenant.

    Args:
        outcomes: How requests may end, shown as 0 before they first do.
    """

    def __init__(self, tenant: str, sums: Sums, outcomes: Iterable[str]) -> None:
        self._tenant = tenant
        self._sums = sums
        self._outcomes = tuple(outcomes)

    def collect(self) -> Iterable[Metric]:
        """All of it."""
        yield from self._counted()
        yield self._seconds()
        yield from self._in_hand()

    def _counted(self) -> Iterable[Metric]:
        sums = self._sums
        ended = dict.fromkeys(self._outcomes, 0) | sums.outcomes
        yield self._counter(
            "requests", "Its requests answered.", {(outcome,): n for outcome, n in ended.items()}, "outcome"
        )
        spent = dict(zip(PHASES, sums.phases_s, strict=True))
        yield self._counter(
            "phase_seconds", "Where the time of its requests went.",
            {(phase,): spent_s for phase, spent_s in spent.items()}, "phase",
        )  # fmt: skip
        yield self._counter("rows", "Rows in the answers to its requests.", {(): sums.rows})
        yield self._counter(
            "request_bytes", "Bytes of the bodies of its requests, and of those of their answers.",
            {("in",): sums.bytes_in, ("out",): sums.bytes_out}, "direction",
        )  # fmt: skip
        yield self._counter(
            "round_trips", "Times that its requests have asked a database and waited for its answer.",
            {(): sums.round_trips},
        )  # fmt: skip

    def _seconds(self) -> Metric:
        made = HistogramMetricFamily(
            "tiergate_tenant_request_seconds", "How long its requests took.", labels=["tenant"]
        )
        names = [*map(floatToGoString, BOUNDS_S), "+Inf"]
        at_most = list(zip(names, accumulate(self._sums.counts), strict=True))
        made.add_metric([self._tenant], at_most, self._sums.total_s)
        return made

    def _in_hand(self) -> Iterable[Metric]:
        now = self._sums.in_hand
        yield self._gauge("requests_inflight", "Its requests that have a connection.", {(): now.inflight})
        yield self._gauge("requests_waiting", "Its requests that wait for a connection.", {(): now.waiting})
        yield self._gauge(
            "oldest_wait_seconds", "For how long the first of those has waited.", {(): now.oldest_s}
        )
        yield self._gauge(
            "pool_connections", "Server connections of the pools that serve it.",
            {
                (pool.tier, pool.cluster, state): getattr(pool, state)
                for pool in now.pools
                for state in ("active", "idle", "opening", "closing")
            },
            "tier", "cluster", "state",
        )  # fmt: skip
        yield self._gauge(
            "pool_size", "Server connections that those pools may have.",
            {(pool.tier, pool.cluster): pool.size for pool in now.pools}, "tier", "cluster",
        )  # fmt: skip

    def _counter(self, name: str, text: str, values: Values, *labels: str) -> Metric:
        made = CounterMetricFamily(f"tiergate_tenant_{name}", text, labels=["tenant", *labels])
        return self._filled(made, values)

    def _gauge(self, name: str, text: str, values: Values, *labels: str) -> Metric:
        made = GaugeMetricFamily(f"tiergate_tenant_{name}", text, labels=["tenant", *labels])
        return self._filled(made, values)

    def _filled(self, made: CounterMetricFamily | GaugeMetricFamily, values: Values) -> Metric:
        for key, value in values.items():
            made.add_metric([self._tenant, *key], value)
        return made
