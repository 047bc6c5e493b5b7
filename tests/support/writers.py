"""Processes that create tenants in a registry, one after the other, until done or killed.

`python -m tests.support.writers URL NAME COUNT` says each on a line once it is committed.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from config.settings import Registry
from registry.store import Store, open_store
from registry.vault import Vault
from tiergate.events import Emit
from tiergate.tenant import TenantId, Tier

VAULT = Vault("a master key of the tests")


@asynccontextmanager
async def open_registry(url: str, emit: Emit = lambda _event: None) -> AsyncIterator[Store]:
    """A store as a gateway of its own has it."""
    settings = Registry(
        url=url, pool_size=5, timeout_s=20, cache_size=10, ttl_s=60, negative_ttl_s=5, stale_for_s=60
    )
    async with open_store(settings, VAULT, emit=emit) as store:
        yield store


async def add_cluster(store: Store, name: str = "main") -> None:
    """A standard cluster, in the registry alone: nothing is dialled."""
    await store.add_cluster(
        name,
        Tier.STANDARD,
        conninfo="host=db.example.com port=5432",
        database="app",
        admin_user="postgres",
        admin_password="s3cret",
        application_schema="app",
        actor="alice",
    )


async def start(url: str, name: str, count: int) -> asyncio.subprocess.Process:
    """A process that creates *count* tenants, `NAME-0` and so on."""
    words = (sys.executable, "-m", "tests.support.writers", url, name, str(count))
    return await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)


async def _write(url: str, name: str, count: int) -> None:
    async with open_registry(url) as store:
        for number in range(count):
            tenant = TenantId(f"{name}-{number}")
            await store.create_tenant(tenant, Tier.STANDARD, application_schema="app", actor=name)
            sys.stdout.write(f"{tenant}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_write(sys.argv[1], sys.argv[2], int(sys.argv[3])))
