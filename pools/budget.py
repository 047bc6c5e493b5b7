"""Server connections allowed to one cluster, counted from the dial to the server's confirmed close.

Invariant: `used` never passes `limit`. A connection is paid for before its dial
begins, and the permit comes back only once the server process is known to be gone.
"""

from collections import OrderedDict
from collections.abc import Callable

# A dial takes about 6 ms: of connections that change hands no sooner, it costs a fortieth at most.
_TURN_S = 0.25


class Budget:
    """Permits for one cluster's connections, and who waits for one.

    Attributes:
        limit: Connections at most; lowering it lets what is open live on.
        used: Connections open, being opened or being closed.
        ending: Those of them being closed that do nothing any more, so that their permits come back soon.
    """

    def __init__(self, limit: int, *, evict: Callable[[], None]) -> None:
        """*evict* starts closing the cluster's least useful resting connection, if there is one."""
        self.limit = limit
        self.used = 0
        self.ending = 0
        self._evict = evict
        self._hungry: OrderedDict[Callable[[], None], Callable[[], int]] = OrderedDict()

    def take(self) -> bool:
        """Take a permit if there is one."""
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    def want(self, grow: Callable[[], None], has: Callable[[], int]) -> None:
        """Call *grow* once a permit is free: who has fewest first, then in the order of asking.

        Asking twice counts once.

        Args:
            has: How many permits it has already, whenever asked.
        """
        self._hungry[grow] = has
        if self.is_wanted:
            self._evict()

    def unwant(self, grow: Callable[[], None]) -> None:
        """Take *grow* out of the queue."""
        self._hungry.pop(grow, None)

    def resize(self, limit: int) -> None:
        """Go on with another limit; what rests beyond it is closed, what works when it comes back."""
        self.limit = limit
        for _ in range(self.used - self.ending - limit):
            self._evict()
        self._feed()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for a permit, or the limit for one, that is not on its way back already."""
        return len(self._hungry) > self.ending or self.used - self.ending > self.limit

    def is_owed(self, grow: Callable[[], None], has: int, held_s: float) -> bool:
        """Whether one who asks by *grow*, and *has* permits, owes others one that was held for *held_s*.

        It is owed to who has none, or would still have no more than who gives it.
        """
        if not self._hungry or held_s < _TURN_S:
            return False
        others = [theirs() for each, theirs in self._hungry.items() if each != grow]
        return sum(not theirs or theirs < has - 1 for theirs in others) > self.ending

    def give(self) -> None:
        """Give a permit back, and let somebody grow."""
        self.used -= 1
        self._feed()

    def _feed(self) -> None:
        # One who has been served meanwhile takes nothing, and the next must hear of it. It ends: who
        # asks again does so only once all is used.
        while self._hungry and self.used < self.limit:
            grow = min(self._hungry, key=lambda each: self._hungry[each]())
            del self._hungry[grow]
            grow()
