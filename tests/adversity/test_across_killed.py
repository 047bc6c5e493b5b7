"""A gateway that dies in the middle of asking across tenants leaves word of it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator

import httpx
import pytest

from registry.records import Asked
from tests.support.gateways import Site, open_gateway, open_site
from tests.support.postgres import open_database, run_sql, server_folder, url_of
from tests.support.waiting import wait_until
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

KEY = "the-key-across-tenants-of-the-tests-0123"
ENDLESS = "SELECT count(*) FROM generate_series(1, 10000000000)"
KNOWING = ("--reason", "a test of the door", "--i-know-this-reads-every-tenant")


@pytest.fixture
async def site(postgres: Cluster) -> AsyncIterator[Site]:
    """A registry and a standard cluster, on one server."""
    with server_folder() as folder:
        async with (
            open_database(postgres, prefix="registry") as registry,
            open_database(postgres, prefix="data") as data,
            open_site(folder, url_of(registry)) as opened,
        ):
            await opened.furnish({Tier.STANDARD: url_of(data)})
            yield opened


async def test_what_was_asked_is_in_the_audit_though_the_gateway_was_killed(
    site: Site, postgres: Cluster
) -> None:
    async def is_running() -> bool:
        active = "SELECT query FROM pg_stat_activity WHERE state = 'active'"
        found = await run_sql(postgres.conninfo(), active)
        return any(str(text).endswith(ENDLESS[7:]) for (text,) in found)

    async with open_gateway(site.folder, site.registry_url, {"admin.cross_tenant_key": KEY}) as gateway:
        said = {"query": ENDLESS, "reason": "a test of the door", "i_know_this_reads_every_tenant": True}
        headers = {"authorization": f"Bearer {KEY}"}
        asking = asyncio.create_task(
            gateway.http.post(f"{gateway.admin}/read-across-all-tenants", json=said, headers=headers)
        )
        await wait_until(is_running)
        gateway.process.kill()
        await gateway.ended()
        with pytest.raises(httpx.HTTPError):
            await asking

    (entry,) = await site.store.audit_entries(10, Asked(act="across"))
    assert (entry.entry.act, entry.entry.outcome) == ("across.read", "begun")
    assert entry.entry.detail["sql"] == ENDLESS
    assert (await site.store.verify_audit()).broken is None
    left = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%generate_series%'"
    await run_sql(postgres.conninfo(), f"{left} AND pid <> pg_backend_pid()")


async def test_the_command_asks_every_place_and_its_exit_code_tells_of_failures(site: Site) -> None:
    async def query(*words: str, key: str = KEY) -> tuple[int, str, str]:
        env = {
            name: value for name, value in os.environ.items() if not name.startswith("TIERGATE_")
        } | {"TIERGATE_ADMIN_URL": gateway.admin, "COLUMNS": "200"}  # fmt: skip
        ran = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tiergate.cli", "admin", "query", *words,
            env=env | ({"TIERGATE_CROSS_TENANT_KEY": key} if key else {}), cwd=site.folder,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await ran.communicate()
        return ran.returncode or 0, out.decode(), err.decode()

    async with open_gateway(site.folder, site.registry_url, {"admin.cross_tenant_key": KEY}) as gateway:
        shown = await query("SELECT 7 AS seven", *KNOWING)
        lines = await query("SELECT 7 AS seven", *KNOWING, "--json", "--tier", "standard")
        wrong = await query("SELECT nothing", *KNOWING)
        unsure = await query("SELECT 7", "--reason", "a test of the door")
        keyless = await query("SELECT 7", *KNOWING, key="")
        strange = await query("SELECT 7", *KNOWING, key="another-key-of-the-tests-0123456789")

    assert (shown[0], shown[2]) == (0, "")
    assert "seven" in shown[1]
    assert "@cluster" in shown[1]
    assert [json.loads(line)["kind"] for line in lines[1].splitlines()] == ["row", "place", "end"]
    assert wrong[0] == 1
    assert 'column "nothing" does not exist' in wrong[2]
    assert (unsure[0], "--i-know-this-reads-every-tenant" in unsure[2]) == (2, True)
    assert (keyless[0], "TIERGATE_CROSS_TENANT_KEY" in keyless[2]) == (2, True)
    assert strange[0] == 1
