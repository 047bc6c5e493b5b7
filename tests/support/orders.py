"""Two gateways of three processes, an operator who gives them orders, and two tenants on one cluster."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.gateways import Serving, Site, open_gateway, open_site
from tests.support.holding import Held, held, wait_long
from tests.support.postgres import ThreeClusters, open_database, open_test_cluster, server_folder, url_of
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import TenantId, Tier

ACME, OTHER = TenantId("acme"), TenantId("umbrella")
QUERY = "SELECT count(*) AS n FROM members"
WRITE = "DELETE FROM tasks"
"""Waits for as long as the table is held; whoever only reads it, as a new connection does, does not."""
CLUSTER = str(Tier.STANDARD)
PATIENT = {"pools.tiers.standard.query_wait_timeout": 25}
"""So that who stands at a gate still does when the test has seen that all do."""
Json = dict[str, Any]  # JSON


@dataclass(slots=True)
class Ground:
    """A registry and a standard cluster on one server, with both tenants."""

    site: Site
    server: Cluster
    registry: str

    def key(self, tenant: TenantId) -> str:
        """A key of *tenant*."""
        return self.site.keys[tenant]

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Held]:
        """Meanwhile `WRITE` waits."""
        async with held(ThreeClusters(self.server, self.server, self.server), "EXCLUSIVE") as lock:
            yield lock


@dataclass(slots=True)
class Pair:
    """Gateway `a` of one process, and gateway `b` of two."""

    ground: Ground
    a: Serving
    b: Serving

    async def order(self, verb: str, *, wait_s: float = 20, for_s: float = 60, **scope: str) -> Json:
        """Give an order through `a`."""
        body = {"verb": verb, "wait_s": wait_s, "for_s": for_s, **(scope or {"tenant": ACME})}
        answer = await self.a.ask_admin("POST", "/orders", body)
        assert answer.is_success, answer.text
        told: Json = answer.json()
        return told

    async def ask(self, tenant: TenantId, query: str = QUERY, *, of: Serving | None = None) -> httpx.Response:
        """Ask `b`, unless told otherwise, as *tenant*."""
        return await (of or self.b).sql(self.ground.key(tenant), query)

    async def waiting(self, *gateways: Serving) -> list["asyncio.Task[httpx.Response]"]:
        """A request of `ACME` to each, that runs until the table is let go."""
        return [asyncio.create_task(self.ask(ACME, WRITE, of=each)) for each in gateways]


@asynccontextmanager
async def open_ground() -> AsyncIterator[Ground]:
    """Everything but gateways."""
    with server_folder() as folder:
        async with (
            open_test_cluster() as server,
            open_database(server, prefix="registry") as registry,
            open_site(folder, url_of(registry)) as site,
        ):
            await site.furnish({Tier.STANDARD: url_of(server.conninfo())})
            await site.operations.create_tenant(
                OTHER, Tier.STANDARD, region=None, cluster=None, actor="test", deadline=Deadline.after(60)
            )
            site.keys[OTHER] = await site.create_key(OTHER)
            await wait_long(server.conninfo())
            yield Ground(site, server, registry)


@asynccontextmanager
async def open_pair(ground: Ground, registry_url: str | None = None) -> AsyncIterator[Pair]:
    """Both gateways; `b` reaches the registry at *registry_url*."""
    site = ground.site
    async with (
        open_gateway(site.folder, site.registry_url, PATIENT) as a,
        open_gateway(site.folder, registry_url or site.registry_url, PATIENT, processes=2) as b,
    ):
        yield Pair(ground, a, b)


def states(told: Json) -> list[str]:
    """What each process says of an order."""
    return sorted(process["state"] for process in told["processes"])
