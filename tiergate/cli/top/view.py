"""What there is to see, in numbers: from the samples of the last seconds, without asking anybody."""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from tiergate.cli.top.sample import Sample
from tiergate.cli.top.scrape import Scrape, grown, has_restarted, label, quantile

_WINDOW_S = 10.0
_TIERS = ("standard", "premium", "government", "unknown")
_COUNTED = ("active", "idle", "waiting", "opening")
Row = dict[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class TierPace:
    """What one gateway does for a tier.

    Attributes:
        p50_s, p99_s: Of whole requests; None when there were none.
        mostly: The code with which most of the failed ones did.
    """

    tier: str
    requests_per_s: float
    errors_per_s: float
    p50_s: float | None
    p99_s: float | None
    waiting: int
    active: int
    idle: int
    mostly: str | None


@dataclass(slots=True)
class Fullness:
    """A cluster, or a place on it, in all processes that were heard of lately.

    Attributes:
        used, max: Server connections, and how many may be; 0 of 0 for a place.
    """

    name: str
    cluster: str
    tier: str = ""
    is_up: bool = True
    used: int = 0
    max: int = 0
    active: int = 0
    idle: int = 0
    waiting: int = 0
    opening: int = 0

    def add(self, pool: Row) -> None:
        """Add one pool of one process."""
        self.tier = str(pool.get("tier", self.tier))
        for name in _COUNTED:
            setattr(self, name, getattr(self, name) + int(pool.get(name, 0)))


@dataclass(frozen=True, slots=True)
class View:
    """What there is to see.

    Attributes:
        over_s: Of how much time the paces are; 0 when there is one sample only.
        processes, silent: Of all gateways; how many of them were not heard of lately.
        registry: "up" or "down".
        still_s: By the id of an open move, for how long it was seen to make no progress.
        refused: What could not be told, with the error's code, by path.
    """

    at_s: float
    over_s: float
    processes: int
    silent: int
    registry: str
    tiers: tuple[TierPace, ...]
    clusters: tuple[Fullness, ...]
    pools: tuple[Fullness, ...]
    tenants: tuple[Row, ...]
    moves: tuple[Row, ...]
    orders: tuple[Row, ...]
    still_s: dict[str, float] = field(default_factory=dict)
    alarms: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def json(self) -> Row:
        """The same, for machines."""
        told = asdict(self)
        for hidden in ("at_s", "still_s", "alarms"):
            del told[hidden]
        return told


class Looking:
    """Remembers the samples of the last seconds, and tells what they come to."""

    def __init__(self, window_s: float = _WINDOW_S) -> None:
        self._window_s = window_s
        self._samples: deque[Sample] = deque()
        self._moves: dict[str, tuple[object, float]] = {}

    def add(self, sample: Sample) -> View:
        """What there is to see now that *sample* was taken."""
        samples = self._samples
        if samples and has_restarted(samples[-1].scrape, sample.scrape):
            samples.clear()
        samples.append(sample)
        while len(samples) > 2 and sample.at_s - samples[1].at_s >= self._window_s:  # noqa: PLR2004 - a pace takes two
            samples.popleft()
        before = samples[0].scrape
        processes = sample.rows("/gateways", "processes")
        heard = [each for each in processes if each.get("is_silent") is not True]
        moves = tuple(sample.rows("/moves", "moves"))
        return View(
            sample.at_s,
            sample.at_s - before.at_s,
            len(processes),
            len(processes) - len(heard),
            str(sample.ready.get("registry", "unknown")),
            tuple(tiers(before, sample.scrape)),
            tuple(_clusters(heard, sample)),
            tuple(_pools(heard)),
            tuple(sample.rows("/busiest", "tenants")),
            moves,
            tuple(sample.rows("/orders", "orders")),
            self._stillness(moves, sample.at_s),
            _alarms(before, sample.scrape),
            dict(sample.refused),
        )

    def _stillness(self, moves: Iterable[Row], now_s: float) -> dict[str, float]:
        seen = {str(move["id"]): (move.get("state"), move.get("progress")) for move in moves}
        self._moves = {
            number: known if (known := self._moves.get(number, (None, 0.0)))[0] == state else (state, now_s)
            for number, state in seen.items()
        }
        return {number: now_s - since_s for number, (_, since_s) in self._moves.items()}


def tiers(before: Scrape, after: Scrape) -> list[TierPace]:
    """What was done for each tier between two scrapes; for nobody's only if there was anything."""
    found = (_tier(tier, before, after) for tier in _TIERS)
    return [each for each in found if each.tier != "unknown" or each.requests_per_s]


def _tier(tier: str, before: Scrape, after: Scrape) -> TierPace:
    over_s = after.at_s - before.at_s
    asked = grown(before, after, "tiergate_requests_total", tier=tier) if over_s > 0 else {}
    outcomes = Counter({label(labels, "outcome"): count for labels, count in asked.items() if count})
    requests, failed = outcomes.total(), Counter({code: n for code, n in outcomes.items() if code != "ok"})
    buckets: defaultdict[float, float] = defaultdict(float)
    if over_s > 0:
        name = "tiergate_request_seconds_bucket"
        for labels, count in grown(before, after, name, tier=tier, phase="total").items():
            buckets[float(label(labels, "le") or math.inf)] += count
    return TierPace(
        tier,
        requests / over_s if over_s > 0 else 0.0,
        failed.total() / over_s if over_s > 0 else 0.0,
        quantile(buckets, 0.5),
        quantile(buckets, 0.99),
        int(after.sum("tiergate_pool_waiting", tier=tier)),
        int(after.sum("tiergate_pool_connections", tier=tier, state="active")),
        int(after.sum("tiergate_pool_connections", tier=tier, state="idle")),
        failed.most_common(1)[0][0] if failed else None,
    )


def _clusters(processes: Iterable[Row], sample: Sample) -> list[Fullness]:
    found: dict[str, Fullness] = {}
    for process in processes:
        for budget in process.get("budgets", ()):
            name = str(budget["cluster"])
            cluster = found.setdefault(name, Fullness(name, name))
            cluster.used += int(budget.get("used", 0))
            cluster.max += int(budget.get("max", 0))
            cluster.is_up = cluster.is_up and budget.get("is_up") is not False
        for pool in process.get("pools", ()):
            name = str(pool["cluster"])
            found.setdefault(name, Fullness(name, name)).add(pool)
    for name, state in dict(sample.ready.get("clusters", {})).items():
        cluster = found.setdefault(name, Fullness(name, name))
        cluster.is_up = cluster.is_up and "down" not in (
            state.values() if isinstance(state, dict) else [state]
        )
    for labels, up in sample.scrape.of("tiergate_cluster_up").items():
        name = label(labels, "cluster")
        found.setdefault(name, Fullness(name, name)).is_up &= up > 0
    return sorted(found.values(), key=_by_need)


def _pools(processes: Iterable[Row]) -> list[Fullness]:
    found: dict[str, Fullness] = {}
    for process in processes:
        for pool in process.get("pools", ()):
            name = str(pool["place"])
            found.setdefault(name, Fullness(name, str(pool["cluster"]))).add(pool)
    return sorted(found.values(), key=_by_need)


def _by_need(each: Fullness) -> tuple[bool, int, float, int, str]:
    return each.is_up, -each.waiting, -(each.used / each.max if each.max else 0.0), -each.active, each.name


def _alarms(before: Scrape, after: Scrape) -> dict[str, float]:
    """Counters of which anything new is one too many."""
    names = ("tiergate_protection_losses_total", "tiergate_isolation_violations_total")
    told = {name: sum(grown(before, after, name).values()) for name in names}
    told["tiergate_audit_cuts_total"] = after.sum("tiergate_audit_cuts_total")
    return {name: count for name, count in told.items() if count}
