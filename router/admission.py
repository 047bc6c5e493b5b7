"""Whether a request may go on: before its body is read, and once its tenant is known. Awaits nothing.

What is in hand is shared: who waits for something slow must leave room for the others. So nobody may
have more in hand than is still free, and no cluster's tenants together more than three times that.
The fuller it is, the less for each: one stalled cluster ends at three quarters of `max_inflight`, one
tenant at half, two at a third each. Whoever has little always finds room. Those who are about to be refused
take none of it, however many come at once.

Source:
    A. Choudhury and E. Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self, assert_never

from registry.placement import Placement, TenantState
from router.errors import Draining, Overloaded, ShareFull, TenantNotReady, TenantSuspended
from router.rates import Rate, Rates
from tiergate.tenant import TenantId, Tier

_OF_A_CLUSTER = 3


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
        self._strangers = 0
        self._of_tenants: dict[str, int] = {}
        self._of_clusters: dict[str, int] = {}
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

    @contextmanager
    def stranger(self) -> Iterator[None]:
        """Have a request in hand whose tenant must be looked up first.

        Raises:
            ShareFull: More of them wait for that than there is room left.
        """
        if self._strangers > self.max_inflight - self.inflight:
            raise ShareFull("callers who must first be looked up", self._strangers)
        self._strangers += 1
        try:
            yield
        finally:
            self._strangers -= 1

    def share(self, tenant: TenantId, cluster: str) -> "Share":
        """Have a request of *tenant* in hand, inside the `with`.

        Raises:
            ShareFull: The tenant has more in hand than there is room left, or its cluster three times that.
        """
        free = self.max_inflight - sum(self._of_clusters.values()) - 1  # itself
        if (held := self._of_clusters.get(cluster, 0)) > _OF_A_CLUSTER * free:
            raise ShareFull(f"tenants on cluster {cluster!r}", held)
        if (held := self._of_tenants.get(tenant, 0)) > free:
            raise ShareFull(f"tenant {tenant!r}", held)
        return Share((self._of_tenants, tenant), (self._of_clusters, cluster))

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


class Share:
    """One request more of each of some holders, inside the `with`."""

    __slots__ = ("_holders",)

    def __init__(self, *holders: tuple[dict[str, int], str]) -> None:
        self._holders = holders

    def __enter__(self) -> None:
        for held, whose in self._holders:
            held[whose] = held.get(whose, 0) + 1

    def __exit__(self, *_error: object) -> None:
        for held, whose in self._holders:
            held[whose] -= 1
            if not held[whose]:
                del held[whose]


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
