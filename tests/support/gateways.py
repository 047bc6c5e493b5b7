"""`tiergate serve` in processes of its own, over a registry and clusters that the test can reach too."""

import asyncio
import json
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from admin.operations import Operations
from config.settings import Registry
from fleet.application import read_application
from fleet.provision import Provisioner
from registry.credentials import Scope
from registry.migrations import migrate
from registry.store import Store, open_store
from registry.vault import Vault
from tests.support.waiting import is_alive, wait_until
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier

ADMIN_KEY = "the-admin-key-of-the-tests-0123456789"
MASTER_KEY = "the master key of the tests, long enough"
TENANTS = {
    Tier.STANDARD: TenantId("acme"),
    Tier.PREMIUM: TenantId("globex"),
    Tier.GOVERNMENT: TenantId("treasury"),
}
_APPLICATION = Path(__file__).parents[2] / "examples" / "application"
PROGRAM = "tiergate.cli"
_HOST = "127.0.0.1"
_READY_S = 120.0
_STOP_S = 40.0
_STEP_S = 60.0
_WORKERS = 16
_LEFT_TO_US = (10_000, 32_000)  # below the ports that the kernel hands out by itself

Changes = Mapping[str, object]
"""Settings by dotted name, as {"gateway.drain_timeout_s": 1}."""


@dataclass(slots=True)
class Serving:
    """One `tiergate serve`.

    Attributes:
        log: What it says on standard error, one JSON object a line.
        http: Asks it; every request on a connection of its own.
        program: The module that it runs.
    """

    url: str
    admin: str
    config: Path
    settings: dict[str, object]
    log: Path
    process: asyncio.subprocess.Process
    http: httpx.AsyncClient = field(repr=False)
    program: str = PROGRAM

    async def sql(self, key: str, query: str, *, client: httpx.AsyncClient | None = None) -> httpx.Response:
        """Ask the gateway, on a new connection unless *client* keeps one."""
        headers = {"authorization": f"Bearer {key}"}
        return await (client or self.http).post(f"{self.url}/sql", json={"query": query}, headers=headers)

    async def batch(self, key: str, queries: list[str], *, client: httpx.AsyncClient) -> httpx.Response:
        """Ask the gateway for several in one transaction."""
        headers = {"authorization": f"Bearer {key}"}
        body = {"queries": [{"query": query} for query in queries]}
        return await client.post(f"{self.url}/sql", json=body, headers=headers)

    async def ask_admin(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Ask the admin API."""
        headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        return await self.http.request(method, f"{self.admin}{path}", json=body, headers=headers)

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's values with these labels."""
        text = (await self.http.get(f"{self.admin}/metrics")).text
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = (line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(part in line for part in wanted))

    def said(self, event: str) -> list[dict[str, Any]]:  # JSON
        """The log's lines of one kind so far."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        told = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [line for line in told if line["event"] == event]

    async def hears(self, event: str, *, times: int = 1, within_s: float = 60) -> dict[str, Any]:
        """The log's *times*-th line of one kind, once it is there; ends early when the process does."""

        def look() -> bool:
            return len(self.said(event)) >= times or self.process.returncode is not None

        await wait_until(look, within_s=within_s, what=f"{times} {event!r} in the log")
        told = self.said(event)
        assert len(told) >= times, f"it ended with {self.process.returncode}: {self.log.read_text()}"
        return told[times - 1]

    async def listens(self) -> None:
        """Wait until it hears of changes: when it begins to, it doubts all that it remembers."""

        async def look() -> bool:
            answer = await self.http.get(f"{self.admin}/readyz")
            return bool(answer.json()["registry"] == "up")

        await wait_until(look, what="the gateway to listen to its registry")

    def children(self) -> list[int]:
        """The processes that serve, where there are several."""
        return [pid for line in self.said("process-started") if is_alive(pid := line["pid"])]

    @contextmanager
    def only(self, pid: int) -> Iterator[None]:
        """The other processes that serve stand still: whoever asks meanwhile asks this one."""
        others = [other for other in self.children() if other != pid]
        for other in others:
            os.kill(other, signal.SIGSTOP)
        try:
            yield
        finally:
            for other in others:
                os.kill(other, signal.SIGCONT)

    def reconfigure(self, changes: Changes) -> None:
        """Write the configuration anew, with *changes* to what it was started with."""
        self.config.write_text(_yaml(self.settings, changes), encoding="utf-8")

    def signal(self, number: signal.Signals) -> None:
        """Send it to the process that was started."""
        self.process.send_signal(number)

    async def crash(self) -> None:
        """Kill it with -9, and start it again at the same ports; returns when it serves."""
        await self.die()
        await self.rise()

    async def die(self) -> None:
        """Kill it with -9."""
        self.process.kill()
        await self.process.wait()

    async def rise(self) -> None:
        """Start it again at the same ports; returns when it serves."""
        self.process = await start(self.config.parent, self.settings, program=self.program)
        await self.hears("serving", within_s=_READY_S)
        await self.listens()

    async def ended(self, *, within_s: float = _STOP_S) -> int:
        """The exit code, once it has ended."""
        async with asyncio.timeout(within_s):
            return await self.process.wait()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, and that neither the kernel nor another worker of the suite gives."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(*_LEFT_TO_US, _WORKERS) + worker % _WORKERS
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if probe.connect_ex((_HOST, port)) != 0:
                found.add(port)
    return list(found)


def settings(registry_url: str, changes: Changes | None = None) -> dict[str, object]:
    """What a `tiergate.yaml` of the tests holds, by dotted name, on ports of its own."""
    port, admin_port = free_ports(2)
    return {
        "gateway.host": _HOST,
        "gateway.port": port,
        "admin.host": _HOST,
        "admin.port": admin_port,
        "admin.key": ADMIN_KEY,
        "registry.url": registry_url,
        "secrets.master_key": MASTER_KEY,
        "application.sql": str(_APPLICATION),
        **(changes or {}),
    }


def _yaml(known: Changes, changes: Changes | None = None) -> str:
    tree: dict[str, Any] = {}
    for path, value in {**known, **(changes or {})}.items():
        *sections, name = path.split(".")
        inner = tree
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return yaml.safe_dump(tree)


async def start(
    folder: Path, known: Changes, *arguments: str, program: str = PROGRAM
) -> asyncio.subprocess.Process:
    """Start `tiergate serve` on a configuration in *folder*, with its log beside it."""
    config = folder / f"{known['gateway.port']}.yaml"
    config.write_text(_yaml(known), encoding="utf-8")
    with config.with_suffix(".log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", program, "serve", "--config", str(config), *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | {"COLUMNS": "200"},
        )  # fmt: skip


@asynccontextmanager
async def open_gateway(
    folder: Path,
    registry_url: str,
    changes: Changes | None = None,
    *,
    processes: int = 1,
    program: str = PROGRAM,
) -> AsyncIterator[Serving]:
    """A gateway that serves; unless it was ended before, it is told to end, and must end well.

    Args:
        program: The module to run in place of ours; takes the same arguments.
    """
    known = settings(registry_url, changes)
    process = await start(folder, known, "--processes", str(processes), program=program)
    serving: Serving | None = None
    config = folder / f"{known['gateway.port']}.yaml"
    limits = httpx.Limits(max_keepalive_connections=0)
    try:
        async with httpx.AsyncClient(limits=limits, timeout=40, verify=False, trust_env=False) as http:  # noqa: S501 - plain HTTP
            serving = Serving(
                f"http://{_HOST}:{known['gateway.port']}",
                f"http://{_HOST}:{known['admin.port']}",
                config,
                known,
                config.with_suffix(".log"),
                process,
                http,
                program,
            )
            await serving.hears("serving", times=processes, within_s=_READY_S)
            await serving.listens()
            yield serving
        if serving.process.returncode is None:
            serving.signal(signal.SIGTERM)
            assert await serving.ended() == 0
    finally:
        last = process if serving is None else serving.process
        if last.returncode is None:
            last.kill()
            await last.wait()


@dataclass(slots=True)
class Site:
    """A registry that knows clusters and tenants, for gateways to be started over.

    Attributes:
        folder: For configurations and logs.
        keys: Of tenants that `furnish` made.
    """

    folder: Path
    registry_url: str
    store: Store
    operations: Operations
    keys: dict[TenantId, str] = field(default_factory=dict, repr=False)

    async def furnish(self, dsns: Mapping[Tier, str]) -> None:
        """A cluster at each address, with one tenant."""
        deadline = Deadline.after(_STEP_S)

        async def one(tier: Tier, dsn: str) -> None:
            name = TENANTS[tier]
            await self.operations.add_cluster(tier, tier, dsn, region=None, actor="test", deadline=deadline)
            await self.operations.create_tenant(
                name, tier, region=None, cluster=tier, actor="test", deadline=deadline
            )
            self.keys[name] = await self.create_key(name)

        async with asyncio.TaskGroup() as tasks:
            for tier, dsn in dsns.items():
                tasks.create_task(one(tier, dsn), name=f"furnish {tier}")

    async def create_key(self, tenant: TenantId) -> str:
        """A new key that may read and write."""
        made = await self.operations.create_key(
            tenant, [Scope.READ, Scope.WRITE], note="", expires_at=None, actor="test"
        )
        return made.text


@asynccontextmanager
async def open_site(folder: Path, registry_url: str, application: Path = _APPLICATION) -> AsyncIterator[Site]:
    """A migrated registry at *registry_url*, empty as yet; its tenants get the tables of *application*."""
    await migrate(registry_url, Vault(MASTER_KEY))
    known = Registry(
        url=registry_url,
        pool_size=5,
        timeout_s=10,
        cache_size=100,
        ttl_s=60,
        negative_ttl_s=5,
        stale_for_s=600,
    )
    async with open_store(known, Vault(MASTER_KEY)) as store:
        provisioner = Provisioner(read_application(application))
        yield Site(folder, registry_url, store, Operations(store, provisioner, "app"))
