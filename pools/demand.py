"""How many connections a pool has had use for at once, of late: what says which one is missed least."""

from collections import defaultdict

_HALF_LIFE_S = 15.0


class Demand:
    """One pool's checkouts, by how many connections were lent then, this one included.

    A checkout counts half as much after 15 s. So the count of a busy pool is its frequency, and that of one
    that is asked less often than that says how long ago it was.

    Source:
        D. Lee and others, "LRFU: a spectrum of policies that subsumes the least recently used and least
        frequently used policies", IEEE Transactions on Computers 50 (12), 2001.
    """

    __slots__ = ("_checkouts", "_faded_at")

    def __init__(self, now: float) -> None:
        self._checkouts: defaultdict[int, float] = defaultdict(float)
        self._faded_at = now

    def count(self, lent: int) -> None:
        """A connection was lent, the *lent*-th of those at work."""
        self._checkouts[lent] += 1.0

    def fade(self, now: float) -> None:
        """Let what was counted count for less by *now*; to be called every second or so."""
        weight = 0.5 ** ((now - self._faded_at) / _HALF_LIFE_S)
        self._faded_at = now
        for lent in self._checkouts:
            self._checkouts[lent] *= weight

    def of_last(self, size: int) -> float:
        """Checkouts that would have had to wait with one connection less than *size*."""
        return self._checkouts.get(size, 0.0)
