"""The registry itself: everything that is asked of it, and every change to it.

Each change is one transaction with its line in the audit, and with a
notification that Postgres delivers once it has committed. Never caches.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from config.settings import Registry
from registry.link import new_engine
from registry.rows.admin_keys import AdminKeys
from registry.rows.audit import Audit
from registry.rows.contexts import Contexts
from registry.rows.credentials import Credentials
from registry.rows.figures import Counting
from registry.rows.leaving import Leaving
from registry.rows.levels import Levels
from registry.rows.loads import Loads
from registry.rows.moving import Moving
from registry.rows.orders import Orders
from registry.rows.replicas import Replicas
from registry.rows.storage import Storage
from registry.rows.usage import UsageBooks
from registry.rows.whole import Whole
from registry.vault import Vault
from tiergate.deadline import finish
from tiergate.events import Emit

_CLOSE_S = 2.0


class Store(
    Leaving, Moving, Credentials, Contexts, Replicas, Audit, Whole, Orders, Levels, Loads, Counting,
    AdminKeys, UsageBooks, Storage,
):  # fmt: skip
    """Clusters, places, tenants and their moves, keys of all kinds, the audit, processes, orders, usage.

    Every method may also raise `RegistryUnavailable` (try again later) and
    `RegistryFailed` (do not).
    """


@asynccontextmanager
async def open_store(
    registry: Registry, vault: Vault, *, emit: Emit = lambda _event: None
) -> AsyncIterator[Store]:
    """A store with connections of its own; nothing is dialled until it is asked."""
    engine = new_engine(registry.url, pool_size=registry.pool_size, timeout_s=registry.timeout_s)
    try:
        yield Store(engine, vault, timeout_s=registry.timeout_s, emit=emit)
    finally:
        await finish(engine.dispose(), within_s=_CLOSE_S)
