"""One tenant's turn with a connection, from the gate until it is given back."""

import asyncio
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pools.errors import ConnectionLost, HeldUp, Killed
from pools.lease import RequestLimits, Stream, Transaction, run, stream
from pools.pool import Pool
from pools.result import Result
from pools.wire import Wire
from registry.placement import Placement
from tiergate.deadline import Deadline
from tiergate.errors import TiergateError

if TYPE_CHECKING:
    from pools.switchboard import Switchboard


class Lease:
    """A connection that is one tenant's alone for one transaction.

    Attributes:
        began_s: When it was asked for, on the event loop's clock.
        round_trips: How often it has asked the server, until it was given back.
        queue_s, connect_s: Seconds waited for a connection, and how many of them it was being dialled.
    """

    __slots__ = (
        "_deadline", "_flown", "_is_ended", "_patience", "_pool", "_stays", "_switchboard", "_wire",
        "began_s", "connect_s", "placement", "queue_s", "round_trips",
    )  # fmt: skip

    def __init__(
        self, switchboard: "Switchboard", placement: Placement, deadline: Deadline, *, stays: bool = True
    ) -> None:
        """Who does not insist that the tenant *stays* where it is hears when it may have moved meanwhile."""
        self.placement = placement
        self._switchboard = switchboard
        self._deadline = deadline
        self._pool: Pool | None = None
        self._wire: Wire | None = None
        self._patience: asyncio.Timeout | None = None
        self._is_ended = False
        self._stays = stays
        self.began_s = time.monotonic()
        self.queue_s = self.connect_s = 0.0
        self.round_trips = self._flown = 0

    @property
    def is_running(self) -> bool:
        """Whether it has a connection."""
        return self._wire is not None

    async def __aenter__(self) -> Self:
        switchboard, placement = self._switchboard, self.placement
        switchboard.leases.add(self)
        try:
            if not (switchboard.gates.any_closed and switchboard.gates.is_closed(placement)):
                self._pool = pool = switchboard.pool(placement)
                self._wire = pool.lend_now(placement.tenant, placement.limits)
            wire = self._wire or await self._wait()
        except BaseException as exc:
            switchboard.leases.discard(self)
            if isinstance(exc, TiergateError):
                switchboard.tell_refusal(placement, exc)
            raise
        self._flown = wire.flown
        return self

    async def _wait(self) -> Wire:
        began = time.monotonic()
        try:
            async with asyncio.timeout(None) as self._patience:
                wire = await self._borrow()
            if self._is_ended:  # in the very moment in which the connection came
                self._give_back(wire)
                raise Killed(was_running=False)
            self._wire = wire
            self.connect_s = max(0.0, wire.opened_at - max(began, wire.opened_at - wire.dial_s))
        except TimeoutError as exc:
            raise Killed(was_running=False) from exc
        else:
            return wire
        finally:
            self._patience = None
            self.queue_s = time.monotonic() - began - self.connect_s

    async def _borrow(self) -> Wire:
        """A connection, once no gate is in the way; one that closes meanwhile counts, too."""
        placement, deadline, gates = self.placement, self._deadline, self._switchboard.gates
        while True:
            has_waited = await gates.refuse_or_wait(placement, self._switchboard.limits(placement), deadline)
            if has_waited and not self._stays:
                raise HeldUp(placement.tenant)
            self._pool = pool = self._switchboard.pool(placement, counts=self._pool is None)
            wire = await pool.lend(placement.tenant, placement.limits, deadline)
            if not gates.is_closed(placement):
                return wire
            self._give_back(wire)

    async def run(self, transaction: Transaction, limits: RequestLimits) -> list[Result]:
        """Run *transaction*; see `pools.lease.run` for what it returns and raises.

        Raises:
            Killed: An operator has ended it.
        """
        if self._wire is None or self._pool is None:
            raise RuntimeError("a lease runs inside `async with`")
        clock = self._pool.cluster.clock
        try:
            return await run(self._wire, clock, self.placement, transaction, limits, self._deadline)
        except ConnectionLost as exc:
            if self._is_ended:
                raise Killed(was_running=True) from exc
            raise

    async def stream(self, transaction: Transaction, limits: RequestLimits, to: Stream) -> None:
        """Run *transaction*, and hand on its rows while they come; see `pools.lease.stream`.

        Raises:
            Killed: An operator has ended it.
        """
        if self._wire is None or self._pool is None:
            raise RuntimeError("a lease runs inside `async with`")
        clock = self._pool.cluster.clock
        try:
            async with asyncio.timeout(None) as self._patience:
                await stream(self._wire, clock, self.placement, transaction, limits, self._deadline, to=to)
        except (ConnectionLost, TimeoutError) as exc:
            if self._is_ended:
                raise Killed(was_running=True) from exc
            raise
        finally:
            self._patience = None

    def end(self) -> Wire | None:
        """Have it fail with `Killed`; the connection that it had, which is being closed."""
        if not self._is_ended:
            self._is_ended = True
            if self._wire is not None:
                self._wire.lose(ConnectionLost("an operator has ended the request"))
            if self._patience is not None:
                self._patience.reschedule(0.0)
        return self._wire

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._switchboard.leases.discard(self)
        if self._wire is not None:
            wire, self._wire = self._wire, None
            self.round_trips = wire.flown - self._flown
            if wire.is_strange:
                self._switchboard.tell_strange(self.placement)
            self._give_back(wire)

    def _give_back(self, wire: Wire) -> None:
        if self._pool is not None:
            self._pool.give_back(wire, self.placement.tenant)
