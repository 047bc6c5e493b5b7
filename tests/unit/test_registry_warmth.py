"""What is marked warm reaches the pools: at the start, after each change, and after trouble."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from registry.errors import RegistryFailed, RegistryUnavailable
from registry.placement import Place, PlaceId, Placement, TenantState
from registry.warmth import Warmth
from tiergate.events import Event, LoopFailed
from tiergate.tenant import TenantId, Tier


def placed(name: str) -> Placement:
    place = Place(PlaceId(f"pl_{name}"), Tier.PREMIUM, "c", "host=db", "app", "app", name, "secret", b"", 1)
    return Placement(TenantId(name), Tier.PREMIUM, TenantState.ACTIVE, place, epoch=1, region=None)


class World:
    """A registry that may fail, and pools that tell what they were told."""

    def __init__(self) -> None:
        self.marked: list[Placement] = []
        self.fails: Exception | None = None
        self.looks = 0
        self.told: list[list[str]] = []
        self.events: list[Event] = []
        self.bell = asyncio.Event()
        self.warmth = Warmth(self, self, emit=self.events.append, apart_s=0)

    async def warm(self) -> list[Placement]:
        self.looks += 1
        self.bell.set()
        if self.fails is not None:
            raise self.fails
        return self.marked

    def keep_warm(self, placements: Sequence[Placement]) -> None:
        self.told.append([placement.tenant for placement in placements])
        self.bell.set()

    async def until_told(self, names: list[str]) -> None:
        async with asyncio.timeout(5):
            while not self.told or self.told[-1] != names:
                self.bell.clear()
                await self.bell.wait()

    async def until_looked(self, times: int) -> None:
        async with asyncio.timeout(5):
            while self.looks < times:
                self.bell.clear()
                await self.bell.wait()


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(world.warmth.run())
        yield
        loop.cancel()


async def test_what_is_marked_is_told_at_the_start_and_after_each_change() -> None:
    world = World()
    world.marked = [placed("acme")]
    async with running(world):
        await world.until_told(["acme"])
        world.marked = [placed("acme"), placed("globex")]
        world.warmth.wake()
        await world.until_told(["acme", "globex"])
        world.marked = []
        world.warmth.wake()
        await world.until_told([])


async def test_while_the_registry_does_not_answer_what_was_told_stays() -> None:
    world = World()
    world.marked = [placed("acme")]
    async with running(world):
        await world.until_told(["acme"])
        world.fails = RegistryUnavailable("it is down")
        world.warmth.wake()
        await world.until_looked(2)
        assert world.told == [["acme"]]
        world.fails, world.marked = None, [placed("globex")]
        world.warmth.wake()
        await world.until_told(["globex"])

    assert world.events == []


async def test_an_error_that_nobody_foresaw_is_told_and_does_not_end_it() -> None:
    world = World()
    world.fails = RegistryFailed("42P01", "no such table")
    async with running(world):
        await world.until_looked(1)
        world.fails, world.marked = None, [placed("acme")]
        world.warmth.wake()
        await world.until_told(["acme"])

    assert [type(event) for event in world.events] == [LoopFailed]


async def test_a_change_during_a_look_is_looked_at_again() -> None:
    world = World()
    reading, go_on = asyncio.Event(), asyncio.Event()

    class Slow:
        async def warm(self) -> list[Placement]:
            found = list(world.marked)
            reading.set()
            await go_on.wait()
            return found

    warmth = Warmth(Slow(), world, emit=world.events.append, apart_s=0)
    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(warmth.run())
        await reading.wait()
        world.marked = [placed("acme")]
        warmth.wake()
        go_on.set()
        await world.until_told(["acme"])
        loop.cancel()


async def test_many_changes_at_once_are_one_look() -> None:
    world = World()
    world.warmth = Warmth(world, world, emit=world.events.append, apart_s=0.05)
    async with running(world):
        await world.until_looked(1)
        for _ in range(1000):
            world.warmth.wake()
            await asyncio.sleep(0)
        await world.until_looked(2)

    assert world.looks == 2


async def test_looking_once_says_so_when_it_cannot_be_known() -> None:
    world = World()
    world.fails = RegistryUnavailable("it is down")

    with pytest.raises(RegistryUnavailable):
        await world.warmth.run_once()

    assert world.told == []
