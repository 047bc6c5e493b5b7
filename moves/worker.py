"""Claims moves, and goes on with each until it is over: in every gateway, or by itself.

Any number of workers may run. One that dies loses what it had when its lease ends, and another goes on; one
that only seemed to be dead finds out at its next word to the registry, and can change nothing before that.
"""

import asyncio
import time
from contextlib import suppress

from moves.mover import Mover
from moves.turns import Turns
from registry.errors import MoveLost
from registry.moves import Move, MoveId
from registry.store import Store
from tiergate.deadline import finish
from tiergate.errors import TiergateError
from tiergate.events import Emit, LoopFailed

LEASE_S = 30.0
"""How long a move stands still when its worker dies."""
MOST = 100
"""Moves that one worker has; most of them soak."""

_LOOK_S = 5.0
_LAST_WORD_S = 2.0
_LOOP = "moves"


class Worker:
    """Carries moves to their end.

    Args:
        name: Whoever reads of the move knows by it who has it.
        turns: How many it works on at one time; others rest.
    """

    def __init__(
        self,
        store: Store,
        mover: Mover,
        name: str,
        *,
        emit: Emit,
        lease_s: float = LEASE_S,
        turns: Turns | None = None,
    ) -> None:
        self._store = store
        self._mover = mover
        self._name = name
        self._emit = emit
        self._lease_s = lease_s
        self._turns = turns or Turns()
        self._news = asyncio.Event()
        self._held: set[MoveId] = set()

    def wake(self) -> None:
        """There may be a move to take, or somebody has asked something of one."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def run(self) -> None:
        """Go on until cancelled; what is in hand is let go then, for others to take."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                news = self._news
                with suppress(TiergateError):  # the registry is gone, which is told elsewhere
                    while len(self._held) < MOST and (move := await self._claim()) is not None:
                        self._held.add(move.id)
                        tasks.create_task(self._carry(move), name=f"move {move.id}")
                await _either(news, _LOOK_S)

    async def run_one(self, only: MoveId | None = None) -> Move | None:
        """Take one move, and carry it until it is over, paused, or another's; None when there is none."""
        move = await self._store.claim_move(self._name, for_s=self._lease_s, only=only)
        if move is not None:
            self._held.add(move.id)
            await self._carry(move)
            return await self._store.move(move.id)
        return None

    async def _claim(self) -> Move | None:
        return await self._store.claim_move(self._name, for_s=self._lease_s)

    async def _carry(self, move: Move) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                beat = tasks.create_task(self._beat(move), name=f"lease of move {move.id}")
                await self._go_on(move)
                beat.cancel()
        except* MoveLost:
            pass  # another worker has it
        except* Exception as failed:  # noqa: BLE001 - one move that fails oddly must not end the others
            self._emit(LoopFailed(_LOOP, repr(failed.exceptions[0])))
            await asyncio.sleep(_LOOK_S)
        finally:
            self._held.discard(move.id)
            with suppress(TiergateError, TimeoutError):
                await finish(self._store.release_move(move), within_s=_LAST_WORD_S)

    async def _go_on(self, move: Move) -> None:
        while not move.state.is_over:
            try:
                move = await self._store.renew_move(move, for_s=self._lease_s, progress=move.progress)
            except MoveLost:
                raise
            except TiergateError:
                await asyncio.sleep(_LOOK_S)
                continue
            if move.is_paused and move.wanted is None:
                return
            before = move.state
            async with self._turns.turn(is_failing=self._mover.is_failing(move)):
                move = await self._mover.run_once(move)
            await self._rest(move, self._mover.rest_s(before, move))

    async def _rest(self, move: Move, for_s: float) -> None:
        """Leave the move alone for a while, unless an operator asks something of it."""
        ends_s = time.monotonic() + for_s
        while (left_s := ends_s - time.monotonic()) > 0:
            news = self._news
            if not await _either(news, left_s):
                return
            with suppress(TiergateError):
                now = await self._store.move(move.id)
                if (now.wanted, now.is_paused, now.attempt) != (move.wanted, move.is_paused, move.attempt):
                    return

    async def _beat(self, move: Move) -> None:
        """Keep the lease while a piece takes long.

        Raises:
            MoveLost: Another worker has the move.
        """
        while True:
            await asyncio.sleep(self._lease_s / 3)
            try:
                await self._store.renew_move(move, for_s=self._lease_s)
            except MoveLost:
                raise
            except TiergateError:
                continue


async def _either(news: asyncio.Event, within_s: float) -> bool:
    """Wait for *news* no longer than that; whether there is any."""
    try:
        async with asyncio.timeout(within_s):
            await news.wait()
    except TimeoutError:
        return False
    return True
