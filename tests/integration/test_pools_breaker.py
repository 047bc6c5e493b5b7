"""A server that lets nobody in: its tenants are told at once, and it is dialled by one at a time."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import pytest
from psycopg import sql

from pools.errors import DatabaseUnavailable
from pools.switchboard import Switchboard
from registry.placement import PlaceId, Placement
from tests.support.doorman import open_door, refusal
from tests.support.places import (
    POOL,
    Heard,
    Places,
    open_admin,
    open_places,
    open_pools,
    open_way,
    pool_limits,
    run,
    until,
    value,
)
from tests.support.waiting import hold_within
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.events import DialFailed, ServerFound, ServerLost
from tiergate.tenant import Tier

PATIENT = replace(POOL, server_connect_timeout=30)
HASTY = replace(POOL, server_connect_timeout=0.1)


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture
async def acme(places: Places) -> Placement:
    return await places.create(Tier.PREMIUM)


def crowd(placement: Placement, count: int) -> list[Placement]:
    """As many tenants on the same server, each with a pool of its own."""
    return [
        replace(placement, place=replace(placement.place, id=PlaceId(f"pl_{number:012}")))
        for number in range(count)
    ]


async def told(switchboard: Switchboard, placements: list[Placement]) -> set[type]:
    """How a request of each ends, all at once."""
    asked = (run(switchboard, placement, "SELECT 1") for placement in placements)
    return {type(ended) for ended in await asyncio.gather(*asked, return_exceptions=True)}


async def test_no_more_are_dialled_at_once_than_may_be(acme: Placement) -> None:
    async with (
        open_door() as door,
        open_pools(pool_limits(PATIENT, budget=50, dials=3)) as switchboard,
    ):
        asked = asyncio.create_task(told(switchboard, crowd(door.before(acme), 20)))

        async def stand_before_it() -> bool:
            return door.inside == 3

        await until(stand_before_it)
        assert (door.knocks, switchboard.snapshot().budgets[0].used) == (3, 3)
        door.send_away()
        assert await asked == {DatabaseUnavailable}
        assert door.most == 3


@pytest.mark.parametrize("answer", [None, b"", refusal("57P03"), refusal("53300")])
async def test_a_server_that_lets_nobody_in_is_dialled_by_one_at_a_time_for_all(
    acme: Placement, answer: bytes | None
) -> None:
    heard = Heard()
    async with (
        open_door(answer) as door,
        open_pools(pool_limits(HASTY, budget=50, dials=5), heard) as switchboard,
    ):
        tenants = crowd(door.before(acme), 20)
        assert await told(switchboard, tenants) == {DatabaseUnavailable}
        first, loop = door.knocks, asyncio.get_running_loop()
        ends = loop.time() + 1
        while loop.time() < ends:
            assert await told(switchboard, tenants) == {DatabaseUnavailable}

        assert first <= 5 + 5  # one may have failed before the last of the first began
        assert door.knocks - first <= 30  # pauses double up to 1 s, each by chance shorter
        assert not switchboard.reachable()["main"]
        assert len(heard.of(ServerLost)) == 1
        door.send_away()


async def test_who_comes_while_nobody_is_let_in_is_told_at_once(acme: Placement) -> None:
    """Also while one dial tries: a silent server takes all of server_connect_timeout to be given up."""
    loop = asyncio.get_running_loop()
    async with open_door() as door, open_pools(pool_limits(HASTY)) as switchboard:
        one, other = crowd(door.before(acme), 2)
        await told(switchboard, [one])
        switchboard.resize(pool_limits(PATIENT))

        async def tries() -> bool:
            return door.knocks == 2

        await until(tries)

        async def refused(placement: Placement) -> float:
            began = loop.time()
            with pytest.raises(DatabaseUnavailable):
                await run(switchboard, placement, "SELECT 1")
            return loop.time() - began

        for placement in (one, other):
            await hold_within(0.1, partial(refused, placement), what="a refusal")
        assert door.knocks == 2
        door.send_away()


async def test_a_server_is_found_again_within_a_second_though_nobody_asks(acme: Placement) -> None:
    heard, loop = Heard(), asyncio.get_running_loop()
    async with open_way(acme) as (proxy, by_proxy), open_pools(heard=heard) as switchboard:
        proxy.is_down = True
        await told(switchboard, [by_proxy])
        await heard.wait_for(DialFailed, times=8)
        proxy.is_down = False
        back_since = loop.time()
        await heard.wait_for(ServerFound)

        assert min(at for at in proxy.dialled_at if at > back_since) - back_since < 1.2
        assert switchboard.reachable()["main"]
        assert await value(switchboard, by_proxy, "SELECT 1") == "1"


async def test_a_refused_login_holds_back_its_own_pool_only(acme: Placement, places: Places) -> None:
    """By password, by a limit of the role, by its database; the server itself is well."""
    wrong = replace(acme, place=replace(acme.place, id=PlaceId("pl_wrong"), password="wrong"))
    nowhere = replace(acme, place=replace(acme.place, id=PlaceId("pl_nowhere"), database="nowhere"))
    full = await places.create(Tier.PREMIUM)
    heard = Heard()
    async with open_admin(places.admin(full.place)) as admin, open_pools(heard=heard) as switchboard:
        role = sql.Identifier(full.place.login)
        await admin.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 0").format(role))
        for _ in range(20):
            assert await told(switchboard, [wrong, nowhere, full]) == {DatabaseUnavailable}
            assert await value(switchboard, acme, "SELECT 1") == "1"

        codes = {event.error.split(": ")[-2].split()[-1] for event in heard.of(DialFailed)}
        assert codes == {"28P01", "3D000", "53300"}
        assert heard.of(ServerLost) == []
        assert len(heard.of(DialFailed)) < 60


async def test_a_new_pool_keeps_the_pause_that_an_earlier_one_began(acme: Placement) -> None:
    heard = Heard()
    wrong = replace(acme, place=replace(acme.place, password="wrong"))
    async with open_pools(heard=heard) as switchboard:
        for _ in range(100):
            await told(switchboard, [wrong])
            switchboard.dismiss(wrong.place.id)
        assert len(heard.of(DialFailed)) < 20

        assert await value(switchboard, acme, "SELECT 1") == "1"  # another password is another matter


async def test_who_waits_beside_a_connection_that_a_silent_server_keeps_is_told_at_once(
    acme: Placement,
) -> None:
    limits = replace(POOL, query_wait_timeout=20, default_pool_size=2)
    async with open_way(acme) as (proxy, by_proxy), open_pools(pool_limits(limits)) as switchboard:
        async with switchboard.lease(by_proxy, Deadline.after(20)):
            switchboard.resize(pool_limits(replace(limits, server_connect_timeout=0.1)))
            proxy.blackhole()
            began = asyncio.get_running_loop().time()
            with pytest.raises(DatabaseUnavailable):
                await run(switchboard, by_proxy, "SELECT 1")
            assert asyncio.get_running_loop().time() - began < 2
        proxy.cut()
