"""The real process, started as a newcomer starts it."""

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from jwt.algorithms import ECAlgorithm
from psycopg.conninfo import make_conninfo

from config.load import load
from registry.store import open_store
from registry.vault import Vault
from tests.support.gateways import Serving, open_gateway
from tests.support.http import Door, open_door
from tests.support.pgbouncer import open_pgbouncer
from tests.support.postgres import server_folder
from tiergate.tenant import TenantId, Tier

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
        async with open_demo(folder / "demo") as running, poolers_before(running):
            yield running


@dataclass(frozen=True, slots=True)
class _Behind:
    superuser: str

    def conninfo(self) -> str:
        return self.superuser


@asynccontextmanager
async def poolers_before(running: Running) -> AsyncIterator[None]:
    """PgBouncer before each of the demo's clusters, if TIERGATE_TEST_THROUGH asks for it."""
    through = os.environ.get("TIERGATE_TEST_THROUGH")
    headers = {"authorization": f"Bearer {running.admin_key}"}
    async with (
        AsyncExitStack() as stack,
        httpx.AsyncClient(base_url=running.admin, headers=headers, timeout=40, trust_env=False) as admin,
    ):
        for tier in Tier if through is not None else ():
            behind = _Behind(await superuser(running, tier))
            pooler = await stack.enter_async_context(open_pgbouncer(behind, pool_size=10))
            prepares = pooler.prepares and through == "pgbouncer"
            body = {"address": pooler.address, "prepared_statements": prepares}
            done = await admin.put(f"/clusters/{tier}/pgbouncer", json=body)
            assert done.is_success, done.text
        yield


async def superuser(running: Running, cluster: str, database: str | None = None) -> str:
    """The libpq conninfo of a cluster's superuser, for tests that look on from behind."""
    settings = load(running.folder / "tiergate.yaml")
    async with open_store(settings.registry, Vault(settings.secrets.master_key)) as store:
        known = await store.cluster(cluster)
    return make_conninfo(
        known.conninfo,
        user=known.admin_user,
        password=known.admin_password,
        dbname=database or known.database,
    )


@dataclass(frozen=True, slots=True)
class Operator:
    """The admin API."""

    client: httpx.AsyncClient

    async def create_tenant(self, tier: str, **more: str) -> tuple[str, str]:
        """A tenant by a name that nobody has, and a key of it."""
        name = f"made-{secrets.token_hex(6)}"
        made = await self.client.post("/tenants", json={"name": name, "tier": tier, **more})
        assert made.is_success, made.text
        return name, (await self.create_key(name))["key"]

    async def create_key(self, tenant: str, **more: object) -> dict[str, str]:
        """A key as the API tells it, its text under `key`."""
        made = await self.client.post(f"/tenants/{tenant}/keys", json=more)
        assert made.is_success, made.text
        told: dict[str, str] = made.json()
        return told

    async def active(self) -> int:
        """Server connections that run something now, of all pools."""
        pools = (await self.client.get("/pools")).json()["pools"]
        return sum(pool["active"] for pool in pools)


@pytest.fixture(scope="session")
async def door(gateway: Running) -> AsyncIterator[Door]:
    """The gateway's `/sql`."""
    async with open_door(gateway.url) as opened:
        yield opened


@asynccontextmanager
async def open_operator(gateway: Running) -> AsyncIterator[Operator]:
    """A gateway's admin API."""
    headers = {"authorization": f"Bearer {gateway.admin_key}"}
    async with httpx.AsyncClient(base_url=gateway.admin, headers=headers, timeout=40) as client:
        yield Operator(client)


@pytest.fixture(scope="session")
async def operator(gateway: Running) -> AsyncIterator[Operator]:
    """The gateway's admin API."""
    async with open_operator(gateway) as opened:
        yield opened


@dataclass(frozen=True, slots=True)
class Strict:
    """Another gateway over the demo's registry, with short times, small answers and issuers of tokens.

    Attributes:
        signs: The private key of ISSUER, whose public one is in the key set under the id "k1".
    """

    serving: Serving
    door: Door
    signs: EllipticCurvePrivateKey


ISSUER, SECRET_ISSUER, AUDIENCE = "https://issuer.example.com", "https://shared.example.com", "tiergate"
SHARED_SECRET = "a secret that two parties share, of 32 bytes or more"
DOMAIN = "db.example.com"
ORIGIN = "https://app.example.com"


@pytest.fixture(scope="session")
async def strict(gateway: Running) -> AsyncIterator[Strict]:
    """The gateway with little patience."""
    known = load(gateway.folder / "tiergate.yaml")
    signs = generate_private_key(SECP256R1())
    with server_folder() as folder:
        public = json.loads(ECAlgorithm.to_jwk(signs.public_key()))
        (folder / "jwks.json").write_text(json.dumps({"keys": [{**public, "kid": "k1", "use": "sig"}]}))
        changes: dict[str, object] = {
            "secrets.master_key": known.secrets.master_key,
            "gateway.body_timeout_s": 1,
            "gateway.max_response_bytes": 65536,
            "gateway.cors_origin": ORIGIN,
            "gateway.domain": DOMAIN,
            "identity.jwt": [
                {
                    "issuer": ISSUER,
                    "audience": AUDIENCE,
                    "algorithms": ["ES256"],
                    "jwks_file": str(folder / "jwks.json"),
                    "leeway_s": 1,
                },
                {
                    "issuer": SECRET_ISSUER,
                    "audience": AUDIENCE,
                    "algorithms": ["HS256"],
                    "secret": SHARED_SECRET,
                },
            ],
            **{f"pools.tiers.{tier}.statement_timeout_s": 1 for tier in Tier},
        }
        async with (
            open_gateway(folder, known.registry.url, changes) as serving,
            open_door(serving.url) as opened,
        ):
            yield Strict(serving, opened, signs)
