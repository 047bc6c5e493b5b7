"""Server connections allowed to one cluster, counted from the dial to the server's confirmed close.

Invariants: `used` never passes `limit`, and `dialling` never `max_dials`. A connection is paid for before
its dial begins, and the permit comes back only once the server process is known to be gone. Whoever is
refused stands in one line, for permits and dials alike, so that none is held by who waits for the other.
"""

from collections.abc import Callable
from typing import Protocol

# A dial takes about 6 ms: of connections that change hands no sooner, it costs a fortieth at most.
_TURN_S = 0.25


class Asker(Protocol):
    """Who asks for permits: a pool."""

    @property
    def permits(self) -> int:
        """How many it has."""

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """Who is smaller is served first: who waits for it, has less than its minimum, has fewest."""

    def grow(self) -> None:
        """Take what it needs; ask again for the rest."""


class Budget:
    """Permits for one cluster's connections, and who waits for one.

    Attributes:
        limit: Connections at most; lowering it lets what is open live on.
        max_dials: Of those, at most so many are being opened at a time.
        used: Connections open, being opened or being closed.
        dialling: Those being opened.
        ending: Those of them being closed that do nothing any more, so that their permits come back soon.
    """

    def __init__(self, limit: int, max_dials: int, *, evict: Callable[[], bool]) -> None:
        """*evict* starts closing the cluster's least useful resting connection; whether there was one."""
        self.limit = limit
        self.max_dials = max_dials
        self.used = self.dialling = self.ending = 0
        self._evict = evict
        self._hungry: dict[Asker, None] = {}  # in the order of asking

    def take(self) -> bool:
        """Take a permit, and begin a dial, if that may be."""
        if self.used >= self.limit or self.dialling >= self.max_dials:
            return False
        self.used += 1
        self.dialling += 1
        return True

    def dialled(self) -> None:
        """A dial is over, however it ended; its permit stays taken."""
        self.dialling -= 1
        self._feed()

    def want(self, asker: Asker) -> None:
        """Let *asker* grow once it may: by rank, and then in the order of asking.

        Asking twice counts once.
        """
        self._hungry[asker] = None
        self.press()

    def awaits(self, asker: Asker) -> bool:
        """Whether *asker* stands in the line."""
        return asker in self._hungry

    def unwant(self, asker: Asker) -> None:
        """Take *asker* out of the line."""
        self._hungry.pop(asker, None)

    def resize(self, limit: int, max_dials: int) -> None:
        """Go on with other limits; what rests beyond them is closed, what works when it comes back."""
        self.limit, self.max_dials = limit, max_dials
        self.press()
        self._feed()

    def press(self) -> None:
        """Have resting connections closed, as many as are wanted."""
        while self.is_wanted and self._evict():
            pass

    @property
    def turn_s(self) -> float:
        """How long a connection is left to who dialled it; the shorter, the more pools stand in line."""
        return _TURN_S * min(1.0, self.limit / max(1, len(self._hungry)))

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for a permit, or the limit for one, that is not on its way back already."""
        return self.is_exceeded or (bool(self._hungry) and len(self._hungry) > self._coming)

    @property
    def is_exceeded(self) -> bool:
        """Whether the limit was lowered, and more are open that do not end already."""
        return self.used - self.ending > self.limit

    @property
    def _coming(self) -> int:
        """Permits that nobody need give way for: free ones, that wait for a dial's turn, and ending ones."""
        return max(0, self.limit - self.used + self.ending)

    def is_owed(self, asker: Asker, has: int, held_s: float) -> bool:
        """Whether *asker*, who has *has* permits, owes others one that was held for *held_s*.

        It is owed to who has none, or would still have no more than who gives it.
        """
        if not self._hungry or held_s < _TURN_S:
            return False
        others = [each.permits for each in self._hungry if each is not asker]
        return sum(not theirs or theirs < has - 1 for theirs in others) > self._coming

    def give(self) -> None:
        """Give a permit back, and let somebody grow."""
        self.used -= 1
        self._feed()

    def _feed(self) -> None:
        # One who has been served meanwhile takes nothing, and the next must hear of it. It ends: who
        # asks again does so only once there is nothing to take.
        while self._hungry and self.used < self.limit and self.dialling < self.max_dials:
            asker = min(self._hungry, key=lambda each: each.rank)
            del self._hungry[asker]
            asker.grow()
