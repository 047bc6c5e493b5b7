"""What a warm request costs on the wire, counted by proxies in front of every server."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.gateways import TENANTS, Serving, Site, open_gateway, open_site
from tests.support.postgres import open_database, open_three_clusters, server_folder, url_of
from tests.support.proxy import Proxy, open_proxy
from tiergate.tenant import Tier

REQUESTS = 20
ROUNDS = 10
ONE = "SELECT id, name FROM projects ORDER BY id LIMIT 3"
BATCH = [f"SELECT {number} AS n, count(*) FROM tasks" for number in range(5)]


@dataclass(slots=True)
class Counted:
    """A gateway whose every way to a database goes through a proxy."""

    site: Site
    gateway: Serving
    client: httpx.AsyncClient
    proxies: dict[Tier, Proxy]
    registry: Proxy

    async def ask(self, tier: Tier, queries: list[str]) -> None:
        """One request, single or batch."""
        key = self.site.keys[TENANTS[tier]]
        if len(queries) == 1:
            answer = await self.gateway.sql(key, queries[0], client=self.client)
        else:
            answer = await self.gateway.batch(key, queries, client=self.client)
        assert answer.status_code == 200, answer.text


async def by_proxy(stack: AsyncExitStack, conninfo: str) -> tuple[Proxy, str]:
    """A proxy to that server, and the URL of the same database by way of it."""
    part = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    proxy = await stack.enter_async_context(open_proxy(part["host"], int(part["port"])))
    return proxy, url_of(conninfo).replace(f":{part['port']}/", f":{proxy.port}/")


@pytest.fixture(scope="module")
async def counted() -> AsyncIterator[Counted]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(server_folder())
        clusters = await stack.enter_async_context(open_three_clusters())
        conninfo = await stack.enter_async_context(open_database(clusters.standard, prefix="registry"))
        registry, registry_url = await by_proxy(stack, conninfo)
        ways = {tier: await by_proxy(stack, clusters.of(tier).conninfo()) for tier in Tier}
        site = await stack.enter_async_context(open_site(folder, url_of(conninfo)))
        await site.furnish({tier: url for tier, (_, url) in ways.items()})
        gateway = await stack.enter_async_context(open_gateway(folder, registry_url))
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=40))
        yield Counted(site, gateway, client, {tier: proxy for tier, (proxy, _) in ways.items()}, registry)


@pytest.mark.parametrize("queries", [[ONE], BATCH], ids=["single", "batch of 5"])
@pytest.mark.parametrize("tier", Tier)
async def test_a_warm_request_costs_one_round_trip_to_postgres(
    counted: Counted, tier: Tier, queries: list[str]
) -> None:
    """A connection is asked now and then, between requests, what time it is and whether it is protected."""
    for _ in range(3):  # dials, and prepares what is asked for a second time
        await counted.ask(tier, queries)
    right = {each: REQUESTS if each is tier else 0 for each in Tier}
    costs: list[dict[Tier, int]] = []
    while right not in costs and len(costs) < ROUNDS:
        before = {each: proxy.round_trips for each, proxy in counted.proxies.items()}
        for _ in range(REQUESTS):
            await counted.ask(tier, queries)
        costs.append({each: proxy.round_trips - before[each] for each, proxy in counted.proxies.items()})

    assert right in costs, costs
    assert all(cost[each] >= right[each] for cost in costs for each in Tier), costs


async def test_a_warm_request_costs_no_round_trip_to_the_registry(counted: Counted) -> None:
    """What the gateway itself says to the registry goes the same way, so some round has to be all silence."""
    for tier in Tier:
        await counted.ask(tier, [ONE])
    counts: list[int] = []
    while 0 not in counts and len(counts) < ROUNDS:
        before = counted.registry.round_trips
        for tier in Tier:
            for _ in range(REQUESTS):
                await counted.ask(tier, [ONE])
        counts.append(counted.registry.round_trips - before)

    assert 0 in counts, counts


async def test_a_first_request_of_a_tenant_asks_the_registry_for_key_and_place(counted: Counted) -> None:
    """What the count above would show if nothing were remembered."""
    tenant = TENANTS[Tier.STANDARD]
    key = await counted.site.create_key(tenant)
    before = counted.registry.round_trips
    answer = await counted.gateway.sql(key, ONE, client=counted.client)

    assert answer.status_code == 200
    assert counted.registry.round_trips > before
