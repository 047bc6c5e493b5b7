"""`tiergate demo`: the whole thing on one machine, with nothing installed but this package.

Three embedded Postgres clusters, the registry, an example application with rows of
four tenants on the three tiers, and the gateway in front. What it makes stays in
one folder: started again, it goes on where it was.
"""

import asyncio
import contextlib
import json
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
import yaml
from psycopg import sql

from config.load import load
from tiergate.demo.folder import kept, open_folder, write
from tiergate.demo.furnish import CLUSTERS, DATABASE, EXAMPLES, TENANTS, furnish
from tiergate.demo.verifying import verify
from tiergate.demo.words import show
from tiergate.embedded import Cluster, erase_cluster, open_clusters
from tiergate.listening import Addresses, url
from tiergate.service import open_gateway, serve
from tiergate.signals import signals
from tiergate.tenant import TenantId
from tiergate.unwrapped import unwrapped

_REGISTRY = "tiergate_registry"
_INTERRUPTED = 128 + signal.SIGINT
_DRAIN_S = 3
"""Whoever presses Ctrl-C sits there and waits."""


def run(*, folder: Path, fresh: bool, port: int, admin_port: int, verifies: bool, as_json: bool) -> None:
    """Bring everything up, show it, and serve until Ctrl-C or SIGTERM.

    Leaves with 130 when it is interrupted before it is ready.

    Raises:
        DemoRunning, PortTaken: The folder or a port cannot be had; nothing was started.
        TiergateError: Whatever else kept a part of it from coming up.
    """
    import uvloop  # noqa: PLC0415 - only to run

    folder = folder.absolute()
    try:
        with (
            unwrapped(),
            open_folder(folder),
            contextlib.closing(Addresses.open("127.0.0.1", port, "127.0.0.1", admin_port)) as addresses,
        ):
            uvloop.run(_run(folder, addresses, fresh=fresh, verifies=verifies, as_json=as_json))
    except asyncio.CancelledError:
        sys.exit(_INTERRUPTED)


async def _run(folder: Path, addresses: Addresses, *, fresh: bool, verifies: bool, as_json: bool) -> None:
    began = time.monotonic()
    facts_file = folder / "demo.json"
    facts_file.unlink(missing_ok=True)  # its being there means "ready"
    with _interruptible():
        # Without the master key nothing opens what an earlier demo left: the folder was removed, and as root
        # its clusters may lie elsewhere.
        if fresh or not (folder / "master.key").exists():
            await _erase(folder)
        kept(folder / "master.key", secrets.token_urlsafe(32))
        kept(folder / "admin.key", secrets.token_urlsafe(32))
        ports: dict[str, int | None] = dict.fromkeys(CLUSTERS)
        async with open_clusters(folder / "clusters", ports) as clusters:
            reread = partial(load, await _configure(folder, clusters, addresses))
            async with open_gateway(reread(), reread) as gateway:
                keys = await furnish(gateway, clusters, folder / "keys.json")
                facts = _facts(addresses, gateway.settings.admin.key, keys, clusters)
                if verifies:
                    facts["verify"] = await verify(gateway)

                def ready() -> None:
                    write(facts_file, json.dumps(facts, indent=2) + "\n")
                    took_s = time.monotonic() - began
                    show(facts, as_json=as_json, started_s=took_s, folder=str(folder))

                try:
                    with signals(gateway.stop, gateway.reload, gateway.log):
                        await serve(gateway, addresses, on_ready=ready)
                finally:
                    facts_file.unlink(missing_ok=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Meanwhile a signal gives up what is under way, and what was started is stopped; until it serves."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None:
        raise RuntimeError("only a task can be interrupted")
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _facts(
    addresses: Addresses, admin_key: str, keys: Mapping[TenantId, str], clusters: Mapping[str, Cluster]
) -> dict[str, object]:
    """The content of `demo.json`."""
    base = url(addresses.gateway)
    host = base.removeprefix("http://")
    return {
        "gateway": base,
        "admin": url(addresses.admin),
        "admin_key": admin_key,
        "tenants": {
            name: {
                "tier": tier,
                "cluster": tier.value,
                "key": keys[name],
                "connection_string": f"postgresql://{name}:{keys[name]}@{host}/{DATABASE}",
            }
            for name, tier in TENANTS.items()
        },
        "clusters": {
            name: {"host": cluster.host, "port": cluster.port, "log": str(cluster.log)}
            for name, cluster in clusters.items()
        },
    }


async def _erase(folder: Path) -> None:
    """Remove what an earlier demo left; the master key first, so that a next start goes on with this."""
    for left in ("master.key", "admin.key", "keys.json", "registry.url", "tiergate.yaml"):
        (folder / left).unlink(missing_ok=True)
    (folder / "clusters").mkdir(exist_ok=True)  # or else clusters that lie elsewhere are not looked for
    for name in CLUSTERS:
        await erase_cluster(folder / "clusters" / name)


async def _configure(folder: Path, clusters: Mapping[str, Cluster], addresses: Addresses) -> Path:
    """Make the registry's database, and write the configuration as an operator would."""
    await _make_databases(clusters)
    write(folder / "registry.url", clusters["standard"].url(_REGISTRY))
    path = folder / "tiergate.yaml"
    settings = {
        "gateway": {**_at(addresses.gateway), "drain_timeout_s": _DRAIN_S},
        "admin": {**_at(addresses.admin), "key": "${file:admin.key}"},
        "registry": {"url": "${file:registry.url}"},
        "secrets": {"master_key": "${file:master.key}"},
        "application": {"sql": str(EXAMPLES / "application")},
        "logging": {"level": "warning"},
    }
    write(path, yaml.safe_dump(settings, sort_keys=False))
    return path


def _at(listening: socket.socket) -> dict[str, object]:
    host, port = listening.getsockname()[:2]
    return {"host": host, "port": port}


async def _make_databases(clusters: Mapping[str, Cluster]) -> None:
    for cluster, name in (("standard", _REGISTRY), ("standard", DATABASE), ("premium", DATABASE)):
        conninfo = clusters[cluster].conninfo()
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
            found = await connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
            if await found.fetchone() is None:
                await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            await connection.execute(
                sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name))
            )
