"""A server that lets nobody in is tried by one dial at a time, for everybody."""

import asyncio

from pools.breaker import Breaker
from pools.errors import DatabaseUnavailable
from tests.support.places import Heard
from tiergate.events import ServerFound, ServerLost

REFUSED = DatabaseUnavailable("main", "connection refused", is_of_server=True)
SILENT = DatabaseUnavailable("main", "no answer in time", is_of_server=True, is_silent=True)


def now() -> float:
    return asyncio.get_running_loop().time()


async def until_allowed(breaker: Breaker) -> None:
    """The pause is over."""
    asked = asyncio.Event()
    breaker.call_after(asked.set)
    await asked.wait()


async def test_one_failure_opens_it_and_one_success_closes_it() -> None:
    heard = Heard()
    breaker = Breaker("main", heard)
    assert breaker.allows()

    breaker.fail(SILENT, now())
    assert (breaker.refusal, breaker.is_open) == (SILENT, True)
    assert breaker.silent_since <= now()
    breaker.succeed()

    assert breaker.allows()
    assert breaker.silent_since < 0
    assert [type(event) for event in heard.events] == [ServerLost, ServerFound]


async def test_half_open_it_lets_exactly_one_through_and_waits_for_its_end() -> None:
    breaker = Breaker("main", Heard())
    breaker.fail(REFUSED, now())
    await until_allowed(breaker)

    assert breaker.begin()
    assert not breaker.allows()
    again = asyncio.create_task(until_allowed(breaker))
    await asyncio.sleep(0)
    assert not again.done()
    breaker.end(is_probe=True)  # cancelled: nobody knows
    await again

    assert breaker.allows()


async def test_a_dial_from_before_it_turned_says_nothing_new() -> None:
    heard = Heard()
    breaker = Breaker("main", heard)
    before = now()
    assert breaker.fail(REFUSED, before)
    for _ in range(50):
        assert not breaker.fail(REFUSED, before - 1)
    breaker.succeed()

    assert not breaker.fail(REFUSED, before - 1)
    assert breaker.allows()
    assert len(heard.of(ServerLost)) == 1


async def test_the_servers_return_wakes_who_waits_at_once() -> None:
    breaker = Breaker("main", Heard())
    for _ in range(30):
        breaker.fail(REFUSED, now())
    woken = asyncio.create_task(until_allowed(breaker))
    await asyncio.sleep(0)
    began = now()
    breaker.succeed()
    await woken

    assert now() - began < 0.1
