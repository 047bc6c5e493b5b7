"""`tiergate serve`: one process, or several behind the same two addresses.

The parent of several only listens, starts, watches and ends: it serves nothing
itself. A child that dies is replaced; when the parent dies, however, the children
drain and end too.
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from config.changes import merged
from config.settings import Settings
from observe.lines import LineWriter
from observe.logs import Level, Log
from observe.processes import forget_process, share_metrics
from tiergate.errors import TiergateError
from tiergate.unwrapped import unwrapped

_SPAWN = multiprocessing.get_context("spawn")
_MOST_FAILURES = 3
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 5.0
_GRACE_S = 10.0
"""Beyond the drain: for last words, and for the pools to close."""

Reread = Callable[[], Settings]
"""Loads the settings anew; picklable, since each process does it for itself."""


class ChildrenDie(TiergateError):
    """Processes end before they serve."""

    code = "children-die"
    advice = "The log says why each of them ended; with `--processes 1` the error is shown directly."

    def __init__(self, failures: int) -> None:
        super().__init__(f"{failures} gateway processes in a row ended before they served")


def serve(settings: Settings, reread: Reread) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Raises:
        PortTaken, RegistryUnavailable, RegistryTooNew, ChildrenDie: It did not come up.
    """
    if settings.gateway.processes == 1:
        _serve_alone(settings, reread)
        return
    folder = Path(tempfile.mkdtemp(prefix="tiergate-metrics-"))
    try:
        share_metrics(folder)  # before anything imports prometheus_client, so before the service
        from tiergate.listening import Addresses  # noqa: PLC0415

        with contextlib.closing(Addresses.of(settings)) as addresses, LineWriter() as lines:
            log = Log(lines, level=settings.logging.level)
            _Parent(settings, reread, (addresses.gateway, addresses.admin), log).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve_alone(settings: Settings, reread: Reread) -> None:
    import uvloop  # noqa: PLC0415 - the parent of several needs no event loop

    from tiergate.listening import Addresses  # noqa: PLC0415
    from tiergate.service import run  # noqa: PLC0415

    with contextlib.closing(Addresses.of(settings)) as addresses, unwrapped():
        uvloop.run(run(settings, addresses, reread))


def _serve_with_others(
    settings: Settings,
    reread: Reread,
    sockets: tuple[socket.socket, socket.socket],
    parent: Connection,
    ready: Connection,
) -> None:
    """A process of several: as one alone, but it says when it serves, and ends when its parent is gone."""
    import uvloop  # noqa: PLC0415

    from tiergate.listening import Addresses  # noqa: PLC0415
    from tiergate.service import run  # noqa: PLC0415

    def tell() -> None:
        ready.send("ready")

    try:
        with unwrapped():
            uvloop.run(run(settings, Addresses(*sockets), reread, parent=parent.fileno(), on_ready=tell))
    except TiergateError as error:
        with LineWriter() as lines:
            Log(lines).say("error", "process-failed", code=error.code, error=str(error), advice=error.advice)
        sys.exit(1)


@dataclass(slots=True)
class _Child:
    """A process that serves, or is about to.

    Attributes:
        is_outdated: It was told to end because it started with settings that no longer hold.
    """

    process: SpawnProcess
    ready: Connection
    is_outdated: bool = False
    _serves: bool = False

    def serves(self) -> bool:
        """Whether it has come so far as to answer requests."""
        if not self._serves and self.ready.poll():
            with contextlib.suppress(EOFError):
                self._serves = bool(self.ready.recv())
        return self._serves

    def signal(self, number: signal.Signals) -> None:
        """Send it *number*, if it is still there."""
        if self.process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)


class _Parent:
    """Keeps `gateway.processes` children alive.

    Invariants: a child is in `_children` from its start until its end has been seen; there
    are `gateway.processes` of children and of dates in `_due` together, unless it is stopping.
    """

    def __init__(
        self, settings: Settings, reread: Reread, sockets: tuple[socket.socket, socket.socket], log: Log
    ) -> None:
        self._settings = settings
        self._reread = reread
        self._sockets = sockets
        self._log = log
        self._alive_read, self._alive_write = _SPAWN.Pipe(duplex=False)
        self._children: dict[int, _Child] = {}
        self._due: list[float] = []
        self._failures = 0
        self._stopping = self._failed = False

    def run(self) -> None:
        """Start, watch and end the children."""
        with _signal_pipe() as signals:
            for _ in range(self._settings.gateway.processes):
                self._start()
            try:
                while not self._stopping:
                    self._watch(signals)
            finally:
                self._end()
        if self._failed:
            raise ChildrenDie(self._failures)

    def _start(self) -> None:
        ready, told_by_child = _SPAWN.Pipe(duplex=False)
        known = (self._settings, self._reread, self._sockets, self._alive_read, told_by_child)
        process = _SPAWN.Process(target=_serve_with_others, args=known, name="gateway")
        process.start()
        told_by_child.close()
        self._children[process.sentinel] = _Child(process, ready)
        self._log.say("info", "process-started", pid=process.pid)

    def _watch(self, signals: int) -> None:
        for ready in wait([*self._children, signals], self._until_next_s()):
            if ready == signals:
                for number in os.read(signals, 64):
                    self._hear(number)
            elif isinstance(ready, int) and ready in self._children:
                self._bury(ready)
        while self._due and not self._stopping and self._until_next_s() == 0:
            self._due.remove(min(self._due))
            self._start()

    def _until_next_s(self) -> float | None:
        return max(0.0, min(self._due) - time.monotonic()) if self._due else None

    def _hear(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stopping = True
        elif number == signal.SIGHUP:
            self._reload()

    def _reload(self) -> None:
        """Have all children run with what the configuration says now.

        One that is still on its way to serving would not hear the signal: another takes its place.
        """
        try:
            self._settings = merged(self._settings, self._reread())
        except TiergateError as error:
            self._log.say("error", "reload-refused", error=str(error))
            return
        for child in self._children.values():
            if child.serves():
                child.signal(signal.SIGHUP)
            else:
                child.is_outdated = True
                child.signal(signal.SIGTERM)

    def _bury(self, sentinel: int) -> None:
        """Note a child's end, and when the next one is to take its place."""
        child = self._children.pop(sentinel)
        child.process.join()
        served = child.serves()
        child.ready.close()
        forget_process(child.process.pid or 0)
        level: Level = "info" if child.is_outdated else "error"
        self._log.say(level, "process-ended", pid=child.process.pid, exit_code=child.process.exitcode)
        if not child.is_outdated:
            self._failures = 0 if served else self._failures + 1
        # While another one serves we go on trying: what ails the new ones, a registry that is down for
        # instance, may pass, and the one that serves can do without.
        if self._failures >= _MOST_FAILURES and not any(other.serves() for other in self._children.values()):
            self._failed = self._stopping = True
            return
        wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(self._failures, 10)) if self._failures else 0
        self._due.append(time.monotonic() + wait_s)

    def _end(self) -> None:
        """Let the children drain, and kill what has not ended by then."""
        for child in self._children.values():
            child.signal(signal.SIGTERM)
        until = time.monotonic() + self._settings.gateway.drain_timeout_s + _GRACE_S
        for process in [child.process for child in self._children.values()]:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                self._log.say("error", "process-killed", pid=process.pid)
                process.kill()
                process.join()


@contextlib.contextmanager
def _signal_pipe() -> Iterator[int]:
    """A descriptor that the numbers of arriving signals can be read from, one byte each."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    heard = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    kept = {number: signal.signal(number, lambda *_: None) for number in heard}
    woken = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in kept.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)
