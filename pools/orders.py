"""Carries out what operators order, and says how far it is; one of these in each process.

Invariants. A process is written down in the registry before it reads what stands, and reads that before
it serves anybody: so whoever gives an order and then looks who is there has all who could miss it.
`done` for a pause or a drain says that no request of its scope has a connection, nor a server at work, and
that none will get one until its end: its gate closed before they were counted.
What was not read for nearly as long as others remember this process holds everybody up, also when the
process itself stood still meanwhile.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

from observe.busiest import Busiest
from observe.lately import Lately
from observe.loudness import Loud
from pools.gates import Closure
from pools.holdings import holdings, in_line
from pools.ledger import Ledger
from pools.switchboard import Switchboard
from pools.wire import Wire
from registry.cache import jitter
from registry.errors import RegistryFailed, RegistryUnavailable
from registry.orders import BEAT_S, Answer, Holdings, Kind, Known, Order, Process, Verb
from tiergate.deadline import finish
from tiergate.events import Emit, LoopFailed
from tiergate.happenings.orders import OrderDone
from tiergate.tenant import TenantId

_LOOK_S = 0.02
_TELL_S = 1.0
_FORGET_EVERY_S = 60.0
_LEAVE_S = 1.0
_MOST_POOLS = 200


@dataclass(slots=True)
class _Duty:
    """An order that this process has taken.

    Attributes:
        look: How far it is by now.
    """

    order: Order
    heard_s: float
    look: Callable[[], Answer]
    answer: Answer


class Orders:
    """Takes orders and answers them.

    Attributes:
        process: How this process names itself.
        busiest, lately: Whom it works for, as far as they are told of requests.
        hold_after_s: For how long it serves without having heard of orders.
        loud: How much its log says.
    """

    def __init__(
        self, ledger: Ledger, process: Process, switchboard: Switchboard, *, hold_after_s: float, emit: Emit
    ) -> None:
        self.process = process
        self.busiest, self.lately = Busiest(), Lately()
        self.hold_after_s = hold_after_s
        self.loud: Callable[[], Loud | None] = lambda: None
        self._ledger = ledger
        self._switchboard = switchboard
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._duties: dict[int, _Duty] = {}
        self._told: dict[int, Answer] = {}
        self._is_written = False
        self._beaten_s = self._read_s = self._loop.time()
        self._forget_at_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """There are new orders, or may be."""
        self._woken.set()

    def tell(self) -> None:
        """Write down soon what this process has."""
        self._is_written = False
        self.wake()

    async def run_once(self) -> None:
        """Say that this process is there, take what orders there are, and answer them.

        Raises:
            RegistryUnavailable, RegistryFailed: Orders may have been missed; nothing is opened for that.
        """
        try:
            if not self._is_written:
                await self._beat()
            began_s = self._loop.time()
            orders = await self._ledger.orders()
            self._take(orders)
            self._read_s = began_s
            self._mind_silence()  # at once: what has come may be as old as a process that was stopped
            if not self._is_written:
                self.wake()  # to read again once it is written
            if self._has_news():
                await self._beat()
            if began_s >= self._forget_at_s:
                self._forget_at_s = began_s + _FORGET_EVERY_S
                await self._ledger.forget_processes(self._dead(await self._ledger.processes()))
        except BaseException:
            self._is_written = False
            self._mind_silence()
            raise

    def _mind_silence(self) -> None:
        """See to it that everybody is held up as soon as too long ago is what was heard last.

        By a timer: a process that was stopped, or whose machine was, tries nothing that could fail.
        """
        if self._timer is not None:
            self._timer.cancel()
        until = min(self._beaten_s, self._read_s) + self.hold_after_s
        if until <= self._loop.time():
            self._hold_all()
        else:
            self._timer = self._loop.call_at(until, self._hold_all)

    def _hold_all(self) -> None:
        """Serve nobody until orders were read; others may have forgotten this process meanwhile."""
        self._is_written = False
        self._switchboard.gates.hold_all()

    async def run(self) -> None:
        """Carry out orders, for ever."""
        while True:
            try:
                await self.run_once()
            except (RegistryUnavailable, RegistryFailed):
                pass  # the feed tells of it
            except Exception as error:  # noqa: BLE001 - who no longer hears of orders must go on trying
                self._emit(LoopFailed(loop="orders", error=str(error)))
            await self._rest()

    # -- taking orders

    def _take(self, orders: list[Order]) -> None:
        """Carry out what is new, and forget what is over."""
        now = self._loop.time()
        # Counted from after the answer: no gate opens before its end by the registry's clock.
        self._switchboard.gates.set(
            (order.scope, Closure(order.verb, now + order.left_s)) for order in orders if order.verb.stands
        )
        # A hold is answered to nobody, and the end of it is not to wait for us to write.
        self._duties = {
            order.id: self._duties.get(order.id) or self._duty(order, now)
            for order in orders
            if not order.is_hold
        }
        self._look()

    def _duty(self, order: Order, now: float) -> _Duty:
        return _Duty(order, now, self._begin(order, now), Answer(done=False))

    def _begin(self, order: Order, now: float) -> Callable[[], Answer]:
        """Do what is to be done at once; what tells how far it is."""
        match order.verb:
            case Verb.SHOW | Verb.RESUME:
                shown = replace(self._count(order), done=True)
                return lambda: shown
            case Verb.PAUSE:
                return lambda: self._paused(order)
            case Verb.DRAIN:
                return lambda: self._drained(order)
            case Verb.RECONNECT:
                return self._reconnect(order)
            case Verb.KILL:
                return self._kill(order, now - order.age_s)
            case _:
                assert_never(order.verb)

    def _paused(self, order: Order) -> Answer:
        found = self._count(order)
        return replace(found, done=not found.requests)

    def _drained(self, order: Order) -> Answer:
        self._switchboard.retire(order.has, "drained")
        found = self._count(order)
        return replace(found, done=not (found.requests or found.connections))

    def _reconnect(self, order: Order) -> Callable[[], Answer]:
        pools = self._switchboard.retire(order.has, "reconnected")

        def look() -> Answer:
            left = sum(pool.permits for pool in pools)
            return replace(self._count(order), done=not left, connections=left)

        return look

    def _kill(self, order: Order, before_s: float) -> Callable[[], Answer]:
        """End what began before the order was given: of what came later nobody has spoken."""
        ended: list[Wire | None] = [
            lease.end()
            for lease in list(self._switchboard.leases)
            if order.scope.holds(lease.placement) and lease.began_s <= before_s
        ]

        def look() -> Answer:
            left = sum(wire is not None and not wire.ended for wire in ended)
            return replace(self._count(order), done=not left, connections=left, ended=len(ended))

        return look

    def _count(self, order: Order) -> Answer:
        """How many requests and connections of its scope there are."""
        scope, pools = order.scope, self._switchboard.pools()
        if scope.kind is Kind.TENANT:
            requests = sum(pool.inflight(TenantId(scope.name)) for pool in pools)
        else:
            requests = sum(pool.inflight(None) for pool in pools if scope.has(pool.place))
        leases = [lease for lease in self._switchboard.leases if scope.holds(lease.placement)]
        oldest = min((lease.began_s for lease in leases if lease.is_running), default=None)
        return Answer(
            done=False,
            requests=requests,
            waiting=sum(not lease.is_running for lease in leases),
            connections=sum(pool.permits for pool in pools if order.has(pool.place)),
            oldest_s=0.0 if oldest is None else round(self._loop.time() - oldest, 3),
        )

    # -- telling

    def _look(self) -> None:
        """See how far unfinished orders are."""
        for duty in self._duties.values():
            if not duty.answer.done:
                duty.answer = duty.look()
                if duty.answer.done:
                    order, took_s = duty.order, self._loop.time() - duty.heard_s
                    self._emit(OrderDone(order.id, order.verb, str(order.scope), order.actor, took_s))

    def _answers(self) -> dict[int, Answer]:
        return {number: duty.answer for number, duty in self._duties.items()}

    def _has_news(self) -> bool:
        """Whether it is time to write: at once for an order that is done, else not too often."""
        now, told = self._answers(), self._told
        if now.keys() != told.keys() or any(
            answer.done != told[number].done for number, answer in now.items()
        ):
            return True
        silent_s = self._loop.time() - self._beaten_s
        return silent_s > BEAT_S / 2 or (silent_s > _TELL_S and now != told)

    def held(self, *, most: int) -> Holdings:
        """What this process has of connections, *most* of its pools; and how much its log says."""
        return replace(holdings(self._switchboard, most=most), log=self.loud())

    async def _beat(self) -> None:
        began_s, answers = self._loop.time(), self._answers()
        held = self.held(most=_MOST_POOLS)
        load = replace(self.busiest.load(), lately=self.lately.span(in_line(self._switchboard)))
        await self._ledger.beat(self.process, held, answers, load)
        self._is_written, self._beaten_s, self._told = True, began_s, answers
        self._mind_silence()

    async def _rest(self) -> None:
        """Wait for something to do or to tell."""
        until = self._loop.time() + BEAT_S * jitter()
        while (now := self._loop.time()) < until:
            is_open = any(not answer.done for answer in self._answers().values())
            try:
                async with asyncio.timeout_at(min(until, now + _LOOK_S) if is_open else until):
                    await self._woken.wait()
            except TimeoutError:
                self._look()
                if is_open and self._has_news():
                    return
            else:
                self._woken.clear()
                return

    def _dead(self, known: Iterable[Known]) -> list[str]:
        """Those that ran on this machine, and do not any more."""
        here = self.process.machine
        return [
            each.process.id
            for each in known
            if here and each.process.machine == here and not Path(f"/proc/{each.process.pid}").exists()
        ]


async def leave(ledger: Ledger, process: Process) -> None:
    """Have nobody wait for *process* any more; it serves nobody."""
    with suppress(RegistryUnavailable, RegistryFailed, TimeoutError):  # it will be forgotten
        await finish(ledger.leave(process.id), within_s=_LEAVE_S)
