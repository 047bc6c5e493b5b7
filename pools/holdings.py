"""What this process has of connections, told in plain values."""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, replace

from observe.lately import InLine
from observe.snapshot import PoolCount, TenantCount
from pools.pool import Pool
from pools.switchboard import Switchboard
from registry.orders import Holdings
from tiergate.tenant import TenantId


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


def in_line(switchboard: Switchboard) -> dict[str, InLine]:
    """Whose requests wait for a connection now, be it in a pool's queue or because they are held up."""
    now, found = time.monotonic(), dict[str, InLine]()
    for lease in switchboard.leases:
        if lease.is_running:
            continue
        placement, waited_s = lease.placement, now - lease.began_s
        known = found.get(placement.tenant) or InLine(placement.tier, placement.place.cluster, 0, 0.0)
        found[placement.tenant] = replace(
            known, requests=known.requests + 1, oldest_s=max(known.oldest_s, waited_s)
        )
    return found


def in_hand(switchboard: Switchboard, wanted: Mapping[str, str]) -> dict[str, TenantCount]:
    """What the *wanted* tenants have now; they are told with their places."""
    if not wanted:
        return {}
    running = Counter(lease.placement.tenant for lease in switchboard.leases if lease.is_running)
    waiting, places = in_line(switchboard), set(wanted.values())
    pools: defaultdict[str, dict[str, PoolCount]] = defaultdict(dict)
    for pool in switchboard.pools():
        place = pool.place
        if place.id in places:
            count = PoolCount(
                place.tier, place.cluster, pool.limits.default_pool_size, pool.active, pool.idle,
                pool.opening, pool.closing,
            )  # fmt: skip
            known = pools[place.id].get(place.cluster)
            pools[place.id][place.cluster] = count if known is None else known.plus(count)
    return {
        tenant: TenantCount(
            running[TenantId(tenant)],
            waiting[tenant].requests if tenant in waiting else 0,
            round(waiting[tenant].oldest_s, 3) if tenant in waiting else 0.0,
            tuple(pools[place].values()) if place in pools else (),
        )
        for tenant, place in wanted.items()
    }


def _fullness(pool: Pool) -> int:
    return pool.waiting + pool.permits
