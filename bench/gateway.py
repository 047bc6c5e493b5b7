"""Our own program under load: `tiergate demo`, as anyone would start it, in a folder of its own."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from psycopg.conninfo import make_conninfo

from bench.load import Answer, Call, Target, call_once, request
from bench.serving import HOST, NotReady, free_port, server_folder, stop

READY_S = 120.0
DATABASE = "application"
SCHEMA = "app"


class Refused(Exception):
    """The gateway did not do what the preparation of a load asks."""


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that is ready.

    Attributes:
        pid: Of the one process that answers requests.
        keys: For each tenant.
    """

    port: int
    admin_port: int
    pid: int
    keys: dict[str, str] = field(repr=False)

    def target(self, name: str, calls: Sequence[Call]) -> Target:
        """The gateway, asked *calls* in turn."""
        return Target(name, HOST, self.port, calls)

    async def scrape(self) -> list[str]:
        """What the metrics say now: lines of the form "name{labels} value"."""
        call = Call(request("GET", "/metrics", f"{HOST}:{self.admin_port}", {}), b"")
        answer = await call_once(Target("admin", HOST, self.admin_port, (call,)), call)
        return [line for line in answer.body.decode().splitlines() if not line.startswith("#")]

    async def metric(self, name: str, label: str = "") -> float:
        """The sum of a metric's values, of those that carry *label*, as in `outcome="miss"`."""
        lines = await self.scrape()
        mine = (line for line in lines if line.startswith((f"{name}{{", f"{name} ")) and label in line)
        return sum(float(line.rpartition(" ")[2]) for line in mine)

    def call(self, tenant: str, query: str, params: list[str], expected: bytes = b"") -> Call:
        """A statement as a request, its key a bearer token."""
        body = json.dumps({"query": query, "params": params}).encode()
        headers = {"Authorization": f"Bearer {self.keys[tenant]}"}
        return Call(request("POST", "/sql", f"{HOST}:{self.port}", headers, body), expected)

    async def run(self, tenant: str, query: str, params: list[str]) -> list[dict[str, Any]]:  # JSON rows
        """Run one statement and return its rows.

        Raises:
            Refused: The answer is not 200.
        """
        call = self.call(tenant, query, params)
        answer: Answer = await call_once(Target("gateway", HOST, self.port, (call,)), call)
        if answer.status != HTTPStatus.OK:
            raise Refused(f"status {answer.status}: {answer.body.decode(errors='replace')}")
        rows: list[dict[str, Any]] = json.loads(answer.body)["rows"]
        return rows


@dataclass(frozen=True, slots=True)
class RunningDemo(Running):
    """A demo that is ready.

    Attributes:
        superuser: conninfo of the standard cluster's database.
    """

    superuser: str = field(repr=False)


@asynccontextmanager
async def open_demo() -> AsyncIterator[RunningDemo]:
    """Start the demo anew, on free ports, in a folder that goes away.

    Raises:
        NotReady: It ended, or was not ready after READY_S.
    """
    port, admin_port = free_port(), free_port()
    with server_folder() as folder:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tiergate.cli", "demo", "--json", "--dir", str(folder)),
            *("--port", str(port), "--admin-port", str(admin_port)),
            stdout=asyncio.subprocess.DEVNULL,
            env=dict(os.environ),
        )
        try:
            facts = await _wait_ready(folder / "demo.json", process)
            yield RunningDemo(
                port=port,
                admin_port=admin_port,
                pid=process.pid,
                keys={name: tenant["key"] for name, tenant in facts["tenants"].items()},
                superuser=_superuser(facts["clusters"]["standard"]),
            )
        finally:
            await stop(process)


def _read_facts(file: Path) -> dict[str, dict[str, dict[str, str]]] | None:
    """What the demo wrote when it was ready; None as long as it is not."""
    try:
        found: dict[str, dict[str, dict[str, str]]] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return found


async def _wait_ready(
    file: Path, process: asyncio.subprocess.Process
) -> dict[str, dict[str, dict[str, str]]]:
    try:
        async with asyncio.timeout(READY_S):
            while process.returncode is None:
                if (facts := _read_facts(file)) is not None:
                    return facts
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise NotReady(f"the demo is not ready after {READY_S:.0f} s") from None
    raise NotReady(f"the demo ended with status {process.returncode}")


def _superuser(cluster: dict[str, str]) -> str:
    """The superuser's conninfo; the launcher keeps the password beside the log."""
    password = Path(cluster["log"]).with_name("password").read_text(encoding="ascii").strip()
    return make_conninfo(
        host=cluster["host"], port=cluster["port"], user="postgres", password=password, dbname=DATABASE
    )
