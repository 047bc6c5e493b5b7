"""One moment for a whole request, and cleanup that outlives a cancellation."""

import asyncio
import time

import pytest

from tiergate.deadline import Deadline, finish


def test_a_deadline_lies_as_far_away_as_was_said() -> None:
    deadline = Deadline.after(5, now=lambda: 100.0)

    assert deadline.at_s == 105.0
    assert deadline.left_s(now=lambda: 102.0) == 3.0


def test_what_is_left_is_never_negative() -> None:
    assert Deadline(10.0).left_s(now=lambda: 11.0) == 0.0


async def test_a_deadline_is_on_the_event_loops_clock() -> None:
    assert asyncio.get_running_loop().time() == pytest.approx(time.monotonic(), abs=0.5)


async def test_finish_gives_what_the_cleanup_gives() -> None:
    async def count() -> int:
        return 3

    assert await finish(count(), within_s=5) == 3


async def test_finish_raises_what_the_cleanup_raises() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await finish(fail(), within_s=5)


async def test_cleanup_ends_before_the_cancellation_goes_on() -> None:
    log: list[str] = []
    started, go_on = asyncio.Event(), asyncio.Event()

    async def put_back() -> None:
        started.set()
        await go_on.wait()
        log.append("returned")

    task = asyncio.create_task(finish(put_back(), within_s=5))
    await started.wait()
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert log == ["returned"]


async def test_a_second_cancellation_is_held_back_as_well() -> None:
    log: list[str] = []
    started, go_on = asyncio.Event(), asyncio.Event()

    async def put_back() -> None:
        started.set()
        await go_on.wait()
        log.append("returned")

    task = asyncio.create_task(finish(put_back(), within_s=5))
    await started.wait()
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert log == ["returned"]


async def test_cleanup_that_takes_too_long_is_cancelled() -> None:
    ended = asyncio.Event()

    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        await finish(stuck(), within_s=0.01)

    assert ended.is_set()


async def test_an_outer_timeout_still_reads_as_a_timeout() -> None:
    go_on = asyncio.Event()

    asyncio.get_running_loop().call_later(0.02, go_on.set)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await finish(go_on.wait(), within_s=5)

    assert go_on.is_set()


async def test_what_went_wrong_in_the_cleanup_is_the_cause_of_the_cancellation() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        started.set()
        await go_on.wait()
        raise ValueError("broken")

    task = asyncio.create_task(finish(fail(), within_s=5))
    await started.wait()
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError) as raised:
        await task

    assert isinstance(raised.value.__cause__, ValueError)
