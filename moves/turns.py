"""Who of a worker's moves is worked on at one time: some, and apart from them some that make no way.

Where a cluster is down, or says nothing, each piece of its moves waits for it; others must not for them. So a
move whose last piece has failed has a second turn, and a piece that takes long gives its first one up for one
of those, as soon as there is one.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from moves.together import together

AT_ONCE = 4
"""First turns, and second ones."""
LONG_S = 15.0
"""Longer than a piece that makes its way, and than it takes to find one cluster down."""


class Turns:
    """Turns for one worker's moves.

    Args:
        long_s: From then on a piece makes no way.
    """

    def __init__(self, *, at_once: int = AT_ONCE, long_s: float = LONG_S) -> None:
        self._first = asyncio.Semaphore(at_once)
        self._second = asyncio.Semaphore(at_once)
        self._long_s = long_s

    @asynccontextmanager
    async def turn(self, *, is_failing: bool) -> AsyncIterator[None]:
        """Wait for a turn; it is over at the end of the block.

        Args:
            is_failing: The move's last piece has failed.
        """
        if is_failing:
            async with self._second:
                yield
            return
        held = self._first
        await held.acquire()

        async def give_way() -> None:
            nonlocal held
            await asyncio.sleep(self._long_s)
            await self._second.acquire()
            self._first.release()
            held = self._second

        try:
            async with together() as tasks:
                late = tasks.create_task(give_way(), name="give a long piece's turn up")
                try:
                    yield
                finally:
                    late.cancel()
        finally:
            held.release()
