"""Two gateways over one registry: what one is told, the other one does."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from registry.credentials import key_id
from tests.support.gateways import TENANTS, Serving, Site, open_gateway, open_site
from tests.support.postgres import (
    ThreeClusters,
    open_database,
    open_three_clusters,
    run_sql,
    server_folder,
    url_of,
)
from tests.support.proxy import open_proxy
from tests.support.waiting import hold_within, wait_until
from tiergate.tenant import Tier

QUERY = "SELECT count(*) AS n FROM tasks"
SOON_S = 0.1
"""Measured from the first gateway's answer to the second one's first refusal or service."""
PATIENT = {"registry.timeout_s": 10}
AT_WORST_S = 1.0
"""Where the feed has to be joined again first, or the route asked for anew."""


@dataclass(slots=True)
class Pair:
    """Gateway `a`, whose admin API is asked, and gateway `b`, which is watched."""

    site: Site
    a: Serving
    b: Serving
    client: httpx.AsyncClient

    async def status(self, key: str) -> int:
        """What `b` answers to a query with *key*, on a connection that is kept."""
        return (await self.b.sql(key, QUERY, client=self.client)).status_code

    async def wait_for(self, status: int, key: str) -> float:
        """Seconds until `b` answers *status*."""
        began_s = time.monotonic()

        async def answers() -> bool:
            return await self.status(key) == status

        await wait_until(answers, what=f"status {status}")
        return time.monotonic() - began_s

    async def tell(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Ask `a`'s admin API, which must say yes."""
        answer = await self.a.ask_admin(method, path, body)
        assert answer.is_success, answer.text
        return answer


@pytest.fixture(scope="module")
async def clusters() -> AsyncIterator[ThreeClusters]:
    async with open_three_clusters() as opened:
        yield opened


@pytest.fixture(scope="module")
async def registry(clusters: ThreeClusters) -> AsyncIterator[str]:
    """The superuser's conninfo for the registry's database."""
    async with open_database(clusters.standard, prefix="registry") as conninfo:
        yield conninfo


@pytest.fixture(scope="module")
async def site(clusters: ThreeClusters, registry: str) -> AsyncIterator[Site]:
    with server_folder() as folder:
        async with open_site(folder, url_of(registry)) as opened:
            await opened.furnish({tier: url_of(clusters.of(tier).conninfo()) for tier in Tier})
            yield opened


@pytest.fixture(scope="module")
async def pair(site: Site) -> AsyncIterator[Pair]:
    async with (
        open_gateway(site.folder, site.registry_url, PATIENT) as a,
        open_gateway(site.folder, site.registry_url, PATIENT) as b,
        httpx.AsyncClient(timeout=40) as client,
    ):
        yield Pair(site, a, b, client)


@pytest.fixture
async def acme(pair: Pair) -> str:
    """A new key of the tenant on the standard tier, which `b` has answered."""
    key = await pair.site.create_key(TENANTS[Tier.STANDARD])
    assert await pair.status(key) == 200
    return key


async def test_a_revoked_key_is_refused_by_the_other_gateway(pair: Pair) -> None:
    async def timed() -> float:
        key = await pair.site.create_key(TENANTS[Tier.STANDARD])
        assert await pair.status(key) == 200
        await pair.tell("DELETE", f"/keys/{key_id(key)}")
        return await pair.wait_for(401, key)

    await hold_within(SOON_S, timed, what="revoked")


@pytest.mark.parametrize("tier", Tier)
async def test_a_suspended_tenant_is_refused_and_a_resumed_one_served_by_the_other_gateway(
    pair: Pair, tier: Tier
) -> None:
    tenant = TENANTS[tier]
    key = await pair.site.create_key(tenant)
    assert await pair.status(key) == 200

    async def timed() -> float:
        await pair.tell("POST", f"/tenants/{tenant}/suspend")
        at_once = await pair.status(key)
        await pair.tell("POST", f"/tenants/{tenant}/resume")
        took_s = await pair.wait_for(200, key)

        assert at_once == 403
        return took_s

    await hold_within(SOON_S, timed, what=f"resumed, {tier}")


async def test_a_tenants_own_rate_holds_on_the_other_gateway_at_once_and_so_does_its_end(
    pair: Pair, acme: str
) -> None:
    own = f"/tenants/{TENANTS[Tier.STANDARD]}"

    async def timed() -> float:
        await pair.tell("PATCH", own, {"requests_per_s": 0.01, "burst": 1})
        refused_s = await pair.wait_for(429, acme)
        refusal = await pair.b.sql(acme, QUERY, client=pair.client)
        await pair.tell("PATCH", own, {"requests_per_s": None, "burst": None})
        served_s = await pair.wait_for(200, acme)

        assert (refusal.status_code, refusal.headers["tiergate-error"]) == (429, "rate-limited")
        assert 90 <= int(refusal.headers["retry-after"]) <= 100
        return max(refused_s, served_s)

    await hold_within(SOON_S, timed, what="limited, and limited no more")


async def test_a_tenant_that_is_marked_warm_is_connected_to_by_every_gateway(
    pair: Pair, clusters: ThreeClusters
) -> None:
    made = (await pair.tell("POST", "/tenants", {"name": "warmed", "tier": Tier.PREMIUM})).json()
    opened = f"SELECT pid FROM pg_stat_activity WHERE usename = '{made['place']}'"
    before = await run_sql(clusters.premium.conninfo(), opened)
    await pair.tell("PATCH", "/tenants/warmed", {"warm": True})

    async def is_warm() -> bool:
        return len(await run_sql(clusters.premium.conninfo(), opened)) == 2

    await wait_until(is_warm, what="a connection from each gateway")

    assert before == []


async def test_a_tenant_that_is_new_is_served_by_the_other_gateway(pair: Pair) -> None:
    numbers = count(1)

    async def timed() -> float:
        name = f"new-{next(numbers)}"
        await pair.tell("POST", "/tenants", {"name": name, "tier": Tier.STANDARD})
        made = await pair.tell("POST", f"/tenants/{name}/keys", {"scopes": ["read"]})
        return await pair.wait_for(200, made.json()["key"])

    await hold_within(SOON_S, timed, what="created")


async def test_a_key_that_was_unknown_is_believed_once_it_exists(
    pair: Pair, registry: str, acme: str
) -> None:
    """The answer that there is no such key is remembered too, and must be forgotten."""
    columns = "id, tenant, digest, scopes, note, created_at, expires_at, revoked_at, last_used_at"
    shown = key_id(acme)

    async def timed() -> float:
        await run_sql(
            registry, f"CREATE TABLE kept AS SELECT * FROM tiergate_registry.credential WHERE id = '{shown}'"
        )
        await run_sql(registry, f"DELETE FROM tiergate_registry.credential WHERE id = '{shown}'")
        await run_sql(registry, f"""SELECT pg_notify('tiergate_registry', '{{"credential": "{shown}"}}')""")
        await pair.wait_for(401, acme)
        await run_sql(
            registry,
            f"INSERT INTO tiergate_registry.credential ({columns}) SELECT {columns} FROM kept",
            f"""SELECT pg_notify('tiergate_registry', '{{"credential": "{shown}"}}')""",
            "DROP TABLE kept",
        )
        return await pair.wait_for(200, acme)

    await hold_within(AT_WORST_S, timed, what="believed")


async def test_a_change_that_is_made_while_the_feed_is_cut_is_known_when_it_is_back(
    pair: Pair, registry: str
) -> None:
    feeds = "FROM pg_stat_activity WHERE application_name = 'tiergate-feed' AND datname = current_database()"
    cut: set[object] = set()

    async def are_both_there() -> bool:
        """Those of both gateways, and of none that has just ended."""
        there = {pid for (pid,) in await run_sql(registry, f"SELECT pid {feeds}")}
        return len(there) == 2 and not there & cut

    async def timed() -> float:
        key = await pair.site.create_key(TENANTS[Tier.STANDARD])
        assert await pair.status(key) == 200
        await wait_until(are_both_there, what="both feeds")
        cut.update(
            pid for pid, _ in await run_sql(registry, f"SELECT pid, pg_terminate_backend(pid) {feeds}")
        )
        await pair.tell("DELETE", f"/keys/{key_id(key)}")
        took_s = await pair.wait_for(401, key)
        await wait_until(are_both_there, what="both feeds again")
        await asyncio.gather(pair.a.listens(), pair.b.listens())
        return took_s

    await hold_within(AT_WORST_S, timed, what="known")


async def test_a_lost_notification_costs_no_more_than_the_ttl(site: Site, registry: str) -> None:
    ttl_s = 1.0
    settings = {"registry.ttl_s": ttl_s, "registry.negative_ttl_s": ttl_s}
    async with (
        open_gateway(site.folder, site.registry_url, settings) as gateway,
        httpx.AsyncClient(timeout=40) as client,
    ):
        pair = Pair(site, gateway, gateway, client)

        async def timed() -> float:
            key = await site.create_key(TENANTS[Tier.STANDARD])
            assert await pair.status(key) == 200
            silently = (
                f"UPDATE tiergate_registry.credential SET revoked_at = now() WHERE id = '{key_id(key)}'"
            )
            await run_sql(registry, silently)
            return await pair.wait_for(401, key)

        await hold_within(ttl_s * 1.1 + SOON_S, timed, what="revoked in silence")


async def test_suspending_bites_a_gateway_that_hears_nothing(pair: Pair, registry: str) -> None:
    """Its cache still says that the tenant is served; the fence in the database knows better."""
    tenant = TENANTS[Tier.STANDARD]
    key = await pair.site.create_key(tenant)
    part = conninfo_to_dict(registry)
    async with open_proxy(str(part["host"]), int(str(part["port"]))) as proxy:
        by_proxy = url_of(registry).replace(f":{part['port']}/", f":{proxy.port}/")
        settings = {"registry.timeout_s": 1}
        async with (
            open_gateway(pair.site.folder, by_proxy, settings) as deaf,
            httpx.AsyncClient(timeout=40) as client,
        ):
            watched = Pair(pair.site, pair.a, deaf, client)
            assert await watched.status(key) == 200
            proxy.blackhole()
            assert await watched.status(key) == 200
            await pair.tell("POST", f"/tenants/{tenant}/suspend")
            first, second = await watched.status(key), await watched.status(key)
            proxy.flow()
            later = await watched.wait_for(403, key)
            await pair.tell("POST", f"/tenants/{tenant}/resume")
            await watched.wait_for(200, key)

    assert first == 403
    assert second in {403, 503}  # it was told to forget, and cannot ask
    assert later <= AT_WORST_S * 5


@pytest.mark.parametrize("tier", Tier)
async def test_a_stale_route_costs_one_more_try_and_works(
    pair: Pair, clusters: ThreeClusters, registry: str, tier: Tier
) -> None:
    """The tenant's epoch moves on, as it does in a move, and nobody is told."""
    tenant = TENANTS[tier]
    key = await pair.site.create_key(tenant)
    assert await pair.status(key) == 200
    before = await pair.b.metric("tiergate_stale_routes_total", tier=tier)
    moved = await run_sql(
        registry,
        "UPDATE tiergate_registry.placement AS p SET epoch = nextval('tiergate_registry.epoch')"
        f" FROM tiergate_registry.place WHERE id = place AND tenant = '{tenant}' RETURNING p.epoch, database",
    )
    epoch, database = moved[0]
    await run_sql(
        clusters.of(tier).conninfo(str(database)),
        f"UPDATE tiergate.fence SET epoch = {epoch} WHERE tenant_id = '{tenant}'",
    )
    statuses = [await pair.status(key) for _ in range(3)]

    assert statuses == [200] * 3
    assert await pair.b.metric("tiergate_stale_routes_total", tier=tier) - before == 1


async def test_a_route_that_stays_stale_is_tried_twice_and_no_more(
    pair: Pair, clusters: ThreeClusters, acme: str
) -> None:
    """The fence is ahead of the registry, as in the middle of a move."""
    tenant = TENANTS[Tier.STANDARD]
    before = await pair.b.metric("tiergate_stale_routes_total", tier=Tier.STANDARD)
    conninfo = clusters.standard.conninfo()
    await run_sql(conninfo, f"UPDATE tiergate.fence SET epoch = epoch + 1000 WHERE tenant_id = '{tenant}'")
    refused = await pair.b.sql(acme, QUERY, client=pair.client)
    await run_sql(conninfo, f"UPDATE tiergate.fence SET epoch = epoch - 1000 WHERE tenant_id = '{tenant}'")

    assert (refused.status_code, refused.headers["tiergate-error"]) == (503, "stale-route")
    assert await pair.b.metric("tiergate_stale_routes_total", tier=Tier.STANDARD) - before == 1
    await pair.wait_for(200, acme)


async def test_a_deletion_whose_gateway_is_killed_is_completed_by_another(
    pair: Pair, clusters: ThreeClusters
) -> None:
    await pair.tell("POST", "/tenants", {"name": "doomed", "tier": Tier.STANDARD})
    key = (await pair.tell("POST", "/tenants/doomed/keys", {"scopes": ["read"]})).json()["key"]
    there = clusters.standard.conninfo()
    row = "INSERT INTO app.members (tenant_id, email, name) VALUES ('doomed', 'a@b.example', 'Ann')"
    await run_sql(there, row)
    await pair.tell("POST", "/tenants/doomed/suspend")
    waiting = (
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'tiergate provisioning'"
        " AND wait_event_type = 'Lock' AND query LIKE 'DELETE FROM ONLY app.members%'"
    )
    deletion = ("DELETE", "/tenants/doomed?confirm=doomed")

    async def waits() -> object:
        return await run_sql(there, waiting)

    async with (
        await psycopg.AsyncConnection.connect(there) as holding,
        open_gateway(pair.site.folder, pair.site.registry_url) as victim,
    ):
        await holding.execute("SELECT FROM app.members WHERE tenant_id = 'doomed' FOR UPDATE")
        asking = asyncio.create_task(victim.ask_admin(*deletion))
        await wait_until(waits, what="the deletion to wait for a row")
        victim.signal(signal.SIGKILL)
        await victim.ended()
        with pytest.raises(httpx.HTTPError):
            await asking
        shown = (await pair.b.ask_admin("GET", "/tenants/doomed")).json()
        refused = await pair.status(key)
        await holding.rollback()
    done = await pair.tell(*deletion)
    left = await run_sql(there, "SELECT count(*) FROM app.members WHERE tenant_id = 'doomed'")

    assert (shown["state"], refused) == ("deleting", 403)
    assert done.json() == {"name": "doomed", "state": "deleted"}
    assert left == [(0,)]
    await pair.wait_for(401, key)


async def test_both_gateways_may_be_told_the_same_at_once(pair: Pair) -> None:
    """Suspending is idempotent, and so is resuming; whoever comes second finds it done."""
    tenant = TENANTS[Tier.PREMIUM]
    key = pair.site.keys[tenant]
    for act, status in (("suspend", 403), ("resume", 200)):
        told = await asyncio.gather(
            *(
                each.ask_admin("POST", f"/tenants/{tenant}/{act}")
                for each in (pair.a, pair.b)
                for _ in range(3)
            )
        )

        assert {answer.status_code for answer in told} == {200}
        await pair.wait_for(status, key)
