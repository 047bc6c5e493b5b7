"""What `/metrics` says, read without a library, and how it has changed between two scrapes."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

_LINE = re.compile(r"(tiergate_[a-z_]+)(?:\{(.*)\})? (\S+)(?: .*)?")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Scrape:
    """One answer of `/metrics`.

    Attributes:
        at_s: When it was asked, on the monotonic clock.
        values: By metric and labels; those of ours alone.
    """

    at_s: float
    values: Mapping[str, Mapping[Labels, float]]

    def of(self, name: str, **labels: str) -> dict[Labels, float]:
        """The values of a metric that have these labels, whatever others they have."""
        wanted = set(labels.items())
        return {found: value for found, value in self.values.get(name, {}).items() if wanted <= found}

    def sum(self, name: str, **labels: str) -> float:
        """Those values, added up."""
        return sum(self.of(name, **labels).values())


def read_scrape(text: str, at_s: float) -> Scrape:
    """Read what Prometheus would; a line that is not understood is left out."""
    values: dict[str, dict[Labels, float]] = {}
    for line in text.splitlines():
        if (found := _LINE.fullmatch(line)) is None:
            continue
        name, labels, number = found.groups()
        try:
            value = float(number)
        except ValueError:
            continue
        values.setdefault(name, {})[frozenset(_LABEL.findall(labels or ""))] = value
    return Scrape(at_s, values)


def label(labels: Labels, name: str) -> str:
    """One label's value; empty when there is none of that name."""
    return next((value for key, value in labels if key == name), "")


def has_restarted(before: Scrape, after: Scrape) -> bool:
    """Whether the counters have begun anew between the two, so that they cannot be compared."""
    return after.sum("tiergate_requests_total") < before.sum("tiergate_requests_total")


def grown(before: Scrape, after: Scrape, name: str, **labels: str) -> dict[Labels, float]:
    """By how much each counter has grown; one that is new has grown from nothing."""
    old = before.of(name, **labels)
    return {found: max(0.0, value - old.get(found, 0.0)) for found, value in after.of(name, **labels).items()}


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """The value below which *share* of what a histogram has counted lies; None when it has counted nothing.

    Args:
        buckets: How many are at most each bound; the last bound is infinite.

    Source:
        Prometheus, `histogram_quantile`: even within a bucket; above the last bound, that bound.
    """
    whole = buckets.get(math.inf, 0.0)
    if whole <= 0:
        return None
    wanted, low, below = share * whole, 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if count >= wanted:
            if math.isinf(bound):
                return low
            return low + (bound - low) * ((wanted - below) / (count - below) if count > below else 1.0)
        low, below = bound, count
    return low
