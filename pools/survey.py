"""How full all pools of a process are, added up."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from observe.snapshot import PoolSnapshot, TierCount
from pools.cluster import Cluster
from pools.pool import Pool
from tiergate.tenant import Tier


def _by_tier() -> dict[Tier, int]:
    return dict.fromkeys(Tier, 0)


@dataclass(frozen=True, slots=True)
class Lookups:
    """How often a pool was asked for, by tier: it was there, or had to be made. They only grow."""

    hits: dict[Tier, int] = field(default_factory=_by_tier)
    misses: dict[Tier, int] = field(default_factory=_by_tier)

    @property
    def all(self) -> Mapping[tuple[Tier, str], int]:
        """Both, by tier and outcome."""
        found = {(tier, "hit"): count for tier, count in self.hits.items()}
        return found | {(tier, "miss"): count for tier, count in self.misses.items()}


def survey(pools: Iterable[Pool], clusters: Collection[Cluster], lookups: Lookups) -> PoolSnapshot:
    """How full *pools* are now, those on their way out included."""
    by_tier: dict[Tier, list[Pool]] = {}
    reserves = {cluster.name: 0 for cluster in clusters}
    for pool in pools:
        by_tier.setdefault(pool.place.tier, []).append(pool)
        reserves[pool.cluster.name] += max(0, pool.size - pool.limits.default_pool_size)
    return PoolSnapshot(
        tuple(
            TierCount(
                tier,
                pools=sum(not pool.retired for pool in pools),
                active=sum(pool.active for pool in pools),
                idle=sum(pool.idle for pool in pools),
                opening=sum(pool.opening for pool in pools),
                closing=sum(pool.closing for pool in pools),
                waiting=sum(pool.waiting for pool in pools),
            )
            for tier, pools in by_tier.items()
        ),
        tuple(cluster.count for cluster in clusters),
        reserves,
        {cluster.name: cluster.breaker.state for cluster in clusters},
        lookups.all,
    )
