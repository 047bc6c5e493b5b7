"""Who may not reach its database at the moment, by an operator's word: asked before each lease.

Invariant: between `set` and the end of a closure no request that it is about gets past
`refuse_or_wait`, and none that waited for a connection meanwhile may keep it (`is_closed`).
Nothing here is asked while every gate is open, but for `any_closed`.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from pools.bounds import PoolLimits
from pools.errors import DeadlineExceeded, Drained, Paused, QueueFull
from registry.orders import Kind, Scope, Verb
from registry.placement import Place, PlaceId, Placement
from tiergate.deadline import Deadline
from tiergate.events import Emit
from tiergate.happenings.orders import GatesSet
from tiergate.tenant import TenantId, Tier

K = TypeVar("K", TenantId, PlaceId)


@dataclass(frozen=True, slots=True)
class Closure:
    """A gate that is closed.

    Attributes:
        verb: `pause` lets requests wait, `drain` refuses them.
        until: On the event loop's clock; opens by itself then.
    """

    verb: Verb
    until: float


Closures: TypeAlias = tuple[tuple[Scope, Closure], ...]

_UNSURE = Closure(Verb.PAUSE, math.inf)


class Gates:
    """What is paused and what is drained in this process.

    Attributes:
        any_closed: Whether there is anything to ask about.
    """

    def __init__(self, emit: Emit) -> None:
        self.any_closed = False
        self._emit = emit
        self._closures: Closures = ()
        self._shut: dict[Scope, Closure] = {}
        self._tenants: dict[str, Closure] = {}
        self._places: dict[str, Closure] = {}
        self._clusters: dict[str, Closure] = {}
        self._holds_all = False
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._of_tenant: Counter[TenantId] = Counter()
        self._of_place: Counter[PlaceId] = Counter()

    def set(self, closures: Iterable[tuple[Scope, Closure]]) -> None:
        """Close these gates, and open every other; what stays closed was never open meanwhile.

        A gate may be closed for several reasons, as by an operator and for a cut-over: it is open when all
        of them are over.
        """
        self._settle(tuple(closures), holds_all=False)

    def hold_all(self) -> None:
        """Let everybody wait, until the next `set`: nobody knows what may be closed."""
        self._settle(self._closures, holds_all=True)

    def is_closed(self, placement: Placement) -> bool:
        """Whether *placement*'s requests may not go on; cheap, for it is asked for each of everybody's."""
        place = placement.place
        return (
            placement.tenant in self._tenants
            or place.id in self._places
            or place.primary in self._clusters
            or self._holds_all
        )

    def is_drained(self, placement: Placement) -> bool:
        """Whether no connection to *placement*'s place may stay; one tenant's drain leaves what it shares."""
        found = self._around(placement.place)
        if placement.tier is not Tier.STANDARD:
            found.append(self._tenants.get(placement.tenant))
        return any(each is not None and each.verb is Verb.DRAIN for each in found)

    async def refuse_or_wait(self, placement: Placement, limits: PoolLimits, deadline: Deadline) -> bool:
        """Return once *placement*'s requests may go on; whether they had to wait.

        Raises:
            Drained: They may not for some time.
            QueueFull: As many wait here as may, of its tenant or its place.
            Paused: It did not end within query_wait_timeout.
            DeadlineExceeded: The request's own time ended first.
        """
        if not self._must_wait(placement):
            return False
        tenant, place = placement.tenant, placement.place.id
        most = placement.limits.max_tenant_waiting
        if self._of_tenant[tenant] >= (limits.max_tenant_waiting if most is None else most):
            raise QueueFull(place, self._of_tenant[tenant], tenant)
        if self._of_place[place] >= limits.max_waiting:
            raise QueueFull(place, self._of_place[place])
        began = self._loop.time()
        until = min(began + limits.query_wait_timeout, deadline.at_s)
        self._of_tenant[tenant] += 1
        self._of_place[place] += 1
        try:
            async with asyncio.timeout_at(until):
                while self._must_wait(placement):
                    await self._changed.wait()
        except TimeoutError as exc:
            if until == deadline.at_s:
                raise DeadlineExceeded("queue") from exc
            raise Paused(self._loop.time() - began) from exc
        finally:
            _less(self._of_tenant, tenant)
            _less(self._of_place, place)
        return True

    def _must_wait(self, placement: Placement) -> bool:
        if not self.is_closed(placement):
            return False
        closing = self._closing(placement)
        if closing is not None and closing.verb is Verb.DRAIN:
            raise Drained(closing.until - self._loop.time())
        return True

    def _closing(self, placement: Placement) -> Closure | None:
        """What keeps *placement*'s requests out; a drain before a pause."""
        found = [self._tenants.get(placement.tenant), *self._around(placement.place)]
        if self._holds_all:
            found.append(_UNSURE)
        closed = [each for each in found if each is not None]
        return min(closed, key=lambda closure: closure.verb is not Verb.DRAIN, default=None)

    def _around(self, place: Place) -> list[Closure | None]:
        return [self._places.get(place.id), self._clusters.get(place.primary)]

    def _of(self, kind: Kind) -> dict[str, Closure]:
        return {scope.name: closure for scope, closure in self._shut.items() if scope.kind is kind}

    def _settle(self, closures: Closures, *, holds_all: bool) -> None:
        """Go on with these, but for those that are over, and tell whom it may concern."""
        before, now = self._counts(), self._loop.time()
        self._closures = tuple((scope, closure) for scope, closure in closures if closure.until > now)
        # The gravest last, which is what counts: a drain before a pause, and what ends last.
        self._shut = dict(sorted(self._closures, key=_gravity))
        self._tenants, self._places, self._clusters = map(self._of, (Kind.TENANT, Kind.POOL, Kind.CLUSTER))
        self._holds_all = holds_all
        self.any_closed = holds_all or bool(self._closures)
        if self._timer is not None:
            self._timer.cancel()
        soonest = min((closure.until for _, closure in self._closures), default=None)
        self._timer = None if soonest is None else self._loop.call_at(soonest, self._tick)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if self._counts() != before:
            self._emit(GatesSet(*self._counts()))

    def _tick(self) -> None:
        self._settle(self._closures, holds_all=self._holds_all)

    def _counts(self) -> tuple[int, int]:
        """Scopes that are paused, and scopes that are drained."""
        drained = sum(each.verb is Verb.DRAIN for each in self._shut.values())
        return len(self._shut) - drained + self._holds_all, drained


def _gravity(closed: tuple[Scope, Closure]) -> tuple[bool, float]:
    _, closure = closed
    return closure.verb is Verb.DRAIN, closure.until


def _less(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
