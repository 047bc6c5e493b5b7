"""What requests have met stands in `/metrics`, of two processes as of one, and is never less than before."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.support.gateways import TENANTS, Serving, Site, open_gateway, open_site
from tests.support.postgres import open_database, open_three_clusters, server_folder, url_of
from tests.support.waiting import wait_until
from tiergate.tenant import Tier

ONE = "SELECT id, name FROM projects ORDER BY id LIMIT 3"
THREE = "SELECT n FROM generate_series(1, 3) AS n"


@pytest.fixture(scope="module")
async def placed() -> AsyncIterator[tuple[Site, Serving]]:
    """A gateway of two processes over a tenant of each tier."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(server_folder())
        clusters = await stack.enter_async_context(open_three_clusters())
        conninfo = await stack.enter_async_context(open_database(clusters.standard, prefix="registry"))
        site = await stack.enter_async_context(open_site(folder, url_of(conninfo)))
        await site.furnish({tier: url_of(clusters.of(tier).conninfo()) for tier in Tier})
        gateway = await stack.enter_async_context(open_gateway(folder, url_of(conninfo), processes=2))
        yield site, gateway


async def counts(gateway: Serving, name: str, at_least: float, **labels: str) -> float:
    """The metric, once it is so high: a process tells what it has counted within a second."""
    found = 0.0

    async def look() -> bool:
        nonlocal found
        found = await gateway.metric(name, **labels)
        return found >= at_least

    await wait_until(look, what=f"{name} {labels} to come to {at_least}")
    return found


async def of_tenant(gateway: Serving, tenant: str, name: str, at_least: float, **labels: str) -> float:
    """The same, of one tenant."""
    wanted, found = [f'{label}="{value}"' for label, value in labels.items()], 0.0

    async def look() -> bool:
        nonlocal found
        answer = await gateway.ask_admin("GET", f"/metrics/tenants/{tenant}")
        assert answer.status_code == 200
        lines = [line for line in answer.text.splitlines() if line.startswith(f"{name}{{")]
        found = sum(float(line.rpartition(" ")[2]) for line in lines if all(part in line for part in wanted))
        return found >= at_least

    await wait_until(look, what=f"{name} {labels} of {tenant} to come to {at_least}")
    return found


async def test_of_one_tenant_all_processes_tell_together(placed: tuple[Site, Serving]) -> None:
    _, gateway = placed
    name = "fresh"
    await gateway.ask_admin("POST", "/tenants", {"name": name, "tier": "standard"})
    made = await gateway.ask_admin("POST", f"/tenants/{name}/keys", {"scopes": ["read"]})
    answers = [await gateway.sql(made.json()["key"], THREE) for _ in range(8)]
    assert {answer.status_code for answer in answers} == {200}

    assert await of_tenant(gateway, name, "tiergate_tenant_request_seconds_count", 8) == 8
    assert await of_tenant(gateway, name, "tiergate_tenant_requests_total", 8, outcome="ok") == 8
    assert await of_tenant(gateway, name, "tiergate_tenant_rows_total", 24) == 24
    assert await of_tenant(gateway, name, "tiergate_tenant_pool_size", 1, tier="standard") > 0
    assert await of_tenant(gateway, name, "tiergate_tenant_requests_waiting", 0) == 0


async def test_a_tenant_is_told_of_to_who_may_look_and_if_there_is_one(placed: tuple[Site, Serving]) -> None:
    _, gateway = placed
    made = await gateway.ask_admin("POST", "/admin-keys", {"name": "prometheus", "role": "viewer"})
    headers = {"authorization": f"Bearer {made.json()['key']}"}
    path = f"{gateway.admin}/metrics/tenants"
    name = TENANTS[Tier.STANDARD]

    assert (await gateway.http.get(f"{path}/{name}")).status_code == 401
    assert (await gateway.http.get(f"{path}/{name}", headers=headers)).status_code == 200
    missing = await gateway.http.get(f"{path}/nobody", headers=headers)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "unknown-tenant")


async def test_a_request_is_told_by_what_it_was_made_of(placed: tuple[Site, Serving]) -> None:
    site, gateway = placed
    key = site.keys[TENANTS[Tier.PREMIUM]]
    answers = [await gateway.sql(key, ONE) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    rows = sum(len(answer.json()["rows"]) for answer in answers)

    assert await counts(gateway, "tiergate_requests_total", 5, tier="premium", outcome="ok") == 5
    assert await gateway.metric("tiergate_rows_total", tier="premium") == rows
    assert await gateway.metric("tiergate_round_trips_total", tier="premium") == 5
    sent = sum(len(answer.content) for answer in answers)
    assert await gateway.metric("tiergate_request_bytes_total", tier="premium", direction="out") == sent
    assert await gateway.metric("tiergate_request_seconds_count", tier="premium", phase="encode") == 5
    looked_up = await gateway.metric("tiergate_pool_lookups_total", tier="premium")
    assert looked_up == 5
    assert 1 <= await gateway.metric("tiergate_pool_lookups_total", tier="premium", outcome="miss") <= 2
    assert await gateway.metric("tiergate_breaker_state", state="closed") >= 1


async def test_what_the_guard_bars_and_what_gets_no_connection_is_told_by_its_reason(
    placed: tuple[Site, Serving],
) -> None:
    site, gateway = placed
    key = site.keys[TENANTS[Tier.STANDARD]]
    barred = await gateway.sql(key, "SELECT pg_sleep(1)")

    assert barred.status_code == 403
    assert await counts(gateway, "tiergate_guard_refusals_total", 1, tier="standard", rule="function") == 1
    assert await gateway.metric("tiergate_isolation_violations_total") == 0


async def test_counters_stay_when_a_process_dies_and_another_takes_its_place(
    placed: tuple[Site, Serving],
) -> None:
    site, gateway = placed
    key = site.keys[TENANTS[Tier.GOVERNMENT]]
    for _ in range(6):
        assert (await gateway.sql(key, ONE)).status_code == 200
    await counts(gateway, "tiergate_requests_total", 6, tier="government", outcome="ok")
    await of_tenant(gateway, TENANTS[Tier.GOVERNMENT], "tiergate_tenant_requests_total", 6, outcome="ok")
    cpu_s = await gateway.metric("process_cpu_seconds_total")
    started = await gateway.metric("process_start_time_seconds")
    victim = gateway.children()[0]
    os.kill(victim, signal.SIGKILL)
    await gateway.hears("serving", times=3, within_s=40)

    assert await gateway.metric("tiergate_requests_total", tier="government", outcome="ok") == 6
    name, metric = TENANTS[Tier.GOVERNMENT], "tiergate_tenant_requests_total"
    assert await of_tenant(gateway, name, metric, 6, outcome="ok") == 6
    assert await gateway.metric("process_cpu_seconds_total") >= cpu_s
    assert await gateway.metric("process_start_time_seconds") > started
    assert await gateway.metric("process_resident_memory_bytes") > 1e7
    assert await gateway.metric("tiergate_loop_delay_seconds_count") > 0
