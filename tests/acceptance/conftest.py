"""The real process, started as a newcomer starts it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from config.load import load
from registry.store import open_store
from registry.vault import Vault
from tests.support.postgres import server_folder
from tiergate.tenant import TenantId

_READY_S = 120.0
_STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as `demo.json` tells it."""

    tier: str
    key: str
    connection_string: str


@dataclass(frozen=True, slots=True)
class Running:
    """A demo that runs in a process of its own.

    Attributes:
        process: `tiergate demo --json`.
        folder: Its `--dir`.
    """

    url: str
    admin: str
    admin_key: str
    tenants: dict[str, Tenant]
    folder: Path
    process: asyncio.subprocess.Process

    async def direct(self, tenant: str) -> str:
        """The libpq conninfo of the login role that the gateway uses for *tenant*, password included."""
        settings = load(self.folder / "tiergate.yaml")
        async with open_store(settings.registry, Vault(settings.secrets.master_key)) as store:
            placement = await store.route(TenantId(tenant))
        assert placement is not None
        place = placement.place
        return make_conninfo(place.conninfo, user=place.login, password=place.password, dbname=place.database)


@asynccontextmanager
async def open_demo(folder: Path, *arguments: str) -> AsyncIterator[Running]:
    """`tiergate demo` on free ports; stopped as Ctrl-C stops it, and it must end well."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tiergate.cli", "demo", "--json", "--dir", str(folder),
        "--port", "0", "--admin-port", "0", *arguments,
        stdout=asyncio.subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"},
        limit=1 << 20,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_READY_S):
            line = await process.stdout.readline()
        assert line, f"the demo ended with {await process.wait()} before it was ready"
        facts: dict[str, Any] = json.loads(line)
        tenants = {
            name: Tenant(found["tier"], found["key"], found["connection_string"])
            for name, found in facts["tenants"].items()
        }
        yield Running(facts["gateway"], facts["admin"], facts["admin_key"], tenants, folder, process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        async with asyncio.timeout(_STOP_S):
            assert await process.wait() == 0


@pytest.fixture(scope="session")
async def gateway() -> AsyncIterator[Running]:
    """The demo, for the whole session (of one xdist worker)."""
    with server_folder() as folder:
        async with open_demo(folder / "demo") as running:
            yield running
