"""Asks the registry now and then how much there is of what operators watch: open moves and keys."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from moves.states import asked
from registry.errors import RegistryUnavailable
from registry.moves import Move, MoveId, MoveState
from registry.store import Store
from tiergate.events import Emit, LoopFailed
from tiergate.happenings.registry import RegistryCounted

EVERY_S = 10.0

_MOST_MOVES = 1_000
_WAITING = frozenset({MoveState.READY, MoveState.SOAKING})


class Counts:
    """Counts, and remembers since when each move is as it is.

    A process knows that only as far back as it has looked; of several the one counts that has looked longest.
    """

    def __init__(self, store: Store, *, emit: Emit, now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._emit = emit
        self._now = now
        self._since: dict[MoveId, tuple[object, float]] = {}

    async def run_once(self) -> RegistryCounted:
        """Ask, and tell.

        Raises:
            RegistryUnavailable: It does not answer.
        """
        moves = await self._store.moves(open_only=True, limit=_MOST_MOVES)
        figures = await self._store.figures()
        now_s = self._now()
        seen = {move.id: self._is_as_it_was(move, now_s) for move in moves}
        self._since = seen
        idle_s = max((now_s - seen[move.id][1] for move in moves if _should_go_on(move)), default=0.0)
        states = Counter(str(move.state) for move in moves)
        counted = RegistryCounted(
            states, idle_s, figures.credentials, figures.admin_keys, figures.context_key_age_s
        )
        self._emit(counted)
        return counted

    def _is_as_it_was(self, move: Move, now_s: float) -> tuple[object, float]:
        looks = (move.state, move.is_paused, move.wanted, move.cut_over_at, dict(move.progress))
        known = self._since.get(move.id)
        if known is not None and known[0] == looks and _should_go_on(move):
            return known
        return looks, now_s

    async def run(self) -> None:
        """Do so every ten seconds, for ever."""
        while True:
            try:
                with suppress(RegistryUnavailable):  # which is told elsewhere
                    await self.run_once()
            except Exception as error:  # noqa: BLE001 - figures that are missed harm nobody
                self._emit(LoopFailed(loop="count", error=str(error)))
            await asyncio.sleep(EVERY_S)


def _should_go_on(move: Move) -> bool:
    """Whether there is something to do that needs nobody's word, and no moment that was chosen."""
    if move.is_paused and move.wanted is None:
        return False
    return move.state not in _WAITING or asked(move) is not None
