"""A cluster that fails under load: its tenants meet what has a bound, and others meet nothing.

The budget, for every way to fail: no answer is wrong; none takes longer than the request's time; each
request that is sent a second after the cluster's return succeeds; the gateway dials a bounded number of
times a second; the tenants of another cluster see no failure; and nothing is left in any gauge.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import psycopg
import pytest

from tests.support.crashing import kill_9, stalled
from tests.support.gateways import TENANTS, Serving, Site, open_gateway, open_site
from tests.support.http import query, request
from tests.support.load import Load, codes, longest_s, open_load, quantile_s
from tests.support.postgres import open_database, open_test_cluster, run_sql, server_folder, url_of
from tests.support.proxy import Proxy, open_proxy
from tests.support.waiting import wait_until
from tiergate.embedded import Cluster
from tiergate.tenant import TenantId, Tier

SICK, WELL = Tier.STANDARD, Tier.PREMIUM
REQUEST_S = 3.0
MAX_CONNECTIONS = 24
SETTINGS = {
    "gateway.request_timeout_s": REQUEST_S,
    "gateway.body_timeout_s": REQUEST_S,
    "registry.timeout_s": 1,
    "pools.server_connect_timeout": 1,
    "pools.max_db_connections": 8,
    **{f"pools.tiers.{tier}.statement_timeout_s": 2 for tier in Tier},
    **{f"pools.tiers.{tier}.query_wait_timeout": 0.5 for tier in Tier},
    **{f"pools.tiers.{tier}.default_pool_size": 4 for tier in Tier},
    **{f"pools.tiers.{tier}.max_tenant_inflight": 4 for tier in Tier},
}
CALLERS, EVERY_S = 8, 0.025
RETURN_S = 1.0
DIALS_PER_S = 25


@dataclass(frozen=True, slots=True)
class Field:
    """A gateway between a cluster that fails, reached through a proxy, and one that does not."""

    gateway: Serving
    cluster: Cluster
    proxy: Proxy
    keys: dict[TenantId, str]

    def load(self, tier: Tier) -> AbstractAsyncContextManager[Load]:
        """Callers of the tenant on *tier*, each answer told apart from any other tenant's."""
        tenant = TENANTS[tier]
        asked = request(self.keys[tenant], query("SELECT email FROM members ORDER BY email LIMIT 1"))
        return open_load(
            self.gateway.url, [(asked, f"{tenant}@example.com".encode())], callers=CALLERS, every_s=EVERY_S
        )


@pytest.fixture(scope="module")
async def site(postgres: Cluster) -> AsyncIterator[tuple[Site, Cluster, Proxy]]:
    """The sick cluster is a server of its own; registry and the other cluster share one."""
    with server_folder() as folder:
        async with AsyncExitStack() as stack:
            sick = await stack.enter_async_context(open_test_cluster(max_connections=str(MAX_CONNECTIONS)))
            proxy = await stack.enter_async_context(open_proxy(sick.host, sick.port))
            registry = await stack.enter_async_context(open_database(postgres, prefix="registry"))
            data = await stack.enter_async_context(open_database(postgres, prefix="data"))
            site = await stack.enter_async_context(open_site(folder, url_of(registry)))
            way = sick.url().replace(f":{sick.port}/", f":{proxy.port}/")
            await site.furnish({SICK: way, WELL: url_of(data)})
            yield site, sick, proxy


@pytest.fixture(scope="module")
async def field(site: tuple[Site, Cluster, Proxy]) -> AsyncIterator[Field]:
    opened, sick, proxy = site
    async with open_gateway(opened.folder, opened.registry_url, SETTINGS) as gateway:
        for tier in (SICK, WELL):
            insert = f"INSERT INTO members (email, name) VALUES ('{TENANTS[tier]}@example.com', 'A')"
            assert (await gateway.sql(opened.keys[TENANTS[tier]], insert)).status_code == 200
        yield Field(gateway, sick, proxy, opened.keys)


Fault = Callable[[Field], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def killed(field: Field) -> AsyncIterator[None]:
    """Kill -9 of every process; what was committed is recovered at the start."""
    kill_9(field.cluster)
    yield
    await field.cluster.start(field.cluster.port)


@asynccontextmanager
async def shut_down(field: Field) -> AsyncIterator[None]:
    """A fast shutdown, as an administrator's restart: 57P01 to everybody."""
    await field.cluster.stop()
    yield
    await field.cluster.start(field.cluster.port)


@asynccontextmanager
async def stands_still(field: Field) -> AsyncIterator[None]:
    """SIGSTOP, for longer than a request has."""
    with stalled(field.cluster):
        yield
        await asyncio.sleep(REQUEST_S)


@asynccontextmanager
async def never_answers(field: Field) -> AsyncIterator[None]:
    """Connections are taken, and nothing goes through, on old ones and on new ones."""
    field.proxy.blackhole()
    yield
    await asyncio.sleep(REQUEST_S)
    field.proxy.flow()


@asynccontextmanager
async def is_away(field: Field) -> AsyncIterator[None]:
    """Everything is reset, and every new connection as well."""
    field.proxy.is_down = True
    field.proxy.cut()
    yield
    field.proxy.is_down = False


@asynccontextmanager
async def is_full(field: Field) -> AsyncIterator[None]:
    """Others have every connection that the server allows: 53300."""
    async with AsyncExitStack() as stack:
        field.proxy.is_down = True
        field.proxy.cut()
        while await take_one(field.cluster, stack):
            pass
        field.proxy.is_down = False
        yield


async def take_one(cluster: Cluster, stack: AsyncExitStack) -> bool:
    """Take one of the server's connections; False when there is none."""
    try:
        taken = await psycopg.AsyncConnection.connect(cluster.conninfo())
    except psycopg.OperationalError:
        return False
    await stack.enter_async_context(taken)
    return True


def again_and_again(do: Callable[[Proxy], None], *, every_s: float = 0.25) -> Fault:
    """Meanwhile *do* something to the wire, every so often."""

    @asynccontextmanager
    async def fault(field: Field) -> AsyncIterator[None]:
        async def repeat() -> None:
            while True:
                do(field.proxy)
                await asyncio.sleep(every_s)

        repeating = asyncio.create_task(repeat(), name="break the wire")
        try:
            yield
        finally:
            repeating.cancel()
            with suppress(asyncio.CancelledError):
                await repeating
            field.proxy.calm()

    return fault


FAULTS: dict[str, Fault] = {
    "killed": killed,
    "shut down": shut_down,
    "stands still": stands_still,
    "never answers": never_answers,
    "is away": is_away,
    "is full": is_full,
    "is cut again and again": again_and_again(Proxy.cut),
    "half-closes": again_and_again(Proxy.half_close),
    "corrupts": again_and_again(Proxy.corrupt),
    "corrupts what is asked": again_and_again(lambda proxy: proxy.corrupt(answers=False)),
}


def is_steady(load: Load) -> bool:
    """Whether the last requests have all succeeded."""
    last = load.asked[-2 * CALLERS :]
    return len(last) == 2 * CALLERS and codes(last) == {"ok": len(last)}


@pytest.mark.parametrize("kind", FAULTS)
async def test_a_failing_cluster_costs_its_own_tenants_a_bounded_time(field: Field, kind: str) -> None:
    loop = asyncio.get_running_loop()
    async with field.load(SICK) as sick, field.load(WELL) as well:
        for load in (sick, well):
            await wait_until(partial(is_steady, load), what="a steady load")
        began = loop.time()
        async with FAULTS[kind](field):
            await asyncio.sleep(1.5)
        returned = loop.time()
        await wait_until(lambda: is_steady(sick), what="the tenants to be served again")
        await asyncio.sleep(0.5)

    assert "wrong" not in codes(sick.asked) | codes(well.asked)
    assert "no answer" not in codes(sick.asked)
    assert longest_s(sick.asked) < REQUEST_S + 0.5
    assert sick.failed(returned + RETURN_S) == []
    assert sick.failed() != []
    assert field.proxy.dials_per_s(since=began) <= DIALS_PER_S
    assert codes(well.asked).keys() == {"ok"}
    assert quantile_s(well.asked, 0.95) < 0.5
    await nothing_is_left(field)


async def nothing_is_left(field: Field) -> None:
    """Every gauge is back at zero, and the server has as many connections as we believe to have."""

    async def is_quiet() -> bool:
        said = field.gateway.metric
        busy = [
            await said("tiergate_requests_inflight"),
            await said("tiergate_pool_waiting"),
            *[
                await said("tiergate_pool_connections", state=state)
                for state in ("active", "opening", "closing")
            ],
        ]
        used = await said("tiergate_pool_budget", cluster=SICK, kind="used")
        idle = await said("tiergate_pool_connections", tier=SICK, state="idle")
        count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'tiergate_gate'"
        [[there]] = await run_sql(field.cluster.conninfo(), count)
        return (busy, used, idle) == ([0] * 5, there, there)

    await wait_until(is_quiet, within_s=10, what="every gauge to be at rest")


async def test_a_reset_behind_half_an_answer_is_heard_at_once(field: Field) -> None:
    """The event loop calls once for both; the request hung until its deadline."""
    loop, key = asyncio.get_running_loop(), field.keys[TENANTS[SICK]]
    assert (await field.gateway.sql(key, "SELECT 1")).status_code == 200
    field.proxy.blackhole()
    asking = asyncio.create_task(field.gateway.sql(key, "SELECT 1"))
    await field.proxy.swallowed.wait()
    field.gateway.signal(signal.SIGSTOP)  # so that both have come when it looks again
    try:
        field.proxy.pause_after(100)
        field.proxy.flow()
        await field.proxy.swallowed.wait()
        field.proxy.cut()
        await asyncio.sleep(0.05)
    finally:
        field.proxy.flow()
        field.gateway.signal(signal.SIGCONT)
    began = loop.time()
    answer = await asking

    assert answer.headers["tiergate-error"] == "connection-lost"
    assert loop.time() - began < REQUEST_S / 2
    assert (await field.gateway.sql(key, "SELECT 1")).status_code == 200
    await nothing_is_left(field)
