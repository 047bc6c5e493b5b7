"""One tenant's sums, as one process tells them and as several are added up."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from observe.snapshot import PoolCount, TenantCount
from tiergate.tenant import Tier

PHASES = ("auth", "queue", "connect", "database", "encode")
BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
"""Upper bounds of the buckets."""


@dataclass(slots=True)
class Sums:
    """What was done for one tenant since it was first heard of.

    Attributes:
        outcomes: Requests, by how they ended.
        counts: Requests by how long they took: one number for each of `BOUNDS_S`, and one beyond.
        phases_s: Where the time went, in the order of `PHASES`.
        in_hand: What there is at this moment.
    """

    outcomes: dict[str, int]
    counts: list[int]
    total_s: float
    phases_s: list[float]
    rows: int
    bytes_in: int
    bytes_out: int
    round_trips: int
    in_hand: TenantCount

    @classmethod
    def nothing(cls) -> "Sums":
        """Where adding begins."""
        return cls({}, [0] * (len(BOUNDS_S) + 1), 0.0, [0.0] * len(PHASES), 0, 0, 0, 0, TenantCount())

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> "Sums":  # JSON, as `asdict` has made it
        """What another process has written."""
        now = told["in_hand"]
        pools = tuple(PoolCount(**{**pool, "tier": Tier(pool["tier"])}) for pool in now["pools"])
        return cls(**{**told, "in_hand": TenantCount(**{**now, "pools": pools})})

    def told(self) -> dict[str, object]:
        """As JSON."""
        return asdict(self)

    def add(self, other: "Sums") -> None:
        """Take what another process tells into account."""
        for outcome, count in other.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
        self.counts = [one + two for one, two in zip(self.counts, other.counts, strict=True)]
        self.phases_s = [one + two for one, two in zip(self.phases_s, other.phases_s, strict=True)]
        self.total_s += other.total_s
        self.rows += other.rows
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.round_trips += other.round_trips
        self.in_hand = _both(self.in_hand, other.in_hand)

    def without_in_hand(self) -> "Sums":
        """What its process has counted, now that it is gone."""
        return replace(self, in_hand=TenantCount())


def _both(one: TenantCount, other: TenantCount) -> TenantCount:
    pools: dict[tuple[Tier, str], PoolCount] = {}
    for pool in (*one.pools, *other.pools):
        known = pools.get((pool.tier, pool.cluster))
        pools[pool.tier, pool.cluster] = pool if known is None else known.plus(pool)
    return TenantCount(
        one.inflight + other.inflight,
        one.waiting + other.waiting,
        max(one.oldest_s, other.oldest_s),
        tuple(pools.values()),
    )
