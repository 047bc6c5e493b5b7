"""What the signals mean to a process that serves."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from observe.logs import Log


@contextmanager
def signals(stop: asyncio.Event, reload: Callable[[], object], log: Log) -> Iterator[None]:
    """Meanwhile SIGTERM and SIGINT drain, and SIGHUP reloads."""
    loop = asyncio.get_running_loop()

    def read_again() -> None:
        try:
            reload()
        except Exception as exc:  # noqa: BLE001 - a mistake in the file must not end a running gateway
            log.say("error", "reload-refused", error=str(exc))

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    loop.add_signal_handler(signal.SIGHUP, read_again)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


def reload_others() -> None:
    """Have the process that started this one reload, and so all that it has started."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None and parent.is_alive():
        os.kill(parent.pid, signal.SIGHUP)
