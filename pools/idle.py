"""The connections of one pool that wait for work."""

from collections import deque
from collections.abc import Callable

from pools.wire import Wire


class Idle:
    """Those connections; who came last goes first, so that the others may age."""

    def __init__(self, close: Callable[[Wire, str], None]) -> None:
        """*close* is called with what is here no more, and the reason."""
        self._close = close
        self._wires: deque[Wire] = deque()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._wires)

    def add(self, wire: Wire, now: float) -> None:
        """Let *wire* rest from *now* on."""
        wire.idle_since = now
        self._wires.append(wire)

    def last(self) -> Wire:
        """The one that came last; there must be one."""
        return self._wires[-1]

    def pop(self) -> Wire:
        """Take the one that came last; there must be one."""
        return self._wires.pop()

    def first(self) -> Wire | None:
        """The one that has rested longest; None when there is none."""
        return self._wires[0] if self._wires else None

    def lose(self, wire: Wire) -> None:
        """*wire* was hung up on."""
        if wire in self._wires:
            self._wires.remove(wire)
            self._close(wire, "server closed")

    def close_oldest(self, reason: str) -> None:
        """Close the one that has rested longest."""
        if self._wires:
            self._close(self._wires.popleft(), reason)

    def close_all(self, reason: str) -> None:
        """Close every one."""
        while self._wires:
            self._close(self._wires.popleft(), reason)

    def tidy(self, now: float, server_idle_timeout: float, *, spare: int) -> None:
        """Close what is beyond its lifetime, and *spare* of those that rest beyond server_idle_timeout."""
        for wire in list(self._wires):
            has_rested = spare > 0 and now - wire.idle_since > server_idle_timeout
            if has_rested or now > wire.expires_at:
                self._wires.remove(wire)
                self._close(wire, "server_idle_timeout" if has_rested else "server_lifetime")
                spare -= 1
