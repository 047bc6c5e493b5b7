"""Which resting connection gives way, when another pool of the cluster stands in line for a permit."""

import asyncio
from collections.abc import Iterable

from pools.cluster import Cluster
from pools.pool import Pool


class Eviction:
    """One cluster's: closes what is missed least, above its pool's minimum and not too young.

    That is the connection without which the fewest checkouts of late would have had to wait, and of
    several such the one that has rested longest.

    Young connections are left alone, since they were dialled for somebody a moment ago: two pools in turn
    would else dial for every request.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def one(self, cluster: Cluster, pools: Iterable[Pool]) -> bool:
        """Close one, if one may be; else look again when one may."""
        now, youngest = self._loop.time(), cluster.budget.turn_s
        resting = [
            (wire, pool)
            for pool in pools
            if (wire := pool.resting.first()) is not None and pool.size > pool.least
        ]
        old = [(wire, pool) for wire, pool in resting if now - wire.opened_at >= youngest]
        if old:
            _, pool = min(old, key=lambda each: (each[1].demand.of_last(each[1].size), each[0].idle_since))
            pool.resting.close_oldest("evicted")
            return True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if resting:
            soonest = min(wire.opened_at for wire, _ in resting) + youngest
            self._timer = self._loop.call_at(soonest, cluster.budget.press)
        return False
