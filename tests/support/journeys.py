"""Moves on which something goes wrong at a step that is named, while clients write; and what came of them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import assert_never

from moves.steps import Step
from registry.errors import WrongState
from registry.moves import Move, MoveState, Wanted
from tests.support.crashing import kill_9
from tests.support.gateways import Serving
from tests.support.grounds import Course, Ground, Judged
from tests.support.ledgers import open_ledger
from tests.support.load import codes, longest_s
from tests.support.waiting import wait_until
from tests.support.workers import Fate, Halt, Task, carry, is_stopped, take_for_dead, worker_process
from tiergate.errors import TiergateError

CLIENTS, EVERY_S = 2, 0.04
AWAY_S = 0.5
HALTS_S, ENDS_S = 120.0, 180.0
_SOAKS_S = 3600.0
_LOOK_S = 0.03
_AFTER_S = 0.3


class Journey(StrEnum):
    """A way through the states; together they come by every step."""

    FORTH = "promoted, after an attempt that was put off"
    BACK = "demoted"
    RETURNED = "promoted and rolled back"
    ABORTED = "aborted when ready"


class Fault(StrEnum):
    """What happens at the step."""

    MOVER_KILLED = "mover killed"
    MOVER_STOPPED = "mover stopped, wakes up after the end"
    SOURCE_KILLED = "source killed"
    TARGET_KILLED = "target killed"
    REGISTRY_KILLED = "registry killed"
    CUT_OFF = "network cut"
    GATEWAY_KILLED = "gateway killed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a move.

    Attributes:
        was_reached: Whether the move came to the step at all.
        commands: How often an operator had to ask for what was wanted.
        woke_to: What the worker did after it had woken up, when everything was over.
    """

    journey: Journey
    halt: Halt | None
    fault: Fault | None
    was_reached: bool
    state: MoveState
    judged: Judged
    failed: dict[str, int]
    said: dict[str, str]
    longest_s: float
    took_s: float
    commands: int
    steps: tuple[str, ...]
    log: str = field(repr=False)
    woke_to: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether it ended where it should, and nothing is wrong there."""
        return self.judged.is_good and self.state in _ENDS[self.journey] and not self.woke_to

    def __str__(self) -> str:
        return (
            f"{self.journey}; {self.fault} at {self.halt}: {self.state}; {self.judged}; left the worker:"
            f" {self.woke_to}; refusals {self.failed} {self.said}\n{self.log}"
        )


_WAYS: dict[Journey, tuple[int, int]] = {
    Journey.FORTH: (0, 1), Journey.BACK: (1, 0), Journey.RETURNED: (0, 1), Journey.ABORTED: (0, 1),
}  # fmt: skip
_ENDS: dict[Journey, frozenset[MoveState]] = {
    Journey.FORTH: frozenset({MoveState.DONE, MoveState.ABORTED}),
    Journey.BACK: frozenset({MoveState.DONE, MoveState.ABORTED}),
    Journey.RETURNED: frozenset({MoveState.ROLLED_BACK, MoveState.ABORTED}),
    Journey.ABORTED: frozenset({MoveState.ABORTED}),
}
_ASKED: dict[Journey, tuple[MoveState, Wanted]] = {
    Journey.RETURNED: (MoveState.SOAKING, Wanted.ROLLBACK),
    Journey.ABORTED: (MoveState.READY, Wanted.ABORT),
}


_CHANGES = frozenset(Step) - {
    # These say again what is so, or take away once more what has a name that is used but once.
    Step.DATA_PLANE_LAID, Step.PUBLISHED, Step.HOLD_ENDED, Step.CAPTURE_REMOVED, Step.PLACE_REMOVED,
    Step.GUARD_REMOVED, Step.SERVING_UNSTAMPED,
}  # fmt: skip


async def travel(
    ground: Ground,
    gateways: Sequence[Serving],
    journey: Journey,
    halt: Halt | None = None,
    fault: Fault | None = None,
    *,
    before: Halt | None = None,
) -> Outcome:
    """Move a tenant while its clients write; have *fault* happen at *halt*, and look when all is over.

    Args:
        before: Where an earlier worker is killed; for steps of whoever comes after one.
    """
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    names = list(ground.proxies)
    source, target = (names[number] for number in _WAYS[journey])
    tenant = await ground.create_tenant(source)
    urls = [gateway.url for gateway in gateways]
    async with open_ledger(urls, ground.site.keys[tenant], clients=CLIENTS, every_s=EVERY_S) as ledger:
        course = Course(ground, tenant, ledger)
        move = await course.begin(
            target,
            soak_s=_SOAKS_S if journey is Journey.RETURNED else 0.0,
            holds=journey is Journey.ABORTED,
        )
        log = ground.site.folder / f"{move.id}.log"
        busy = (await ground.place_of(tenant)).conninfo if journey is Journey.FORTH else None
        task = Task(ground.site.registry_url, move.id, tenant, log, halt, busy)
        woke_to: list[str] = []
        async with _operator(ground, move, journey) as operator:
            if before is not None:
                earlier = replace(task, log=log.with_suffix(".earlier"), halt=before, busy=None)
                async with worker_process(earlier) as process:
                    assert await _halts(ground, move, process), f"it never came to {before}"
                await take_for_dead(task.registry_url, move.id)
            async with worker_process(task) as process:
                was_reached = halt is not None and await _halts(ground, move, process)
                if was_reached and fault is not None:
                    woke_to = await _suffer(ground, gateways, task, process, fault, (source, target))
                await ground.comes_to(move.id, within_s=ENDS_S)
                await _ends(process)
            commands = operator.times
        await asyncio.sleep(_AFTER_S)
        judged = await course.judged(went_and_returned=journey is Journey.RETURNED)
        over = await ground.store.move(move.id)
        said = log.read_text(encoding="utf-8")
        return Outcome(
            journey=journey, halt=halt, fault=fault, was_reached=was_reached, state=over.state,
            judged=judged, failed=codes(ledger.failed()), said=dict(ledger.said),
            longest_s=longest_s(ledger.asked), took_s=loop.time() - began_s, commands=commands,
            steps=tuple(line for line in said.splitlines() if line[:1] not in "#!"), log=said,
            woke_to=tuple(woke_to),
        )  # fmt: skip


@dataclass(slots=True)
class _Operator:
    times: int = 0


@asynccontextmanager
async def _operator(ground: Ground, move: Move, journey: Journey) -> AsyncIterator[_Operator]:
    """Somebody who asks for what the journey wants, when it can be had."""
    operator = _Operator()

    async def watch(state: MoveState, wanted: Wanted) -> None:
        while True:
            with suppress(TiergateError):  # the registry may be away
                now = await ground.store.move(move.id)
                if now.state is state and now.wanted is None:
                    with suppress(WrongState):
                        await ground.ask(move.id, wanted)
                        operator.times += 1
            await asyncio.sleep(_LOOK_S)

    asked = _ASKED.get(journey)
    task = None if asked is None else asyncio.create_task(watch(*asked), name="operator")
    try:
        yield operator
    finally:
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _halts(ground: Ground, move: Move, process: BaseProcess) -> bool:
    """Whether the worker comes to its step; False when the move is over before."""

    async def look() -> str:
        if process.exitcode is not None or is_stopped(process.pid or 0):
            return "halted"
        return "over" if (await ground.store.move(move.id)).state.is_over else ""

    await wait_until(look, within_s=HALTS_S, what=f"the worker's step, or the end of move {move.id}")
    return process.exitcode == -signal.SIGKILL or is_stopped(process.pid or 0)


async def _suffer(
    ground: Ground,
    gateways: Sequence[Serving],
    task: Task,
    process: BaseProcess,
    fault: Fault,
    names: tuple[str, str],
) -> list[str]:
    """Have *fault* happen to a worker that stands still at its step; what it did after its move was over."""
    pid = process.pid or 0
    goes_on = partial(os.kill, pid, signal.SIGCONT)
    match fault:
        case Fault.MOVER_KILLED:
            await carry(_other(task))
        case Fault.MOVER_STOPPED:
            await carry(_other(task))
            before = _lines(task.log)
            goes_on()
            await _ends(process)
            return [line for line in _lines(task.log)[len(before) :] if line in _CHANGES]
        case Fault.SOURCE_KILLED | Fault.TARGET_KILLED:
            server = ground.servers[names[0 if fault is Fault.SOURCE_KILLED else 1]]
            kill_9(server)
            goes_on()
            await asyncio.sleep(AWAY_S)
            await server.start(server.port)
        case Fault.REGISTRY_KILLED:
            kill_9(ground.registry)
            goes_on()
            await asyncio.sleep(AWAY_S)
            await ground.registry.start(ground.registry.port)
        case Fault.CUT_OFF:
            for name in names:
                ground.proxies[name].is_down = True
                ground.proxies[name].cut()
            goes_on()
            await asyncio.sleep(AWAY_S)
            for name in names:
                ground.proxies[name].is_down = False
        case Fault.GATEWAY_KILLED:
            killed = asyncio.create_task(gateways[0].crash(), name="a gateway that comes back")
            goes_on()
            await killed
        case _:
            assert_never(fault)
    return []


async def _ends(process: BaseProcess) -> None:
    """Wait for the process to end by itself."""
    await wait_until(lambda: not process.is_alive(), within_s=ENDS_S, what="the worker's end")


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8").splitlines()


def _other(task: Task) -> Task:
    """The same move, by another worker, to which nothing happens."""
    return replace(task, log=task.log.with_suffix(".other"), halt=None, busy=None)


def fate_of(fault: Fault) -> Fate:
    """What a worker does at its step, that *fault* may happen."""
    return Fate.KILLED if fault is Fault.MOVER_KILLED else Fate.STOPPED
