"""Says which tenants' places are to be kept warm: at the start, on each change, and after trouble."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from registry.errors import RegistryUnavailable
from registry.placement import Placement
from tiergate.events import Emit, LoopFailed

_APART_S = 0.5
"""Between two looks, however many tenants change."""

_AGAIN_S = 60.0
"""Until the next look when nothing was heard: a notification may be lost without a trace."""

_RETRY_S = 2.0


class Marks(Protocol):
    """What is needed of the registry."""

    async def warm(self) -> list[Placement]:
        """One placement for each place that is to be kept warm."""


class Pools(Protocol):
    """What is needed of the pools."""

    def keep_warm(self, placements: Sequence[Placement]) -> object:
        """Keep connections to these places open, and to no others unless they are used."""


class Warmth:
    """Hands the registry's warm placements to the pools; while the registry fails, the last ones stay."""

    def __init__(self, marks: Marks, pools: Pools, *, emit: Emit, apart_s: float = _APART_S) -> None:
        self._marks = marks
        self._pools = pools
        self._emit = emit
        self._apart_s = apart_s
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """A tenant has changed, or any may have."""
        self._changed.set()

    async def run_once(self) -> int:
        """Look once; how many places are to be warm.

        Raises:
            RegistryUnavailable, RegistryFailed: It cannot be known.
        """
        self._changed.clear()  # first: what changes while we read is read again
        placements = await self._marks.warm()
        self._pools.keep_warm(placements)
        return len(placements)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            again_s = _RETRY_S
            try:
                await self.run_once()
                again_s = _AGAIN_S
            except RegistryUnavailable:
                pass  # told where it was lost; what was said last holds meanwhile
            except Exception as error:  # noqa: BLE001 - a gateway that no longer looks must go on trying
                self._emit(LoopFailed(loop="warm tenants", error=f"{type(error).__name__}: {error}"))
            await asyncio.sleep(self._apart_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(again_s):
                    await self._changed.wait()
