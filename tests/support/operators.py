"""Everything that an operator stands before: a registry, three clusters, and the admin API over them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import orjson
from starlette.applications import Starlette

from admin.app import Gateway
from admin.operations import Operations
from config.errors import Mistake, SettingsInvalid
from config.settings import Registry
from fleet.application import read_application
from fleet.provision import Provisioner
from observe.metrics import Metrics
from observe.snapshot import BudgetCount
from registry.migrations import migrate
from registry.orders import Holdings
from registry.store import Store, open_store
from registry.vault import Vault
from tests.support.postgres import ThreeClusters, open_database, run_sql, url_of
from tests.support.promised import as_promised
from tiergate.tenant import TenantId, Tier
from verify.run import Tally, Tell, Verification
from verify.site import Asked

EXAMPLES = Path(__file__).parents[2] / "examples"
Json = dict[str, object]

MASTER_KEY = "a master key of the tests, long enough"
ADMIN_KEY = "the-admin-key-of-the-tests-0123456789"


@dataclass(slots=True)
class World:
    """The registry and the clusters; tenants come and go through the API."""

    clusters: ThreeClusters
    registry_url: str
    store: Store
    operations: Operations

    def with_files(self, application: Path) -> Operations:
        """The same, as after a restart with other SQL files."""
        return Operations(self.store, Provisioner(read_application(application)), "app")

    async def registry(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement in the registry, as whoever rules its server could."""
        return await run_sql(self.registry_url, statement)

    def dsn(self, tier: Tier) -> str:
        """What an operator gives for the cluster of *tier*."""
        return url_of(self.clusters.of(tier).conninfo())


@asynccontextmanager
async def open_world(clusters: ThreeClusters, *, master_key: str = MASTER_KEY) -> AsyncIterator[World]:
    """A fresh registry, on the standard cluster's server, that knows of no cluster yet."""
    async with open_database(clusters.standard, prefix="registry") as conninfo:
        url = url_of(conninfo)
        await migrate(url, Vault(master_key))
        settings = Registry(
            url=url, pool_size=5, timeout_s=10, cache_size=100, ttl_s=60, negative_ttl_s=5, stale_for_s=600
        )
        async with open_store(settings, Vault(master_key)) as store:
            provisioner = Provisioner(read_application(EXAMPLES / "application"))
            yield World(clusters, url, store, Operations(store, provisioner, "app"))


@asynccontextmanager
async def open_client(app: Starlette, *, key: str | None = ADMIN_KEY) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls *app* without a network in between."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    hooks = {"response": [as_promised(app.state.acts)]}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://admin", headers=headers, event_hooks=hooks
    ) as client:
        yield client


class Side:
    """The gateway's side of the admin port; a test may turn each part."""

    def __init__(self) -> None:
        self.is_ready = True
        self.metrics = Metrics()
        self.refuses_reload = False
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.asked: list[tuple[TenantId, Json]] = []
        self.verification: Verification | None = None

    def seam(self) -> Gateway:
        return Gateway(
            metrics=self.metrics.show,
            readiness=lambda: (self.is_ready, self.report()),
            pools=lambda: Holdings(budgets=(asdict(BudgetCount("standard-1", 40, 2)),)),
            reload=self.reload,
            run=self.run,
            verify=self.verify,
            metrics_of=self.metrics.tenants.show,
        )

    def report(self) -> Json:
        clusters = {"standard-1": "up"}
        return {"ready": self.is_ready, "draining": False, "registry": "up", "clusters": clusters}

    async def verify(self, asked: Asked, *, actor: str, tell: Tell) -> Tally:
        assert self.verification is not None, "this test verifies nothing"
        return await self.verification.run(asked, actor=actor, tell=tell)

    def reload(self) -> Mapping[str, Sequence[str]]:
        if self.refuses_reload:
            raise SettingsInvalid([Mistake("gateway.port", "eighty", "write a number", 3)])
        return {"applied": ("logging.level",), "needs_restart": ("gateway.port",)}

    async def run(self, tenant: TenantId, body: bytes) -> tuple[int, bytes]:
        asked = orjson.loads(body)
        self.asked.append((tenant, asked))
        if asked["query"] == "forever":
            self.started.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        if asked["query"] == "wrong":
            return 400, b'{"message":"syntax error","code":"42601"}'
        return 200, b'{"fields":[],"rows":[],"command":"SELECT","rowCount":0,"rowAsArray":true}'


async def add_clusters(api: httpx.AsyncClient, world: World) -> None:
    """A cluster for each tier, named after it."""
    for tier in Tier:
        body = {"name": f"{tier}-1", "tier": tier, "region": "eu", "dsn": world.dsn(tier)}
        (await api.post("/clusters", json=body)).raise_for_status()


async def create(api: httpx.AsyncClient, name: str, tier: Tier = Tier.STANDARD) -> httpx.Response:
    """Ask for a tenant."""
    return await api.post("/tenants", json={"name": name, "tier": tier})


def error(response: httpx.Response) -> Json:
    """What a refusal says."""
    said: Json = response.json()["error"]
    assert set(said) >= {"code", "message", "advice", "retryable"}
    return said
