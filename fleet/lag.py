"""How old what a replica shows is, measured while somebody asks.

The primary tells the end of its log, and with it the moment: a standby that has replayed as far shows
everything that was durable then. So the measure holds when nothing is written, when the standby hears
of nobody, and when the primary is gone; then the last moment that was known grows old.

Positions in the log tell of everybody's work, so they are the administrator's to ask: one connection
to each server, apart from the budgets, which ends when nobody has asked for a while.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

from fleet.access import ClusterAccess
from fleet.position import Position, open_wire, position
from fleet.replicas import at
from registry.errors import RegistryUnavailable
from registry.placement import Place, Replica
from tiergate.errors import TiergateError
from tiergate.events import Emit, LoopFailed, ReplicaFound, ReplicaLost, ReplicaMeasured

Find = Callable[[str], Awaitable[ClusterAccess]]
Take = Callable[[Position, float], None]

_EVERY_S = 0.25
_REPLAY_S = 0.01  # a standby needs some milliseconds for what the primary has just written
_UNASKED_S = 10.0
_FIND_S = 10.0
_SILENT_S = 1.0  # whoever has not answered for that long may be gone
_MOMENTS = 4096


class Moments:
    """What is known of a primary's history; pure.

    Keeps 4,096 moments: of the last 17 minutes at least.
    """

    def __init__(self) -> None:
        self._known: deque[tuple[Position, float]] = deque(maxlen=_MOMENTS)

    def note(self, primary: Position, asked_s: float) -> None:
        """Everything that was durable at *asked_s* stands before *primary*'s position."""
        if self._known and self._known[-1][0] == primary:
            self._known.pop()  # nothing was written since
        self._known.append((primary, asked_s))

    def shown_by(self, standby: Position) -> float | None:
        """The latest known moment of which *standby* has everything."""
        for primary, asked_s in reversed(self._known):
            is_same = (primary.system, primary.timeline) == (standby.system, standby.timeline)
            if is_same and primary.lsn <= standby.lsn:
                return asked_s
        return None


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a replica has at least, by its answer of *heard_s*."""

    moment_s: float | None
    heard_s: float


class _Watch:
    """One cluster's primary and replicas, as long as somebody asks."""

    def __init__(self, cluster: str, find: Find, emit: Emit) -> None:
        self.asked_s = 0.0
        self.replicas: tuple[Replica, ...] = ()
        self._cluster = cluster
        self._find = find
        self._emit = emit
        self._now = asyncio.get_running_loop().time
        self._moments = Moments()
        self._shown: dict[Replica, _Shown] = {}
        self._lost: set[Replica] = set()
        self._sampled = asyncio.Event()
        self._access: ClusterAccess | None = None
        self._find_at_s = 0.0

    def staleness_s(self, replica: Replica) -> float | None:
        """Seconds; None when that is not known."""
        shown, now = self._shown.get(replica), self._now()
        if shown is None or shown.moment_s is None or now - shown.heard_s > _SILENT_S:
            return None
        return now - shown.moment_s

    async def run(self) -> None:
        """Measure until nobody has asked for ten seconds."""
        following: dict[Replica, asyncio.Task[None]] = {}
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._follow_all(tasks, following)
        finally:
            for replica in following:
                self._forget(replica)

    async def _follow_all(
        self, tasks: asyncio.TaskGroup, following: dict[Replica, asyncio.Task[None]]
    ) -> None:
        primary = tasks.create_task(self._follow_primary(), name=f"follow {self._cluster}")
        while self._now() - self.asked_s < _UNASKED_S:
            for gone in following.keys() - set(self.replicas):
                following.pop(gone).cancel()
                self._forget(gone)
            for new in set(self.replicas) - following.keys():
                name = f"follow {self._cluster}/{new.name}"
                following[new] = tasks.create_task(self._follow_replica(new), name=name)
            await asyncio.sleep(_EVERY_S)
        for task in (primary, *following.values()):
            task.cancel()

    def _forget(self, replica: Replica) -> None:
        self._shown.pop(replica, None)
        self._emit(ReplicaMeasured(self._cluster, replica.name, None))

    async def _follow_primary(self) -> None:
        while True:
            with suppress(TiergateError):  # whoever needs it says so; what is known of it grows old
                await self._attend(self._where, self._note, self._rest)
            await self._rest()

    async def _follow_replica(self, replica: Replica) -> None:
        async def where() -> ClusterAccess:
            return at(await self._where(), replica)

        while True:
            try:
                await self._attend(where, partial(self._take, replica), self._await_sample)
            except TiergateError as exc:
                self._lose(replica, getattr(exc, "reason", str(exc)))
            # What is there from now on may have replayed less.
            self._shown.pop(replica, None)
            await self._rest()

    async def _where(self) -> ClusterAccess:
        """The cluster's address and administrator; looked up again after ten seconds."""
        if self._access is None or self._now() >= self._find_at_s:
            try:
                self._access = await self._find(self._cluster)
            except RegistryUnavailable:
                if self._access is None:
                    raise
            self._find_at_s = self._now() + _FIND_S
        return self._access

    async def _attend(
        self, where: Callable[[], Awaitable[ClusterAccess]], take: Take, rest: Callable[[], Awaitable[None]]
    ) -> None:
        """Ask one server again and again, as long as it answers and is where it was."""
        server = await where()
        async with open_wire(server) as wire:
            while server == await where():
                asked_s = self._now()
                take(await position(wire, until=asked_s + _SILENT_S), asked_s)
                await rest()

    async def _rest(self) -> None:
        await asyncio.sleep(_EVERY_S)

    async def _await_sample(self) -> None:
        """Until the primary has been asked again; not for long, since it may be gone."""
        self._sampled.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * _EVERY_S):
                await self._sampled.wait()
        await asyncio.sleep(_REPLAY_S)

    def _note(self, primary: Position, asked_s: float) -> None:
        if not primary.is_standby:
            self._moments.note(primary, asked_s)
            self._sampled.set()

    def _take(self, replica: Replica, found: Position, _asked_s: float) -> None:
        if not found.is_standby:
            self._shown.pop(replica, None)
            self._lose(replica, "it is no standby any more: it takes writes")
            return
        known = self._shown.get(replica)
        moments = [self._moments.shown_by(found), known.moment_s if known is not None else None]
        # Whatever it has shown since we are connected, it goes on showing.
        moment_s = max((moment for moment in moments if moment is not None), default=None)
        self._shown[replica] = _Shown(moment_s, self._now())
        if replica in self._lost:
            self._lost.discard(replica)
            self._emit(ReplicaFound(self._cluster, replica.name))
        self._emit(ReplicaMeasured(self._cluster, replica.name, self.staleness_s(replica)))

    def _lose(self, replica: Replica, reason: str) -> None:
        if replica not in self._lost:
            self._lost.add(replica)
            self._emit(ReplicaMeasured(self._cluster, replica.name, None))
            self._emit(ReplicaLost(self._cluster, replica.name, reason))


class Lags:
    """How old what each replica shows is; measured for ten seconds after each question. See `open_lags`."""

    def __init__(self, find: Find, tasks: asyncio.TaskGroup, emit: Emit) -> None:
        self._find = find
        self._tasks = tasks
        self._emit = emit
        self._now = asyncio.get_running_loop().time
        self._watches: dict[str, _Watch] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    def staleness_s(self, place: Place, replica: Replica) -> float | None:
        """How many seconds ago everything that was durable at *place*'s cluster is shown by *replica*.

        None when that is not known, at least not yet.
        """
        watch = self._watches.get(place.cluster)
        if watch is None:
            watch = self._watches[place.cluster] = _Watch(place.cluster, self._find, self._emit)
            name = f"lag of {place.cluster}"
            self._running[place.cluster] = self._tasks.create_task(
                self._watch(watch, place.cluster), name=name
            )
        watch.asked_s, watch.replicas = self._now(), place.replicas
        return watch.staleness_s(replica)

    async def _watch(self, watch: _Watch, cluster: str) -> None:
        try:
            await watch.run()
        except Exception as exc:  # noqa: BLE001 - reads go to the primary meanwhile; the next one begins anew
            self._emit(LoopFailed("replica lag", _told(exc)))
        finally:
            del self._watches[cluster], self._running[cluster]

    def end(self) -> None:
        """Measure no more."""
        for task in self._running.values():
            task.cancel()


def _told(error: BaseException) -> str:
    """What it says, or what those of a group say; each once."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(_told(each) for each in error.exceptions))
    return f"{type(error).__name__}: {error}"


@asynccontextmanager
async def open_lags(find: Find, emit: Emit) -> AsyncIterator[Lags]:
    """*find* gives a cluster's address and administrator, by its name."""
    async with asyncio.TaskGroup() as tasks:
        lags = Lags(find, tasks, emit)
        try:
            yield lags
        finally:
            lags.end()
