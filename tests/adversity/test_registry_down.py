"""What a gateway does while its registry's server is gone, and when it comes back."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.gateways import TENANTS, Serving, Site, open_gateway, open_site, settings, start
from tests.support.postgres import open_test_cluster, server_folder, url_of
from tests.support.waiting import is_alive, wait_until
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

ACME = TENANTS[Tier.STANDARD]
QUERY = "SELECT count(*) AS n FROM tasks"
BACK_S = 5.0


@pytest.fixture(scope="module")
async def registry() -> AsyncIterator[Cluster]:
    """The server of the registry alone."""
    async with open_test_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
async def site(registry: Cluster) -> AsyncIterator[Site]:
    """A registry on its own server, and a standard cluster on another."""
    with server_folder() as folder:
        async with (
            open_test_cluster() as data,
            open_site(folder, url_of(registry.conninfo())) as opened,
        ):
            await opened.furnish({Tier.STANDARD: url_of(data.conninfo())})
            yield opened


@asynccontextmanager
async def down(registry: Cluster) -> AsyncIterator[None]:
    """Meanwhile the registry's server is gone, as after a crash."""
    registry.kill()
    try:
        yield
    finally:
        await registry.start(registry.port)


async def status(gateway: Serving, key: str) -> tuple[int, str | None]:
    """What the gateway answers: status, and code if it is a refusal."""
    answer = await gateway.sql(key, QUERY)
    return answer.status_code, answer.headers.get("tiergate-error")


async def readiness(gateway: Serving) -> tuple[int, str]:
    """The status of /readyz, and what it says of the registry."""
    answer = await gateway.http.get(f"{gateway.admin}/readyz")
    return answer.status_code, answer.json()["registry"]


async def test_known_tenants_are_served_while_the_registry_is_down(site: Site, registry: Cluster) -> None:
    unused = await site.create_key(ACME)
    async with open_gateway(
        site.folder, site.registry_url, {"registry.ttl_s": 0.5, "registry.negative_ttl_s": 0.5}
    ) as gateway:
        known = site.keys[ACME]
        before = await status(gateway, known), await readiness(gateway)
        async with down(registry):

            async def notices() -> bool:
                return (await readiness(gateway))[1] == "down"

            await wait_until(notices, within_s=5, what="the gateway to notice")
            # Longer than what it remembers stays fresh.
            lost = await gateway.hears("registry-lost")
            served = {await status(gateway, known) for _ in range(50)}
            refused = await gateway.sql(unused, QUERY)
            told = await gateway.ask_admin("POST", f"/tenants/{ACME}/suspend")
            metrics = [
                await gateway.ask_admin("GET", f"/metrics/tenants/{name}") for name in (ACME, "nobody")
            ]
            ready, flag = await readiness(gateway), await gateway.metric("tiergate_registry_up")

        assert before == ((200, None), (200, "up"))
        assert lost["level"] == "error"
        assert served == {(200, None)}
        assert (refused.status_code, refused.headers["tiergate-error"]) == (503, "registry-unavailable")
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["code"] == "57P03"
        assert (told.status_code, told.json()["error"]["code"]) == (503, "registry-unavailable")
        assert [answer.status_code for answer in metrics] == [200, 503]
        assert f'tiergate_tenant_requests_total{{outcome="ok",tenant="{ACME}"}}' in metrics[0].text
        assert ready == (200, "down")
        assert flag == 0

        async def is_well() -> bool:
            return (await readiness(gateway), await status(gateway, unused)) == ((200, "up"), (200, None))

        await wait_until(is_well, within_s=BACK_S, what="all to be well again")
        assert await gateway.metric("tiergate_registry_up") == 1
        assert (await gateway.ask_admin("GET", f"/tenants/{ACME}")).status_code == 200


async def test_a_key_that_was_revoked_before_the_outage_stays_so(site: Site, registry: Cluster) -> None:
    key = await site.create_key(ACME)
    async with open_gateway(site.folder, site.registry_url) as gateway:
        assert await status(gateway, key) == (200, None)
        await gateway.ask_admin("DELETE", f"/keys/{key.split('_')[1]}")

        async def is_refused() -> bool:
            return (await status(gateway, key))[0] == 401

        await wait_until(is_refused, what="the revoked key is refused")
        async with down(registry):
            answers = {await status(gateway, key) for _ in range(5)}

    assert answers <= {(401, "unidentified"), (503, "registry-unavailable"), (401, "unknown-key")}


@pytest.mark.parametrize(
    ("processes", "exit_code", "last"), [(1, 3, "the registry"), (2, 1, "3 gateway processes in a row")]
)
async def test_a_gateway_does_not_start_without_its_registry(
    site: Site, registry: Cluster, processes: int, exit_code: int, last: str
) -> None:
    known = settings(site.registry_url)
    async with down(registry):
        process = await start(site.folder, known, "--processes", str(processes))
        ended = await process.wait()
    said = (site.folder / f"{known['gateway.port']}.log").read_text(encoding="utf-8")

    assert ended == exit_code
    assert f"error: {last}" in said
    assert "next: " in said
    assert "Traceback" not in said
    # The fourth may have failed too by the time that the third one's end was seen.
    assert said.count('"code":"registry-unavailable"') in ({0} if processes == 1 else {3, 4})


async def test_a_process_that_ends_during_an_outage_is_replaced_after_it(
    site: Site, registry: Cluster
) -> None:
    """The one that is left goes on alone; it is not given up with those that cannot start."""
    known = site.keys[ACME]
    async with open_gateway(site.folder, site.registry_url, processes=2) as gateway:
        first = gateway.children()
        for pid in first:  # what a process has never been asked it cannot answer alone
            with gateway.only(pid):
                assert await status(gateway, known) == (200, None)
        async with down(registry):
            os.kill(first[0], signal.SIGKILL)
            await gateway.hears("process-failed", times=4, within_s=30)
            served = {await status(gateway, known) for _ in range(10)}
            left = is_alive(first[1])
        await gateway.hears("serving", times=3)

        assert left
        assert served == {(200, None)}
