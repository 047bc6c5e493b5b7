"""What is under way, on standard error, for whoever waits."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


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
