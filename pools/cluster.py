"""One server, as this process knows it: what all its pools have in common, and what outlives each of them."""

from collections.abc import Callable

from observe.snapshot import BudgetCount
from pools.backoff import Backoff
from pools.breaker import Breaker
from pools.budget import Budget
from pools.clock import Clock, Ours
from pools.promises import Promises
from registry.placement import Place
from tiergate.events import Emit

_LAST_PAUSE_S = 5.0
_REMEMBERED_S = 60.0

Way = tuple[object, ...]


def way(place: Place) -> Way:
    """What connections are made by; those of another way serve no more."""
    return place.login, place.password, place.conninfo, place.via_pgbouncer, place.prepares, place.database


class Cluster:
    """What the pools of one server share.

    Attributes:
        budget: Permits for its connections.
        promises: Whether pools may keep their minima.
        clock: What time it is there.
        breaker: Whether it lets anybody in.
        tell: Has every pool look again at who waits, after the breaker has opened.
    """

    def __init__(
        self,
        name: str,
        budget: Budget,
        *,
        tell: Callable[[], None],
        ours: Ours,
        emit: Emit,
    ) -> None:
        self.name = name
        self.budget = budget
        self.promises = Promises(budget.limit)
        self.clock = Clock(name, ours, emit)
        self.breaker = Breaker(name, emit)
        self.tell = tell
        self._backoffs: dict[Way, Backoff] = {}

    @property
    def count(self) -> BudgetCount:
        """How much of its connections is used, and whether it lets anybody in."""
        budget = self.budget
        return BudgetCount(
            self.name, budget.limit, budget.used, budget.dialling, is_up=not self.breaker.is_open
        )

    def backoff(self, place: Place) -> Backoff:
        """The pauses between dials to *place*, also those that an earlier pool of it began."""
        return self._backoffs.get(way(place)) or Backoff(_LAST_PAUSE_S)

    def remember(self, place: Place, backoff: Backoff) -> None:
        """Keep *backoff* for the next pool of *place*; at least for a minute beyond its pause."""
        self._backoffs[way(place)] = backoff

    def forget(self, place: Place) -> None:
        """*place* has let us in."""
        self._backoffs.pop(way(place), None)

    def tidy(self, now: float) -> None:
        """Drop the pauses that nobody has met for a while."""
        if self._backoffs:
            self._backoffs = {
                key: kept for key, kept in self._backoffs.items() if not kept.has_rested(now, _REMEMBERED_S)
            }
