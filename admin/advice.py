"""Who should live apart, and what that would bring: decided from numbers, without asking anybody."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from fleet.estimates import Rows
from registry.load import Total
from registry.records import Cluster, Tenant
from tiergate.tenant import Tier

LARGE_SHARE = 0.6
"""Of a cluster's requests or database time; the smallest share at which one tenant crowds out the others."""
MANY_ROWS = 1_000_000
"""In one table."""

_ENOUGH_REQUESTS = 1000
_ENOUGH_S = 60.0


class Signal(StrEnum):
    """Why a tenant should live apart."""

    REQUESTS = "requests"
    DATABASE_TIME = "database-time"
    ROWS = "rows"
    COMPLIANCE = "compliance"


@dataclass(frozen=True, slots=True)
class Standing:
    """A tenant among the others on its cluster.

    Attributes:
        total, whole: What was done for it, and for all on the cluster.
        rows: About how many it has; None when it is not among those with most, or nobody knows.
        all_rows: On the cluster; None when that is not known.
    """

    tenant: Tenant
    cluster: Cluster
    total: Total
    whole: Total
    rows: Rows | None
    all_rows: int | None

    @property
    def neighbours(self) -> int:
        """How many others are on the cluster."""
        return max(0, self.cluster.tenants - 1)

    @property
    def requests_share(self) -> float:
        """Of the cluster's requests, 0 to 1; as all shares."""
        return _share(self.total.requests, self.whole.requests)

    @property
    def database_share(self) -> float:
        """Of the time in which the cluster's connections were in use, and so of the connections in use."""
        return _share(self.total.database_s, self.whole.database_s)

    @property
    def waiting_share(self) -> float:
        """Of the time for which the cluster's tenants waited for a connection."""
        return _share(self.total.waiting_s, self.whole.waiting_s)

    @property
    def rows_share(self) -> float | None:
        """Of the cluster's rows."""
        if self.rows is None or not self.all_rows:
            return None
        return _share(self.rows.rows, self.all_rows)

    @property
    def missed_share(self) -> float:
        """By how much its share of the work may be larger than is told."""
        return _share(self.total.missed_s, self.whole.done.work_s)


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do with a tenant, and why."""

    to: Tier
    signals: tuple[Signal, ...]
    text: str


def advice(standing: Standing, clusters: Collection[Cluster]) -> Advice | None:
    """What to do with a tenant; None when it may stay where it is.

    Args:
        clusters: All that there are, to tell whether one could take it.
    """
    to = _next(standing.tenant.tier)
    signals = tuple(_signals(standing))
    if to is None or not signals:
        return None
    return Advice(to, signals, f"{_facts(standing, signals)}; {_gain(standing, to, signals)}." + _room(
        standing.tenant, to, clusters
    ))  # fmt: skip


def by_need(standing: Standing, given: Advice | None) -> tuple[bool, float, float, float, str]:
    """A key to sort by: those with advice first, by their largest share; then by database time."""
    largest = max(standing.requests_share, standing.database_share, standing.rows_share or 0.0)
    rows = standing.rows.rows if standing.rows is not None else 0
    return given is None, -largest if given else 0.0, -standing.total.done.work_s, -rows, standing.tenant.name


def _share(part: float, whole: float) -> float:
    return min(1.0, part / whole) if whole else 0.0


def _next(tier: Tier) -> Tier | None:
    match tier:
        case Tier.STANDARD:
            return Tier.PREMIUM
        case Tier.PREMIUM:
            return Tier.GOVERNMENT
        case Tier.GOVERNMENT:
            return None
        case _:
            assert_never(tier)


def _signals(standing: Standing) -> list[Signal]:
    found = []
    # A share of next to nothing crowds nobody out.
    if standing.neighbours and standing.whole.requests >= _ENOUGH_REQUESTS:
        found += [Signal.REQUESTS] * (standing.requests_share >= LARGE_SHARE)
    if standing.neighbours and standing.whole.database_s >= _ENOUGH_S:
        found += [Signal.DATABASE_TIME] * (standing.database_share >= LARGE_SHARE)
    if standing.tenant.tier is Tier.STANDARD and standing.rows and standing.rows.in_table > MANY_ROWS:
        found.append(Signal.ROWS)
    if standing.tenant.tier is Tier.STANDARD and standing.tenant.compliance is not None:
        found.append(Signal.COMPLIANCE)
    return found


def _facts(standing: Standing, signals: Collection[Signal]) -> str:
    name, cluster = standing.tenant.name, standing.cluster.name
    facts = []
    if Signal.COMPLIANCE in signals:
        facts.append(f"must live apart ({standing.tenant.compliance})")
    if standing.total.requests:
        facts.append(
            f"makes {standing.requests_share:.0%} of the requests and takes"
            f" {standing.database_share:.0%} of the database time of cluster {cluster}".replace("%", " %")
        )
    if standing.rows is not None and Signal.ROWS in signals:
        facts.append(f"has about {standing.rows.in_table:,} rows in table {standing.rows.table}")
    return f"{name} " + ", and ".join(facts)


def _gain(standing: Standing, to: Tier, signals: Collection[Signal]) -> str:
    home = "a schema of its own" if to is Tier.PREMIUM else "a database of its own"
    count = standing.neighbours
    others = f"{count} neighbour" + "s" * (count != 1)
    if {*signals} & {Signal.REQUESTS, Signal.DATABASE_TIME}:
        return f"{home} frees {standing.database_share:.0%} of the database time there for {others}".replace(
            "%", " %"
        )
    return f"{home} takes its rows out of the tables that it shares with {others}"


def _room(tenant: Tenant, to: Tier, clusters: Collection[Cluster]) -> str:
    if any(each.tier is to and tenant.region in {None, each.region} for each in clusters):
        return ""
    where = f" in region {tenant.region}" if tenant.region is not None else ""
    return f" There is no {to} cluster{where} yet."
