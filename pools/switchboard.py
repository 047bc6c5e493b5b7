"""Every pool of this process: which one serves a placement, and which one gives way.

One pool for each place: the shared place of a standard cluster, a premium tenant's
schema, a government tenant's database. The cache of pools is bounded; the pool that
was used least recently, and that nobody is using, goes first.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress

from observe.snapshot import PoolSnapshot
from pools.bounds import PoolLimits, SwitchboardLimits
from pools.budget import Budget
from pools.clock import Ours
from pools.cluster import Cluster, way
from pools.errors import DatabaseUnavailable, PoolsExhausted
from pools.eviction import Eviction
from pools.gates import Gates
from pools.loan import Lease
from pools.pool import Pool
from pools.survey import Lookups, survey
from registry.placement import Place, PlaceId, Placement
from tiergate.deadline import Deadline
from tiergate.errors import TiergateError
from tiergate.events import Emit, LoopFailed, PoolClosed
from tiergate.happenings.refusals import CheckoutRefused, IsolationViolated

_TIDY_EVERY_S = 1.0

Key = tuple[PlaceId, str | None]


class Switchboard:
    """Lends connections to tenants.

    Attributes:
        gates: What operators have paused or drained.
        leases: All that have a connection, or wait for one.
    """

    def __init__(self, limits: SwitchboardLimits, tasks: asyncio.TaskGroup, emit: Emit, ours: Ours) -> None:
        self._limits = limits
        self._ours = ours
        self._tasks = tasks
        self._emit = emit
        self._pools: OrderedDict[Key, Pool] = OrderedDict()
        self._retiring: set[Pool] = set()
        self._clusters: dict[str, Cluster] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._warm: set[Key] = set()
        self._lookups = Lookups()
        self.gates = Gates(emit)
        self.leases: set[Lease] = set()

    def lease(self, placement: Placement, deadline: Deadline) -> Lease:
        """A connection that is *placement*'s tenant's alone inside the `async with`."""
        return Lease(self, placement, deadline)

    def limits(self, placement: Placement) -> PoolLimits:
        """What the pool that serves *placement* may use."""
        return self._limits.tiers[placement.place.tier]

    def pool(self, placement: Placement, *, counts: bool = True) -> Pool:
        """The pool that serves *placement*, made if need be; *counts* as a lookup, or is part of one.

        Raises:
            PoolsExhausted: max_pools are in use at this moment.
        """
        place = placement.place
        pool = self._pools.get(_key(place))
        if pool is not None:
            known = pool.place
            if known is place or way(known) == way(place):
                self._pools.move_to_end(_key(place))
                self._lookups.hits[place.tier] += counts
                return pool
            self._retire(pool, "login changed")
        self._lookups.misses[place.tier] += counts
        return self._make(place)

    def _make(self, place: Place) -> Pool:
        self._make_room()
        cluster = self._cluster(place.cluster)
        pool = self._pools[_key(place)] = Pool(
            place, self._limits.tiers[place.tier], cluster,
            is_warm=_key(place) in self._warm, start=self._start, emit=self._emit,
        )  # fmt: skip
        self._promise(cluster)
        return pool

    def keep_warm(self, placements: Sequence[Placement]) -> int:
        """Keep max(1, min_pool_size) connections open to each of these places, and to no others, unless used.

        None to a drained place: it is kept warm when it is next asked for after the drain.
        Their pools are never closed for another's sake. A place that is known already is not dialled by
        what is said of it here, which may be older.

        Returns:
            How many are kept; as many as max_pools allows.
        """
        placements = [each for each in placements if not self.gates.is_drained(each)]
        self._warm = {_key(placement.place) for placement in placements}
        for key, pool in self._pools.items():  # first: it decides which of them give way to the others
            pool.sizes.is_warm = key in self._warm
        with suppress(PoolsExhausted):
            for placement in placements:
                if _key(placement.place) not in self._pools:
                    self._make(placement.place)
        for cluster in self._clusters.values():
            self._promise(cluster)
        for pool in list(self._pools.values()):
            pool.grow()
        return len(self._warm & self._pools.keys())

    def _promise(self, cluster: Cluster) -> None:
        cluster.promises.make(cluster.budget.limit, (pool.wish for pool in self._of(cluster.name)))

    def admit(self, placement: Placement) -> None:
        """Refuse what `Pool.admit` will refuse, before more is done for it; raises the same."""
        pool = self._pools.get(_key(placement.place))
        if pool is not None and not pool.resting and pool.place is placement.place:
            try:
                pool.admit(placement.tenant, placement.limits)
            except TiergateError as refusal:
                self.tell_refusal(placement, refusal)
                raise

    def tell_refusal(self, placement: Placement, refusal: TiergateError) -> None:
        """Somebody gets no connection."""
        self._emit(CheckoutRefused(placement.tier, placement.place.cluster, refusal.code))

    def tell_strange(self, placement: Placement) -> None:
        """A server has run what nobody sent."""
        reason = "the server ran something else than a query or a change of rows"
        cluster = placement.place.cluster
        self._emit(IsolationViolated(placement.tenant, placement.tier, cluster, "tampered", reason))

    def _make_room(self) -> None:
        if len(self._pools) < self._limits.max_pools:
            return
        for pool in self._pools.values():
            if pool.is_quiet and not pool.sizes.is_warm:
                self._retire(pool, "evicted")
                return
        raise PoolsExhausted(self._limits.max_pools)

    def _retire(self, pool: Pool, reason: str) -> None:
        del self._pools[_key(pool.place)]
        pool.retire()
        self._retiring.add(pool)
        self._emit(PoolClosed(pool.place.cluster, pool.place.tier, reason))

    def _cluster(self, name: str) -> Cluster:
        cluster = self._clusters.get(name)
        if cluster is None:
            limits, eviction = self._limits, Eviction()
            cluster = self._clusters[name] = Cluster(
                name,
                Budget(
                    limits.max_db_connections,
                    limits.max_db_dials,
                    evict=lambda: eviction.one(self._clusters[name], self._of(name)),
                ),
                tell=lambda: self._tell(name),
                ours=self._ours,
                emit=self._emit,
            )
        return cluster

    def _tell(self, cluster: str) -> None:
        """Let the pools of *cluster* know that its server lets nobody in."""
        for pool in self.pools():
            if pool.place.cluster == cluster:
                pool.look_again()

    def _of(self, cluster: str) -> list[Pool]:
        return [pool for pool in self._pools.values() if pool.place.cluster == cluster]

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = self._tasks.create_task(self._guarded(work, name), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _guarded(self, work: Coroutine[None, None, None], name: str) -> None:
        try:
            await work
        except Exception as exc:  # noqa: BLE001 - one broken connection must not end the gateway
            self._emit(LoopFailed(name, f"{type(exc).__name__}: {exc}"))

    def retire(self, is_meant: Callable[[Place], bool], reason: str) -> list[Pool]:
        """Have the next request of each place that is meant get a new pool; those that go.

        Who waits is served first, and nobody gets an error.
        """
        meant = [pool for pool in self._pools.values() if is_meant(pool.place)]
        for pool in meant:
            self._retire(pool, reason)
        return meant

    def dismiss(self, place: PlaceId) -> None:
        """Close the pools of a place that goes away, if there are any."""
        self.retire(lambda each: each.id == place, "removed")

    def resize(self, limits: SwitchboardLimits) -> None:
        """Go on with other limits; what is open beyond them closes when it comes back."""
        self._limits = limits
        for cluster in self._clusters.values():
            cluster.budget.resize(limits.max_db_connections, limits.max_db_dials)
        for pool in self._pools.values():
            pool.resize(limits.tiers[pool.place.tier])
        for cluster in self._clusters.values():
            self._promise(cluster)
            cluster.budget.press()  # some may keep less now

    def tidy(self) -> None:
        """Close what has rested too long, and drop pools that have nothing left."""
        now = asyncio.get_running_loop().time()
        for cluster in self._clusters.values():
            cluster.tidy(now)
            self._promise(cluster)
        for pool in list(self._pools.values()):
            pool.tidy(now)
            if pool.is_idle:
                self._retire(pool, "idle")
        self._retiring = {pool for pool in self._retiring if pool.closing or not pool.is_quiet}

    async def keep_tidy(self) -> None:
        """Tidy once a second, until cancelled."""
        while True:
            await asyncio.sleep(_TIDY_EVERY_S)
            self.tidy()

    async def drain(self, *, within_s: float) -> bool:
        """Retire every pool and wait until the servers have confirmed the end of every connection.

        Returns:
            Whether all ended in time; what did not is dropped.
        """
        try:
            async with asyncio.timeout(within_s):
                while self._retire_all() or self._running:  # noqa: ASYNC110 - it ends in many places
                    await asyncio.sleep(0.01)
        except TimeoutError:
            await self._abandon()
            return False
        return True

    def _retire_all(self) -> bool:
        """Retire every pool, those too that a late request has made; whether one is still at work."""
        for pool in list(self._pools.values()):
            self._retire(pool, "shutdown")
        return any(not pool.is_quiet for pool in self._retiring)

    async def _abandon(self) -> None:
        """Refuse who waits, cancel what still runs, and what that starts in turn."""
        while self._running:
            self._retire_all()
            for pool in self.pools():  # else every dial that is cancelled is followed by another
                pool.refuse(DatabaseUnavailable(pool.place.cluster, "shutting down"))
            await asyncio.sleep(0)  # what has just been started must have begun, to undo itself
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running)

    def pools(self) -> list[Pool]:
        """Every pool there is, those on their way out included."""
        return [*self._pools.values(), *self._retiring]

    def snapshot(self) -> PoolSnapshot:
        """How full everything is now."""
        return survey(self.pools(), self._clusters.values(), self._lookups)

    def reachable(self) -> dict[str, bool]:
        """For each cluster that has pools: whether it lets anybody in, as far as is known."""
        clusters = {pool.cluster for pool in self._pools.values()}
        return {cluster.name: not cluster.breaker.is_open for cluster in clusters}


def _key(place: Place) -> Key:
    """What has a pool of its own: a place, and the same place at each replica."""
    return place.id, place.replica


@asynccontextmanager
async def open_switchboard(
    limits: SwitchboardLimits, emit: Emit, *, drain_timeout_s: float, ours: Ours | None = None
) -> AsyncIterator[Switchboard]:
    """A switchboard; at the end every connection is closed, within *drain_timeout_s*."""
    async with asyncio.TaskGroup() as tasks:
        switchboard = Switchboard(limits, tasks, emit, ours or Ours())
        tidying = tasks.create_task(switchboard.keep_tidy(), name="tidy pools")
        try:
            yield switchboard
        finally:
            tidying.cancel()
            await switchboard.drain(within_s=drain_timeout_s)
