"""When a pool may dial, and what its dials say: of the server to all its pools, of the login to this one."""

import asyncio
from dataclasses import dataclass

from pools.budget import Asker
from pools.cluster import Cluster
from pools.errors import DatabaseUnavailable
from registry.placement import Place
from tiergate.events import DialFailed, Emit


@dataclass(frozen=True, slots=True)
class Dial:
    """One that has begun; it must `end`.

    Attributes:
        began: When, on the event loop's clock.
        is_probe: It is the one that tries for all whether the server lets us in again.
    """

    began: float
    is_probe: bool


class Dialling:
    """One pool's dials, as far as others have a say in them."""

    def __init__(self, place: Place, cluster: Cluster, pool: Asker, emit: Emit) -> None:
        self._place = place
        self._cluster = cluster
        self._pool = pool
        self._emit = emit
        self._backoff = cluster.backoff(place)
        self._loop = asyncio.get_running_loop()

    def despair(self, *, has_any: bool, last_used: float) -> DatabaseUnavailable | None:
        """Why nobody should wait for a connection; None when one may come.

        When the server has fallen silent, those that are lent will not come back either.

        Args:
            has_any: Whether there are any that may come back, or are being dialled.
            last_used: When one came back.
        """
        breaker = self._cluster.breaker
        if not breaker.allows() and not (has_any and last_used >= breaker.silent_since):
            return breaker.refusal
        return self._backoff.refusal if self._backoff.is_on and not has_any else None

    def begin(self) -> Dial | None:
        """A dial, if it may begin now; else the pool is asked to grow once it may.

        Until then it stands in no line for a permit: another's connection would give way for nothing.
        """
        breaker, budget = self._cluster.breaker, self._cluster.budget
        if self._backoff.is_on:
            budget.unwant(self._pool)
            self._backoff.call_after(self._pool.grow)
        elif not breaker.allows():
            budget.unwant(self._pool)
            breaker.call_after(self._pool.grow)
        elif not budget.take():
            budget.want(self._pool)
        else:
            return Dial(self._loop.time(), breaker.begin())
        return None

    def succeed(self) -> None:
        """The server has let this login in."""
        self._cluster.breaker.succeed()
        self._backoff.succeed()
        self._cluster.forget(self._place)

    def end(self, dial: Dial, failed: DatabaseUnavailable | None) -> None:
        """Another may begin, unless this one has *failed*."""
        if failed is not None:
            self.fail(failed, dial.began)
        self._cluster.breaker.end(is_probe=dial.is_probe)
        self._cluster.budget.dialled()

    def fail(self, failed: DatabaseUnavailable, began: float) -> None:
        """Have everybody wait if it is the server's fault, and else this pool; it is asked to grow then."""
        self._emit(DialFailed(self._place.cluster, self._place.tier, failed.reason))
        breaker = self._cluster.breaker
        if failed.is_of_server:
            is_news = breaker.fail(failed, began)
            breaker.call_after(self._pool.grow)  # the server is looked for also while nobody asks
            if is_news:
                self._cluster.tell()
            return
        if not failed.is_silent:
            breaker.succeed()  # it has answered
        self._backoff.fail(failed)
        self._cluster.remember(self._place, self._backoff)
