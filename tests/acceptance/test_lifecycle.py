"""`tiergate serve`, from its start to its drain, alone and as several processes."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack

import httpx
import psycopg
import pytest

from tests.support.gateways import TENANTS, Serving, Site, open_gateway, open_site
from tests.support.holding import HELD, LONG_S, held, wait_long
from tests.support.http import head, open_line
from tests.support.postgres import (
    ThreeClusters,
    open_database,
    open_three_clusters,
    server_folder,
    url_of,
)
from tests.support.waiting import is_alive, wait_until
from tiergate.tenant import Tier

ACME = TENANTS[Tier.STANDARD]
QUICK = "SELECT count(*) AS n FROM projects"

alone_and_several = pytest.mark.parametrize("processes", [1, 2])


@pytest.fixture(scope="module")
async def clusters() -> AsyncIterator[ThreeClusters]:
    async with open_three_clusters() as opened:
        yield opened


@pytest.fixture(scope="module")
async def site(clusters: ThreeClusters) -> AsyncIterator[Site]:
    with server_folder() as folder:
        async with (
            open_database(clusters.standard, prefix="registry") as conninfo,
            open_site(folder, url_of(conninfo)) as opened,
        ):
            await opened.furnish({tier: url_of(clusters.of(tier).conninfo()) for tier in Tier})
            await wait_long(clusters.standard.conninfo())
            yield opened


async def status_of(request: Awaitable[httpx.Response]) -> int | None:
    """The status of the answer, None when the connection broke."""
    try:
        return (await request).status_code
    except httpx.TransportError:
        return None


async def run_command(*words: str, serving: Serving) -> tuple[int, str, str]:
    """Run a `tiergate` command against *serving*: exit code, output, errors."""
    known = serving.settings
    env = os.environ | {"TIERGATE_ADMIN_URL": serving.admin, "TIERGATE_ADMIN_KEY": str(known["admin.key"])}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tiergate.cli", *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=env,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@alone_and_several
async def test_both_addresses_answer_and_metrics_speak_for_all_processes(site: Site, processes: int) -> None:
    async with open_gateway(site.folder, site.registry_url, processes=processes) as serving:
        answers = [
            await serving.sql(site.keys[tenant], QUICK) for _ in range(8) for tenant in TENANTS.values()
        ]
        health = [
            (await serving.http.get(f"{serving.admin}{path}")).status_code for path in ("/livez", "/readyz")
        ]

        assert {answer.status_code for answer in answers} == {200}
        assert health == [200, 200]
        for tier in Tier:

            async def counted(tier: Tier = tier) -> bool:
                return await serving.metric("tiergate_requests_total", tier=tier, outcome="ok") == 8

            await wait_until(counted, within_s=5, what=f"8 requests counted on {tier}")
        assert len(serving.said("serving")) == processes


async def test_who_would_find_the_queue_full_is_told_before_its_body_is_read(
    site: Site, clusters: ThreeClusters
) -> None:
    limits = {"pools.tiers.standard.default_pool_size": 1, "pools.tiers.standard.max_waiting": 0}
    async with (
        open_gateway(site.folder, site.registry_url, limits) as serving,
        held(clusters) as table,
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(serving.sql(site.keys[ACME], HELD))

        async def works() -> bool:
            return await table.waiting() == 1

        await wait_until(works, what="the one connection at work")
        async with open_line(serving.url) as line:
            await line.send(head(site.keys[ACME], "Content-Length: 100"))
            refused = await line.answer()
        await table.let_go()

    assert (refused.status, refused.headers["tiergate-error"]) == (503, "queue-full")
    assert running.result().status_code == 200


async def test_processes_share_the_connections_to_a_cluster(site: Site, clusters: ThreeClusters) -> None:
    limits = {
        "pools.max_db_connections": 10,
        **{f"pools.tiers.{tier}.default_pool_size": 5 for tier in Tier},
        "pools.tiers.standard.query_wait_timeout": 20,
    }
    async with (
        open_gateway(site.folder, site.registry_url, limits, processes=2) as serving,
        held(clusters) as table,
        asyncio.TaskGroup() as tasks,
    ):
        requests: list[asyncio.Task[httpx.Response]] = []

        async def full() -> bool:
            requests.append(tasks.create_task(serving.sql(site.keys[ACME], HELD)))
            return await table.waiting() == 10

        await wait_until(full, what="10 connections that work")
        requests += [tasks.create_task(serving.sql(site.keys[ACME], HELD)) for _ in range(50)]
        budgets = set[tuple[int, int]]()

        async def waits_in_line() -> bool:
            pools = (await serving.ask_admin("GET", "/pools")).json()
            assert all(pool["active"] + pool["idle"] + pool["opening"] <= 5 for pool in pools["pools"])
            budgets.update((each["max"], each["used"]) for each in pools["budgets"])
            return await serving.metric("tiergate_pool_waiting", tier="standard") == len(requests) - 10

        await wait_until(waits_in_line, what="all other requests in line")
        assert await table.connections() == 10
        assert budgets == {(5, 5)}
        await table.let_go()
        most = 0
        while not all(request.done() for request in requests):
            most = max(most, await table.connections())

    assert {request.result().status_code for request in requests} == {200}
    assert most == 10


async def test_a_process_that_is_killed_is_replaced_and_requests_go_on(site: Site) -> None:
    async with open_gateway(site.folder, site.registry_url, processes=2) as serving:
        first = serving.children()
        os.kill(first[0], signal.SIGKILL)
        await wait_until(lambda: not is_alive(first[0]), what="the end of the process")
        at_once = {(await serving.sql(site.keys[ACME], QUICK)).status_code for _ in range(10)}
        await serving.hears("serving", times=3)
        later = {(await serving.sql(site.keys[ACME], QUICK)).status_code for _ in range(10)}

        assert at_once == later == {200}
        assert len(serving.children()) == 2
        assert serving.said("process-ended")[0]["exit_code"] == -signal.SIGKILL

        async def counted() -> bool:
            return await serving.metric("tiergate_requests_total", tier="standard", outcome="ok") == 20

        await wait_until(counted, within_s=5, what="the requests of all processes that ever were")


async def test_when_the_parent_is_killed_the_others_end_too(site: Site) -> None:
    async with open_gateway(site.folder, site.registry_url, processes=2) as serving:
        children = serving.children()
        serving.signal(signal.SIGKILL)
        await serving.ended()

        await wait_until(
            lambda: not any(map(is_alive, children)), within_s=10, what="the end of the children"
        )
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", serving.settings["gateway.port"])  # type: ignore[arg-type]


@alone_and_several
async def test_draining_finishes_what_runs_and_refuses_what_comes(
    site: Site, clusters: ThreeClusters, processes: int
) -> None:
    async with (
        open_gateway(site.folder, site.registry_url, processes=processes) as serving,
        held(clusters) as table,
        asyncio.TaskGroup() as tasks,
    ):
        running = [tasks.create_task(serving.sql(site.keys[ACME], HELD)) for _ in range(8)]

        async def all_run() -> bool:
            return await table.waiting() == 8

        await wait_until(all_run, what="8 statements that run")
        serving.signal(signal.SIGTERM)
        # A process with nothing in hand has ended already; the other takes what comes.
        await serving.hears("draining", times=processes)
        refused = await serving.sql(site.keys[ACME], QUICK)
        ready = await serving.http.get(f"{serving.admin}/readyz")
        await table.let_go()
        exit_code = await serving.ended()

    assert {request.result().status_code for request in running} == {200}
    assert refused.status_code == 503
    assert refused.headers["tiergate-error"] == "draining"
    assert refused.headers["retry-after"] == "1"
    assert (ready.status_code, ready.json()["draining"]) == (503, True)
    assert exit_code == 0


async def test_draining_has_an_end(site: Site, clusters: ThreeClusters) -> None:
    """The statement would go on for as long as `lock_timeout` lets it."""
    settings = {"gateway.drain_timeout_s": 0.5}
    async with (
        open_gateway(site.folder, site.registry_url, settings, processes=2) as serving,
        held(clusters) as table,
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(status_of(serving.sql(site.keys[ACME], HELD)))
        await wait_until(table.waiting, what="a statement that runs")
        loop = asyncio.get_running_loop()
        began = loop.time()
        serving.signal(signal.SIGTERM)
        exit_code = await serving.ended()
        took_s = loop.time() - began
        left = await table.waiting()

    assert running.result() == 504
    assert exit_code == 0
    assert 0.5 <= took_s < LONG_S / 2
    assert left == 0


async def test_a_reload_applies_what_it_can_and_names_what_needs_a_restart(
    site: Site,
) -> None:
    async with open_gateway(site.folder, site.registry_url, processes=2) as serving:
        wide = "SELECT repeat('x', 5000) AS wide"
        before = {(await serving.sql(site.keys[ACME], wide)).status_code for _ in range(10)}
        serving.reconfigure({"gateway.max_response_bytes": 2048, "gateway.drain_timeout_s": 3})
        code, out, _ = await run_command("reload", "--json", serving=serving)
        # One process heard the command, and every one the signal that follows from it.
        await serving.hears("reloaded", times=2)
        await wait_until(lambda: len(_reloaded(serving)) == 2, what="every process to apply it")
        after = [await serving.sql(site.keys[ACME], wide) for _ in range(10)]

        assert before == {200}
        assert code == 0
        assert json.loads(out) == {
            "applied": ["gateway.max_response_bytes"],
            "needs_restart": ["gateway.drain_timeout_s"],
        }
        assert {answer.status_code for answer in after} == {507}


def _reloaded(serving: Serving) -> list[object]:
    return [line for line in serving.said("reloaded") if line["applied"]]


async def test_a_signal_reloads_as_the_command_does(site: Site, clusters: ThreeClusters) -> None:
    async with open_gateway(site.folder, site.registry_url) as serving, held(clusters):
        serving.reconfigure({"pools.tiers.standard.statement_timeout_s": 0.1, "gateway.domain": "db.example"})
        serving.signal(signal.SIGHUP)
        told = await serving.hears("reloaded")
        answer = await serving.sql(site.keys[ACME], HELD)

        assert told["applied"] == ["pools.tiers.standard.statement_timeout_s"]
        assert told["needs_restart"] == ["gateway.domain"]
        assert (answer.status_code, answer.json()["code"]) == (504, "57014")


async def test_a_broken_file_is_refused_and_the_old_settings_stay(site: Site) -> None:
    async with open_gateway(site.folder, site.registry_url, processes=2) as serving:
        serving.reconfigure(
            {"gateway.max_response_bytes": 2048, "gateway.prot": 1, "pools.max_pools": "many"}
        )
        code, _, err = await run_command("reload", "--json", serving=serving)
        serving.signal(signal.SIGHUP)
        told = await serving.hears("reload-refused")
        answers = [await serving.sql(site.keys[ACME], "SELECT repeat('x', 5000) AS wide") for _ in range(10)]

        assert code == 1
        assert json.loads(err)["error"]["code"] == "settings-invalid"
        assert "gateway.prot" in err
        assert "pools.max_pools" in err
        assert "gateway.prot" in told["error"]
        assert {answer.status_code for answer in answers} == {200}
        assert serving.said("reloaded") == []


async def test_a_process_that_replaces_another_runs_with_what_was_reloaded(site: Site) -> None:
    async with open_gateway(site.folder, site.registry_url, processes=2) as serving:
        first = serving.children()
        serving.reconfigure({"gateway.max_response_bytes": 2048})
        serving.signal(signal.SIGHUP)
        await serving.hears("reloaded", times=2)
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        await serving.hears("serving", times=4)
        wide = "SELECT repeat('x', 5000) AS wide"
        answers = [await serving.sql(site.keys[ACME], wide) for _ in range(10)]

        assert {answer.status_code for answer in answers} == {507}


async def test_gateways_that_start_together_on_an_empty_registry_all_come_up(clusters: ThreeClusters) -> None:
    with server_folder() as folder:
        async with open_database(clusters.standard, prefix="empty") as conninfo:
            url = url_of(conninfo)
            async with AsyncExitStack() as stack:
                opened = (stack.enter_async_context(open_gateway(folder, url)) for _ in range(3))
                gateways = await asyncio.gather(*opened)
                ready = [(await each.http.get(f"{each.admin}/readyz")).status_code for each in gateways]
            async with await psycopg.AsyncConnection.connect(conninfo) as connection:
                revisions = await connection.execute("SELECT count(*) FROM tiergate_registry.revision")
                found = await revisions.fetchone()

    assert ready == [200] * 3
    assert found == (1,)
