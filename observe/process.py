"""What metrics say of the processes themselves: what they use, and what holds their event loops up.

Of several processes everything is added up but the start, which is that of the youngest: so whoever looks
for a change of it sees each one that was replaced.
"""

import asyncio
import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from observe.book import Book

LOOK_S = 0.1
"""How often the event loop is asked to be in time."""

_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_STATM = Path("/proc/self/statm")
_OPEN = Path("/proc/self/fd")


class ProcessMetrics:
    """Asks the kernel, the event loop and the collector of garbage."""

    def __init__(self, book: Book) -> None:
        self._cpu = book.counter(
            "process_cpu_seconds_total", "User and system CPU time spent, in seconds.", known=[()]
        )
        self._cpu_seen_s = 0.0
        self._memory = book.gauge("process_resident_memory_bytes", "Resident memory size, in bytes.")
        self._open = book.gauge("process_open_fds", "Open file descriptors.")
        self._started = book.gauge(
            "process_start_time_seconds",
            "Start of the youngest process, in seconds since the epoch.",
            over="max",
        )
        self._started.set(time.time())
        self._loop_delay = book.seconds(
            "tiergate_loop_delay_seconds",
            "By how much the event loop was late, asked ten times a second.",
            (),
            [()],
            bounds_s=_BOUNDS_S,
        )[()]
        self._gc_pause = book.seconds(
            "tiergate_gc_pause_seconds",
            "For how long everything stood still while memory was looked through.",
            (),
            [()],
            bounds_s=_BOUNDS_S,
        )[()]
        self._gc_began_s = 0.0

    def refresh(self) -> None:
        """Ask the kernel; some 30 µs, and 1 µs for each open descriptor."""
        cpu_s = time.process_time()
        self._cpu.add((), cpu_s - self._cpu_seen_s)
        self._cpu_seen_s = cpu_s
        try:
            pages = int(_STATM.read_text(encoding="ascii").split()[1])
            self._memory.set(pages * os.sysconf("SC_PAGE_SIZE"))
            self._open.set(len(os.listdir(_OPEN)))  # noqa: PTH208 - every second, and a path for each takes twice as long
        except OSError:
            pass  # not Linux

    async def run(self) -> None:
        """Measure how late the event loop is, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + LOOK_S
            await asyncio.sleep(LOOK_S)
            self._loop_delay.add(max(0.0, loop.time() - due_s))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Meanwhile pauses of the collector are measured."""
        gc.callbacks.append(self._hear)
        try:
            yield
        finally:
            gc.callbacks.remove(self._hear)

    def _hear(self, phase: str, _told: dict[str, int]) -> None:
        now_s = time.perf_counter()
        if phase == "start":
            self._gc_began_s = now_s
        elif self._gc_began_s:
            self._gc_pause.add(now_s - self._gc_began_s)
