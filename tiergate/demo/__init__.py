"""`tiergate demo`: the whole thing on one machine, with nothing installed but this package.

Three embedded Postgres clusters, the registry, an example application with rows of
four tenants on the three tiers, and the gateway in front. What it makes stays in
one folder: started again, it goes on where it was.
"""

import asyncio
import contextlib
import json
import os
import secrets
import socket
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psycopg
import yaml
from psycopg import sql

import examples
from config.load import load
from pools.lease import RequestLimits, Transaction
from pools.statement import Statement
from registry.credentials import Scope, key_id
from registry.errors import TenantExists, UnknownCluster
from tiergate.deadline import Deadline
from tiergate.demo.words import show
from tiergate.embedded import Cluster, erase_cluster, open_clusters
from tiergate.listening import url
from tiergate.service import Addresses, Gateway, open_gateway, serve, signals
from tiergate.tenant import TenantId, Tier

CLUSTERS = {"standard": Tier.STANDARD, "premium": Tier.PREMIUM, "government": Tier.GOVERNMENT}
TENANTS = {
    TenantId("acme"): Tier.STANDARD,
    TenantId("umbrella"): Tier.STANDARD,
    TenantId("globex"): Tier.PREMIUM,
    TenantId("treasury"): Tier.GOVERNMENT,
}
_ACTOR = "demo"
_STEP_S = 60.0
_SEED_BYTES = 1 << 20
_DATABASE = "application"
_REGISTRY = "tiergate_registry"
_EXAMPLES = Path(examples.__file__).parent


@dataclass(frozen=True, slots=True)
class DemoTenant:
    """A tenant, and how a client reaches it."""

    tier: Tier
    cluster: str
    key: str = field(repr=False)
    connection_string: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Demo:
    """What runs, as `demo.json` tells it."""

    gateway: str
    admin: str
    admin_key: str = field(repr=False)
    tenants: dict[TenantId, DemoTenant]
    clusters: dict[str, Cluster]

    def facts(self) -> dict[str, object]:
        """The content of `demo.json`."""
        return {
            "gateway": self.gateway,
            "admin": self.admin,
            "admin_key": self.admin_key,
            "tenants": {
                name: {
                    "tier": tenant.tier,
                    "cluster": tenant.cluster,
                    "key": tenant.key,
                    "connection_string": tenant.connection_string,
                }
                for name, tenant in self.tenants.items()
            },
            "clusters": {
                name: {"host": cluster.host, "port": cluster.port, "log": str(cluster.log)}
                for name, cluster in self.clusters.items()
            },
        }


def run(*, folder: Path, fresh: bool, port: int, admin_port: int, as_json: bool) -> None:
    """Bring everything up, show it, and serve until Ctrl-C.

    Raises:
        PortTaken: One of the ports cannot be had; nothing was started.
        TiergateError: Whatever else kept a part of it from coming up.
    """
    import uvloop  # noqa: PLC0415 - only to run

    uvloop.run(_run(folder.absolute(), fresh=fresh, port=port, admin_port=admin_port, as_json=as_json))


async def _run(folder: Path, *, fresh: bool, port: int, admin_port: int, as_json: bool) -> None:
    began = time.monotonic()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts_file = folder / "demo.json"
    if fresh:
        await _erase(folder)
    facts_file.unlink(missing_ok=True)  # its being there means "ready"
    addresses = Addresses.open("127.0.0.1", port, "127.0.0.1", admin_port)
    try:
        ports: dict[str, int | None] = dict.fromkeys(CLUSTERS)
        async with open_clusters(folder / "clusters", ports) as clusters:
            path = await _configure(folder, clusters, addresses)
            reread = partial(load, path)
            async with open_gateway(reread(), reread) as gateway:
                with signals(gateway):
                    tenants = await _furnish(gateway, clusters, folder / "keys.json", url(addresses.gateway))
                    demo = Demo(
                        url(addresses.gateway), url(addresses.admin), gateway.settings.admin.key, tenants,
                        clusters,
                    )  # fmt: skip

                    def ready() -> None:
                        _write(facts_file, json.dumps(demo.facts(), indent=2) + "\n")
                        show(demo.facts(), as_json=as_json, started_s=time.monotonic() - began, folder=str(folder))

                    await serve(gateway, addresses, on_ready=ready)
    finally:
        addresses.close()
        facts_file.unlink(missing_ok=True)


async def _erase(folder: Path) -> None:
    for name in CLUSTERS:
        await erase_cluster(folder / "clusters" / name)
    for left in ("keys.json", "master.key", "admin.key", "registry.url", "tiergate.yaml"):
        (folder / left).unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    """Replace *path* in one step; readable by its owner only, since keys are in it."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    new.replace(path)


def _kept(path: Path, make: str) -> str:
    """What *path* holds; *make* when it is not there yet."""
    if not path.exists():
        _write(path, make)
    return path.read_text(encoding="utf-8")


async def _configure(folder: Path, clusters: dict[str, Cluster], addresses: Addresses) -> Path:
    """Make the registry's database, and write the configuration as an operator would."""
    await _make_databases(clusters)
    standard = clusters["standard"]
    _kept(folder / "master.key", secrets.token_urlsafe(32))
    _kept(folder / "admin.key", secrets.token_urlsafe(32))
    _write(
        folder / "registry.url",
        f"postgresql://{standard.superuser}:{standard.password}@{standard.host}:{standard.port}/{_REGISTRY}",
    )
    path = folder / "tiergate.yaml"
    _write(
        path,
        yaml.safe_dump(
            {
                "gateway": _at(addresses.gateway),
                "admin": {**_at(addresses.admin), "key": "${file:admin.key}"},
                "registry": {"url": "${file:registry.url}"},
                "secrets": {"master_key": "${file:master.key}"},
                "application": {"sql": str(_EXAMPLES / "application")},
                "logging": {"level": "warning"},
            },
            sort_keys=False,
        ),
    )
    return path


def _at(listening: socket.socket) -> dict[str, object]:
    host, port = listening.getsockname()[:2]
    return {"host": host, "port": port}


async def _make_databases(clusters: dict[str, Cluster]) -> None:
    wanted = [("standard", _REGISTRY), ("standard", _DATABASE), ("premium", _DATABASE)]
    for cluster, name in wanted:
        async with await psycopg.AsyncConnection.connect(clusters[cluster].conninfo(), autocommit=True) as connection:
            found = await connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
            if await found.fetchone() is None:
                await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


async def _furnish(
    gateway: Gateway, clusters: dict[str, Cluster], keys_file: Path, base: str
) -> dict[TenantId, DemoTenant]:
    """Clusters, tenants, keys and rows, as far as they are not there yet."""
    known: dict[str, str] = json.loads(_kept(keys_file, "{}"))
    async with asyncio.TaskGroup() as adding:
        for name, tier in CLUSTERS.items():
            adding.create_task(_furnish_cluster(gateway, clusters[name], name, tier), name=f"add cluster {name}")
    async with asyncio.TaskGroup() as making:
        keys = {
            name: making.create_task(_furnish_tenant(gateway, name, tier, known.get(name)), name=f"furnish {name}")
            for name, tier in TENANTS.items()
        }
    texts = {name: task.result() for name, task in keys.items()}
    _write(keys_file, json.dumps(texts, indent=2) + "\n")
    host = base.removeprefix("http://")
    return {
        name: DemoTenant(tier, tier.value, texts[name], f"postgresql://{name}:{texts[name]}@{host}/{_DATABASE}")
        for name, tier in TENANTS.items()
    }


async def _furnish_cluster(gateway: Gateway, cluster: Cluster, name: str, tier: Tier) -> None:
    database = "postgres" if tier is Tier.GOVERNMENT else _DATABASE
    with contextlib.suppress(UnknownCluster):
        known = await gateway.store.cluster(name)
        # A port that was taken meanwhile is another one now; what is behind it is the same.
        await gateway.store.set_cluster_address(
            name, conninfo=f"host={cluster.host} port={cluster.port}",
            admin_user=known.admin_user, admin_password=known.admin_password, actor=_ACTOR,
        )  # fmt: skip
        return
    await gateway.operations.add_cluster(
        name, tier, cluster.conninfo(database), region=None, actor=_ACTOR, deadline=Deadline.after(_STEP_S)
    )


async def _furnish_tenant(gateway: Gateway, name: TenantId, tier: Tier, key: str | None) -> str:
    """The tenant with its rows; returns a key of it."""
    deadline = Deadline.after(_STEP_S)
    with contextlib.suppress(TenantExists):
        await gateway.operations.create_tenant(
            name, tier, region=None, cluster=tier.value, actor=_ACTOR, deadline=deadline
        )
    if key is not None and (shown := key_id(key)) is not None and await gateway.store.credential(shown) is not None:
        return key
    placement = await gateway.directory.locate(name, deadline)
    seeds = (_EXAMPLES / "seed.sql").read_text(encoding="utf-8").split("\n;\n")
    statements = [Statement(seed) for seed in seeds if seed.strip()]
    async with gateway.switchboard.lease(placement, deadline) as lease:
        await lease.run(Transaction(statements), RequestLimits(_STEP_S, _SEED_BYTES))
    made = await gateway.operations.create_key(
        name, [Scope.READ, Scope.WRITE], note="demo", expires_at=None, actor=_ACTOR
    )
    return made.text
