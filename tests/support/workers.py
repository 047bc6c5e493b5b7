"""Workers of moves in processes of their own, each of which ends, or stands still, at a step that is named.

A process is forked from one that has loaded everything, so it costs some milliseconds.
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.process import BaseProcess
from pathlib import Path

import psycopg

from config.settings import Registry
from fleet.application import read_application
from fleet.provision import Provisioner
from moves.mover import Mover
from moves.steps import Step
from moves.worker import Worker
from registry.errors import MoveLost
from registry.moves import Move, MoveId
from registry.store import Store, open_store
from registry.vault import Vault
from tests.support.gateways import MASTER_KEY
from tests.support.ledgers import APPLICATION
from tiergate.errors import TiergateError
from tiergate.events import Event
from tiergate.tenant import TenantId

LEASE_S = 60.0
"""So long that a worker which wakes up hears from nobody that it was taken for dead, but where it asks."""
LOCKS = 1413959000
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])


class Fate(StrEnum):
    """What becomes of a worker at its step."""

    KILLED = "killed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Halt:
    """A step at which a worker comes to its fate: when it has got there *time* times."""

    step: Step
    time: int = 1
    fate: Fate = Fate.KILLED

    def __str__(self) -> str:
        return f"{self.step}-{self.time}" if self.time > 1 else str(self.step)


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker process does.

    Attributes:
        busy: The conninfo of the source, where a transaction of the tenant's is open during the first
            attempt at the cut-over, which is put off by it.
        log: Where it says what it has done: the steps, each on a line, and what went wrong.
    """

    registry_url: str
    move: MoveId
    tenant: TenantId
    log: Path
    halt: Halt | None = None
    busy: str | None = None


class Steps:
    """Is told of a worker's steps; writes them down, and brings it to its fate."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._times: dict[Step, int] = {}
        self._blocker: psycopg.AsyncConnection | None = None
        self._was_busy = False

    async def reached(self, _move: MoveId, step: Step) -> None:
        """Take note of *step*."""
        self._times[step] = self._times.get(step, 0) + 1
        self.tell(step)
        if self._blocker is not None:  # the attempt was put off, however far that went
            await self._blocker.close()
            self._blocker = None
        halt = self._task.halt
        if halt is not None and (halt.step, halt.time) == (step, self._times[step]):
            os.kill(os.getpid(), signal.SIGKILL if halt.fate is Fate.KILLED else signal.SIGSTOP)
        if self._task.busy is not None and step is Step.HOLD_BEGUN and not self._was_busy:
            self._was_busy = True
            self._blocker = await psycopg.AsyncConnection.connect(self._task.busy)
            await self._blocker.execute(
                "SELECT pg_advisory_xact_lock_shared(%s, hashtext(%s))", (LOCKS, self._task.tenant)
            )

    def tell(self, what: str) -> None:
        """Write a line."""
        with self._task.log.open("a", encoding="utf-8") as log:
            log.write(f"{what}\n")

    def hear(self, event: Event) -> None:
        """Write an event down."""
        self.tell(f"# {event}")


@asynccontextmanager
async def open_worker(task: Task) -> AsyncIterator[tuple[Store, Worker]]:
    """A worker that tells of its steps, as a gateway has one."""
    steps = Steps(task)
    settings = Registry(
        url=task.registry_url,
        pool_size=3,
        timeout_s=5,
        cache_size=10,
        ttl_s=60,
        negative_ttl_s=5,
        stale_for_s=60,
    )
    async with open_store(settings, Vault(MASTER_KEY)) as store:
        provisioner = Provisioner(read_application(APPLICATION))
        mover = Mover(store, provisioner, emit=steps.hear, reached=steps.reached)
        yield store, Worker(store, mover, f"worker-{os.getpid()}", emit=steps.hear, lease_s=LEASE_S)


async def take_for_dead(registry_url: str, move: MoveId) -> None:
    """End the lease of whoever has the move, without a word to him."""
    ended = "UPDATE tiergate_registry.move SET leased_until = NULL WHERE id = %s"
    async with await psycopg.AsyncConnection.connect(registry_url, autocommit=True) as connection:
        await connection.execute(ended, [move])


async def carry(task: Task) -> Move:
    """Carry the move until it is over, in place of whoever has it and is dead, or seems so."""
    await take_for_dead(task.registry_url, task.move)
    async with open_worker(task) as (store, worker):
        while True:
            move = await store.move(task.move)
            if move.state.is_over:
                return move
            if await worker.run_one(only=task.move) is None:
                await asyncio.sleep(0.05)


async def _carry_once(task: Task) -> None:
    """Carry the move as far as one claim goes: a worker that has lost it does not come back."""
    async with open_worker(task) as (_, worker):
        while await worker.run_one(only=task.move) is None:  # noqa: ASYNC110 - the registry tells nobody here
            await asyncio.sleep(0.05)


def _main(task: Task) -> None:
    try:
        asyncio.run(_carry_once(task))
    except (TiergateError, MoveLost) as exc:
        with task.log.open("a", encoding="utf-8") as log:
            log.write(f"! {exc!r}\n")


@asynccontextmanager
async def worker_process(task: Task) -> AsyncIterator[BaseProcess]:
    """A worker in a process of its own; killed in the end, if it goes on then."""
    process = _FORKS.Process(target=_main, args=(task,), daemon=True)
    await asyncio.to_thread(process.start)  # the first one loads everything
    try:
        yield process
    finally:
        if process.is_alive():
            process.kill()
        await asyncio.to_thread(process.join)


def is_stopped(pid: int) -> bool:
    """Whether the process stands still."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return False
    return status[0] in {"T", "t"}
