"""The cache's rules, told by a clock that only the test moves and loads that end when it says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from registry.cache import Cache, jitter
from registry.errors import RegistryUnavailable
from registry.limits import Limits
from tiergate.deadline import Deadline
from tiergate.events import CacheAnswered, Event

LIMITS = Limits(size=100, ttl_s=60, negative_ttl_s=5, stale_for_s=600, load_timeout_s=5)


def soon() -> Deadline:
    return Deadline.after(5)


@dataclass
class Clock:
    at_s: float = 1000.0

    def __call__(self) -> float:
        return self.at_s


@dataclass
class Source:
    """A registry whose answers wait at a gate, open unless a test closes it."""

    answers: dict[str, int | Exception | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def load(self, key: str) -> int | None:
        answer = self.answers.get(key)  # read first, answered later, as a query does
        self.asked.append(key)
        self.arrived.set()
        await self.gate.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def wait_asked(self) -> None:
        await self.arrived.wait()
        self.arrived.clear()


@dataclass
class Bench:
    cache: Cache[str, int]
    source: Source
    clock: Clock
    events: list[Event]


@asynccontextmanager
async def open_bench(limits: Limits = LIMITS) -> AsyncIterator[Bench]:
    clock, source, events = Clock(), Source(), list[Event]()
    async with Cache(
        "placement",
        source.load,
        limits,
        emit=events.append,
        accept=lambda known, read: read >= known,
        now=clock,
        jitter=lambda: 1.0,
    ) as cache:
        yield Bench(cache, source, clock, events)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench() as bench:
        yield bench


async def test_an_answer_is_loaded_once_and_then_given_from_memory(bench: Bench) -> None:
    bench.source.answers["acme"] = 1

    answers = [await bench.cache.get("acme", soon()) for _ in range(3)]

    assert answers == [1, 1, 1]
    assert bench.cache.peek("acme") == 1
    assert bench.source.asked == ["acme"]
    assert (bench.cache.hits, bench.cache.misses, bench.cache.loads) == (3, 1, 1)


async def test_peek_gives_nothing_that_is_not_fresh(bench: Bench) -> None:
    bench.source.answers["acme"] = 1
    await bench.cache.get("acme", soon())

    bench.clock.at_s += 60

    assert bench.cache.peek("acme") is None
    assert bench.cache.peek("umbrella") is None


async def test_an_answer_is_loaded_anew_after_its_ttl(bench: Bench) -> None:
    bench.source.answers["acme"] = 1
    await bench.cache.get("acme", soon())
    bench.source.answers["acme"] = 2
    bench.clock.at_s += 60

    assert await bench.cache.get("acme", soon()) == 2


async def test_a_thousand_waiters_make_one_load(bench: Bench) -> None:
    bench.source.answers["acme"] = 1
    bench.source.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        waiters = [tasks.create_task(bench.cache.get("acme", soon())) for _ in range(1000)]
        await bench.source.wait_asked()
        bench.source.gate.set()

    assert {waiter.result() for waiter in waiters} == {1}
    assert bench.source.asked == ["acme"]


async def test_a_waiter_that_is_cancelled_takes_nobody_with_it(bench: Bench) -> None:
    bench.source.answers["acme"] = 1
    bench.source.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(bench.cache.get("acme", soon()))
        await bench.source.wait_asked()
        second = tasks.create_task(bench.cache.get("acme", soon()))
        first.cancel()
        await asyncio.wait({first})
        bench.source.gate.set()

    assert first.cancelled()
    assert second.result() == 1
    assert bench.source.asked == ["acme"]


async def test_an_absence_is_remembered_for_the_negative_ttl_only(bench: Bench) -> None:
    assert await bench.cache.get("acme", soon()) is None
    bench.source.answers["acme"] = 1

    assert await bench.cache.get("acme", soon()) is None

    bench.clock.at_s += 5
    assert await bench.cache.get("acme", soon()) == 1
    assert bench.source.asked == ["acme", "acme"]
    assert bench.cache.negatives == 1


async def test_an_invalidated_answer_is_never_given_again(bench: Bench) -> None:
    bench.source.answers["acme"] = 1
    await bench.cache.get("acme", soon())
    bench.source.answers["acme"] = RegistryUnavailable("down")

    bench.cache.invalidate("acme")

    assert bench.cache.peek("acme") is None
    with pytest.raises(RegistryUnavailable):
        await bench.cache.get("acme", soon())


async def test_an_invalidated_absence_is_never_given_again(bench: Bench) -> None:
    await bench.cache.get("acme", soon())
    bench.source.answers["acme"] = 1

    bench.cache.invalidate("acme")

    assert await bench.cache.get("acme", soon()) == 1


async def test_who_waits_for_a_load_that_an_invalidation_overtook_waits_for_the_next(bench: Bench) -> None:
    bench.source.answers["acme"] = 1
    bench.source.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        waiters = [tasks.create_task(bench.cache.get("acme", soon())) for _ in range(10)]
        await bench.source.wait_asked()
        bench.source.answers["acme"] = 2
        bench.cache.invalidate("acme")
        bench.source.gate.set()

    assert {waiter.result() for waiter in waiters} == {2}
    assert bench.source.asked == ["acme", "acme"]
    assert bench.cache.peek("acme") == 2


async def test_doubt_overtakes_a_load_under_way(bench: Bench) -> None:
    bench.source.answers["acme"] = 1
    bench.source.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        waiter = tasks.create_task(bench.cache.get("acme", soon()))
        await bench.source.wait_asked()
        bench.source.answers["acme"] = 2
        bench.cache.doubt()
        bench.source.gate.set()

    assert waiter.result() == 2


async def test_doubt_makes_every_answer_be_asked_for_again(bench: Bench) -> None:
    bench.source.answers |= {"acme": 1, "umbrella": 1}
    for tenant in ("acme", "umbrella", "nobody"):
        await bench.cache.get(tenant, soon())
    bench.source.answers |= {"acme": 2, "umbrella": 2, "nobody": 2}

    bench.cache.doubt()

    assert [await bench.cache.get(tenant, soon()) for tenant in ("acme", "umbrella", "nobody")] == [2, 2, 2]


async def test_the_last_known_answer_is_given_while_the_registry_is_down(bench: Bench) -> None:
    bench.source.answers["acme"] = 1
    await bench.cache.get("acme", soon())
    bench.source.answers["acme"] = RegistryUnavailable("down")
    bench.clock.at_s += 599

    assert await bench.cache.get("acme", soon()) == 1
    assert bench.events[-1] == CacheAnswered("placement", "stale")

    bench.clock.at_s += 1
    with pytest.raises(RegistryUnavailable):
        await bench.cache.get("acme", soon())


async def test_the_last_known_answer_outlives_doubt(bench: Bench) -> None:
    bench.source.answers["acme"] = 1
    await bench.cache.get("acme", soon())
    bench.source.answers["acme"] = RegistryUnavailable("down")

    bench.cache.doubt()

    assert await bench.cache.get("acme", soon()) == 1


async def test_clear_forgets_the_last_known_answers_too(bench: Bench) -> None:
    bench.source.answers["acme"] = 1
    await bench.cache.get("acme", soon())
    bench.source.answers["acme"] = RegistryUnavailable("down")

    bench.cache.clear()

    with pytest.raises(RegistryUnavailable):
        await bench.cache.get("acme", soon())
    assert len(bench.cache) == 0


async def test_while_the_registry_stalls_nobody_with_a_last_known_answer_waits_for_long(bench: Bench) -> None:
    """Each waited for two loads, of a key and of a placement, until both were given up."""
    bench.source.answers["acme"] = 1
    await bench.cache.get("acme", soon())
    bench.clock.at_s += 61
    bench.source.gate.clear()
    began = asyncio.get_running_loop().time()

    assert await asyncio.gather(*(bench.cache.get("acme", soon()) for _ in range(3))) == [1, 1, 1]
    assert asyncio.get_running_loop().time() - began < 2
    assert bench.source.asked == ["acme", "acme"]
    bench.source.gate.set()


async def test_what_is_refuted_while_the_registry_stalls_is_not_given(bench: Bench) -> None:
    bench.source.answers["acme"] = 1
    await bench.cache.get("acme", soon())
    bench.clock.at_s += 61
    bench.source.gate.clear()
    bench.source.arrived.clear()
    asking = asyncio.create_task(bench.cache.get("acme", soon()))
    await bench.source.wait_asked()
    bench.cache.invalidate("acme")
    answered, _ = await asyncio.wait({asking}, timeout=0.4)  # longer than there is patience
    assert not answered
    bench.source.answers["acme"] = 2
    bench.source.gate.set()

    assert await asking == 2


async def test_while_the_registry_is_down_nobody_with_a_last_known_answer_waits_for_it(bench: Bench) -> None:
    bench.source.answers["acme"] = 1
    await bench.cache.get("acme", soon())
    bench.source.answers["acme"] = RegistryUnavailable("down")
    bench.clock.at_s += 60
    await bench.cache.get("acme", soon())
    bench.source.gate.clear()  # from now on the registry hangs
    bench.clock.at_s += 1

    answers = [await bench.cache.get("acme", soon()) for _ in range(100)]

    assert answers == [1] * 100
    assert bench.cache.loads == 3  # the first, the failure, and one probe
    bench.source.gate.set()


async def test_while_the_registry_is_down_it_is_tried_once_in_a_while_whatever_is_asked_for(
    bench: Bench,
) -> None:
    tenants = [f"tenant-{number}" for number in range(10)]
    for tenant in tenants:
        bench.source.answers[tenant] = 1
        await bench.cache.get(tenant, soon())
        bench.source.answers[tenant] = RegistryUnavailable("down")
    bench.clock.at_s += 60
    await bench.cache.get(tenants[0], soon())
    bench.source.gate.clear()
    before = bench.cache.loads

    counted = []
    for _ in range(3):
        for tenant in tenants:
            await bench.cache.get(tenant, soon())
        counted.append(bench.cache.loads - before)
        bench.clock.at_s += 1

    assert counted == [0, 1, 2]
    bench.source.gate.set()


async def test_what_is_gone_from_the_registry_is_no_last_known_answer(bench: Bench) -> None:
    bench.source.answers["acme"] = 1
    await bench.cache.get("acme", soon())
    bench.source.answers["acme"] = None
    bench.clock.at_s += 60
    assert await bench.cache.get("acme", soon()) is None
    bench.source.answers["acme"] = RegistryUnavailable("down")
    bench.clock.at_s += 5

    with pytest.raises(RegistryUnavailable):
        await bench.cache.get("acme", soon())


async def test_when_the_registry_is_found_again_nobody_is_told_what_was_known_before(bench: Bench) -> None:
    bench.source.answers["acme"] = 1
    await bench.cache.get("acme", soon())
    bench.source.answers["acme"] = RegistryUnavailable("down")
    bench.clock.at_s += 60
    await bench.cache.get("acme", soon())
    bench.source.answers["acme"] = 2
    bench.source.gate.clear()
    bench.source.arrived.clear()
    bench.clock.at_s += 1
    during = await bench.cache.get("acme", soon())
    await bench.source.wait_asked()
    bench.source.gate.set()
    bench.cache.doubt()  # the feed hears the registry again: now everybody waits for the truth

    assert during == 1
    assert await bench.cache.get("acme", soon()) == 2


async def test_who_has_no_last_known_answer_is_told_that_the_registry_is_down(bench: Bench) -> None:
    bench.source.answers["acme"] = RegistryUnavailable("down")

    for _ in range(2):
        with pytest.raises(RegistryUnavailable, match="down"):
            await bench.cache.get("acme", soon())

    bench.source.answers["acme"] = 1
    assert await bench.cache.get("acme", soon()) == 1


async def test_an_absence_is_no_last_known_answer(bench: Bench) -> None:
    await bench.cache.get("acme", soon())
    bench.source.answers["acme"] = RegistryUnavailable("down")
    bench.clock.at_s += 5

    with pytest.raises(RegistryUnavailable):
        await bench.cache.get("acme", soon())


async def test_an_answer_never_goes_back_to_an_earlier_one(bench: Bench) -> None:
    bench.source.answers["acme"] = 5
    await bench.cache.get("acme", soon())
    bench.source.answers["acme"] = 4
    bench.clock.at_s += 60

    assert await bench.cache.get("acme", soon()) == 5
    assert bench.cache.peek("acme") is None


async def test_an_earlier_answer_does_not_replace_one_that_was_refuted(bench: Bench) -> None:
    bench.source.answers["acme"] = 5
    await bench.cache.get("acme", soon())
    bench.source.answers["acme"] = 4
    bench.cache.invalidate("acme")

    with pytest.raises(RegistryUnavailable):
        await bench.cache.get("acme", soon())

    bench.source.answers["acme"] = 6
    assert await bench.cache.get("acme", soon()) == 6


async def test_an_unexpected_error_reaches_all_who_wait_and_is_not_kept(bench: Bench) -> None:
    bench.source.answers["acme"] = LookupError("a bug")
    bench.source.gate.clear()

    async def outcome() -> str:
        try:
            return str(await bench.cache.get("acme", soon()))
        except LookupError as error:
            return repr(error)

    async with asyncio.TaskGroup() as tasks:
        waiters = [tasks.create_task(outcome()) for _ in range(10)]
        await bench.source.wait_asked()
        bench.source.gate.set()
    bench.source.answers["acme"] = 1

    assert {waiter.result() for waiter in waiters} == {"LookupError('a bug')"}
    assert await bench.cache.get("acme", soon()) == 1


async def test_the_answer_unused_for_longest_goes_first() -> None:
    async with open_bench(
        Limits(size=2, ttl_s=60, negative_ttl_s=5, stale_for_s=600, load_timeout_s=5)
    ) as bench:
        bench.source.answers |= {"acme": 1, "umbrella": 2, "globex": 3}
        await bench.cache.get("acme", soon())
        await bench.cache.get("umbrella", soon())
        bench.cache.peek("acme")
        await bench.cache.get("globex", soon())

        assert len(bench.cache) == 2
        assert bench.cache.peek("acme") == 1
        assert bench.cache.peek("umbrella") is None


async def test_a_flood_of_unknown_names_displaces_no_answer() -> None:
    async with open_bench(
        Limits(size=2, ttl_s=60, negative_ttl_s=5, stale_for_s=600, load_timeout_s=5)
    ) as bench:
        bench.source.answers["acme"] = 1
        await bench.cache.get("acme", soon())
        for number in range(100):
            await bench.cache.get(f"nobody-{number}", soon())

        assert bench.cache.peek("acme") == 1
        assert await bench.cache.get("nobody-0", soon()) is None
        assert bench.source.asked.count("nobody-0") == 2


async def test_new_limits_hold_from_now_on(bench: Bench) -> None:
    bench.source.answers |= {"acme": 1, "umbrella": 2, "globex": 3}
    for tenant in ("acme", "umbrella"):
        await bench.cache.get(tenant, soon())

    bench.cache.limits = Limits(size=1, ttl_s=10, negative_ttl_s=5, stale_for_s=600, load_timeout_s=5)

    await bench.cache.get("globex", soon())
    assert (len(bench.cache), bench.cache.peek("globex")) == (1, 3)
    bench.clock.at_s += 10
    assert bench.cache.peek("globex") is None


async def test_a_waiter_waits_no_longer_than_its_deadline(bench: Bench) -> None:
    bench.source.answers["acme"] = 1
    bench.source.gate.clear()

    with pytest.raises(RegistryUnavailable, match="deadline"):
        await bench.cache.get("acme", Deadline.after(0))

    bench.source.gate.set()
    assert await bench.cache.get("acme", soon()) == 1
    assert bench.source.asked == ["acme"]


async def test_a_load_that_hangs_is_given_up() -> None:
    async with open_bench(
        Limits(size=2, ttl_s=60, negative_ttl_s=5, stale_for_s=600, load_timeout_s=0)
    ) as bench:
        bench.source.gate.clear()

        with pytest.raises(RegistryUnavailable, match="too long"):
            await bench.cache.get("acme", soon())


async def test_closing_ends_the_loads_and_tells_who_waits() -> None:
    async with open_bench() as bench:
        bench.source.gate.clear()
        waiter = asyncio.ensure_future(bench.cache.get("acme", soon()))
        await bench.source.wait_asked()

    with pytest.raises(RegistryUnavailable, match="stopping"):
        await waiter


async def test_hits_are_counted_and_everything_else_is_told(bench: Bench) -> None:
    bench.source.answers["acme"] = 1
    await bench.cache.get("acme", soon())
    await bench.cache.get("acme", soon())
    await bench.cache.get("nobody", soon())
    await bench.cache.get("nobody", soon())

    assert bench.events == [
        CacheAnswered("placement", "miss"),
        CacheAnswered("placement", "miss"),
        CacheAnswered("placement", "negative"),
    ]
    assert bench.cache.hits == 1


def test_jitter_spreads_a_ttl_by_a_tenth() -> None:
    factors = [jitter() for _ in range(1000)]

    assert 0.9 <= min(factors) < 0.95
    assert 1.05 < max(factors) <= 1.1
