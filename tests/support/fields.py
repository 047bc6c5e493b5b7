"""A gateway between a cluster that may fail, one that does not, and a registry: each a server of its own."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tests.support.gateways import TENANTS, Serving, Site, open_gateway, open_site
from tests.support.http import query, request
from tests.support.load import Load, open_load
from tests.support.postgres import open_test_cluster, run_sql, server_folder, url_of
from tests.support.proxy import Proxy, open_proxy
from tests.support.waiting import wait_until
from tiergate.embedded import Cluster
from tiergate.tenant import TenantId, Tier

SICK, WELL = Tier.STANDARD, Tier.PREMIUM
READ = "SELECT email FROM members ORDER BY email LIMIT 1"
_QUIET_S = 15.0


@dataclass(frozen=True, slots=True)
class Field:
    """Everything that may fail, and the gateway that must not.

    Attributes:
        sick: The cluster that may fail; the gateway reaches it through `proxy`.
        well: The other tenants' cluster.
    """

    gateway: Serving
    site: Site
    sick: Cluster
    well: Cluster
    registry: Cluster
    proxy: Proxy

    def asked(self, tenant: TenantId) -> tuple[bytes, bytes]:
        """A request of *tenant*, and what only its own answer holds."""
        return request(self.site.keys[tenant], query(READ)), f"{tenant}@example.com".encode()

    def load(
        self, tier: Tier, *, callers: int, every_s: float, more: Sequence[TenantId] = ()
    ) -> AbstractAsyncContextManager[Load]:
        """Callers of the tenant on *tier*, and of some *more*."""
        requests = [self.asked(tenant) for tenant in (TENANTS[tier], *more)]
        return open_load(self.gateway.url, requests, callers=callers, every_s=every_s)

    async def greet(self, tenant: TenantId) -> None:
        """Give *tenant* the row that its requests read."""
        insert = f"INSERT INTO members (email, name) VALUES ('{tenant}@example.com', 'A')"
        assert (await self.gateway.sql(self.site.keys[tenant], insert)).status_code == 200

    async def left_over(self) -> dict[str, float]:
        """What is not as it is at rest, by name; empty when all is."""
        said = self.gateway.metric
        left = {"inflight": await said("tiergate_requests_inflight")}
        left["waiting"] = await said("tiergate_pool_waiting")
        for state in ("active", "opening", "closing"):
            left[state] = await said("tiergate_pool_connections", state=state)
        for tier in (SICK, WELL):
            used = await said("tiergate_pool_budget", cluster=tier, kind="used")
            left[f"permits without a connection ({tier})"] = used - await self.connections(tier)
        return {name: number for name, number in left.items() if number}

    async def connections(self, tier: Tier) -> int:
        """How many connections of the gateway *tier*'s server sees, administration aside."""
        server = self.sick if tier is SICK else self.well
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tiergate'"
        [[there]] = await run_sql(server.conninfo(), count)
        return int(str(there))

    async def comes_to_rest(self) -> None:
        """Wait until nothing is left over."""

        async def is_at_rest() -> bool:
            return not await self.left_over()

        try:
            await wait_until(is_at_rest, within_s=_QUIET_S, what="every gauge to be at rest")
        except AssertionError as exc:
            raise AssertionError(f"left over: {await self.left_over()}") from exc


@asynccontextmanager
async def open_field(changes: Mapping[str, object], *, max_connections: int = 100) -> AsyncIterator[Field]:
    """Two clusters with a tenant each, which has its row, and a gateway with *changes* to its settings."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(server_folder())
        sick = await stack.enter_async_context(open_test_cluster(max_connections=str(max_connections)))
        well = await stack.enter_async_context(open_test_cluster())
        registry = await stack.enter_async_context(open_test_cluster())
        proxy = await stack.enter_async_context(open_proxy(sick.host, sick.port))
        site = await stack.enter_async_context(open_site(folder, url_of(registry.conninfo())))
        way = sick.url().replace(f":{sick.port}/", f":{proxy.port}/")
        await site.furnish({SICK: way, WELL: url_of(well.conninfo())})
        gateway = await stack.enter_async_context(open_gateway(folder, site.registry_url, changes))
        field = Field(gateway, site, sick, well, registry, proxy)
        for tier in (SICK, WELL):
            await field.greet(TENANTS[tier])
        yield field
