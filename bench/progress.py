"""What is under way, on standard error, for whoever waits."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager


@contextmanager
def step(what: str, total: int = 0) -> Iterator[Callable[[], None]]:
    """Say that *what* is under way, and how long it took; each call of the result is one of *total*."""
    done, began, is_live = 0, time.monotonic(), sys.stderr.isatty()

    def one_more() -> None:
        nonlocal done
        done += 1
        if is_live:
            print(f"\r{what}: {done:,} of {total:,} ", end="", file=sys.stderr, flush=True)

    print(f"{what} …", end="" if is_live else "\n", file=sys.stderr, flush=True)
    yield one_more
    print(f"{chr(13) if is_live else ''}{what}: {time.monotonic() - began:.1f} s          ", file=sys.stderr)


@asynccontextmanager
async def until_stopped() -> AsyncIterator[None]:
    """SIGINT and SIGTERM end the block where it is, and the run goes on after it: with what it has so far."""
    loop, task, was_asked = asyncio.get_running_loop(), asyncio.current_task(), False
    assert task is not None  # noqa: S101 - coroutines run in tasks

    def stop() -> None:
        nonlocal was_asked
        was_asked = True
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield
    except asyncio.CancelledError:
        if not was_asked:
            raise
        while task.uncancel():
            pass
        print("Stopped before its end.", file=sys.stderr)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
