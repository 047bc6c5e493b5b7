"""Orders while processes die and while the registry cannot be reached: nothing is said that does not hold."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.gateways import open_gateway
from tests.support.orders import ACME, OTHER, Ground, Json, Pair, open_ground, open_pair, states
from tests.support.postgres import run_sql, url_of
from tests.support.proxy import Proxy, open_proxy
from tests.support.waiting import wait_until

OLDER = "UPDATE tiergate_registry.gateway_process SET seen_at = now() - interval '{} s' WHERE id = '{}'"


@pytest.fixture(scope="module")
async def ground() -> AsyncIterator[Ground]:
    async with open_ground() as opened:
        yield opened


@pytest.fixture
async def pair(ground: Ground) -> AsyncIterator[Pair]:
    async with open_pair(ground) as opened:
        yield opened


@pytest.fixture
async def way(ground: Ground) -> AsyncIterator[Proxy]:
    """To the registry."""
    part = conninfo_to_dict(ground.registry)
    async with open_proxy(str(part["host"]), int(str(part["port"]))) as proxy:
        yield proxy


def by_pid(told: Json) -> dict[int, str]:
    return {process["pid"]: process["state"] for process in told["processes"]}


async def test_a_process_that_dies_in_the_middle_is_not_waited_for_and_the_next_one_knows_of_the_pause(
    pair: Pair,
) -> None:
    dead, alive = pair.b.children()
    async with pair.ground.held() as lock:
        crowd = await pair.waiting(*[pair.b] * 8)

        async def all_run() -> bool:
            return await lock.waiting() == len(crowd)

        await wait_until(all_run, what="the requests to run")
        paused = asyncio.create_task(pair.order("pause", wait_s=30))

        async def is_given() -> bool:
            return bool((await pair.a.ask_admin("GET", "/orders")).json()["orders"])

        await wait_until(is_given, what="the order to be given")
        os.kill(dead, signal.SIGKILL)
        await lock.let_go()
        told = await paused
    await asyncio.gather(*crowd, return_exceptions=True)
    again = await pair.order("pause")
    held = [asyncio.create_task(pair.ask(ACME)) for _ in range(6)]

    async def all_wait() -> bool:
        shown = await pair.order("show")
        return sum(int(process.get("waiting", 0)) for process in shown["processes"]) == len(held)

    await wait_until(all_wait, what="the new process to hold them up as well")
    assert told["done"] is True
    assert set(by_pid(again).values()) == {"done"}
    assert dead not in by_pid(again)
    assert alive in by_pid(again)
    assert len(by_pid(again)) == 3
    await pair.order("resume")
    assert {(await task).status_code for task in held} == {200}


async def test_who_is_cut_off_from_the_registry_has_not_answered_and_does_when_it_is_back(
    ground: Ground, way: Proxy
) -> None:
    through = url_of(make_conninfo(ground.registry, host=way.host, port=way.port))
    async with open_pair(ground, through) as pair:
        for pid in pair.b.children():  # what a process has never been asked it cannot answer alone
            with pair.b.only(pid):
                for tenant in (ACME, OTHER):
                    assert (await pair.ask(tenant)).status_code == 200
        await pair.order("pause", tenant=OTHER, for_s=600)
        way.is_down = True
        way.cut()
        for number in (1, 2):
            await pair.b.hears("registry-lost", times=number)
        cut = await pair.order("pause", wait_s=1)
        served = await pair.ask(ACME)
        known = asyncio.create_task(pair.ask(OTHER))
        silent_ids = [process["id"] for process in cut["processes"] if process["state"] != "done"]
        await run_sql(ground.registry, *(OLDER.format(16, each) for each in silent_ids))
        silent = await pair.order("pause", wait_s=20)
        listed = (await pair.a.ask_admin("GET", "/gateways")).json()["processes"]
        assert not known.done()
        way.is_down = False

        async def all_are_back() -> bool:
            return (await pair.order("pause"))["done"] is True

        await wait_until(all_are_back, what="those who were cut off to answer")
        again = await pair.order("pause")
        for tenant in (ACME, OTHER):
            await pair.order("resume", tenant=tenant)

        assert (cut["done"], states(cut)) == (False, ["done", "unanswered", "unanswered"])
        assert served.status_code == 200  # the pause does not hold there, and nobody has said that it does
        assert (silent["done"], states(silent)) == (False, ["done", "silent", "silent"])
        assert sorted(process["is_silent"] for process in listed) == [False, True, True]
        assert (again["done"], states(again)) == (True, ["done"] * 3)
        answer = await known
        assert answer.status_code == 200, answer.text


async def test_a_gateway_that_was_killed_is_forgotten_in_the_end(ground: Ground, pair: Pair) -> None:
    async with open_gateway(ground.site.folder, ground.site.registry_url) as gone:
        gone.signal(signal.SIGKILL)
        await gone.ended()

        async def is_forgotten() -> bool:
            listed = (await pair.a.ask_admin("GET", "/gateways")).json()["processes"]
            return len(listed) == 3

        async with open_gateway(ground.site.folder, ground.site.registry_url):
            listed = (await pair.a.ask_admin("GET", "/gateways")).json()["processes"]
            assert gone.process.pid not in {process["pid"] for process in listed}
        await wait_until(is_forgotten, what="those that are gone to be forgotten")
