"""The ends of one pool's connections: each keeps its permit until the server has confirmed it."""

from collections.abc import Callable, Coroutine

from pools.budget import Budget
from registry.placement import Place
from tiergate.events import ConnectionClosed, Emit
from tiergate.tenant import TenantId

Work = Coroutine[None, None, None]
Start = Callable[[Work, str], None]  # as a named task that nobody waits for, in the switchboard's task group


class Closing:
    """Connections that are being closed.

    Attributes:
        count: How many.
    """

    def __init__(
        self,
        place: Place,
        budget: Budget,
        *,
        over: Callable[[TenantId | None], None],
        start: Start,
        emit: Emit,
    ) -> None:
        """*over* hears of each end, with the tenant whose connection it was until then, if any's."""
        self.count = 0
        self._place = place
        self._budget = budget
        self._over = over
        self._start = start
        self._emit = emit

    def begin(
        self, work: Work, reason: str | None, tenant: TenantId | None = None, *, is_prompt: bool = False
    ) -> None:
        """Close by *work*.

        Args:
            reason: None for what was never open.
            tenant: Whose it is until the server has let go.
            is_prompt: It has nothing left to do; else it may wait for a statement that nothing can interrupt.
        """
        self.count += 1
        self._budget.ending += is_prompt
        self._start(self._close(work, reason, tenant, is_prompt=is_prompt), "close connection")

    async def _close(
        self, work: Work, reason: str | None, tenant: TenantId | None, *, is_prompt: bool
    ) -> None:
        try:
            await work
        finally:
            self.count -= 1
            if reason is not None:
                self._emit(ConnectionClosed(self._place.cluster, self._place.tier, reason))
            self._budget.ending -= is_prompt
            self._budget.give()
            self._over(tenant)
