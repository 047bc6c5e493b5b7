"""Server connections allowed to one cluster, counted from the dial to the server's confirmed close.

Invariant: `used` never passes `limit`. A connection is paid for before its dial
begins, and the permit comes back only once the server process is known to be gone.
"""

from collections import OrderedDict
from collections.abc import Callable


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
        self._hungry: OrderedDict[Callable[[], None], None] = OrderedDict()

    def take(self) -> bool:
        """Take a permit if there is one."""
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    def want(self, grow: Callable[[], None]) -> None:
        """Call *grow* once a permit is free, in the order of asking. Asking twice counts once."""
        self._hungry[grow] = None
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

    def give(self) -> None:
        """Give a permit back, and let the longest waiting grow."""
        self.used -= 1
        self._feed()

    def _feed(self) -> None:
        # One who has been served meanwhile takes nothing, and the next must hear of it. It ends: who
        # asks again does so only once all is used.
        while self._hungry and self.used < self.limit:
            grow, _ = self._hungry.popitem(last=False)
            grow()
