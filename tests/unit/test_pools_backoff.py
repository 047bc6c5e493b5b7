"""A server that could not be reached is left alone for a while, but never for long."""

import asyncio

from pools.backoff import Backoff
from pools.errors import DatabaseUnavailable


async def test_a_failure_begins_a_pause_and_a_success_ends_it() -> None:
    backoff = Backoff(1)
    seen = [backoff.is_on]
    for _ in range(30):
        backoff.fail(DatabaseUnavailable("main", "nobody there"))
    seen.append(backoff.is_on)
    backoff.succeed()
    seen.append(backoff.is_on)

    assert seen == [False, True, False]


async def test_no_pause_is_longer_than_a_second() -> None:
    backoff, loop = Backoff(1), asyncio.get_running_loop()
    for _ in range(300):
        backoff.fail(DatabaseUnavailable("main", "nobody there"))

        assert backoff._until - loop.time() <= 1


async def test_who_asks_is_called_once_when_the_pause_is_over_and_may_ask_again() -> None:
    backoff, calls, called = Backoff(1), [], asyncio.Event()

    def retry() -> None:
        calls.append(backoff.is_on)
        called.set()

    for _ in range(2):
        backoff.fail(DatabaseUnavailable("main", "nobody there"))
        for _ in range(3):
            backoff.call_after(retry)
        called.clear()
        await called.wait()

    assert calls == [False, False]
