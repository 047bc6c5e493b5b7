"""What tenants use is in the registry, exactly: of every gateway, and through outages."""

import asyncio
import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.gateways import ADMIN_KEY, TENANTS, Serving, Site, open_gateway, open_site
from tests.support.postgres import open_test_cluster, run_sql, server_folder, url_of
from tests.support.waiting import wait_until
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

ACME = TENANTS[Tier.STANDARD]
QUERY = "SELECT n, 'x' AS x FROM generate_series(1, 3) AS n"
WRONG = "SELECT 1 / 0"
OFTEN = {"usage.write_every_s": 1}
Json = dict[str, Any]  # JSON


@pytest.fixture(scope="module")
async def registry() -> AsyncIterator[Cluster]:
    """The server of the registry alone."""
    async with open_test_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
async def site(registry: Cluster) -> AsyncIterator[Site]:
    with server_folder() as folder:
        async with open_test_cluster() as data, open_site(folder, url_of(registry.conninfo())) as opened:
            await opened.furnish({Tier.STANDARD: url_of(data.conninfo())})
            yield opened


@pytest.fixture(autouse=True)
async def nothing_used(registry: Cluster, site: Site) -> None:
    assert site.keys
    await run_sql(registry.conninfo(), "DELETE FROM tiergate_registry.usage")


async def used(gateway: Serving, query: str = "by=month") -> Json:
    """The sums of what is told of acme."""
    answer = await gateway.ask_admin("GET", f"/usage?tenant={ACME}&{query}")
    assert answer.is_success, answer.text
    sums: Counter[str] = Counter()
    for row in answer.json()["usage"]:
        sums.update({name: value for name, value in row.items() if isinstance(value, int | float)})
    return dict(sums)


async def is_written(gateway: Serving, requests: int) -> None:
    async def look() -> bool:
        return bool((await used(gateway)).get("requests", 0) == requests)

    await wait_until(look, what=f"{requests} requests in the registry")


async def ask(gateway: Serving, key: str, times: int, query: str = QUERY) -> list[httpx.Response]:
    async with httpx.AsyncClient(timeout=40) as client:
        return [await gateway.sql(key, query, client=client) for _ in range(times)]


async def test_what_two_gateways_have_answered_is_told_exactly(site: Site) -> None:
    key = site.keys[ACME]
    async with (
        open_gateway(site.folder, site.registry_url, OFTEN) as one,
        open_gateway(site.folder, site.registry_url, OFTEN, processes=2) as two,
    ):
        answers = [*await ask(one, key, 20), *await ask(two, key, 30), *await ask(two, key, 5, WRONG)]
        await is_written(one, 55)
        sums = await used(two)
        hours = await used(two, "by=hour")

        assert (sums["failed_requests"], sums["rows"]) == (5, 150)
        assert sums["out_bytes"] == sum(len(answer.content) for answer in answers)
        assert sums["in_bytes"] == sum(len(answer.request.content) for answer in answers)
        assert 0 < sums["database_s"] <= sums["connection_s"] < 30
        assert hours == pytest.approx(sums)
        assert await one.metric("tiergate_usage_lost_total") == 0


async def test_what_is_streamed_counts_as_what_is_not(site: Site) -> None:
    many = "SELECT n, repeat('x', 100) AS x FROM generate_series(1, 5000) AS n"
    headers = {"authorization": f"Bearer {site.keys[ACME]}", "accept": "application/x-ndjson"}
    async with open_gateway(site.folder, site.registry_url, OFTEN) as gateway:
        answer = await gateway.http.post(f"{gateway.url}/sql", json={"query": many}, headers=headers)
        await is_written(gateway, 1)
        sums = await used(gateway)

    assert answer.status_code == 200
    assert (sums["rows"], sums["out_bytes"]) == (5000, len(answer.content))


async def test_a_gateway_that_ends_writes_what_it_has_counted(site: Site) -> None:
    key = site.keys[ACME]
    async with open_gateway(site.folder, site.registry_url, {"usage.write_every_s": 60}) as gateway:
        await ask(gateway, key, 7)
    async with open_gateway(site.folder, site.registry_url) as again:
        assert (await used(again))["requests"] == 7


async def test_a_gateway_that_is_killed_loses_what_it_had_not_written_and_nothing_counts_twice(
    site: Site,
) -> None:
    key = site.keys[ACME]
    async with open_gateway(site.folder, site.registry_url, OFTEN) as gateway:
        await ask(gateway, key, 10)
        await is_written(gateway, 10)
        await ask(gateway, key, 5)
        await gateway.crash()
        kept = (await used(gateway))["requests"]
        await ask(gateway, key, 3)
        await is_written(gateway, kept + 3)

        assert 10 <= kept <= 15


async def test_what_is_counted_while_the_registry_is_gone_is_written_later(
    site: Site, registry: Cluster
) -> None:
    key = site.keys[ACME]
    async with open_gateway(site.folder, site.registry_url, OFTEN) as gateway:
        await ask(gateway, key, 4)
        await is_written(gateway, 4)
        registry.kill()
        try:
            answers = await ask(gateway, key, 6)

            async def lags() -> bool:
                return await gateway.metric("tiergate_usage_lag_seconds") > 2

            await wait_until(lags, what="the lag to be told")
            answers += await ask(gateway, key, 5)
        finally:
            await registry.start(registry.port)
        await is_written(gateway, 15)

        async def is_whole() -> bool:
            return await gateway.metric("tiergate_usage_lag_seconds") == 0

        await wait_until(is_whole, what="the lag to be gone")
        assert {answer.status_code for answer in answers} == {200}
        assert await gateway.metric("tiergate_usage_lost_total") == 0


async def told(gateway: Serving, *arguments: str) -> str:
    """What `tiergate usage` writes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tiergate.cli", "usage", *arguments,
        "--admin", gateway.admin, "--key", ADMIN_KEY,
        stdout=asyncio.subprocess.PIPE, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_usage_is_exported_whole_as_a_table_csv_and_json(site: Site, registry: Cluster) -> None:
    await run_sql(
        registry.conninfo(),
        "INSERT INTO tiergate_registry.usage (tenant, hour, tier, requests, database_us)"
        " SELECT 'acme', '2026-03-01Z'::timestamptz + n * interval '1 hour', 'premium', 1, 1500"
        " FROM generate_series(0, 2499) AS n",
    )
    async with open_gateway(site.folder, site.registry_url) as gateway:
        rows = list(csv.DictReader(io.StringIO(await told(gateway, ACME, "--by", "hour", "--csv"))))
        lines = [json.loads(line) for line in (await told(gateway, "--by", "hour", "--json")).splitlines()]
        table = await told(gateway, "--from", "2026-04-01", "--to", "2026-05-01", "--tier", "premium")
        empty = await told(gateway, "nobody")

    assert (len(rows), len({row["from"] for row in rows}), len(lines)) == (2500, 2500, 2500)
    assert (rows[0]["from"], rows[0]["database_s"], rows[0]["storage_bytes"]) == (
        "2026-03-01T00:00:00Z", "0.0015", "",
    )  # fmt: skip
    assert [row["from"] for row in rows] == [line["from"] for line in lines]
    assert "acme" in table
    assert "720" in table
    assert "Nothing was used." in empty


async def test_a_question_that_is_none_is_told_so(site: Site) -> None:
    async with open_gateway(site.folder, site.registry_url) as gateway:
        wrong = ["by=week", "after=acme", "after=acme/2026/premium", "from=2026-03-01", "tenant=A", "x=1"]
        answers = [await gateway.ask_admin("GET", f"/usage?{query}") for query in wrong]

    assert [answer.status_code for answer in answers] == [422] * len(wrong)
