"""Whether a request may go on: before its body is read, and once its tenant is known. Awaits nothing."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Self, assert_never

from registry.placement import Placement, TenantState
from router.errors import Draining, Overloaded, TenantNotReady, TenantSuspended
from router.rates import Rate, Rates
from tiergate.tenant import Tier


class Admission:
    """Counts the requests in hand, and refuses what is too much or comes too late.

    Attributes:
        max_inflight: Requests in hand at most, in this process.
        rates: How often each tenant may ask.
        inflight: Requests in hand now.
        is_draining: Nothing new is taken any more.
    """

    def __init__(self, max_inflight: int, rates: Mapping[Tier, Rate]) -> None:
        self.max_inflight = max_inflight
        self.rates = Rates(rates)
        self.inflight = 0
        self.is_draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    def __enter__(self) -> Self:
        """Take one request in hand.

        Raises:
            Draining: The gateway is going away.
            Overloaded: max_inflight are in hand already.
        """
        if self.is_draining:
            raise Draining
        if self.inflight >= self.max_inflight:
            raise Overloaded(self.inflight)
        self.inflight += 1
        self._empty.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the request go."""
        self.inflight -= 1
        if not self.inflight:
            self._empty.set()

    async def drain(self, *, within_s: float) -> bool:
        """Take nothing new, and wait for what is in hand.

        Returns:
            Whether it all ended in time.
        """
        self.is_draining = True
        try:
            async with asyncio.timeout(within_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True


def admit(placement: Placement) -> None:
    """Let *placement*'s tenant pass, or say why not.

    Raises:
        TenantSuspended: The operator suspended it, perhaps to delete it.
        TenantNotReady: Its place is still being made.
    """
    match placement.state:
        case TenantState.ACTIVE:
            return
        case TenantState.SUSPENDED | TenantState.DELETING:
            raise TenantSuspended(placement.tenant)
        case TenantState.CREATING:
            raise TenantNotReady(placement.tenant)
        case _:
            assert_never(placement.state)
