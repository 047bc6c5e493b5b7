"""A copy works as much of the time as others can bear."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from moves.throttle import Pace, Throttle, rows_for


def heard(*, working_ms: float, resting_ms: float, times: int = 10) -> Pace:
    pace = Pace(loss=0.04, least=0.05, most=0.9)
    for _ in range(times):
        pace.hear(working_ms / 1000, is_working=True)
        pace.hear(resting_ms / 1000, is_working=False)
    return pace


def test_before_enough_was_heard_it_works_a_fifth_of_the_time() -> None:
    assert heard(working_ms=9, resting_ms=1, times=2).share == 0.2


@pytest.mark.parametrize(
    ("working_ms", "share"), [(1.0, 0.9), (0.5, 0.9), (1.1, 0.4), (1.4, 0.1), (2.0, 0.05), (100.0, 0.05)]
)
def test_what_others_lose_is_kept_at_the_limit(working_ms: float, share: float) -> None:
    assert heard(working_ms=working_ms, resting_ms=1.0).share == pytest.approx(share)


def test_one_slow_probe_changes_nothing() -> None:
    pace = heard(working_ms=1.1, resting_ms=1)
    before = pace.share

    pace.hear(5.0, is_working=True)

    assert pace.share == pytest.approx(before)


def test_it_goes_faster_again_when_the_server_has_room() -> None:
    pace = heard(working_ms=3, resting_ms=1)

    for _ in range(40):
        pace.hear(0.001, is_working=True)

    assert pace.share == pytest.approx(0.9)


def test_rest_follows_from_work_and_has_an_end() -> None:
    pace = heard(working_ms=1.1, resting_ms=1)

    assert pace.rest_s(0.2) == pytest.approx(0.3)
    assert pace.rest_s(100) == 5


@pytest.mark.parametrize(
    ("rows", "took_s", "size_bytes", "then"),
    [
        (1000, 0.1, 1000, 2000),
        (1000, 0.01, 1000, 2000),
        (1000, 0.4, 1000, 500),
        (1000, 0.1, 8 << 20, 500),
        (1000, 60.0, 1000, 50),
        (20_000, 0.001, 0, 20_000),
    ],
)
def test_chunks_are_short_and_small(rows: int, took_s: float, size_bytes: int, then: int) -> None:
    assert rows_for(rows, took_s, size_bytes) == then


async def test_the_probe_is_asked_while_it_works_and_while_it_rests() -> None:
    asked: list[float] = []
    at_work = asyncio.Event()

    async def probe() -> float:
        asked.append(0.001)
        at_work.set()
        return 0.001

    async def work() -> str:
        await at_work.wait()
        return "done"

    throttle = Throttle(probe)

    assert await throttle.run(work) == "done"
    assert len(asked) >= 2


def fails(with_: Exception) -> Callable[[], Awaitable[float]]:
    async def probe() -> float:
        raise with_

    return probe


async def test_errors_of_the_work_and_of_the_probe_come_as_themselves() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    async def quick() -> float:
        return 0.001

    with pytest.raises(KeyError):
        await Throttle(quick).run(fails(KeyError()))
    with pytest.raises(LookupError):
        await Throttle(fails(LookupError())).run(forever)
