"""Where metrics are made, and kept until what was added up is handed on."""

from collections.abc import Iterable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from observe.tally import CounterTally, HistogramTally
from tiergate.tenant import Tier

SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
)  # fmt: skip
"""Upper bounds of buckets."""

Over = Literal["sum", "min", "max", "mostrecent"]
_MODES: dict[Over, Literal["livesum", "livemin", "livemax", "mostrecent"]] = {
    "sum": "livesum", "min": "livemin", "max": "livemax", "mostrecent": "mostrecent",
}  # fmt: skip


class Book:
    """All metrics of one process.

    Attributes:
        registry: Of `prometheus_client`.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._tallies: list[CounterTally | HistogramTally] = []

    def counter(
        self, name: str, text: str, labels: Iterable[str] = (), known: Iterable[tuple[str, ...]] = ()
    ) -> CounterTally:
        """A counter; one with *labels* shows what is *known* of them as 0 from the start."""
        tally = CounterTally(Counter(name, text, tuple(labels), registry=self.registry), known)
        self._tallies.append(tally)
        return tally

    def counter_by_tier(self, name: str, text: str) -> CounterTally:
        """A counter with one label."""
        return self.counter(name, text, ["tier"], [(tier,) for tier in Tier])

    def gauge(self, name: str, text: str, labels: Iterable[str] = (), *, over: Over = "sum") -> Gauge:
        """A gauge; *over* several processes that is shown, of those that live."""
        return Gauge(name, text, tuple(labels), registry=self.registry, multiprocess_mode=_MODES[over])

    def seconds(
        self, name: str, text: str, labels: Iterable[str], known: Iterable[tuple[str, ...]],
        *, bounds_s: tuple[float, ...] = SECONDS,
    ) -> dict[tuple[str, ...], HistogramTally]:  # fmt: skip
        """A histogram of durations, by the values of its labels; there are no others."""
        made = Histogram(name, text, tuple(labels), registry=self.registry, buckets=bounds_s)
        tallies = {key: HistogramTally(made.labels(*key) if key else made, bounds_s) for key in known}
        self._tallies.extend(tallies.values())
        return tallies

    def flush(self) -> None:
        """Hand on what was added up."""
        for tally in self._tallies:
            tally.flush()
