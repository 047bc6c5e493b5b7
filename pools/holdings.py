"""What this process has of connections, told in plain values."""

from dataclasses import asdict

from pools.pool import Pool
from pools.switchboard import Switchboard
from registry.orders import Holdings


def holdings(switchboard: Switchboard, *, most: int) -> Holdings:
    """The *most* pools with most requests and connections, and every budget."""
    pools = sorted(switchboard.pools(), key=_fullness, reverse=True)
    return Holdings(
        tuple(
            {
                "place": pool.place.id, "cluster": pool.place.cluster, "tier": pool.place.tier,
                "active": pool.active, "idle": pool.idle, "waiting": pool.waiting,
                "opening": pool.opening, "closing": pool.closing, "retired": pool.retired,
                "default_pool_size": pool.limits.default_pool_size,
            }
            for pool in pools[:most]
        ),
        tuple(asdict(budget) for budget in switchboard.snapshot().budgets),
        max(0, len(pools) - most),
    )  # fmt: skip


def _fullness(pool: Pool) -> int:
    return pool.waiting + pool.permits
