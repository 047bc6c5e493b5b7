"""Context keys are replaced while tenants of every tier are served by several gateways, one of them deaf."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.gateways import TENANTS, Serving, Site, open_gateway, open_site
from tests.support.postgres import (
    ThreeClusters,
    open_database,
    open_three_clusters,
    run_sql,
    server_folder,
    url_of,
)
from tests.support.proxy import Proxy, open_proxy
from tests.support.waiting import wait_until
from tiergate.tenant import Tier

QUERY = "SELECT count(*) AS n FROM tasks"
KILLED = [("rotate", 0.03), ("retire", 0.03)]


@dataclass(slots=True)
class Load:
    """Requests to some gateways as every tenant, until it is over."""

    site: Site
    gateways: list[Serving]
    answered: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    is_over: bool = False

    async def ask(self, name: str, gateway: Serving, tier: Tier) -> None:
        key = self.site.keys[TENANTS[tier]]
        async with httpx.AsyncClient(timeout=40, trust_env=False) as client:
            while not self.is_over:
                answer = await gateway.sql(key, QUERY, client=client)
                self.answered[name] += 1
                if answer.status_code != 200:
                    self.wrong.append(f"{name}: {answer.status_code} {answer.text[:200]}")

    async def goes_on(self) -> None:
        """Return once every gateway has answered every tenant some more times."""
        before = self.answered.copy()

        def look() -> bool:
            return all(self.answered[name] >= before[name] + 5 for name in before)

        await wait_until(look, what="requests that go on")


@asynccontextmanager
async def load(site: Site, gateways: list[Serving]) -> AsyncIterator[Load]:
    requests = Load(site, gateways)
    async with asyncio.TaskGroup() as tasks:
        for number, gateway in enumerate(gateways):
            for tier in Tier:
                name = f"gateway {number}, {tier}"
                requests.answered[name] = 0
                tasks.create_task(requests.ask(name, gateway, tier), name=name)
        try:
            await requests.goes_on()
            yield requests
            await requests.goes_on()
        finally:
            requests.is_over = True


@pytest.fixture(scope="module")
async def clusters() -> AsyncIterator[ThreeClusters]:
    async with open_three_clusters() as opened:
        yield opened


@dataclass(slots=True)
class House:
    """Gateways `a` and `b`, and `deaf`, which can be cut off from the registry."""

    site: Site
    a: Serving
    b: Serving
    deaf: Serving
    way: Proxy

    async def keys(self) -> list[dict[str, object]]:
        answer = await self.a.ask_admin("GET", "/context-keys")
        listed: list[dict[str, object]] = answer.json()["context_keys"]
        return listed

    async def bodies(self, act: str) -> list[dict[str, object]]:
        """What is asked of every database; old keys are retired at once."""
        more = {"at_once": True} if act == "retire" else {}
        return [
            {"cluster": each["cluster"], "database": each["database"]} | more for each in await self.keys()
        ]

    async def act(self, act: str) -> list[httpx.Response]:
        """Ask gateway `a` for *act* on every database, at once."""
        asked = [self.a.ask_admin("POST", f"/context-keys/{act}", body) for body in await self.bodies(act)]
        return await asyncio.gather(*asked)


@pytest.fixture
async def house(clusters: ThreeClusters) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(open_database(clusters.standard, prefix="registry"))
        part = conninfo_to_dict(registry)
        way = await stack.enter_async_context(open_proxy(str(part["host"]), int(str(part["port"]))))
        folder = stack.enter_context(server_folder())
        site = await stack.enter_async_context(open_site(folder, url_of(registry)))
        await site.furnish({tier: url_of(clusters.of(tier).conninfo()) for tier in Tier})
        by_proxy = url_of(registry).replace(f":{part['port']}/", f":{way.port}/")
        a, b, deaf = [
            await stack.enter_async_context(open_gateway(folder, url))
            for url in (site.registry_url, site.registry_url, by_proxy)
        ]
        yield House(site, a, b, deaf, way)


async def test_no_request_fails_while_keys_are_replaced_and_those_who_do_it_are_killed(
    house: House, clusters: ThreeClusters
) -> None:
    async with load(house.site, [house.a, house.b, house.deaf]) as requests:
        for act, killed_after_s in KILLED:
            before = {str(each["database"]): int(str(each["kid"])) for each in await house.keys()}
            if act == "retire":
                await house.act("rotate")
            async with open_gateway(house.site.folder, house.site.registry_url) as rotator:
                bodies = await house.bodies(act)
                asked = [rotator.ask_admin("POST", f"/context-keys/{act}", body) for body in bodies]
                acting = asyncio.gather(*asked, return_exceptions=True)
                await asyncio.sleep(killed_after_s)
                rotator.signal(signal.SIGKILL)
                await rotator.ended()
                await acting
            await requests.goes_on()
            for step in ("rotate", "retire"):
                assert [answer.status_code for answer in await house.act(step)] == [200] * len(Tier)
                await requests.goes_on()
            for each in await house.keys():
                assert int(str(each["kid"])) > before[str(each["database"])]
                assert each["retiring"] is None
        assert await known(clusters, house) == [[each["kid"]] for each in await house.keys()]

        # One that hears nothing goes on with what it knows, until what it knows is retired.
        house.way.blackhole()
        await house.act("rotate")
        await requests.goes_on()
        for body in await house.bodies("retire"):
            early = await house.a.ask_admin("POST", "/context-keys/retire", body | {"at_once": False})
            assert early.json()["error"]["code"] == "key-in-use"
        await requests.goes_on()
        house.way.flow()
        await house.deaf.listens()
        await house.act("retire")

    assert requests.wrong == []
    print("requests:", dict(requests.answered))  # noqa: T201 - a figure for who runs with -s


async def known(clusters: ThreeClusters, house: House) -> list[list[object]]:
    """The keys that each database knows, in the order of the list."""
    found = []
    for each in await house.keys():
        there = clusters.of(Tier(str(each["cluster"]))).conninfo(str(each["database"]))
        kids = await run_sql(there, "SELECT kid FROM tiergate.context_key ORDER BY kid")
        found.append([kid for (kid,) in kids])
    return found
