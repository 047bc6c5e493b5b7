"""A cluster that fails under load: its tenants meet what has a bound, and others meet nothing.

The budget, for every way to fail: no answer is wrong; none takes longer than the request's time; each
request that is sent a second after the cluster's return succeeds; the gateway dials a bounded number of
times a second; the tenants of another cluster see no failure; and nothing is left in any gauge.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial

import psycopg
import pytest

from tests.support.crashing import kill_9, stalled
from tests.support.fields import SICK, WELL, Field, open_field
from tests.support.gateways import TENANTS
from tests.support.load import Load, codes, longest_s, quantile_s
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

REQUEST_S = 3.0
MAX_CONNECTIONS = 24
SETTINGS = {
    "gateway.request_timeout_s": REQUEST_S,
    "gateway.body_timeout_s": REQUEST_S,
    "registry.timeout_s": 1,
    "registry.ttl_s": 1,
    "registry.negative_ttl_s": 1,
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


@pytest.fixture(scope="module")
async def field() -> AsyncIterator[Field]:
    async with open_field(SETTINGS, max_connections=MAX_CONNECTIONS) as opened:
        yield opened


Fault = Callable[[Field], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def killed(field: Field) -> AsyncIterator[None]:
    """Kill -9 of every process; what was committed is recovered at the start."""
    kill_9(field.sick)
    yield
    await field.sick.start(field.sick.port)


@asynccontextmanager
async def shut_down(field: Field) -> AsyncIterator[None]:
    """A fast shutdown, as an administrator's restart: 57P01 to everybody."""
    await field.sick.stop()
    yield
    await field.sick.start(field.sick.port)


@asynccontextmanager
async def stands_still(field: Field) -> AsyncIterator[None]:
    """SIGSTOP, for longer than a request has."""
    with stalled(field.sick):
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
        while await take_one(field.sick, stack):
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
BRIEF = {"is cut again and again", "half-closes"}
"""What may always happen between two requests, so that no tenant notices."""


def load_on(field: Field, tier: Tier) -> AbstractAsyncContextManager[Load]:
    return field.load(tier, callers=CALLERS, every_s=EVERY_S)


def is_steady(load: Load) -> bool:
    """Whether the last requests have all succeeded."""
    last = load.asked[-2 * CALLERS :]
    return len(last) == 2 * CALLERS and codes(last) == {"ok": len(last)}


@pytest.mark.parametrize("kind", FAULTS)
async def test_a_failing_cluster_costs_its_own_tenants_a_bounded_time(field: Field, kind: str) -> None:
    loop = asyncio.get_running_loop()
    async with load_on(field, SICK) as sick, load_on(field, WELL) as well:
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
    dials_per_s = field.proxy.dials_per_s(since=began)
    assert sick.failed() or (kind in BRIEF and dials_per_s)
    assert dials_per_s <= DIALS_PER_S
    assert codes(well.asked).keys() == {"ok"}
    assert quantile_s(well.asked, 0.95) < 0.5
    await field.comes_to_rest()


async def test_one_dead_cluster_is_told_and_takes_no_other_out_of_rotation(field: Field) -> None:
    async def sick_is(word: str) -> bool:
        await field.gateway.sql(field.site.keys[TENANTS[SICK]], "SELECT 1")
        told = (await field.gateway.http.get(f"{field.gateway.admin}/readyz")).json()["clusters"]
        return bool(told.get(SICK) == word)

    well = await field.gateway.sql(field.site.keys[TENANTS[WELL]], "SELECT 1")
    async with is_away(field):
        await wait_until(partial(sick_is, "down"), what="the gateway to know of it")
        ready, live = [
            await field.gateway.http.get(f"{field.gateway.admin}{path}") for path in ("/readyz", "/livez")
        ]
        still = await field.gateway.sql(field.site.keys[TENANTS[WELL]], "SELECT 1")
    await wait_until(partial(sick_is, "up"), what="the gateway to know of its return")

    assert (well.status_code, still.status_code, live.status_code) == (200, 200, 200)
    assert (ready.status_code, ready.json()["ready"], ready.json()["clusters"][WELL]) == (200, True, "up")
    await field.comes_to_rest()


@pytest.mark.parametrize("heard", ["half", "all"])
async def test_a_reset_behind_an_answer_is_heard_at_once(field: Field, heard: str) -> None:
    """The event loop calls once for both; the request, or the next one, hung until its deadline."""
    loop, key = asyncio.get_running_loop(), field.site.keys[TENANTS[SICK]]
    assert (await field.gateway.sql(key, "SELECT 1")).status_code == 200
    field.proxy.blackhole()
    asking = asyncio.create_task(field.gateway.sql(key, "SELECT 1"))
    await field.proxy.swallowed.wait()
    field.gateway.signal(signal.SIGSTOP)  # so that both have come when it looks again
    answered = field.proxy.round_trips
    try:
        if heard == "half":
            field.proxy.pause_after(100)
        field.proxy.flow()
        await wait_until(lambda: field.proxy.round_trips > answered, what="the answer")
        if heard == "half":
            await field.proxy.swallowed.wait()
        clients = [passage.client for passage in field.proxy.passages]
        field.proxy.cut()
        await asyncio.gather(*(client.wait_closed() for client in clients), return_exceptions=True)
    finally:
        field.proxy.flow()
        field.gateway.signal(signal.SIGCONT)
    began = loop.time()
    answer = await asking
    after = await field.gateway.sql(key, "SELECT 1")

    assert answer.headers.get("tiergate-error") == ("connection-lost" if heard == "half" else None)
    assert after.status_code == 200
    assert loop.time() - began < REQUEST_S / 2
    await field.comes_to_rest()


async def test_a_stalled_cluster_does_not_take_the_gateways_room(field: Field) -> None:
    """max_inflight was everybody's: those who waited for the stalled cluster refused all others."""
    field.gateway.reconfigure({"gateway.max_inflight": 40})
    assert (await field.gateway.ask_admin("POST", "/reload")).status_code == 200
    try:
        async with (
            field.load(SICK, callers=100, every_s=EVERY_S) as sick,
            field.load(WELL, callers=2, every_s=EVERY_S) as well,
        ):
            await wait_until(lambda: well.asked and sick.asked, what="load")
            field.proxy.blackhole()
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(2)
            field.proxy.flow()
            await asyncio.sleep(0.5)
    finally:
        field.gateway.reconfigure({})
        assert (await field.gateway.ask_admin("POST", "/reload")).status_code == 200

    assert "share-full" in codes(sick.since(began))
    refused = [each for each in sick.since(began) if each.code == "share-full"]
    assert quantile_s(refused, 0.5) < 0.4  # a queue would hold them for 0.5
    told = codes(well.since(began, began + 2))
    assert told.keys() <= {"ok", "overloaded"}
    assert told["ok"] >= 0.95 * sum(told.values()), told  # many at the door at once may fill it for a moment
    await field.comes_to_rest()


@pytest.mark.parametrize("kind", ["stalled", "killed"])
async def test_known_tenants_do_not_notice_that_the_registry_fails(field: Field, kind: str) -> None:
    """For longer than what it said stays fresh; stalled, it held everybody up for two timeouts."""
    async with load_on(field, SICK) as load:
        await wait_until(partial(is_steady, load), what="a steady load")
        if kind == "stalled":
            with stalled(field.registry):
                await asyncio.sleep(3)
        else:
            kill_9(field.registry)
            await asyncio.sleep(3)
            await field.registry.start(field.registry.port)
        await asyncio.sleep(1)
    await field.gateway.listens()

    assert load.failed() == []
    assert longest_s(load.asked) < 1.0
    await field.comes_to_rest()
